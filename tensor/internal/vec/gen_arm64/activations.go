package main

import (
	"math"

	asm "github.com/onetrunk/onetrunk/tensor/internal/arm64asm"
)

// normal returns, for x, the standard normal distribution's cumulative
// function and exp(-x^2/2). The complementary error function is Abramowitz
// and Stegun's 7.1.26, of absolute error 1.5e-7.
func (k *kernels) normal(x asm.V) (cdf, e asm.V) {
	z, c := k.V(), k.V()
	k.FMUL(z, x, x)
	k.Load(c, k.Constant(-0.5))
	k.FMUL(z, z, c)
	e = k.exp(z)
	cdf, t := k.all(1), k.all(1)
	k.FABS(z, x)
	k.Load(c, k.Constant(0.3275911*math.Sqrt2/2))
	k.FMLA(t, z, c)
	k.FDIV(t, cdf, t)
	p := k.polynomial(t, 1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
	k.FMUL(p, p, t)
	k.FMUL(p, p, e)
	k.Load(c, k.Constant(0.5))
	k.FMUL(p, p, c) // the tail beyond |x|
	k.FSUB(cdf, cdf, p)
	k.FCMLT0(c, x)
	k.BIT(cdf, p, c)
	return cdf, e
}

// logistic returns e = exp(-1.702 x) and 1 / (1 + e).
func (k *kernels) logistic(x asm.V) (s, e asm.V) {
	z, one := k.all(-1.702), k.all(1)
	k.FMUL(z, z, x)
	e = k.exp(z)
	s = k.V()
	k.FADD(s, one, e)
	k.FDIV(s, one, s)
	return s, e
}

func (k *kernels) activations() {
	// times makes a gradient of a derivative.
	times := func(slope func(x asm.V) asm.V) func(x, dy asm.V) asm.V {
		return func(x, dy asm.V) asm.V {
			k.FMUL(dy, dy, slope(x))
			return dy
		}
	}
	for _, act := range []struct {
		name  string
		value func(x asm.V) asm.V
		grad  func(x, dy asm.V) asm.V
	}{
		{"gelu", func(x asm.V) asm.V {
			cdf, _ := k.normal(x)
			k.FMUL(cdf, cdf, x)
			return cdf
		}, times(func(x asm.V) asm.V {
			cdf, e := k.normal(x)
			k.FMUL(e, e, k.all(float32(1/math.Sqrt(2*math.Pi))))
			k.FMLA(cdf, x, e)
			return cdf
		})},
		{"quickGELU", func(x asm.V) asm.V {
			s, _ := k.logistic(x)
			k.FMUL(s, s, x)
			return s
		}, times(func(x asm.V) asm.V {
			// s + 1.702 x s (1 - s), where 1 - s = e s. It stays 0 when e is
			// too great and s is 0.
			s, e := k.logistic(x)
			k.FMIN(e, e, k.all(math.MaxFloat32))
			k.FMUL(e, e, s)
			k.FMUL(e, e, k.all(1.702))
			k.FMUL(e, e, x)
			slope := k.V()
			k.Copy(slope, s)
			k.FMLA(slope, e, s)
			return slope
		})},
		{"relu", func(x asm.V) asm.V {
			k.FMAX(x, x, k.zero())
			return x
		}, func(x, dy asm.V) asm.V {
			k.FCMLE0(x, x)
			k.BIC(dy, dy, x)
			return dy
		}},
	} {
		k.Func(act.name+"NEON", "func(y, x *float32, n int)", act.name+"NEON is "+act.name+"Go.", func() {
			y, px, n := k.Arg("y"), k.Arg("x"), k.Arg("n")
			k.loop(n, 1, []asm.R{y, px}, func(r round) {
				r.store(act.value(r.load(px)), y)
			})
		})
		k.Func(act.name+"GradNEON", "func(dx, dy, x *float32, n int)", act.name+"GradNEON is "+act.name+"GradGo.", func() {
			dx, dy, px, n := k.Arg("dx"), k.Arg("dy"), k.Arg("x"), k.Arg("n")
			k.loop(n, 1, []asm.R{dx, dy, px}, func(r round) {
				r.store(act.grad(r.load(px), r.load(dy)), dx)
			})
		})
	}
}
