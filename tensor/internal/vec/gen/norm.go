package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/reg"
)

func layerNorm() {
	TEXT("normAVX2", NOSPLIT, "func(y, x, gamma, beta *float32, mean, rstd float32, n int)")
	Doc("normAVX2 writes (x-mean)*rstd*gamma + beta.")
	mean, rstd := scalar("mean"), scalar("rstd")
	y, px, gamma, beta := pointer("y"), pointer("x"), pointer("gamma"), pointer("beta")
	n := pointer("n")
	loop(n, 4, []reg.GPVirtual{y, px, gamma, beta}, func(r round) {
		for _, r := range r.apart() {
			x := r.load(px)
			each(VSUBPS, mean, x, x)
			each(VMULPS, rstd, x, x)
			b := r.load(beta)
			each(VFMADD231PS, r.load(gamma), x, b)
			r.store(b, y)
		}
	})
	end()

	TEXT("normGradSumsAVX2", NOSPLIT, "func(dgamma, dbeta, dy, x, gamma *float32, mean, rstd float32, n int) (s0, s1 float32)")
	Doc("normGradSumsAVX2 adds dy*h to dgamma and dy to dbeta, h = (x-mean)*rstd, and returns the sums of dy*gamma and dy*gamma*h.")
	mean, rstd = scalar("mean"), scalar("rstd")
	dgamma, dbeta, dy, px, gamma := pointer("dgamma"), pointer("dbeta"), pointer("dy"), pointer("x"), pointer("gamma")
	n = pointer("n")
	s0, s1 := zeros(1), zeros(1)
	loop(n, 1, []reg.GPVirtual{dgamma, dbeta, dy, px, gamma}, func(r round) {
		h, d := r.load(px), r.load(dy)
		each(VSUBPS, mean, h, h)
		each(VMULPS, rstd, h, h)
		dg, db := r.load(dgamma), r.load(dbeta)
		each(VFMADD231PS, d, h, dg)
		each(VADDPS, d, db, db)
		r.store(dg, dgamma)
		r.store(db, dbeta)
		each(VMULPS, r.load(gamma), d, d) // 0 in lanes that are masked
		each(VADDPS, d, s0, s0)
		r.keep(h)
		each(VFMADD231PS, d, h, s1)
	})
	Store(sum(s0).AsX(), ReturnIndex(0))
	Store(sum(s1).AsX(), ReturnIndex(1))
	end()
}

func rmsNorm() {
	TEXT("rmsNormAVX2", NOSPLIT, "func(y, x, gamma *float32, rstd float32, n int)")
	Doc("rmsNormAVX2 writes x*rstd*gamma.")
	rstd := scalar("rstd")
	y, px, gamma, n := pointer("y"), pointer("x"), pointer("gamma"), pointer("n")
	loop(n, 4, []reg.GPVirtual{y, px, gamma}, func(r round) {
		for _, r := range r.apart() {
			x := r.load(px)
			each(VMULPS, rstd, x, x)
			each(VMULPS, r.load(gamma), x, x)
			r.store(x, y)
		}
	})
	end()

	TEXT("rmsNormGradSumsAVX2", NOSPLIT, "func(dgamma, dy, x, gamma *float32, rstd float32, n int) float32")
	Doc("rmsNormGradSumsAVX2 adds dy*h to dgamma, h = x*rstd, and returns the sum of dy*gamma*h.")
	rstd = scalar("rstd")
	dgamma, dy, px, gamma := pointer("dgamma"), pointer("dy"), pointer("x"), pointer("gamma")
	n = pointer("n")
	total := zeros(2)
	loop(n, 2, []reg.GPVirtual{dgamma, dy, px, gamma}, func(r round) {
		for _, r := range r.apart() {
			h, dg := r.load(px), r.load(dgamma)
			each(VMULPS, rstd, h, h)
			each(VMULPS, r.load(dy), h, h)
			each(VADDPS, h, dg, dg)
			VFMADD231PS(r.load(gamma)[0], h[0], total[r.at])
			r.store(dg, dgamma)
		}
	})
	Store(sum(total).AsX(), ReturnIndex(0))
	end()
}

// normGrad is what the gradients of both norms end with; the mean of RMSNorm
// is 0.
func normGrad() {
	for _, v := range []struct {
		name, verb string
		acc        bool
	}{{"normGradAVX2", "writes", false}, {"normGradAddAVX2", "adds", true}} {
		TEXT(v.name, NOSPLIT, "func(dx, dy, x, gamma *float32, mean, rstd, c0, c1 float32, n int)")
		Doc(v.name + " " + v.verb + " rstd * (dy*gamma - c0 - c1*h), h = (x-mean)*rstd.")
		mean, rstd, c0, c1 := scalar("mean"), scalar("rstd"), scalar("c0"), scalar("c1")
		dx, dy, px, gamma := pointer("dx"), pointer("dy"), pointer("x"), pointer("gamma")
		n := pointer("n")
		loop(n, 2, []reg.GPVirtual{dx, dy, px, gamma}, func(r round) {
			for _, r := range r.apart() {
				h, d := r.load(px), r.load(dy)
				each(VSUBPS, mean, h, h)
				each(VMULPS, rstd, h, h)
				each(VFMSUB132PS, r.load(gamma), c0, d)
				each(VFNMADD231PS, c1, h, d)
				each(VMULPS, rstd, d, d)
				if v.acc {
					each(VADDPS, r.load(dx), d, d)
				}
				r.store(d, dx)
			}
		})
		end()
	}
}
