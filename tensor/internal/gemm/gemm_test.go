package gemm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/onetrunk/onetrunk/internal/par"
)

// packedGo drives the plain loops as a kernel that takes A in slabs, as wide
// as the widest of these, so that the driver's way with such a kernel is tested
// on every machine.
var packedGo = kernel{
	name: "packed go", mr: 12, nr: 32,
	tile: func(k int, a, b, c *float32, ldc int, acc int) {
		panelGo(32, 12, k, a, 1, 12, b, c, ldc, acc)
	},
	transpose8: transpose8Go, copyPanels: func(k, panels int, src *float32, stride int, dst *float32) {
		copyPanelsGo(32, k, panels, src, stride, dst)
	},
}

// with runs f with every kernel of this machine.
func with(t *testing.T, f func(t *testing.T)) {
	old := use
	defer func() { use = old }()
	for _, k := range append(available(), packedGo) {
		use = k
		t.Run(k.name, f)
	}
}

const guard = 1e30

// matrix makes op(X) [rows, cols] of random values in a larger allocation.
func matrix(rng *rand.Rand, rows, cols int, trans bool) Matrix {
	if trans {
		rows, cols = cols, rows
	}
	stride := cols + rng.IntN(3)
	x := make([]float32, max(rows*stride, 1))
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	if rows > 0 {
		x = x[:(rows-1)*stride+cols] // nothing behind the last element
	}
	return Matrix{Data: x, Stride: stride, Trans: trans}
}

func (m Matrix) at(i, j int) float64 {
	if m.Trans {
		i, j = j, i
	}
	return float64(m.Data[i*m.Stride+j])
}

// loaded returns m as an operand whose rows are loaded.
func loaded(m Matrix) Matrix {
	return Matrix{Trans: m.Trans, Load: func(dst []float32, stride, i0, i1, j0, j1 int) {
		for i := i0; i < i1; i++ {
			copy(dst[(i-i0)*stride:(i-i0)*stride+j1-j0], m.Data[i*m.Stride+j0:i*m.Stride+j1])
		}
	}}
}

// ways are the calls that make a product.
var ways = map[string]func(p *par.Pool, m, n, k int, a, b Matrix, c []float32, ldc int, acc bool, done Done){
	"Small": func(_ *par.Pool, m, n, k int, a, b Matrix, c []float32, ldc int, acc bool, done Done) {
		Small(m, n, k, a, b, c, ldc, acc)
		if m > 0 && n > 0 {
			done(Block{I1: m, J1: n})
		}
	},
	"Mul": Mul,
	"MulPacked": func(p *par.Pool, m, n, k int, a, b Matrix, c []float32, ldc int, acc bool, done Done) {
		var packed Packed
		packed.Pack(p, n+3, k+40, Matrix{Data: make([]float32, (n+3)*(k+40)), Stride: n + 3}) // to be used again
		packed.Pack(p, n, k, loaded(b))
		MulPacked(p, m, loaded(a), &packed, c, ldc, acc, true, func(b Block) {
			if b.J0 != 0 || b.J1 != n || b.I0 != b.Index*RowBlock(m, p.Workers()) {
				panic("not whole rows")
			}
			done(b)
		})
	},
	"MulPacked in strips": func(p *par.Pool, m, n, k int, a, b Matrix, c []float32, ldc int, acc bool, done Done) {
		var packed Packed
		packed.Pack(p, n, k, b)
		MulPacked(p, m, loaded(a), &packed, c, ldc, acc, false, done)
	},
	"MulPacked for done alone": func(p *par.Pool, m, n, k int, a, b Matrix, c []float32, ldc int, acc bool, done Done) {
		var packed Packed
		packed.Pack(p, n, k, b)
		MulPacked(p, m, a, &packed, nil, 0, false, false, func(b Block) {
			for i := b.I0; i < b.I1; i++ {
				for j, v := range b.Row(i) {
					if acc {
						v += c[i*ldc+b.J0+j]
					}
					c[i*ldc+b.J0+j] = v
				}
			}
			done(b)
		})
	},
	"MulDeep": func(p *par.Pool, m, n, k int, a, b Matrix, c []float32, ldc int, acc bool, done Done) {
		seen := make([]int, k)
		MulDeep(p, m, n, k, a, loaded(b), c, ldc, acc, func(part, k0, k1 int) {
			if part < 0 || part >= Parts {
				panic("no such part")
			}
			for q := k0; q < k1; q++ {
				seen[q]++
			}
		})
		for _, times := range seen {
			if times != 1 && m > 0 && n > 0 {
				panic("an inner index was not announced once")
			}
		}
		if m > 0 && n > 0 {
			done(Block{I1: m, J1: n})
		}
	},
}

func checkProduct(t *testing.T, rng *rand.Rand, p *par.Pool, m, n, k int, ta, tb, acc bool) {
	t.Helper()
	a, b := matrix(rng, m, k, ta), matrix(rng, k, n, tb)
	ldc := n + 2
	first := make([]float32, m*ldc+1)
	for i := range first {
		first[i] = guard
	}
	want, size := make([]float64, m*n), make([]float64, m*n)
	for i := range m {
		for j := range n {
			first[i*ldc+j] = float32(rng.NormFloat64())
			for q := range k {
				want[i*n+j] += a.at(i, q) * b.at(q, j)
				size[i*n+j] += math.Abs(a.at(i, q) * b.at(q, j))
			}
			if acc {
				want[i*n+j] += float64(first[i*ldc+j])
			}
		}
	}
	for name, mul := range ways {
		name := fmt.Sprintf("%s %dx%dx%d ta=%t tb=%t acc=%t", name, m, n, k, ta, tb, acc)
		c := slices.Clone(first)
		var mu sync.Mutex
		covered := make([]int, m*n)
		mul(p, m, n, k, a, b, c, ldc, acc, func(b Block) {
			mu.Lock()
			defer mu.Unlock()
			for i := b.I0; i < b.I1; i++ {
				for j := b.J0; j < b.J1; j++ {
					covered[i*n+j]++
				}
			}
		})
		for i := range m {
			for j := range n {
				if got := float64(c[i*ldc+j]); math.Abs(got-want[i*n+j]) > 1e-6*(size[i*n+j]+1) {
					t.Fatalf("%s: C[%d,%d] = %g, want %g", name, i, j, got, want[i*n+j])
				}
				if covered[i*n+j] != 1 {
					t.Fatalf("%s: C[%d,%d] was reported done %d times", name, i, j, covered[i*n+j])
				}
			}
			for j := n; j < ldc; j++ {
				if c[i*ldc+j] != guard {
					t.Fatalf("%s: memory beside row %d was written", name, i)
				}
			}
		}
		if c[m*ldc] != guard {
			t.Fatalf("%s: memory behind C was written", name)
		}
	}
}

func TestShapes(t *testing.T) {
	with(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 1))
		pool := par.New(2)
		defer pool.Close()
		edges := []int{0, 1, 5, 6, 7, 8, 9, 12, 13, 16, 17, 31, 32, 33, 40}
		for _, m := range edges {
			for _, n := range edges {
				for _, k := range []int{0, 1, 7, 8, 9, 33} {
					v := rng.IntN(8)
					checkProduct(t, rng, pool, m, n, k, v&1 != 0, v&2 != 0, v&4 != 0)
				}
			}
		}
		for _, s := range [][3]int{{200, 70, 300}, {97, 130, 513}, {13, 300, 256}, {300, 20, 100}} {
			for v := range 8 {
				checkProduct(t, rng, pool, s[0], s[1], s[2], v&1 != 0, v&2 != 0, v&4 != 0)
			}
		}
	})
}

// TestDeep covers the split of a long inner size over the workers, which must
// not change the bits.
func TestDeep(t *testing.T) {
	with(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(2, 1))
		for _, k := range []int{1024, 1500} {
			for v := range 8 {
				m, n := 19, 35
				a, b := matrix(rng, m, k, v&1 != 0), matrix(rng, k, n, v&2 != 0)
				results := map[int][]float32{}
				for _, workers := range []int{1, 2, 3} {
					pool := par.New(workers)
					c := make([]float32, m*n)
					for i := range c {
						c[i] = float32(i)
					}
					MulDeep(pool, m, n, k, a, b, c, n, v&4 != 0, nil)
					pool.Close()
					results[workers] = c
				}
				want := make([]float32, m*n)
				for i := range want {
					want[i] = float32(i)
				}
				Small(m, n, k, a, b, want, n, v&4 != 0)
				for i := range want {
					if math.Abs(float64(results[1][i]-want[i])) > 1e-3 {
						t.Fatalf("k %d, variant %d: element %d is %g, in one piece %g", k, v, i, results[1][i], want[i])
					}
					if results[1][i] != results[2][i] || results[1][i] != results[3][i] {
						t.Fatalf("k %d, variant %d: element %d depends on the number of workers", k, v, i)
					}
				}
			}
		}
	})
}

func TestNaNAndInfPropagate(t *testing.T) {
	with(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(3, 1))
		const m, n, k = 14, 37, 20
		for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1))} {
			a, b := matrix(rng, m, k, false), matrix(rng, k, n, true)
			clear(b.Data) // zero times NaN or Inf is NaN
			a.Data[3*a.Stride+5] = bad
			c := make([]float32, m*n)
			Small(m, n, k, a, b, c, n, false)
			for i := range m {
				for j := range n {
					if isNaN := math.IsNaN(float64(c[i*n+j])); isNaN != (i == 3) {
						t.Fatalf("%v in row 3: C[%d,%d] = %g", bad, i, j, c[i*n+j])
					}
				}
			}
		}
	})
}

// TestKernelsEqualTheirTwins holds the assembly to the plain loops.
func TestKernelsEqualTheirTwins(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 1))
	values := func(n int) []float32 { return matrix(rng, 1, n, false).Data }
	check := func(name string, got, want []float32) {
		t.Helper()
		for i := range want {
			if math.Abs(float64(got[i]-want[i])) > 1e-5 {
				t.Fatalf("%s: element %d is %g, want %g", name, i, got[i], want[i])
			}
		}
	}
	for _, kern := range available() {
		for k := range 23 {
			for acc := range 2 {
				ldc := kern.nr + 3
				if kern.tile != nil {
					a, b, c := values(kern.mr*(k+1)), values(kern.nr*(k+1)), values(kern.mr*ldc)
					want := slices.Clone(c)
					kern.tile(k, &a[0], &b[0], &c[0], ldc, acc)
					panelGo(kern.nr, kern.mr, k, &a[0], 1, kern.mr, &b[0], &want[0], ldc, acc)
					check(fmt.Sprintf("%s tile: k %d, acc %d", kern.name, k, acc), c, want)
					continue
				}
				for m := range 14 {
					a, b, c := values((m+1)*(k+3)+20), values(kern.nr*(k+1)), values((m+1)*ldc)
					want := slices.Clone(c)
					kern.rows(m, k, &a[0], k+2, &b[0], &c[0], ldc, acc)
					panelGo(kern.nr, m, k, &a[0], k+2, 1, &b[0], &want[0], ldc, acc)
					check(fmt.Sprintf("%s rows: m %d, k %d, acc %d", kern.name, m, k, acc), c, want)
					kern.columns(m, k, &a[0], m+1, &b[0], &c[0], ldc, acc)
					panelGo(kern.nr, m, k, &a[0], 1, m+1, &b[0], &want[0], ldc, acc)
					check(fmt.Sprintf("%s columns: m %d, k %d, acc %d", kern.name, m, k, acc), c, want)
				}
			}
			got, want := make([]float32, 3*kern.nr*k+1), make([]float32, 3*kern.nr*k+1)
			if k > 0 {
				src := values(k*(3*kern.nr+1) + 2*columnGroup)
				kern.copyPanels(k, 3, &src[0], 3*kern.nr+1, &got[0])
				copyPanelsGo(kern.nr, k, 3, &src[0], 3*kern.nr+1, &want[0])
				check(fmt.Sprintf("%s copyPanels: k %d", kern.name, k), got, want)
				if kern.copyColumns != nil {
					got, want := make([]float32, 2*columnGroup*k+1), make([]float32, 2*columnGroup*k+1)
					kern.copyColumns(k, 2, &src[0], 3*kern.nr+1, &got[0])
					copyPanelsGo(columnGroup, k, 2, &src[0], 3*kern.nr+1, &want[0])
					check(fmt.Sprintf("%s copyColumns: k %d", kern.name, k), got, want)
				}
			}
		}
	}
}

func TestTransposeEqualsItsTwin(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 1))
	for _, kern := range available() {
		for n8 := range 4 {
			for _, step := range []int{8, 12, 32} {
				const stride = 40
				src := matrix(rng, 8, stride, false).Data
				for len(src) < 8*stride {
					src = append(src, 0)
				}
				got, want := make([]float32, 8*n8*step+8), make([]float32, 8*n8*step+8)
				kern.transpose8(n8, &src[0], stride, &got[0], step)
				transpose8Go(n8, &src[0], stride, &want[0], step)
				for i := range want {
					if got[i] != want[i] {
						t.Fatalf("%s: %d columns, step %d: element %d is %g, want %g", kern.name, 8*n8, step, i, got[i], want[i])
					}
				}
			}
		}
	}
}

func TestSchedulingDoesNotChangeBits(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 1))
	pool := par.New(2)
	defer pool.Close()
	const m, n, k = 150, 90, 1300
	a, b := matrix(rng, m, k, true), matrix(rng, k, n, false)
	first := make([]float32, m*n)
	Mul(pool, m, n, k, a, b, first, n, false, nil)
	var wg sync.WaitGroup
	for range 4 { // two callers at once, so that one of them works alone
		wg.Go(func() {
			for range 10 {
				c := make([]float32, m*n)
				Mul(pool, m, n, k, a, b, c, n, false, nil)
				for i := range c {
					if c[i] != first[i] {
						t.Errorf("element %d is %g, was %g", i, c[i], first[i])
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkMul(b *testing.B) {
	for _, workers := range []int{1, 2} {
		for _, s := range []struct {
			m, n, k int
			ta, tb  bool
		}{
			{4096, 256, 256, false, false},
			{4096, 1024, 256, false, false},
			{4096, 256, 1024, false, false},
			{3200, 1536, 384, false, false},
			{2048, 2048, 2048, false, false},
			{256, 1024, 4096, true, false},
			{4096, 256, 1024, false, true},
			{3136, 192, 64, false, true},
			{3136, 64, 256, false, true},
			{64, 256, 3136, true, false},
		} {
			b.Run(fmt.Sprintf("%d/%dx%dx%d,%t,%t", workers, s.m, s.n, s.k, s.ta, s.tb), func(b *testing.B) {
				rng := rand.New(rand.NewPCG(1, 1))
				pool := par.New(workers)
				defer pool.Close()
				x, y := matrix(rng, s.m, s.k, s.ta), matrix(rng, s.k, s.n, s.tb)
				c := make([]float32, s.m*s.n)
				b.ReportAllocs()
				for b.Loop() {
					Mul(pool, s.m, s.n, s.k, x, y, c, s.n, false, nil)
				}
				b.ReportMetric(2*float64(s.m*s.n*s.k)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}
