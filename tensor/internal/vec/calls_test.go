package vec

import (
	"math"
	"math/rand/v2"
)

// calls are the element-wise and row functions, on slices of one length.
var calls = []struct {
	name string
	args int
	tol  float64 // of an element or of what is returned, absolute and relative
	run  func(a [][]float32) (float32, float32)
}{
	{"Add", 3, 0, func(a [][]float32) (_, _ float32) { Add(a[0], a[1], a[2]); return }},
	{"Axpy", 2, 1e-6, func(a [][]float32) (_, _ float32) { Axpy(0.7, a[0], a[1]); return }},
	{"Scale", 1, 0, func(a [][]float32) (_, _ float32) { Scale(-1.3, a[0]); return }},
	{"Dot", 2, 1e-4, func(a [][]float32) (s, _ float32) { return Dot(a[0], a[1]), 0 }},
	{"SumSquares", 1, 1e-6, func(a [][]float32) (s, _ float32) { return float32(SumSquares(a[0])), 0 }},
	{"BiasAct Identity", 4, 0, func(a [][]float32) (_, _ float32) { BiasAct(a[0], a[1], a[2], a[3], Identity); return }},
	{"BiasAct GELU", 4, 1e-6, func(a [][]float32) (_, _ float32) { BiasAct(a[0], a[1], a[2], a[3], GELU); return }},
	{"BiasAct QuickGELU", 4, 1e-6, func(a [][]float32) (_, _ float32) { BiasAct(a[0], a[1], a[2], a[3], QuickGELU); return }},
	{"BiasAct ReLU", 4, 0, func(a [][]float32) (_, _ float32) { BiasAct(a[0], a[1], a[2], a[3], ReLU); return }},
	{"BiasAct GELUTanh", 4, 1e-6, func(a [][]float32) (_, _ float32) { BiasAct(a[0], a[1], a[2], a[3], GELUTanh); return }},
	{"BiasAct without pre", 3, 1e-6, func(a [][]float32) (_, _ float32) { BiasAct(a[0], nil, a[1], a[2], GELU); return }},
	{"BiasAct without bias", 3, 1e-6, func(a [][]float32) (_, _ float32) { BiasAct(a[0], a[1], a[2], nil, GELU); return }},
	{"BiasAct of x alone", 2, 0, func(a [][]float32) (_, _ float32) { BiasAct(a[0], nil, a[1], nil, ReLU); return }},
	{"ActGrad Identity", 3, 0, func(a [][]float32) (_, _ float32) { ActGrad(a[0], a[1], a[2], Identity); return }},
	{"ActGrad GELU", 3, 2e-6, func(a [][]float32) (_, _ float32) { ActGrad(a[0], a[1], a[2], GELU); return }},
	{"ActGrad QuickGELU", 3, 2e-6, func(a [][]float32) (_, _ float32) { ActGrad(a[0], a[1], a[2], QuickGELU); return }},
	{"ActGrad ReLU", 3, 0, func(a [][]float32) (_, _ float32) { ActGrad(a[0], a[1], a[2], ReLU); return }},
	{"ActGrad GELUTanh", 3, 2e-6, func(a [][]float32) (_, _ float32) { ActGrad(a[0], a[1], a[2], GELUTanh); return }},
	{"Exp", 2, 2e-7, func(a [][]float32) (_, _ float32) { Exp(a[0], a[1]); return }},
	{"Tanh", 2, 2e-7, func(a [][]float32) (_, _ float32) { Tanh(a[0], a[1]); return }},
	{"Erf", 2, 2e-7, func(a [][]float32) (_, _ float32) { Erf(a[0], a[1]); return }},
	{"Log", 2, 2e-7, func(a [][]float32) (_, _ float32) { Log(a[0], a[1]); return }},
	{"Softmax", 1, 2e-6, func(a [][]float32) (lse, _ float32) { return Softmax(a[0], 0.7), 0 }},
	{"ExpMinus", 2, 3e-7, func(a [][]float32) (_, _ float32) { ExpMinus(a[0], a[1], 0.4, 0.1); return }},
	{"SoftmaxGrad", 3, 1e-4, func(a [][]float32) (_, _ float32) { SoftmaxGrad(a[0], a[1], a[2], 0.3); return }},
	{"LayerNorm", 4, 1e-5, func(a [][]float32) (mean, rstd float32) { return LayerNorm(a[0], a[1], a[2], a[3], 1e-5) }},
	{"LayerNormGrad", 6, 1e-4, func(a [][]float32) (_, _ float32) {
		LayerNormGrad(a[0], a[1], a[2], a[3], a[4], a[5], 0.3, 0.8, false)
		return
	}},
	{"LayerNormGrad acc", 6, 1e-4, func(a [][]float32) (_, _ float32) {
		LayerNormGrad(a[0], a[1], a[2], a[3], a[4], a[5], 0.3, 0.8, true)
		return
	}},
	{"RMSNorm", 3, 1e-6, func(a [][]float32) (rstd, _ float32) { return RMSNorm(a[0], a[1], a[2], 1e-5), 0 }},
	{"RMSNormGrad", 5, 1e-4, func(a [][]float32) (_, _ float32) {
		RMSNormGrad(a[0], a[1], a[2], a[3], a[4], 0.8, false)
		return
	}},
	{"RMSNormGrad acc", 5, 1e-4, func(a [][]float32) (_, _ float32) {
		RMSNormGrad(a[0], a[1], a[2], a[3], a[4], 0.8, true)
		return
	}},
	{"AdamW", 4, 1e-5, func(a [][]float32) (_, _ float32) {
		AdamW(a[0], a[1], a[2], a[3], AdamWStep{LR: 0.1, Beta1: 0.9, Beta2: 0.98, Eps: 1e-6, Decay: 0.1, Correct1: 0.5, Correct2: 0.3, GradScale: 0.7})
		return
	}},
}

const guard = 12345.5

// arguments are slices of n random values, each between guards and off the
// alignment of the others.
type arguments struct {
	n     int
	whole [][]float32
	parts [][]float32
}

// newArguments puts special, if it is not 1, into a quarter of the elements.
// All are positive where v, the last argument of AdamW, has to be.
func newArguments(seed uint64, args, n int, special float32, positive bool) arguments {
	rng := rand.New(rand.NewPCG(seed, uint64(n)))
	a := arguments{n: n}
	for i := range args {
		x := make([]float32, n+9+args)
		for j := range x {
			x[j] = guard
		}
		part := x[1+i : 1+i+n]
		for j := range part {
			part[j] = float32(rng.NormFloat64() * 2)
			if special != 1 && rng.IntN(4) == 0 {
				part[j] = special
			}
			if positive && i == args-1 && part[j] < 0 {
				part[j] = -part[j]
			}
		}
		a.whole, a.parts = append(a.whole, x), append(a.parts, part)
	}
	return a
}

// guarded tells whether all that is outside the slices is as it was.
func (a arguments) guarded() bool {
	for i, x := range a.whole {
		for j, v := range x {
			if (j < 1+i || j >= 1+i+a.n) && v != guard {
				return false
			}
		}
	}
	return true
}

// near compares two values, NaN and Inf included.
func near(got, want float32, tol float64) bool {
	g, w := float64(got), float64(want)
	switch {
	case math.IsNaN(g) || math.IsNaN(w):
		return math.IsNaN(g) && math.IsNaN(w)
	case math.IsInf(g, 0) || math.IsInf(w, 0):
		return g == w
	}
	return math.Abs(g-w) <= tol*(1+math.Abs(w))
}
