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
		VMULPS(gscale, g, g)
		VMULPS(beta1, m, m)
		VFMADD231PS(g, rest1, m)
		r.store(m, pm)
		v := r.load(pv)
		VMULPS(g, g, g)
		VMULPS(beta2, v, v)
		VFMADD231PS(g, rest2, v)
		r.store(v, pv)
		VSQRTPS(v, v)
		VFMADD213PS(eps, root, v)
		VDIVPS(v, m, m)
		p := r.load(pp)
		VFNMADD231PS(p, decay, p)
		VFNMADD231PS(m, rate, p)
		r.store(p, pp)
	})
	end()
}
