package vec

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

var lengths = []int{0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 100, 1000}

const guard = 12345.5

// buffers holds random arguments, unaligned and between guards.
type buffers struct {
	rng  *rand.Rand
	n    int
	flat [][]float32
}

func (b *buffers) next(special bool) []float32 {
	x := make([]float32, b.n+5)
	for i := range x {
		x[i] = guard
	}
	for i := range b.n {
		x[1+i] = float32(b.rng.NormFloat64() * 2)
		if special && b.rng.IntN(4) == 0 {
			x[1+i] = []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), 1e-42, -1e-42, 0, 200, -200}[b.rng.IntN(8)]
		}
	}
	b.flat = append(b.flat, x)
	return x[1 : 1+b.n : 1+b.n]
}

// near compares two values, NaN and Inf included.
func near(got, want, tol float64) bool {
	if math.IsNaN(want) || math.IsNaN(got) {
		return math.IsNaN(want) && math.IsNaN(got)
	}
	if math.IsInf(want, 0) || math.IsInf(got, 0) {
		return got == want
	}
	return math.Abs(got-want) <= tol*(1+math.Abs(want))
}

// TestKernelsEqualTheirTwins runs every function of the package with every
// implementation on the same arguments. Reductions of special values are left
// to the tests that follow: their order decides between Inf and NaN.
func TestKernelsEqualTheirTwins(t *testing.T) {
	old := use
	defer func() { use = old }()
	step := AdamWStep{LR: 0.1, Beta1: 0.9, Beta2: 0.98, Eps: 1e-6, Decay: 0.1, Correct1: 0.5, Correct2: 0.3, GradScale: 0.7}
	for name, c := range map[string]struct {
		special bool
		tol     float64
		run     func(b *buffers, special bool) float64
	}{
		"Add":        {true, 0, func(b *buffers, s bool) float64 { Add(b.next(s), b.next(s), b.next(s)); return 0 }},
		"Axpy":       {true, 1e-6, func(b *buffers, s bool) float64 { Axpy(0.7, b.next(s), b.next(s)); return 0 }},
		"Scale":      {true, 0, func(b *buffers, s bool) float64 { Scale(-1.3, b.next(s)); return 0 }},
		"Dot":        {false, 1e-4, func(b *buffers, s bool) float64 { return float64(Dot(b.next(s), b.next(s))) }},
		"SumSquares": {false, 1e-12, func(b *buffers, s bool) float64 { return SumSquares(b.next(s)) }},
		"SumRows": {true, 0, func(b *buffers, s bool) float64 {
			if b.n%2 == 0 {
				SumRows(b.next(s)[:b.n/2], b.next(s), 2, b.n/2)
			}
			return 0
		}},
		"DotRows": {false, 1e-4, func(b *buffers, s bool) float64 {
			for rows := 1; rows <= min(b.n, 9); rows++ {
				DotRows(b.next(s)[:rows], b.next(s), b.next(s)[:b.n/rows])
			}
			return 0
		}},
		"LayerNorm": {false, 1e-5, func(b *buffers, s bool) float64 {
			mean, rstd := LayerNorm(b.next(s), b.next(s), b.next(s), b.next(s), 1e-5)
			return float64(mean + rstd)
		}},
		"RMSNorm": {false, 1e-5, func(b *buffers, s bool) float64 {
			return float64(RMSNorm(b.next(s), b.next(s), b.next(s), 1e-5))
		}},
		"LayerNormGrad": {false, 1e-4, func(b *buffers, s bool) float64 {
			LayerNormGrad(b.next(s), b.next(s), b.next(s), b.next(s), b.next(s), b.next(s), 0.3, 0.8, b.n%2 == 0)
			return 0
		}},
		"RMSNormGrad": {false, 1e-4, func(b *buffers, s bool) float64 {
			RMSNormGrad(b.next(s), b.next(s), b.next(s), b.next(s), b.next(s), 0.8, b.n%2 == 0)
			return 0
		}},
		"Softmax":     {false, 2e-6, func(b *buffers, s bool) float64 { return float64(Softmax(b.next(s), 0.7)) }},
		"ExpMinus":    {true, 1e-5, func(b *buffers, s bool) float64 { ExpMinus(b.next(s), b.next(s), 0.4, 0.1); return 0 }},
		"SoftmaxGrad": {false, 1e-4, func(b *buffers, s bool) float64 { SoftmaxGrad(b.next(s), b.next(s), b.next(s), 0.3); return 0 }},
		"AdamW": {false, 1e-5, func(b *buffers, s bool) float64 {
			p, g, m, v := b.next(s), b.next(s), b.next(s), b.next(s)
			for i := range v {
				v[i] = v[i] * v[i]
			}
			AdamW(p, g, m, v, step)
			return 0
		}},
		"GELU":          {true, 1e-6, func(b *buffers, s bool) float64 { BiasAct(b.next(s), b.next(s), b.next(s), b.next(s), GELU); return 0 }},
		"QuickGELU":     {true, 1e-6, func(b *buffers, s bool) float64 { BiasAct(b.next(s), nil, b.next(s), b.next(s), QuickGELU); return 0 }},
		"ReLU":          {true, 0, func(b *buffers, s bool) float64 { BiasAct(b.next(s), b.next(s), b.next(s), nil, ReLU); return 0 }},
		"GELUGrad":      {true, 2e-6, func(b *buffers, s bool) float64 { ActGrad(b.next(s), b.next(false), b.next(s), GELU); return 0 }},
		"QuickGELUGrad": {true, 2e-6, func(b *buffers, s bool) float64 { ActGrad(b.next(s), b.next(false), b.next(s), QuickGELU); return 0 }},
		"ReLUGrad":      {true, 0, func(b *buffers, s bool) float64 { ActGrad(b.next(s), b.next(s), b.next(s), ReLU); return 0 }},
	} {
		for _, special := range []bool{false, true} {
			if special && !c.special {
				continue
			}
			for _, n := range lengths {
				run := func(k kernels) (*buffers, float64) {
					use = k
					b := &buffers{rng: rand.New(rand.NewPCG(uint64(n), 7)), n: n}
					return b, c.run(b, special)
				}
				want, wantSum := run(plain)
				for _, k := range available() {
					got, sum := run(k)
					if !near(sum, wantSum, c.tol) {
						t.Errorf("%s of %s, %d elements: %g, want %g", name, k.name, n, sum, wantSum)
					}
					for a := range want.flat {
						for i := range want.flat[a] {
							// 2^-126 and less may be zero.
							if g, w := float64(got.flat[a][i]), float64(want.flat[a][i]); !near(g, w, c.tol) && !(math.Abs(g)+math.Abs(w) < 1e-37) {
								t.Fatalf("%s of %s, %d elements, special %t: argument %d, element %d is %g, want %g", name, k.name, n, special, a, i-1, g, w)
							}
						}
					}
				}
			}
		}
	}
}

// each runs f with every implementation.
func each(t *testing.T, f func(t *testing.T)) {
	old := use
	defer func() { use = old }()
	for _, k := range available() {
		use = k
		t.Run(k.name, f)
	}
}

func TestExpIsAccurate(t *testing.T) {
	each(t, func(t *testing.T) {
		var x []float32
		for v := -86.9; v < 88.7; v += 0.00731 {
			x = append(x, float32(v))
		}
		y := make([]float32, len(x))
		ExpMinus(y, x, 1, 0)
		for i := range x {
			want := math.Exp(float64(x[i]))
			if e := math.Abs(float64(y[i])/want - 1); e > 3e-7 {
				t.Fatalf("exp(%g) = %g, want %g: relative error %.1e", x[i], y[i], want, e)
			}
		}
		inf := float32(math.Inf(1))
		x = []float32{-100, -inf, 89, inf, float32(math.NaN()), 0}
		ExpMinus(y[:6], x, 1, 0)
		if y[0] > 1e-38 || y[1] != 0 || y[2] != inf || y[3] != inf || y[4] == y[4] || y[5] != 1 {
			t.Errorf("exp of %v is %v", x, y[:6])
		}
	})
}

func TestActivationsAreAccurate(t *testing.T) {
	each(t, func(t *testing.T) {
		for v := -12.0; v < 12; v += 0.0137 {
			x := []float32{float32(v)}
			one, y, d := []float32{1}, []float32{0}, []float32{0}
			u := float64(x[0])
			for act, want := range map[Act][2]float64{
				GELU:      {u * cdf(u), cdf(u) + u*math.Exp(-u*u/2)/math.Sqrt(2*math.Pi)},
				QuickGELU: {u * logistic(u), logistic(u) + 1.702*u*logistic(u)*(1-logistic(u))},
			} {
				BiasAct(y, nil, x, nil, act)
				ActGrad(d, one, x, act)
				if math.Abs(float64(y[0])-want[0]) > 2e-6 || math.Abs(float64(d[0])-want[1]) > 2e-6 {
					t.Fatalf("activation %d of %g is %g with slope %g, want %g and %g", act, u, y[0], d[0], want[0], want[1])
				}
			}
		}
	})
}

func TestSoftmaxLimits(t *testing.T) {
	each(t, func(t *testing.T) {
		inf := float32(math.Inf(1))
		x := []float32{-inf, -inf, -inf}
		if lse := Softmax(x, 1); lse != -inf || x[0] != 0 || x[2] != 0 {
			t.Errorf("a row of -Inf gives %v, lse %g", x, lse)
		}
		x = []float32{1, float32(math.NaN()), 3}
		if Softmax(x, 1); x[0] == x[0] || x[2] == x[2] {
			t.Errorf("NaN in a row gives %v", x)
		}
		x = []float32{3e38, 1, 3e38}
		if lse := Softmax(x, 0.5); x[0] != 0.5 || x[1] != 0 || lse != 1.5e38 {
			t.Errorf("large values give %v, lse %g", x, lse)
		}
		x = []float32{-inf, 2, 2}
		if lse := Softmax(x, 1); x[0] != 0 || x[1] != 0.5 || math.Abs(float64(lse)-2-math.Ln2) > 1e-6 {
			t.Errorf("one -Inf gives %v, lse %g", x, lse)
		}
	})
}

func TestSumSquaresOfSpecialValues(t *testing.T) {
	each(t, func(t *testing.T) {
		for n := 1; n < 20; n++ {
			for bad := range n {
				x := make([]float32, n)
				x[bad] = float32(math.NaN())
				if s := SumSquares(x); s == s {
					t.Fatalf("NaN at %d of %d gives %g", bad, n, s)
				}
				x[bad] = float32(math.Inf(-1))
				if s := SumSquares(x); !math.IsInf(s, 1) {
					t.Fatalf("-Inf at %d of %d gives %g", bad, n, s)
				}
			}
		}
	})
}

func BenchmarkKernels(b *testing.B) {
	const rows, cols = 4096, 1024
	x, y, z := make([]float32, rows*cols), make([]float32, rows*cols), make([]float32, rows*cols)
	g := make([]float32, cols)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	for _, k := range []struct {
		name  string
		bytes int // read and written for each element
		run   func(i int)
	}{
		{"copy", 8, func(i int) { copy(y[i:i+cols], x[i:i+cols]) }},
		{"Add", 12, func(i int) { Add(y[i:i+cols], x[i:i+cols], z[i:i+cols]) }},
		{"GELU", 8, func(i int) { BiasAct(y[i:i+cols], nil, x[i:i+cols], nil, GELU) }},
		{"GELUGrad", 12, func(i int) { ActGrad(y[i:i+cols], z[i:i+cols], x[i:i+cols], GELU) }},
		{"LayerNorm", 8, func(i int) { LayerNorm(y[i:i+cols], x[i:i+cols], g, g, 1e-5) }},
		{"Softmax", 8, func(i int) { Softmax(y[i:i+cols], 1) }},
	} {
		b.Run(fmt.Sprintf("%s/%s", k.name, Kernel()), func(b *testing.B) {
			b.SetBytes(int64(k.bytes * rows * cols))
			for b.Loop() {
				for i := 0; i < rows*cols; i += cols {
					k.run(i)
				}
			}
		})
	}
}
