package int8gemm

import (
	"math"
	"math/rand/v2"
	"slices"
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

// integers returns x as integers of at most levels, and their scale, as the
// documentation says.
func integers(x []float32, levels int) (q []int64, scale float32) {
	var most float32
	for _, v := range x {
		most = max(most, float32(math.Abs(float64(v))))
	}
	q = make([]int64, len(x))
	if most == 0 {
		return q, 0
	}
	for i, v := range x {
		q[i] = int64(math.RoundToEven(float64(v * (float32(levels) / most))))
	}
	return q, most / float32(levels)
}

// check holds products of every form to sums over integers, bit for bit, and
// to float64 within what rounding may do.
func check(t *testing.T, rng *rand.Rand, p *par.Pool, m, n, k int) {
	t.Helper()
	stride, ldy := k+rng.IntN(3), n+2
	x, w := normal(rng, m*stride), normal(rng, n*k)
	packed := Quantize(w, n, k)
	view := Rows{Data: x, Stride: stride}
	var mu sync.Mutex
	loaded := make([]int, m)
	load := Rows{Load: func(i0, i1 int, dst []float32) {
		if len(dst) != (i1-i0)*k {
			panic("dst is not [i1-i0, I]")
		}
		for i := i0; i < i1; i++ {
			copy(dst[(i-i0)*k:(i-i0+1)*k], x[i*stride:])
			mu.Lock()
			loaded[i]++
			mu.Unlock()
		}
	}}
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
	y, same := make([]float32, m*ldy+1), make([]float32, m*ldy+1)
	for i := range y {
		y[i], same[i] = guard, guard
	}
	Mul(p, m, view, packed, y, ldy, done)
	for i, times := range covered {
		if times != 1 {
			t.Fatalf("%dx%dx%d: element %d was reported done %d times", m, n, k, i, times)
		}
	}
	var a Activations
	a.Quantize(p, m+3, k+9, Rows{Data: make([]float32, (m+3)*(k+9)), Stride: k + 9}) // to be used again
	a.Quantize(p, m, k, load)
	for i, times := range loaded {
		if times != 1 {
			t.Fatalf("%dx%dx%d: row %d was loaded %d times", m, n, k, i, times)
		}
	}
	a.Mul(p, packed, same, ldy, nil)
	if !slices.Equal(y, same) {
		t.Fatalf("%dx%dx%d: loaded rows give another result than a view of them", m, n, k)
	}
	qw, sw := make([][]int64, n), make([]float32, n)
	for j := range n {
		qw[j], sw[j] = integers(w[j*k:(j+1)*k], 127)
	}
	for i := range m {
		qx, sx := integers(x[i*stride:i*stride+k], levels(k))
		for j := range n {
			var sum int64
			var want, size, bound float64
			for q := range k {
				sum += qx[q] * qw[j][q]
				u, v := float64(x[i*stride+q]), float64(w[j*k+q])
				want += u * v
				size += math.Abs(u * v)
				// Either is off by half a step at most.
				bound += math.Abs(u)*float64(sw[j])/2 + math.Abs(v)*float64(sx)/2 + float64(sw[j])*float64(sx)/4
			}
			got := y[i*ldy+j]
			if exact := float32(sum) * sx * sw[j]; got != exact {
				t.Fatalf("%dx%dx%d: y[%d,%d] = %g, in integers %g", m, n, k, i, j, got, exact)
			}
			if d := math.Abs(float64(got) - want); d > bound*(1+1e-5)+size*1e-5 {
				t.Fatalf("%dx%dx%d: y[%d,%d] = %g, want %g, off by %g of %g", m, n, k, i, j, got, want, d, bound)
			}
		}
		for j := n; j < ldy; j++ {
			if y[i*ldy+j] != guard {
				t.Fatalf("%dx%dx%d: memory beside row %d was written", m, n, k, i)
			}
		}
	}
	if y[m*ldy] != guard {
		t.Fatalf("%dx%dx%d: memory behind y was written", m, n, k)
	}
}

func TestShapes(t *testing.T) {
	with(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 1))
		pool := par.New(2)
		defer pool.Close()
		for _, m := range []int{0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 20} {
			for _, n := range []int{0, 1, 7, 15, 16, 17, 33} {
				for _, k := range []int{0, 1, 2, 7, 8, 9, 15, 16, 17, 40} {
					check(t, rng, pool, m, n, k)
				}
			}
		}
		for _, s := range [][3]int{{200, 70, 100}, {97, 130, 513}, {10, 300, 256}, {103, 33, 1024}, {31, 64, 4100}} {
			check(t, rng, pool, s[0], s[1], s[2])
		}
	})
}

// TestLargestSums fails when a sum that an int32 only just holds is not exact.
func TestLargestSums(t *testing.T) {
	with(t, func(t *testing.T) {
		pool := par.New(1)
		for _, k := range []int{1, 513, 4096, MaxInner} {
			const m, n = 7, 3
			x, w := make([]float32, m*k), make([]float32, n*k)
			for i := range x {
				x[i] = float32(1 - i/k%2*2) // 1 in even rows, -1 in odd ones
			}
			for i := range w {
				w[i] = 1
			}
			y := make([]float32, m*n)
			Mul(pool, m, Rows{Data: x, Stride: k}, Quantize(w, n, k), y, n, nil)
			for i, v := range y {
				want := float64(k * (1 - i/n%2*2))
				if math.Abs(float64(v)-want) > 1e-6*math.Abs(want) {
					t.Fatalf("k %d: element %d is %g, want %g", k, i, v, want)
				}
			}
		}
	})
}

func TestNaNInfAndZeros(t *testing.T) {
	with(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(2, 1))
		pool := par.New(1)
		const m, n, k = 14, 37, 21
		nan, inf := float32(math.NaN()), float32(math.Inf(1))
		for _, bad := range []float32{nan, -nan, inf, -inf} {
			for _, at := range []int{5, k - 1} { // in the kernel's part of a row, and behind it
				x, w := normal(rng, m*k), normal(rng, n*k)
				x[3*k+at] = bad
				w[20*k+at] = bad
				clear(x[7*k : 8*k])
				clear(w[9*k : 10*k])
				for i := 8 * k; i < 9*k; i++ {
					x[i] *= 1e-38
				}
				y := make([]float32, m*n)
				Mul(pool, m, Rows{Data: x, Stride: k}, Quantize(w, n, k), y, n, nil)
				for i := range m {
					for j := range n {
						v := y[i*n+j]
						if isNaN := v != v; isNaN != (i == 3 || j == 20) {
							t.Fatalf("%v in row 3 and column 20: y[%d,%d] = %g", bad, i, j, v)
						}
						if isZero := v == 0; j != 20 && i != 3 && isZero != (i == 7 || i == 8 || j == 9) {
							t.Fatalf("zeros in rows 7 and 8 and column 9: y[%d,%d] = %g", i, j, v)
						}
					}
				}
			}
		}
	})
}

func TestLargeValues(t *testing.T) {
	with(t, func(t *testing.T) {
		for _, v := range []float32{math.MaxFloat32, 1, 2 * tiny} {
			x := []float32{v, -v / 2, 0, v / 4}
			q := make([]int16, 8)
			scale := quantize(q, x, 1000)
			if want := []int16{1000, -500, 0, 250, 0, 0, 0, 0}; !slices.Equal(q, want) {
				t.Errorf("%g: %v, want %v", v, q, want)
			}
			if want := float64(v) / 1000; math.Abs(float64(scale)-want) > 1e-6*want {
				t.Errorf("%g: the scale is %g", v, scale)
			}
		}
	})
}

func TestSchedulingDoesNotChangeBits(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	const m, n, k = 150, 190, 300
	x, w := normal(rng, m*k), Quantize(normal(rng, n*k), n, k)
	first := make([]float32, m*n)
	Mul(par.New(1), m, Rows{Data: x, Stride: k}, w, first, n, nil)
	for _, workers := range []int{2, 3} {
		pool := par.New(workers)
		var wg sync.WaitGroup
		for range 4 { // several callers at once, so that all but one work alone
			wg.Go(func() {
				for range 10 {
					y := make([]float32, m*n)
					Mul(pool, m, Rows{Data: x, Stride: k}, w, y, n, nil)
					if !slices.Equal(y, first) {
						t.Errorf("%d workers give another result than one", workers)
					}
				}
			})
		}
		wg.Wait()
		pool.Close()
	}
}

func TestWeights(t *testing.T) {
	with(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(4, 1))
		for _, s := range [][2]int{{1, 1}, {16, 8}, {19, 21}, {33, 64}} {
			o, i := s[0], s[1]
			w := normal(rng, o*i)
			packed := Quantize(w, o, i)
			if packed.Out() != o || packed.In() != i {
				t.Fatalf("[%d, %d] is [%d, %d]", o, i, packed.Out(), packed.In())
			}
			if b := packed.Bytes(); b < o*i || b > (o+15)*(i+7)+4*(o+15) {
				t.Fatalf("[%d, %d] takes %d bytes", o, i, b)
			}
			row := make([]float32, i)
			for j := range o {
				packed.Row(j, row)
				q, scale := integers(w[j*i:(j+1)*i], 127)
				for p := range row {
					if want := float32(q[p]) * scale; row[p] != want {
						t.Fatalf("[%d, %d]: weight [%d, %d] is %g, want %g", o, i, j, p, row[p], want)
					}
				}
			}
		}
	})
}

func TestMistakesPanic(t *testing.T) {
	pool := par.New(1)
	x := Rows{Data: make([]float32, 20), Stride: 5}
	w := Quantize(make([]float32, 15), 3, 5)
	for name, f := range map[string]func(){
		"short weights":      func() { Quantize(make([]float32, 14), 3, 5) },
		"weights too deep":   func() { Quantize(nil, 0, MaxInner+1) },
		"rows too deep":      func() { new(Activations).Quantize(pool, 0, MaxInner+1, x) },
		"short x":            func() { Mul(pool, 4, Rows{Data: x.Data[:19:19], Stride: 5}, w, make([]float32, 12), 3, nil) },
		"short y":            func() { Mul(pool, 4, x, w, make([]float32, 11, 12), 3, nil) },
		"rows that overlap":  func() { Mul(pool, 4, x, w, make([]float32, 12), 2, nil) },
		"another inner size": func() { new(Activations).Mul(pool, w, make([]float32, 12), 3, nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

// TestMemoryIsUsedAgain fails when a product allocates what grows with its
// shape.
func TestMemoryIsUsedAgain(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 1))
	pool := par.New(1)
	const m, n, k = 30, 40, 600
	x, y := Rows{Data: normal(rng, m*k), Stride: k}, make([]float32, m*n)
	w := Quantize(normal(rng, n*k), n, k)
	var a Activations
	a.Quantize(pool, m, k, x)
	data := &a.data[0]
	if got := testing.AllocsPerRun(10, func() { a.Quantize(pool, m, k, x); a.Mul(pool, w, y, n, nil) }); got > 4 {
		t.Errorf("a product allocates %g times", got)
	}
	if data != &a.data[0] {
		t.Error("activations moved")
	}
}

// TestCosine holds the direction of a row of products of normal values to that
// of exact ones: 1 - cosine is the weights' error alone, 2.5e-5 to 4e-5.
func TestCosine(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 1))
	pool := par.New(1)
	const m, n = 4, 512
	for _, k := range []int{768, 3072} {
		x, w, y := normal(rng, m*k), normal(rng, n*k), make([]float32, m*n)
		Mul(pool, m, Rows{Data: x, Stride: k}, Quantize(w, n, k), y, n, nil)
		for i := range m {
			var yy, ww, yw float64
			for j := range n {
				var want float64
				for p := range k {
					want += float64(x[i*k+p]) * float64(w[j*k+p])
				}
				v := float64(y[i*n+j])
				yy, ww, yw = yy+v*v, ww+want*want, yw+v*want
			}
			loss := 1 - yw/math.Sqrt(yy*ww)
			t.Logf("k %d: 1 - cosine = %.3g", k, loss)
			if loss > 5e-5 {
				t.Errorf("k %d: 1 - cosine = %g", k, loss)
			}
		}
	}
}
