package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// exp2 returns 2^x of relative error 1e-7 for -127 <= x <= 128, where 2^-127
// is 0 and 2^128 is +Inf. NaN becomes anything, and x is lost.
//
// x = n + f with n = round(x), which is in the low bits of the sum of x and
// 1.5 * 2^23. A polynomial in |f| <= 1/2 (fit: "exp2") is p = 2^f, and n is
// added to its exponent. At the two ends p is 1 and its bits become those of 0
// and of +Inf.
func exp2(x group) group {
	const magic = 1.5 * (1 << 23)
	n, m := x.like(), YMM()
	each(VADDPS, all(magic), x, n)
	VMOVUPS(all(magic), m)
	for i := range x {
		whole := YMM()
		VSUBPS(m, n[i], whole)
		VSUBPS(whole, x[i], x[i])
	}
	p := polynomial(x, 1, 0.693147, 0.24022247, 0.05550711, 0.009671292, 0.0013269538)
	each(VPSLLD, Imm(23), n, n)
	each(VPADDD, n, p, p)
	return p
}

// exp returns e^x within 2 units in the last place. Results less than 2^-126
// are 0.
//
// n = round(x / ln 2) splits x = n ln 2 + r. A polynomial in |r| <= ln(2)/2
// (fit: "exp") is p = e^r, and n is added to its exponent. It is summed as
// (1 + r) + r^2 (c2 + c3 r + r^2 (c4 + c5 r + c6 r^2)), by halves, as a short
// row waits for it.
func exp(x group) group {
	const ln2 = float64(float32(math.Ln2))
	n, r, r2, c := x.like(), x.like(), x.like(), YMM()
	each(VMULPS, all(math.Log2E), x, n)
	each(VROUNDPS, Imm(8), n, n)
	each(VMOVAPS, x, r)
	each(VFNMADD231PS, all(ln2), n, r)
	each(VFNMADD231PS, all(math.Ln2-ln2), n, r)
	each(VMULPS, r, r, r2)
	p := polynomial(r, 0.041668292, 0.008368532)
	VMOVUPS(all(0.0013818298), c)
	each(VFMADD231PS, c, r2, p)
	VMOVUPS(all(0.16666523), c)
	for i := range x {
		q := YMM()
		VMOVUPS(all(0.49999994), q)
		VFMADD231PS(c, r[i], q)
		VFMADD213PS(q, r2[i], p[i])
	}
	each(VADDPS, all(1), r, r)
	each(VFMADD213PS, r, r2, p)
	// Within the range this stays in the exponent's bits: p < 1 where n = 128,
	// and p > 1 where n = -126.
	each(VCVTPS2DQ, n, n)
	each(VPSLLD, Imm(23), n, n)
	each(VPADDD, n, p, p)
	VMOVUPS(all(-87.33654), c) // ln 2^-126
	for i := range x {
		VCMPPS(Imm(less), c, x[i], n[i])
		VANDNPS(p[i], n[i], p[i])
	}
	for i := range x {
		VCMPPS(Imm(greater), all(88.72283), x[i], n[i]) // ln of the greatest float
		VBLENDVPS(n[i], intAll(0x7f800000), p[i], p[i])
	}
	return p
}
