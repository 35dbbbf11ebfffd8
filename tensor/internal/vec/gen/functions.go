package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func functions() {
	for _, f := range []struct {
		name  string
		value func(load func() group) group
	}{
		{"exp", func(load func() group) group { return exp(load()) }},
		{"tanh", tanh},
		{"erf", erf},
		{"log", log},
	} {
		TEXT(f.name+"AVX2", NOSPLIT, "func(dst, x *float32, n int)")
		dst, x, n := pointer("dst"), pointer("x"), pointer("n")
		loop(n, 2, []reg.GPVirtual{dst, x}, func(r round) {
			r.store(f.value(func() group { return r.load(x) }), dst)
		})
		end()
	}
}

// odd returns near where |x| < edge or x is NaN, else far, with the sign of x.
func odd(x, near, far group, edge float64) group {
	out, c := magnitude(x), YMM()
	VMOVUPS(all(edge), c)
	for i := range out {
		VCMPPS(Imm(notGreaterEqual), c, out[i], out[i])
		VBLENDVPS(out[i], near[i], far[i], far[i])
	}
	each(VANDPS, intAll(0x80000000), x, out)
	each(VORPS, out, far, far)
	return far
}

// tanh is x + x^3 p(x^2) where |x| < 0.7 (fit: "tanh"), else 1 - 2 / (1 +
// e^(2|x|)), which is 1 from 9.01 on.
func tanh(load func() group) group {
	const edge = 0.7
	x := load()
	u := x.like()
	each(VMULPS, x, x, u)
	near := polynomial(u, -0.3333319, 0.13329132, -0.053559966, 0.020094356, -0.00514049)
	each(VMULPS, x, u, u)
	each(VFMADD213PS, x, u, near)
	a := magnitude(x)
	each(VMINPS, all(10), a, a)
	each(VMULPS, all(2*math.Log2E), a, a)
	e := exp2(a)
	far := e.of(1)
	each(VADDPS, all(1), e, e)
	each(VDIVPS, e, x.of(2), e)
	each(VSUBPS, e, far, far)
	return odd(load(), near, far, edge)
}

// erf is x + x p(x^2) where |x| < 0.85 (fit: "erf near"), else 1 - erfc(|x|),
// where the logarithm of erfc is a polynomial (fit: "erf far"). It is 1 from
// 3.92 on.
func erf(load func() group) group {
	const edge = 0.85
	x := load()
	u := x.like()
	each(VMULPS, x, x, u)
	near := polynomial(u, 0.12837917, -0.3761259, 0.11282865, -0.026807288, 0.0050577037, -0.00063485187)
	each(VFMADD213PS, x, x, near)
	a := magnitude(x)
	each(VMINPS, all(3.95), a, a)
	e := exp2(polynomial(a, -0.0021574495, -1.6181256, -0.9359211, -0.13348669, 0.023171628, -0.0018977134))
	far := e.of(1)
	each(VSUBPS, e, far, far)
	return odd(load(), near, far, edge)
}

// log is the natural logarithm: x = 2^k (1 + f) with |f| < 0.42 gives k ln 2
// + f - f^2/2 + f^3 p(f) (fit: "log"). ln 2 is in two parts, of which k times
// the first is exact.
func log(load func() group) group {
	const sqrtHalf, ln2 = 0x3f3504f3, 0.693359375
	x := load()
	// A number less than 2^-126 is taken 2^23 times.
	small, k, m := x.like(), x.like(), x.like()
	each(VMOVUPS, all(0x1p-126), small)
	each(VCMPPS, Imm(greater), x, small, small)
	each(VMULPS, all(1<<23), x, m)
	each(VBLENDVPS, small, m, x, m)
	each(VANDPS, all(-23), small, small)
	each(VPSUBD, intAll(sqrtHalf), m, k)
	each(VPSRAD, Imm(23), k, k)
	t := x.like()
	each(VPSLLD, Imm(23), k, t)
	each(VPSUBD, t, m, m)
	each(VCVTDQ2PS, k, k)
	each(VADDPS, small, k, k)
	each(VSUBPS, all(1), m, m)
	p := polynomial(m, 0.3333333, -0.2500082, 0.20001242, -0.16623409, 0.1420158, -0.1315961, 0.12762213, -0.07636428)
	each(VMULPS, m, m, t)
	each(VMULPS, m, p, p)
	each(VMULPS, t, p, p)
	each(VFMADD231PS, all(math.Ln2-ln2), k, p)
	each(VFMADD231PS, all(-0.5), t, p)
	each(VADDPS, m, p, p)
	each(VFMADD231PS, all(ln2), k, p)
	// 0 gives -Inf, less gives NaN; +Inf and NaN stay.
	x = load()
	zero, mask := YMM(), YMM()
	VXORPS(zero, zero, zero)
	for i := range x {
		VCMPPS(Imm(notLess), intAll(0x7f800000), x[i], mask)
		VBLENDVPS(mask, x[i], p[i], p[i])
		VCMPPS(Imm(equal), zero, x[i], mask)
		VBLENDVPS(mask, intAll(0xff800000), p[i], p[i])
		VCMPPS(Imm(less), zero, x[i], mask)
		VORPS(mask, p[i], p[i])
	}
	return p
}
