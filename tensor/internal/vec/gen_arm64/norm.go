package main

import asm "github.com/onetrunk/onetrunk/tensor/internal/arm64asm"

func (k *kernels) layerNorm() {
	k.Func("normNEON", "func(y, x, gamma, beta *float32, mean, rstd float32, n int)", "normNEON is normGo.", func() {
		mean, rstd := k.Scalar("mean"), k.Scalar("rstd")
		y, px, gamma, beta, n := k.Arg("y"), k.Arg("x"), k.Arg("gamma"), k.Arg("beta"), k.Arg("n")
		k.loop(n, 2, []asm.R{y, px, gamma, beta}, func(r round) {
			x, g, b := r.load(px), r.load(gamma), r.load(beta)
			k.FSUB(x, x, mean)
			k.FMUL(x, x, rstd)
			k.FMLA(b, g, x)
			r.store(b, y)
		})
	})

	k.Func("normGradSumsNEON", "func(dgamma, dbeta, dy, x, gamma *float32, mean, rstd float32, n int) (s0, s1 float32)",
		"normGradSumsNEON is normGradSumsGo.", func() {
			mean, rstd := k.Scalar("mean"), k.Scalar("rstd")
			dgamma, dbeta, dy, px, gamma := k.Arg("dgamma"), k.Arg("dbeta"), k.Arg("dy"), k.Arg("x"), k.Arg("gamma")
			n := k.Arg("n")
			s0, s1 := k.zeros(2), k.zeros(2)
			k.loop(n, 2, []asm.R{dgamma, dbeta, dy, px, gamma}, func(r round) {
				h, d, g := r.load(px), r.load(dy), r.load(gamma)
				k.FSUB(h, h, mean)
				k.FMUL(h, h, rstd)
				dg, db := r.load(dgamma), r.load(dbeta)
				k.FMLA(dg, d, h)
				k.FADD(db, db, d)
				r.store(dg, dgamma)
				r.store(db, dbeta)
				k.FMUL(d, d, g) // 0 in lanes that are no elements
				k.FADD(s0[r.at], s0[r.at], d)
				r.only(h)
				k.FMLA(s1[r.at], d, h)
			})
			k.Return("s0", k.sum(s0...))
			k.Return("s1", k.sum(s1...))
		})
}

func (k *kernels) rmsNorm() {
	k.Func("rmsNormNEON", "func(y, x, gamma *float32, rstd float32, n int)", "rmsNormNEON is rmsNormGo.", func() {
		rstd := k.Scalar("rstd")
		y, px, gamma, n := k.Arg("y"), k.Arg("x"), k.Arg("gamma"), k.Arg("n")
		k.loop(n, 2, []asm.R{y, px, gamma}, func(r round) {
			x, g := r.load(px), r.load(gamma)
			k.FMUL(x, x, rstd)
			k.FMUL(x, x, g)
			r.store(x, y)
		})
	})

	k.Func("rmsNormGradSumsNEON", "func(dgamma, dy, x, gamma *float32, rstd float32, n int) float32",
		"rmsNormGradSumsNEON is rmsNormGradSumsGo.", func() {
			rstd := k.Scalar("rstd")
			dgamma, dy, px, gamma, n := k.Arg("dgamma"), k.Arg("dy"), k.Arg("x"), k.Arg("gamma"), k.Arg("n")
			total := k.zeros(2)
			k.loop(n, 2, []asm.R{dgamma, dy, px, gamma}, func(r round) {
				h, d, g, dg := r.load(px), r.load(dy), r.load(gamma), r.load(dgamma)
				k.FMUL(h, h, rstd)
				k.FMUL(h, h, d)
				k.FADD(dg, dg, h)
				r.store(dg, dgamma)
				k.FMLA(total[r.at], h, g)
			})
			k.Return("ret", k.sum(total...))
		})
}

// normGrad is what the gradients of both norms end with; the mean of RMSNorm
// is 0.
func (k *kernels) normGrad() {
	for _, v := range []struct {
		name string
		acc  bool
	}{{"normGrad", false}, {"normGradAdd", true}} {
		k.Func(v.name+"NEON", "func(dx, dy, x, gamma *float32, mean, rstd, c0, c1 float32, n int)", v.name+"NEON is "+v.name+"Go.", func() {
			mean, rstd, c0, c1 := k.Scalar("mean"), k.Scalar("rstd"), k.Scalar("c0"), k.Scalar("c1")
			dx, dy, px, gamma, n := k.Arg("dx"), k.Arg("dy"), k.Arg("x"), k.Arg("gamma"), k.Arg("n")
			k.loop(n, 2, []asm.R{dx, dy, px, gamma}, func(r round) {
				h, d, g := r.load(px), r.load(dy), r.load(gamma)
				k.FSUB(h, h, mean)
				k.FMUL(h, h, rstd)
				k.FMUL(d, d, g)
				k.FSUB(d, d, c0)
				k.FMLS(d, c1, h)
				k.FMUL(d, d, rstd)
				if v.acc {
					k.FADD(d, d, r.load(dx))
				}
				r.store(d, dx)
			})
		})
	}
}
