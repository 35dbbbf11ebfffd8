package tensor

import "github.com/onetrunk/onetrunk/tensor/internal/vec"

func (d *cpu) Act(y, x *Tensor, act Act) {
	want("Act", "y", y, x.Rows, x.Cols)
	to, from := written(y), data(x)
	d.rows(x, func(lo, hi int) {
		lo, hi = lo*x.Cols, hi*x.Cols
		vec.BiasAct(to[lo:hi], nil, from[lo:hi], nil, act)
	})
}

func (d *cpu) ActGrad(dx, dy, x *Tensor, act Act, acc bool) {
	want("ActGrad", "dx", dx, x.Rows, x.Cols)
	want("ActGrad", "dy", dy, x.Rows, x.Cols)
	to, from, pre := written(dx), data(dy), data(x)
	d.rows(x, func(lo, hi int) {
		if !acc {
			lo, hi = lo*x.Cols, hi*x.Cols
			vec.ActGrad(to[lo:hi], from[lo:hi], pre[lo:hi], act)
			return
		}
		g := make([]float32, x.Cols)
		for i := lo; i < hi; i++ {
			vec.ActGrad(g, row(dy, i), row(x, i), act)
			vec.Add(row(dx, i), row(dx, i), g)
		}
	})
}
