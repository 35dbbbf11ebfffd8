package tensor

import (
	"fmt"

	"github.com/onetrunk/onetrunk/internal/par"
	"github.com/onetrunk/onetrunk/tensor/internal/vec"
)

// check panics unless all columns of s are within n rows.
func (s *Sparse) check(op string, n int) {
	for e, j := range s.Index {
		if j < 0 || int(j) >= n {
			panic(fmt.Sprintf("tensor: %s: entry %d at column %d of %d", op, e, j, n))
		}
	}
}

func (d *cpu) Gather(y *Tensor, s *Sparse, x *Tensor, acc bool) {
	want("Gather", "y", y, s.Rows(), x.Cols)
	s.check("Gather", x.Rows)
	d.rows(y, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			yi := row(y, i)
			first := !acc
			for e := s.Start[i]; e < s.Start[i+1]; e++ {
				j, w := int(s.Index[e]), s.Weight[e]
				switch {
				case first && w == 1:
					copy(yi, row(x, j))
				case first:
					copy(yi, row(x, j))
					vec.Scale(w, yi)
				default:
					vec.Axpy(w, row(x, j), yi)
				}
				first = false
			}
			if first {
				clear(yi)
			}
		}
	})
}

func (d *cpu) Scatter(dx *Tensor, s *Sparse, dy *Tensor) {
	want("Scatter", "dy", dy, s.Rows(), dx.Cols)
	s.check("Scatter", dx.Rows)
	// Rows of dx meet many rows of dy, so the work is cut by columns.
	cols := par.Split(dx.Cols, d.pool.Workers(), 16)
	d.pool.For((dx.Cols+cols-1)/cols, func(_, piece int) {
		lo := piece * cols
		hi := min(lo+cols, dx.Cols)
		for i := range dy.Rows {
			g := row(dy, i)[lo:hi]
			for e := s.Start[i]; e < s.Start[i+1]; e++ {
				j, w := int(s.Index[e]), s.Weight[e]
				vec.Axpy(w, g, row(dx, j)[lo:hi])
			}
		}
	})
}
