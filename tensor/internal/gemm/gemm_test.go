package gemm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/onetrunk/onetrunk/internal/par"
)

// with runs f with every kernel of this machine.
func with(t *testing.T, f func(t *testing.T)) {
	old := use
	defer func() { use = old }()
	for _, k := range available() {
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
	return Matrix{x, stride, trans}
}

func (m Matrix) at(i, j int) float64 {
	if m.Trans {
		i, j = j, i
	}
	return float64(m.Data[i*m.Stride+j])
}

func checkProduct(t *testing.T, rng *rand.Rand, p *par.Pool, m, n, k int, ta, tb, acc bool) {
	t.Helper()
	a, b := matrix(rng, m, k, ta), matrix(rng, k, n, tb)
	ldc := n + 2
	c := make([]float32, m*ldc+1)
	for i := range c {
		c[i] = guard
	}
	old := make([]float64, m*n)
	for i := range m {
		for j := range n {
			c[i*ldc+j] = float32(rng.NormFloat64())
			old[i*n+j] = float64(c[i*ldc+j])
		}
	}
	var mu sync.Mutex
	covered := make([]int, m*n)
	done := func(i0, i1, j0, j1 int) {
		mu.Lock()
		defer mu.Unlock()
		for i := i0; i < i1; i++ {
			for j := j0; j < j1; j++ {
				covered[i*n+j]++
			}
		}
	}
	name := fmt.Sprintf("%dx%dx%d ta=%t tb=%t acc=%t", m, n, k, ta, tb, acc)
	if p == nil {
		Small(m, n, k, a, b, c, ldc, acc)
	} else {
		Mul(p, m, n, k, a, b, c, ldc, acc, done)
	}
	for i := range m {
		for j := range n {
			var want, size float64
			for q := range k {
				want += a.at(i, q) * b.at(q, j)
				size += math.Abs(a.at(i, q) * b.at(q, j))
			}
			if acc {
				want += old[i*n+j]
			}
			if got := float64(c[i*ldc+j]); math.Abs(got-want) > 1e-6*(size+1) {
				t.Fatalf("%s: C[%d,%d] = %g, want %g", name, i, j, got, want)
			}
			if p != nil && covered[i*n+j] != 1 {
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
					checkProduct(t, rng, nil, m, n, k, v&1 != 0, v&2 != 0, v&4 != 0)
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

// TestDeep covers the split of a long inner size over the workers.
func TestDeep(t *testing.T) {
	with(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(2, 1))
		for _, workers := range []int{2, 3} {
			pool := par.New(workers)
			for _, k := range []int{1024, 1500} {
				for v := range 8 {
					m, n := 19, 35
					a, b := matrix(rng, m, k, v&1 != 0), matrix(rng, k, n, v&2 != 0)
					one, many := make([]float32, m*n), make([]float32, m*n)
					for i := range one {
						one[i] = float32(i)
						many[i] = float32(i)
					}
					Small(m, n, k, a, b, one, n, v&4 != 0)
					Mul(pool, m, n, k, a, b, many, n, v&4 != 0, nil)
					for i := range one {
						if math.Abs(float64(one[i]-many[i])) > 1e-3 {
							t.Fatalf("k %d, %d workers, variant %d: element %d is %g, alone %g", k, workers, v, i, many[i], one[i])
						}
					}
				}
			}
			pool.Close()
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

// TestTilesEqualTheirTwins holds the assembly to the plain loop on tiles.
func TestTilesEqualTheirTwins(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 1))
	for _, kern := range available() {
		for k := range 23 {
			for acc := range 2 {
				ldc := kern.nr + 3
				a, b := matrix(rng, kern.mr, k+1, false).Data, matrix(rng, kern.nr, k+1, false).Data
				got := matrix(rng, kern.mr, ldc, false).Data
				for len(got) < kern.mr*ldc {
					got = append(got, 0)
				}
				want := append([]float32(nil), got...)
				kern.tile(k, &a[0], &b[0], &got[0], ldc, acc)
				tileOf(kern.mr, kern.nr, k, &a[0], &b[0], &want[0], ldc, acc)
				for i := range want {
					if math.Abs(float64(got[i]-want[i])) > 1e-5 {
						t.Fatalf("%s: k %d, acc %d: element %d is %g, want %g", kern.name, k, acc, i, got[i], want[i])
					}
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
