package tensor

import "github.com/onetrunk/onetrunk/tensor/internal/vec"

func (d *cpu) GRU(y, gates, x, p, prev *Tensor) {
	n := y.Cols
	same("GRU", y, prev)
	want("GRU", "x", x, y.Rows, 3*n)
	same("GRU", x, p, gates)
	to, toGates := written(y), written(gates)
	d.pieces(y.Rows, max((1<<12)/max(n, 1), 1), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			out, g := to[i*n:(i+1)*n], toGates[i*3*n:(i+1)*3*n]
			in, state, was := row(x, i), row(p, i), row(prev, i)
			// sigmoid(a) = (1 + tanh(a/2)) / 2
			rz := g[:2*n]
			for j := range rz {
				rz[j] = 0.5 * (in[j] + state[j])
			}
			vec.Tanh(rz, rz)
			for j := range rz {
				rz[j] = 0.5 + 0.5*rz[j]
			}
			cand := g[2*n:]
			for j := range cand {
				cand[j] = in[2*n+j] + g[j]*state[2*n+j]
			}
			vec.Tanh(cand, cand)
			for j := range out {
				out[j] = cand[j] + g[n+j]*(was[j]-cand[j])
			}
		}
	})
}

func (d *cpu) GRUGrad(dx, dp, dprev, dy, gates, p, prev *Tensor) {
	n := dy.Cols
	same("GRUGrad", dy, dprev, prev)
	want("GRUGrad", "gates", gates, dy.Rows, 3*n)
	same("GRUGrad", gates, dx, dp, p)
	toX, toP, toPrev := written(dx), written(dp), written(dprev)
	d.pieces(dy.Rows, max((1<<12)/max(n, 1), 1), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			gx, gp, gh := toX[i*3*n:(i+1)*3*n], toP[i*3*n:(i+1)*3*n], toPrev[i*n:(i+1)*n]
			out, g, state, was := row(dy, i), row(gates, i), row(p, i), row(prev, i)
			for j, dh := range out {
				r, z, c := g[j], g[n+j], g[2*n+j]
				dc := dh * (1 - z) * (1 - c*c)
				dr := dc * state[2*n+j] * r * (1 - r)
				dz := dh * (was[j] - c) * z * (1 - z)
				gx[j], gx[n+j], gx[2*n+j] = dr, dz, dc
				gp[j], gp[n+j], gp[2*n+j] = dr, dz, dc*r
				gh[j] = dh * z
			}
		}
	})
}
