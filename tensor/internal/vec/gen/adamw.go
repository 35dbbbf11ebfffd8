package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/reg"
)

func adamW() {
	TEXT("adamWAVX2", NOSPLIT, "func(p, grad, m, v *float32, beta1, rest1, beta2, rest2, decay, rate, root, eps, gscale float32, n int)")
	Doc("adamWAVX2 is AdamW with decay = lr*decay, rate = lr/c1, root = 1/sqrt(c2), rest = 1-beta.")
	pp, pg, pm, pv := pointer("p"), pointer("grad"), pointer("m"), pointer("v")
	beta1, rest1, beta2, rest2 := scalar("beta1"), scalar("rest1"), scalar("beta2"), scalar("rest2")
	decay, rate, root, eps, gscale := scalar("decay"), scalar("rate"), scalar("root"), scalar("eps"), scalar("gscale")
	n := pointer("n")
	loop(n, 1, []reg.GPVirtual{pp, pg, pm, pv}, func(r round) {
		g, m := r.load(pg), r.load(pm)
		each(VMULPS, gscale, g, g)
		each(VMULPS, beta1, m, m)
		each(VFMADD231PS, g, rest1, m)
		// store gives up what it writes in the last round, and m and v go on.
		v := r.load(pv)
		each(VMULPS, g, g, g)
		each(VMULPS, beta2, v, v)
		each(VFMADD231PS, g, rest2, v)
		p, step := r.load(pp), v.like()
		each(VSQRTPS, v, step)
		each(VFMADD213PS, eps, root, step)
		each(VDIVPS, step, m, step)
		each(VFNMADD231PS, p, decay, p)
		each(VFNMADD231PS, step, rate, p)
		r.store(m, pm)
		r.store(v, pv)
		r.store(p, pp)
	})
	end()
}
