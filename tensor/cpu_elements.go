package tensor

import (
	"fmt"
	"math"

	"github.com/onetrunk/onetrunk/internal/par"
	"github.com/onetrunk/onetrunk/tensor/internal/vec"
)

// This file holds the operations on weights, gates and masks: element by
// element or row by row, and small beside the products.

// same panics unless all tensors have the shape of the first.
func same(op string, ts ...*Tensor) {
	for i, t := range ts[1:] {
		want(op, fmt.Sprintf("operand %d", i+1), t, ts[0].Rows, ts[0].Cols)
	}
}

// pieces calls f for pieces of [0, n), in parallel.
func (d *cpu) pieces(n, least int, f func(lo, hi int)) {
	size := par.Split(n, d.pool.Workers(), least)
	d.pool.For((n+size-1)/size, func(_, i int) { f(i*size, min((i+1)*size, n)) })
}

func (d *cpu) Mul(y, a, b *Tensor, acc bool) {
	same("Mul", y, a, b)
	to, p, q := written(y), data(a), data(b)
	d.pieces(len(to), 1<<14, func(lo, hi int) {
		to, p, q := to[lo:hi], p[lo:hi], q[lo:hi]
		if acc {
			for i := range to {
				to[i] += p[i] * q[i]
			}
			return
		}
		for i := range to {
			to[i] = p[i] * q[i]
		}
	})
}

func (d *cpu) ScaleRows(y, x, s *Tensor, acc bool) {
	same("ScaleRows", y, x)
	want("ScaleRows", "s", s, x.Rows, 1)
	to, by := written(y), data(s)
	d.pieces(x.Rows, max((1<<14)/max(x.Cols, 1), 1), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			out := to[i*x.Cols : (i+1)*x.Cols]
			if acc {
				vec.Axpy(by[i], row(x, i), out)
				continue
			}
			copy(out, row(x, i))
			vec.Scale(by[i], out)
		}
	})
}

func (d *cpu) RowDots(dots, a, b *Tensor) {
	same("RowDots", a, b)
	want("RowDots", "d", dots, a.Rows, 1)
	to := written(dots)
	d.pieces(a.Rows, max((1<<14)/max(a.Cols, 1), 1), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			to[i] += vec.Dot(row(a, i), row(b, i))
		}
	})
}

func (d *cpu) Above(y, x *Tensor, at float32) {
	same("Above", y, x)
	to := written(y)
	for i, v := range data(x) {
		to[i] = 0
		if v >= at {
			to[i] = 1
		}
	}
}

func (d *cpu) AddSign(y *Tensor, alpha float32, x *Tensor) {
	same("AddSign", y, x)
	to := written(y)
	for i, v := range data(x) {
		switch {
		case v > 0:
			to[i] += alpha
		case v < 0:
			to[i] -= alpha
		}
	}
}

func (d *cpu) Keep(t, old, mask *Tensor) {
	same("Keep", t, old, mask)
	to, was, m := written(t), data(old), data(mask)
	d.pieces(len(to), 1<<14, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			if m[i] == 0 {
				to[i] = was[i]
			}
		}
	})
}

func (d *cpu) Softmax(y, x *Tensor) {
	same("Softmax", y, x)
	to := written(y)
	d.pieces(x.Rows, max((1<<12)/max(x.Cols, 1), 1), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			out := to[i*x.Cols : (i+1)*x.Cols]
			copy(out, row(x, i))
			vec.Softmax(out, 1)
		}
	})
}

func (d *cpu) SoftmaxGrad(dx, dy, y *Tensor, acc bool) {
	same("SoftmaxGrad", dx, dy, y)
	to := written(dx)
	d.pieces(y.Rows, max((1<<12)/max(y.Cols, 1), 1), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			p, g := row(y, i), row(dy, i)
			mean := vec.Dot(p, g)
			out := to[i*y.Cols : (i+1)*y.Cols]
			for j := range out {
				v := p[j] * (g[j] - mean)
				if acc {
					v += out[j]
				}
				out[j] = v
			}
		}
	})
}

// spanMul panics unless the shapes of SpanMul fit.
func spanMul(x, s *Tensor, lens []int) {
	n := 0
	for _, l := range lens {
		n += l
	}
	if n != x.Rows || s.Rows != len(lens) || s.Cols != x.Cols*x.Cols {
		panic(fmt.Sprintf("tensor: SpanMul: x %v, s %v, %d runs of %d rows", x, s, len(lens), n))
	}
}

func (d *cpu) SpanMul(y, x, s *Tensor, lens []int) {
	same("SpanMul", y, x)
	spanMul(x, s, lens)
	r, to := x.Cols, written(y)
	starts := starts(lens)
	d.pieces(len(lens), 1, func(lo, hi int) {
		for b := lo; b < hi; b++ {
			m := row(s, b)
			for i := starts[b]; i < starts[b]+lens[b]; i++ {
				out := to[i*r : (i+1)*r]
				clear(out)
				for k, v := range row(x, i) {
					vec.Axpy(v, m[k*r:(k+1)*r], out)
				}
			}
		}
	})
}

func (d *cpu) SpanMulGrad(dx, ds, dy, x, s *Tensor, lens []int) {
	same("SpanMulGrad", dx, dy, x)
	same("SpanMulGrad", ds, s)
	spanMul(x, s, lens)
	r, toX, toS := x.Cols, written(dx), written(ds)
	starts := starts(lens)
	d.pieces(len(lens), 1, func(lo, hi int) {
		for b := lo; b < hi; b++ {
			m, dm := row(s, b), toS[b*r*r:(b+1)*r*r]
			clear(dm)
			for i := starts[b]; i < starts[b]+lens[b]; i++ {
				g := row(dy, i)
				for k, v := range row(x, i) {
					toX[i*r+k] = vec.Dot(m[k*r:(k+1)*r], g)
					vec.Axpy(v, g, dm[k*r:(k+1)*r])
				}
			}
		}
	})
}

// starts returns where runs of these lengths begin.
func starts(lens []int) []int {
	at := make([]int, len(lens))
	for i := 1; i < len(lens); i++ {
		at[i] = at[i-1] + lens[i-1]
	}
	return at
}

// sum adds what f returns of pieces of n elements, in the order of the pieces.
func (d *cpu) sum(n int, f func(lo, hi int) float64) float64 {
	const size = 1 << 16
	sums := make([]float64, (n+size-1)/size)
	d.pool.For(len(sums), func(_, i int) { sums[i] = f(i*size, min((i+1)*size, n)) })
	var total float64
	for _, s := range sums {
		total += s
	}
	return total
}

func (d *cpu) Dot(a, b *Tensor) float64 {
	same("Dot", a, b)
	x, y := data(a), data(b)
	return d.sum(len(x), func(lo, hi int) (s float64) {
		const block = 1 << 10 // summed in float32, the blocks in float64
		for ; lo < hi; lo += block {
			end := min(lo+block, hi)
			s += float64(vec.Dot(x[lo:end], y[lo:end]))
		}
		return s
	})
}

func (d *cpu) SumAbs(t *Tensor) float64 {
	x := data(t)
	return d.sum(len(x), func(lo, hi int) (s float64) {
		for _, v := range x[lo:hi] {
			s += math.Abs(float64(v))
		}
		return s
	})
}

func (d *cpu) Greatest(masks, scores, within []*Tensor, n int) {
	if len(masks) != len(scores) || within != nil && len(within) != len(scores) {
		panic(fmt.Sprintf("tensor: Greatest: %d masks and %d withins of %d scores", len(masks), len(within), len(scores)))
	}
	// each calls f with every element that may be chosen and its magnitude, whose
	// bits are in the order of the values. One that is no number is the least.
	each := func(f func(k, i int, bits uint32)) {
		for k, s := range scores {
			same("Greatest", masks[k], s)
			var in []float32
			if within != nil {
				same("Greatest", s, within[k])
				in = data(within[k])
			}
			for i, v := range data(s) {
				switch bits := math.Float32bits(v) &^ (1 << 31); {
				case in != nil && in[i] == 0:
				case v != v:
					f(k, i, 0)
				default:
					f(k, i, bits)
				}
			}
		}
	}
	// The n-th magnitude, by counting the upper and then the lower halves.
	count, total := make([]int, 1<<16), 0
	each(func(_, _ int, bits uint32) { count[bits>>16]++; total++ })
	n = min(n, total)
	left := n // to be found at or below the part that is looked at
	find := func() uint32 {
		at := len(count) - 1
		for ; at > 0 && left > count[at]; at-- {
			left -= count[at]
		}
		return uint32(at)
	}
	upper := find()
	clear(count)
	each(func(_, _ int, bits uint32) {
		if bits>>16 == upper {
			count[bits&0xffff]++
		}
	})
	bound := upper<<16 | find()
	chosen := make([][]float32, len(masks))
	for k, m := range masks {
		chosen[k] = make([]float32, m.Len())
	}
	each(func(k, i int, bits uint32) {
		switch {
		case n == 0 || bits < bound:
			return
		case bits == bound:
			if left == 0 {
				return
			}
			left--
		}
		chosen[k][i] = 1
	})
	for k, m := range masks {
		copy(written(m), chosen[k])
	}
}
