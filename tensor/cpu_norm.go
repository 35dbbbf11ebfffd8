package tensor

import (
	"math"

	"github.com/onetrunk/onetrunk/tensor/internal/vec"
)

func (d *cpu) Norm(y, stats, x, gamma, beta *Tensor, o Norm) {
	want("Norm", "y", y, x.Rows, x.Cols)
	want("Norm", "stats", stats, x.Rows, 2)
	want("Norm", "gamma", gamma, 1, x.Cols)
	g := data(gamma)
	var b []float32
	if !o.RMS {
		want("Norm", "beta", beta, 1, x.Cols)
		b = data(beta)
	}
	d.rows(x, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			s := row(stats, i)
			if o.RMS {
				s[0], s[1] = 0, vec.RMSNorm(row(y, i), row(x, i), g, o.Eps)
			} else {
				s[0], s[1] = vec.LayerNorm(row(y, i), row(x, i), g, b, o.Eps)
			}
		}
	})
}

func (d *cpu) NormGrad(dx, dgamma, dbeta, dy, x, stats, gamma *Tensor, o Norm, acc bool) {
	want("NormGrad", "dx", dx, x.Rows, x.Cols)
	want("NormGrad", "dy", dy, x.Rows, x.Cols)
	want("NormGrad", "dgamma", dgamma, 1, x.Cols)
	outs := []*Tensor{dgamma}
	if !o.RMS {
		want("NormGrad", "dbeta", dbeta, 1, x.Cols)
		outs = append(outs, dbeta)
	}
	g := data(gamma)
	d.partialSums(x.Rows, outs, func(lo, hi int, sums [][]float32) {
		for i := lo; i < hi; i++ {
			s := row(stats, i)
			if o.RMS {
				vec.RMSNormGrad(row(dx, i), sums[0], row(dy, i), row(x, i), g, s[1], acc)
			} else {
				vec.LayerNormGrad(row(dx, i), sums[0], sums[1], row(dy, i), row(x, i), g, s[0], s[1], acc)
			}
		}
	})
}

// minLength keeps Unit from dividing by zero.
const minLength = 1e-12

func (d *cpu) Unit(y, lengths, x *Tensor) {
	want("Unit", "y", y, x.Rows, x.Cols)
	want("Unit", "lengths", lengths, x.Rows, 1)
	for i := range x.Rows {
		n := max(math.Sqrt(vec.SumSquares(row(x, i))), minLength)
		row(lengths, i)[0] = float32(n)
		copy(row(y, i), row(x, i))
		vec.Scale(float32(1/n), row(y, i))
	}
}

func (d *cpu) UnitGrad(dx, dy, y, lengths *Tensor, acc bool) {
	want("UnitGrad", "dx", dx, y.Rows, y.Cols)
	want("UnitGrad", "dy", dy, y.Rows, y.Cols)
	want("UnitGrad", "lengths", lengths, y.Rows, 1)
	for i := range y.Rows {
		inv := 1 / row(lengths, i)[0]
		along := vec.Dot(row(y, i), row(dy, i))
		if !acc {
			clear(row(dx, i))
		}
		vec.Axpy(inv, row(dy, i), row(dx, i))
		vec.Axpy(-inv*along, row(y, i), row(dx, i))
	}
}
