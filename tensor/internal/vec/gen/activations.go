package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Predicates of VCMPPS. NaN is neither less nor greater than anything.
const (
	equal           = 0x00
	less            = 0x11
	greater         = 0x1e
	notLess         = 0x15
	notLessEqual    = 0x16
	notGreaterEqual = 0x19
)

// magnitude returns |x|.
func magnitude(x group) group {
	a := x.like()
	each(VANDPS, intAll(0x7fffffff), x, a)
	return a
}

// positive returns a mask of the lanes where x > 0.
func positive(x group) group {
	m := zeros(len(x))
	each(VCMPPS, Imm(less), x, m, m)
	return m
}

// bell returns a = min(|x|, edge) and the exponent q of exp(-a^2/2) = 2^q.
// The constants are such that q is -127, and 2^q thereby 0, at the edge; the
// rounding of half the logarithm is made good by what it is multiplied with
// (fit: "gelu", "gelu slope").
func bell(x group) (a, q group) {
	const edge, half = 13.268738, -0.72134745
	a, q = magnitude(x), x.like()
	each(VMINPS, all(edge), a, a)
	each(VMULPS, all(half), a, q)
	each(VMULPS, a, q, q)
	return a, q
}

// times returns e n / d.
func times(e, n, d group) group {
	each(VDIVPS, d, n, n)
	each(VMULPS, n, e, e)
	return e
}

// gelu is x cdf(x), where cdf(-|x|) is exp(-x^2/2) times a fraction in |x|.
// It is |x| (s - cdf(-|x|)), s = 1 where x > 0, else 0.
func gelu(load func() group) group {
	a, q := bell(load())
	f := polynomials(a,
		[]float64{0.5, 0.3509135, 0.11318084, 0.015539263},
		[]float64{1, 1.4997036, 0.92302597, 0.2833974, 0.038960375})
	t := times(exp2(q), f[0], f[1])
	x := load()
	s := positive(x)
	each(VANDPS, all(1), s, s)
	each(VSUBPS, t, s, s)
	each(VMULPS, magnitude(x), s, s)
	return s
}

// geluSlope is cdf(x) + x density(x), which is g(|x|) where x <= 0 and
// 1 - g(|x|) where x > 0; g is exp(-x^2/2) times a fraction in |x|.
func geluSlope(load func() group) group {
	a, q := bell(load())
	f := polynomials(a,
		[]float64{0.5, -0.22626719, -0.42282194, -0.19126922, -0.03020272},
		[]float64{1, 1.1432354, 0.47868448, 0.07573839})
	g := times(exp2(q), f[0], f[1])
	x := load()
	s, sign := positive(x), x.like()
	each(VANDPS, intAll(0x80000000), s, sign)
	each(VXORPS, sign, g, g)
	each(VANDPS, all(1), s, s)
	each(VADDPS, g, s, s)
	return finite(x, s)
}

// finite returns y where x is finite, else NaN.
func finite(x, y group) group {
	z := x.like()
	each(VSUBPS, x, x, z)
	each(VADDPS, z, y, y)
	return y
}

// logistic returns x / (1 + 2^t), which is 0 where t >= 128 and x is finite.
func logistic(x, t group) group {
	each(VMAXPS, all(-127), t, t)
	each(VMINPS, all(128), t, t)
	e := exp2(t)
	each(VADDPS, all(1), e, e)
	each(VDIVPS, e, x, e)
	return e
}

// logisticSlope returns the derivative of x / (1 + e), e = 2^t, which is s + w
// s (1 - s) with s = 1 / (1 + e) and w = -x ln(2) dt/dx, for |t| < 126. 1 - s
// is e s: a difference would cancel.
func logisticSlope(t, w group) group {
	e := exp2(t)
	d, s := e.like(), e.of(1)
	each(VADDPS, all(1), e, d)
	each(VDIVPS, d, s, s)
	each(VMULPS, s, e, e)
	each(VMULPS, w, e, e)
	each(VFMADD213PS, s, s, e)
	return e
}

// clamp returns x between -edge and edge: further out, the slope of a logistic
// is what it is there, 0 or 1.
func clamp(x group, edge float64) group {
	c := x.like()
	each(VMAXPS, all(-edge), x, c)
	each(VMINPS, all(edge), c, c)
	return c
}

// quickGELU is x / (1 + exp(-1.702 x)).
func quickGELU(load func() group) group {
	x := load()
	t := x.like()
	each(VMULPS, all(-1.702*math.Log2E), x, t)
	return logistic(x, t)
}

func quickGELUSlope(load func() group) group {
	w := clamp(load(), 50)
	t := w.like()
	each(VMULPS, all(-1.702*math.Log2E), w, t)
	each(VMULPS, all(1.702), w, w)
	return finite(load(), logisticSlope(t, w))
}

// geluTanh is 0.5 x (1 + tanh(r)) = x / (1 + exp(-2 r)), r = root (x + cube
// x^3).
const root, cube = math.Sqrt2 / math.SqrtPi, 0.044715

func geluTanh(load func() group) group {
	x := load()
	return logistic(x, oddPolynomials(x, []float64{-2 * math.Log2E * root, -2 * math.Log2E * root * cube})[0])
}

func geluTanhSlope(load func() group) group {
	f := oddPolynomials(clamp(load(), 9.9),
		[]float64{-2 * math.Log2E * root, -2 * math.Log2E * root * cube},
		[]float64{2 * root, 6 * root * cube})
	return finite(load(), logisticSlope(f[0], f[1]))
}

// oddPolynomials returns c[0] x + c[1] x^3 ... for each c.
func oddPolynomials(x group, c ...[]float64) []group {
	square := x.like()
	each(VMULPS, x, x, square)
	p := polynomials(square, c...)
	for _, p := range p {
		each(VMULPS, x, p, p)
	}
	return p
}

func activations() {
	for _, act := range []struct {
		name         string
		value, slope func(load func() group) group
	}{
		{"gelu", gelu, geluSlope},
		{"quickGELU", quickGELU, quickGELUSlope},
		{"geluTanh", geluTanh, geluTanhSlope},
	} {
		TEXT(act.name+"AVX2", NOSPLIT, "func(y, x *float32, n int)")
		y, x, n := pointer("y"), pointer("x"), pointer("n")
		loop(n, 3, []reg.GPVirtual{y, x}, func(r round) {
			r.store(act.value(func() group { return r.load(x) }), y)
		})
		end()

		TEXT(act.name+"GradAVX2", NOSPLIT, "func(dx, dy, x *float32, n int)")
		dx, dy, x := pointer("dx"), pointer("dy"), pointer("x")
		n = pointer("n")
		loop(n, 3, []reg.GPVirtual{dx, dy, x}, func(r round) {
			d := act.slope(func() group { return r.load(x) })
			each(VMULPS, r.load(dy), d, d)
			r.store(d, dx)
		})
		end()
	}
	relu()
}

func relu() {
	TEXT("reluAVX2", NOSPLIT, "func(y, x *float32, n int)")
	y, px, n := pointer("y"), pointer("x"), pointer("n")
	loop(n, 4, []reg.GPVirtual{y, px}, func(r round) {
		for _, r := range r.apart() {
			x, v := r.load(px), zeros(1)
			each(VMAXPS, x, v, v) // x for NaN
			r.store(v, y)
		}
	})
	end()

	TEXT("reluGradAVX2", NOSPLIT, "func(dx, dy, x *float32, n int)")
	dx, dy, px := pointer("dx"), pointer("dy"), pointer("x")
	n = pointer("n")
	loop(n, 4, []reg.GPVirtual{dx, dy, px}, func(r round) {
		for _, r := range r.apart() {
			x, d, on := r.load(px), r.load(dy), zeros(1)
			each(VCMPPS, Imm(notLessEqual), on, x, on)
			each(VANDPS, on, d, d)
			r.store(d, dx)
		}
	})
	end()
}
