package main

import asm "github.com/onetrunk/onetrunk/tensor/internal/arm64asm"

func (k *kernels) adamW() {
	k.Func("adamWNEON", "func(p, grad, m, v *float32, beta1, rest1, beta2, rest2, decay, rate, root, eps, gscale float32, n int)",
		"adamWNEON is adamWGo.", func() {
			pp, pg, pm, pv := k.Arg("p"), k.Arg("grad"), k.Arg("m"), k.Arg("v")
			beta1, rest1, beta2, rest2 := k.Scalar("beta1"), k.Scalar("rest1"), k.Scalar("beta2"), k.Scalar("rest2")
			decay, rate, root, eps, gscale := k.Scalar("decay"), k.Scalar("rate"), k.Scalar("root"), k.Scalar("eps"), k.Scalar("gscale")
			n := k.Arg("n")
			k.loop(n, 2, []asm.R{pp, pg, pm, pv}, func(r round) {
				p, g, m, v, d := r.load(pp), r.load(pg), r.load(pm), r.load(pv), k.V()
				k.FMUL(g, g, gscale)
				k.FMUL(m, m, beta1)
				k.FMLA(m, g, rest1)
				r.store(m, pm)
				k.FMUL(g, g, g)
				k.FMUL(v, v, beta2)
				k.FMLA(v, g, rest2)
				r.store(v, pv)
				k.FSQRT(v, v)
				k.Copy(d, eps)
				k.FMLA(d, v, root)
				k.FDIV(m, m, d)
				k.FMLS(p, p, decay)
				k.FMLS(p, m, rate)
				r.store(p, pp)
			})
		})
}
