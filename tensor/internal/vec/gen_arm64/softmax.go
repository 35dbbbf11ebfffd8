package main

import (
	"math"

	asm "github.com/onetrunk/onetrunk/tensor/internal/arm64asm"
)

// polynomial returns c[0] x^(n-1) + ... + c[n-1].
func (k *kernels) polynomial(x asm.V, c ...float32) asm.V {
	p, next := k.all(c[0]), k.V()
	for _, c := range c[1:] {
		k.Load(next, k.Constant(c))
		k.FMLA(next, p, x)
		p, next = next, p
	}
	return p
}

// exp returns e^x. n = round(x / ln 2) splits x = n ln 2 + r; a polynomial in
// |r| <= ln(2)/2, Cephes' expf, is p = exp(r) of relative error 1e-7, and n
// is added to its exponent. Results less than 2^-126 are 0.
func (k *kernels) exp(x asm.V) asm.V {
	n, r, c := k.V(), k.V(), k.V()
	k.Load(c, k.Constant(math.Log2E))
	k.FMUL(n, x, c)
	k.FRINTN(n, n)
	k.Copy(r, x)
	k.Load(c, k.Constant(0.693359375))
	k.FMLS(r, n, c)
	k.Load(c, k.Constant(-2.12194440e-4))
	k.FMLS(r, n, c)
	// exp(r) = 1 + r + r^2 q(r)
	q := k.polynomial(r, 1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
	k.FMUL(q, q, r)
	p := k.V()
	k.Copy(p, r)
	k.FMLA(p, q, r)
	k.Load(c, k.Constant(1))
	k.FADD(p, p, c)
	// Within the range this stays in the exponent's bits: p < 1 where n = 128,
	// and p > 1 where n = -126.
	k.FCVTNS(n, n)
	k.SHL(n, n, 23)
	k.ADD(p, p, n)
	k.Load(c, k.Constant(-87.33654)) // ln 2^-126
	k.FCMGT(c, c, x)
	k.BIC(p, p, c)
	k.Load(c, k.Constant(88.72283)) // ln of the greatest float
	k.FCMGT(c, x, c)
	k.Load(n, k.Constant(float32(math.Inf(1))))
	k.BIT(p, n, c)
	return p
}

func (k *kernels) softmax() {
	k.Func("maxNEON", "func(x *float32, n int) float32", "maxNEON is maxGo.", func() {
		px, n := k.Arg("x"), k.Arg("n")
		var tops [4]asm.V
		for i := range tops {
			tops[i] = k.all(float32(math.Inf(-1)))
		}
		raise := func(top, x, mask asm.V) { // FMAX is NaN for NaN
			k.FCMGT(mask, x, top)
			k.BIT(top, x, mask)
		}
		k.loop(n, len(tops), []asm.R{px}, func(r round) {
			x := k.V()
			if r.one {
				k.LoadAll(x, px)
			} else {
				k.Load(x, r.address(px))
			}
			raise(tops[r.at], x, k.V())
		})
		raise(tops[0], tops[2], k.V())
		raise(tops[1], tops[3], k.V())
		raise(tops[0], tops[1], k.V())
		k.FMAXV(tops[0], tops[0])
		k.Return("ret", tops[0])
	})

	k.Func("expMinusNEON", "func(dst, x *float32, scale, shift float32, n int) float32", "expMinusNEON is expMinusGo.", func() {
		scale, shift := k.Scalar("scale"), k.Scalar("shift")
		dst, px, n := k.Arg("dst"), k.Arg("x"), k.Arg("n")
		total := k.zero()
		k.loop(n, 1, []asm.R{dst, px}, func(r round) {
			x := r.load(px)
			// Not fused: the greatest x must give 0 when shift is its product.
			k.FMUL(x, x, scale)
			k.FSUB(x, x, shift)
			y := k.exp(x)
			r.only(y)
			k.FADD(total, total, y)
			r.store(y, dst)
		})
		k.Return("ret", k.sum(total))
	})

	k.Func("softmaxGradNEON", "func(ds, p, dp *float32, scale, mean float32, n int)", "softmaxGradNEON is softmaxGradGo.", func() {
		scale, mean := k.Scalar("scale"), k.Scalar("mean")
		ds, pp, dp, n := k.Arg("ds"), k.Arg("p"), k.Arg("dp"), k.Arg("n")
		k.loop(n, 2, []asm.R{ds, pp, dp}, func(r round) {
			d, p := r.load(dp), r.load(pp)
			k.FSUB(d, d, mean)
			k.FMUL(d, d, p)
			k.FMUL(d, d, scale)
			r.store(d, ds)
		})
	})
}
