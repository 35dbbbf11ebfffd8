package vec

import (
	"math"
	"testing"
)

// The functions of this file are in float64, by their definitions.

// exact returns an activation and its derivative.
var exact = map[Act]func(x float64) (y, slope float64){
	Identity: func(x float64) (float64, float64) { return x, 1 },
	GELU: func(x float64) (float64, float64) {
		p := math.Erfc(-x/math.Sqrt2) / 2
		return x * p, p + x*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi)
	},
	QuickGELU: func(x float64) (float64, float64) {
		s := 1 / (1 + math.Exp(-1.702*x))
		slope := s
		if s > 0 && s < 1 { // else x s (1-s) is 0, or Inf times it
			slope += 1.702 * x * s * (1 - s)
		}
		return x * s, slope
	},
	GELUTanh: func(x float64) (float64, float64) {
		root := math.Sqrt(2 / math.Pi)
		h := math.Tanh(root * (x + 0.044715*x*x*x))
		return 0.5 * x * (1 + h), 0.5*(1+h) + 0.5*x*(1-h*h)*root*(1+3*0.044715*x*x)
	},
	ReLU: func(x float64) (float64, float64) {
		if x <= 0 {
			return 0, 0
		}
		return x, 1
	},
}

func wide(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

func softmax64(x []float64, scale float64) (p []float64, lse float64) {
	top := math.Inf(-1)
	for _, v := range x {
		top = max(top, scale*v)
	}
	var sum float64
	for _, v := range x {
		sum += math.Exp(scale*v - top)
	}
	lse = top + math.Log(sum)
	for _, v := range x {
		p = append(p, math.Exp(scale*v-lse))
	}
	return p, lse
}

func layerNorm64(x, gamma, beta []float64, eps float64) (y []float64) {
	n := float64(len(x))
	var mean, variance float64
	for _, v := range x {
		mean += v / n
	}
	for _, v := range x {
		variance += (v - mean) * (v - mean) / n
	}
	for i, v := range x {
		y = append(y, (v-mean)/math.Sqrt(variance+eps)*gamma[i]+beta[i])
	}
	return y
}

func rmsNorm64(x, gamma []float64, eps float64) (y []float64) {
	var square float64
	for _, v := range x {
		square += v * v / float64(len(x))
	}
	for i, v := range x {
		y = append(y, v/math.Sqrt(square+eps)*gamma[i])
	}
	return y
}

// slopes returns the derivatives of the sum of w f by each value of at, by
// central differences. f reads at.
func slopes(at []float64, w []float32, f func() []float64) []float64 {
	const h = 1e-5
	loss := func() (s float64) {
		for i, v := range f() {
			s += float64(w[i]) * v
		}
		return s
	}
	d := make([]float64, len(at))
	for i, v := range at {
		at[i] = v + h
		up := loss()
		at[i] = v - h
		d[i] = (up - loss()) / (2 * h)
		at[i] = v
	}
	return d
}

// same fails unless got, less what was there before, is want.
func same(t *testing.T, name string, got, before []float32, want []float64) {
	t.Helper()
	for i, w := range want {
		g := float64(got[i])
		if before != nil {
			g -= float64(before[i])
		}
		if !(math.Abs(g-w) <= 1e-5*(1+math.Abs(w))) {
			t.Fatalf("%s: element %d of %d is %g, by differences %g", name, i, len(want), g, w)
		}
	}
}

// TestGradients holds every gradient to finite differences of the function in
// float64.
func TestGradients(t *testing.T) {
	const eps = 1e-5
	each(t, func(t *testing.T) {
		for _, n := range []int{1, 2, 7, 8, 21, 100} {
			args := newArguments(11, 8, n, 1, false).parts
			x, dy, gamma, beta, y := args[0], args[1], args[2], args[3], args[4]
			x64, gamma64, beta64 := wide(x), wide(gamma), wide(beta)
			clone := func(x []float32) []float32 { return append([]float32(nil), x...) }

			dx := make([]float32, n)
			for act, f := range exact {
				ActGrad(dx, dy, x, act)
				same(t, "ActGrad", dx, nil, slopes(x64, dy, func() (y []float64) {
					for _, v := range x64 {
						v, _ := f(v)
						y = append(y, v)
					}
					return y
				}))
			}

			p := clone(x)
			Softmax(p, 0.7)
			SoftmaxGrad(dx, p, dy, 0.7)
			same(t, "SoftmaxGrad", dx, nil, slopes(x64, dy, func() []float64 { p, _ := softmax64(x64, 0.7); return p }))

			for _, acc := range []bool{false, true} {
				dx, dgamma, dbeta := clone(args[5]), clone(args[6]), clone(args[7])
				before := args[5]
				if !acc {
					before = nil
				}
				mean, rstd := LayerNorm(y, x, gamma, beta, eps)
				LayerNormGrad(dx, dgamma, dbeta, dy, x, gamma, mean, rstd, acc)
				f := func() []float64 { return layerNorm64(x64, gamma64, beta64, eps) }
				same(t, "LayerNormGrad dx", dx, before, slopes(x64, dy, f))
				same(t, "LayerNormGrad dgamma", dgamma, args[6], slopes(gamma64, dy, f))
				same(t, "LayerNormGrad dbeta", dbeta, args[7], slopes(beta64, dy, f))

				dx, dgamma = clone(args[5]), clone(args[6])
				rstd = RMSNorm(y, x, gamma, eps)
				RMSNormGrad(dx, dgamma, dy, x, gamma, rstd, acc)
				f = func() []float64 { return rmsNorm64(x64, gamma64, eps) }
				same(t, "RMSNormGrad dx", dx, before, slopes(x64, dy, f))
				same(t, "RMSNormGrad dgamma", dgamma, args[6], slopes(gamma64, dy, f))
			}
		}
	})
}

// TestAdamWFollowsItsDefinition runs some steps beside the algorithm in
// float64 (Loshchilov and Hutter 2019, algorithm 2, with eps as in PyTorch).
func TestAdamWFollowsItsDefinition(t *testing.T) {
	const lr, beta1, beta2, eps, decay, scale = 1e-2, 0.9, 0.98, 1e-8, 0.1, 0.5
	each(t, func(t *testing.T) {
		for _, n := range lengths {
			p, m, v := newArguments(1, 1, n, 1, false).parts[0], make([]float32, n), make([]float32, n)
			p64, m64, v64 := wide(p), make([]float64, n), make([]float64, n)
			for step := 1; step <= 20; step++ {
				g := newArguments(uint64(step), 1, n, 1, false).parts[0]
				c1, c2 := 1-math.Pow(beta1, float64(step)), 1-math.Pow(beta2, float64(step))
				AdamW(p, g, m, v, AdamWStep{LR: lr, Beta1: beta1, Beta2: beta2, Eps: eps, Decay: decay, Correct1: float32(c1), Correct2: float32(c2), GradScale: scale})
				for i := range p64 {
					g := float64(g[i]) * scale
					p64[i] -= lr * decay * p64[i]
					m64[i] = beta1*m64[i] + (1-beta1)*g
					v64[i] = beta2*v64[i] + (1-beta2)*g*g
					p64[i] -= lr * (m64[i] / c1) / (math.Sqrt(v64[i]/c2) + eps)
				}
			}
			for i := range p64 {
				if !near(p[i], float32(p64[i]), 2e-6) || !near(m[i], float32(m64[i]), 2e-6) || !near(v[i], float32(v64[i]), 2e-6) {
					t.Fatalf("element %d of %d: %g, %g, %g, want %g, %g, %g", i, n, p[i], m[i], v[i], p64[i], m64[i], v64[i])
				}
			}
		}
	})
}

// TestSmallDecayIsNotRounded fails when 1 - lr*decay is taken for the factor:
// it has only a few bits of a small decay, which is then off in every step.
func TestSmallDecayIsNotRounded(t *testing.T) {
	each(t, func(t *testing.T) {
		p, zero := make([]float32, 1000), make([]float32, 1000)
		for i := range p {
			p[i] = 1 + float32(i)/1000
		}
		before := wide(p)
		for range 100 {
			AdamW(p, zero, zero, zero, AdamWStep{LR: 1e-5, Beta1: 0.9, Beta2: 0.98, Eps: 1e-8, Decay: 0.03, Correct1: 1, Correct2: 1, GradScale: 1})
		}
		var lost, sum float64
		for i, v := range p {
			lost += before[i] - float64(v)
			sum += before[i]
		}
		if want := 100 * 1e-5 * 0.03 * sum; math.Abs(lost/want-1) > 0.05 {
			t.Errorf("100 steps decay by %g, want %g", lost, want)
		}
	})
}
