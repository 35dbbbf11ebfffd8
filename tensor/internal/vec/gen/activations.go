package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Predicates of VCMPPS. NaN is neither less nor greater than anything.
const (
	less         = 0x11
	greater      = 0x1e
	notLessEqual = 0x16
)

// exp returns e^x. n = round(x / ln 2) splits x = n ln 2 + r; a polynomial in
// |r| <= ln(2)/2, Cephes' expf, is p = exp(r) of relative error 1e-7, and n
// is added to its exponent. Results less than 2^-126 are 0.
func exp(x reg.VecVirtual) reg.VecVirtual {
	n, r, p, out := YMM(), YMM(), YMM(), YMM()
	VMULPS(all(math.Log2E), x, n)
	VROUNDPS(Imm(8), n, n)
	VMOVAPS(x, r)
	VFNMADD231PS(all(0.693359375), n, r)
	VFNMADD231PS(all(-2.12194440e-4), n, r)
	// exp(r) = 1 + r + r^2 q(r)
	VMOVUPS(all(1.9875691500e-4), p)
	for _, c := range []float32{1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1} {
		VFMADD213PS(all(c), r, p)
	}
	VMULPS(r, p, p)
	VFMADD213PS(r, r, p)
	VADDPS(all(1), p, p)
	// Within the range this stays in the exponent's bits: p < 1 where n = 128,
	// and p > 1 where n = -126.
	VCVTPS2DQ(n, n)
	VPSLLD(Imm(23), n, n)
	VPADDD(n, p, p)
	VMOVUPS(all(-87.33654), out) // ln 2^-126
	VCMPPS(Imm(less), out, x, out)
	VANDNPS(p, out, p)
	VCMPPS(Imm(greater), all(88.72283), x, out) // ln of the greatest float
	VBLENDVPS(out, intAll(0x7f800000), p, p)
	return p
}

// normal returns, for x, the standard normal distribution's cumulative
// function and exp(-x^2/2). The complementary error function is Abramowitz
// and Stegun's 7.1.26, of absolute error 1.5e-7.
func normal(x reg.VecVirtual) (cdf, e reg.VecVirtual) {
	z, p, t, cdf := YMM(), YMM(), one(), one()
	VMULPS(x, x, z)
	VMULPS(all(-0.5), z, z)
	e = exp(z)
	VANDPS(intAll(0x7fffffff), x, z)
	VFMADD231PS(all(0.3275911*math.Sqrt2/2), z, t)
	VDIVPS(t, cdf, t)
	VMOVUPS(all(1.061405429), p)
	for _, c := range []float32{-1.453152027, 1.421413741, -0.284496736, 0.254829592} {
		VFMADD213PS(all(c), t, p)
	}
	VMULPS(t, p, p)
	VMULPS(e, p, p)
	VMULPS(all(0.5), p, p) // the tail beyond |x|
	VSUBPS(p, cdf, cdf)
	VBLENDVPS(x, p, cdf, cdf) // by the sign of x
	return cdf, e
}

// logistic returns e = exp(-1.702 x) and 1 / (1 + e).
func logistic(x reg.VecVirtual) (s, e reg.VecVirtual) {
	z, s, one := YMM(), YMM(), one()
	VMULPS(all(-1.702), x, z)
	e = exp(z)
	VADDPS(one, e, s)
	VDIVPS(s, one, s)
	return s, e
}

func activations() {
	// times makes a gradient of a derivative.
	times := func(slope func(x reg.VecVirtual) reg.VecVirtual) func(x, dy reg.VecVirtual) reg.VecVirtual {
		return func(x, dy reg.VecVirtual) reg.VecVirtual {
			VMULPS(slope(x), dy, dy)
			return dy
		}
	}
	for _, act := range []struct {
		name  string
		value func(x reg.VecVirtual) reg.VecVirtual
		grad  func(x, dy reg.VecVirtual) reg.VecVirtual
	}{
		{"gelu", func(x reg.VecVirtual) reg.VecVirtual {
			cdf, _ := normal(x)
			VMULPS(x, cdf, cdf)
			return cdf
		}, times(func(x reg.VecVirtual) reg.VecVirtual {
			cdf, e := normal(x)
			VMULPS(all(float32(1/math.Sqrt(2*math.Pi))), e, e)
			VFMADD231PS(x, e, cdf)
			return cdf
		})},
		{"quickGELU", func(x reg.VecVirtual) reg.VecVirtual {
			s, _ := logistic(x)
			VMULPS(x, s, s)
			return s
		}, times(func(x reg.VecVirtual) reg.VecVirtual {
			// s + 1.702 x s (1 - s), where 1 - s = e s. It stays 0 when e is
			// too great and s is 0.
			s, e := logistic(x)
			VMINPS(all(math.MaxFloat32), e, e)
			VMULPS(s, e, e)
			VMULPS(all(1.702), e, e)
			VMULPS(x, e, e)
			VFMADD213PS(s, s, e)
			return e
		})},
		{"relu", func(x reg.VecVirtual) reg.VecVirtual {
			y := zero()
			VMAXPS(x, y, y) // x for NaN
			return y
		}, func(x, dy reg.VecVirtual) reg.VecVirtual {
			on := zero()
			VCMPPS(Imm(notLessEqual), on, x, on)
			VANDPS(on, dy, dy)
			return dy
		}},
	} {
		TEXT(act.name+"AVX2", NOSPLIT, "func(y, x *float32, n int)")
		y, x, n := pointer("y"), pointer("x"), pointer("n")
		loop(n, 1, []reg.GPVirtual{y, x}, func(r round) {
			r.store(act.value(r.load(x)), y)
		})
		end()

		TEXT(act.name+"GradAVX2", NOSPLIT, "func(dx, dy, x *float32, n int)")
		dx, dy, x := pointer("dx"), pointer("dy"), pointer("x")
		n = pointer("n")
		loop(n, 1, []reg.GPVirtual{dx, dy, x}, func(r round) {
			r.store(act.grad(r.load(x), r.load(dy)), dx)
		})
		end()
	}
}
