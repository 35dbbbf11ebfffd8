package tensor

import (
	"fmt"
	"sync"

	"github.com/onetrunk/onetrunk/internal/par"
	"github.com/onetrunk/onetrunk/tensor/internal/gemm"
	"github.com/onetrunk/onetrunk/tensor/internal/vec"
)

func (d *cpu) Linear(y, pre, x, w, b, residual *Tensor, act Act) {
	t, in, out := x.Rows, x.Cols, w.Rows
	want("Linear", "w", w, out, in)
	want("Linear", "y", y, t, out)
	if pre != nil {
		want("Linear", "pre", pre, t, out)
	}
	if residual != nil {
		want("Linear", "residual", residual, t, out)
	}
	var bias []float32
	if b != nil {
		want("Linear", "b", b, 1, out)
		bias = data(b)
	}
	// The product goes where the pre-activation is kept, if it is.
	target := y
	if pre != nil {
		target = pre
	}
	prod := data(target)
	gemm.Mul(d.pool, t, out, in,
		gemm.Matrix{Data: data(x), Stride: in},
		gemm.Matrix{Data: data(w), Stride: in, Trans: true},
		prod, out, false,
		func(i0, i1, j0, j1 int) {
			var bj []float32
			if bias != nil {
				bj = bias[j0:j1]
			}
			for i := i0; i < i1; i++ {
				yi := row(y, i)[j0:j1]
				if bj != nil || act != Identity || pre != nil {
					var keep []float32
					if pre != nil {
						keep = row(pre, i)[j0:j1]
					}
					vec.BiasAct(yi, keep, prod[i*out+j0:i*out+j1], bj, act)
				}
				if residual != nil {
					vec.Add(yi, yi, row(residual, i)[j0:j1])
				}
			}
		})
}

func (d *cpu) MatMul(c, a, b *Tensor, transA, transB, acc bool) {
	m, k := a.Rows, a.Cols
	if transA {
		m, k = k, m
	}
	k2, n := b.Rows, b.Cols
	if transB {
		k2, n = n, k2
	}
	if k != k2 {
		panic(fmt.Sprintf("tensor: MatMul of %v (transposed: %t) and %v (%t)", a, transA, b, transB))
	}
	want("MatMul", "c", c, m, n)
	gemm.Mul(d.pool, m, n, k,
		gemm.Matrix{Data: data(a), Stride: a.Cols, Trans: transA},
		gemm.Matrix{Data: data(b), Stride: b.Cols, Trans: transB},
		data(c), n, acc, nil)
}

func (d *cpu) ActGrad(dx, dy, pre *Tensor, act Act) {
	want("ActGrad", "dx", dx, pre.Rows, pre.Cols)
	want("ActGrad", "dy", dy, pre.Rows, pre.Cols)
	x, y, p := data(dx), data(dy), data(pre)
	d.chunks(len(p), func(lo, hi int) { vec.ActGrad(x[lo:hi], y[lo:hi], p[lo:hi], act) })
}

func (d *cpu) SumRows(y, x *Tensor) {
	want("SumRows", "y", y, 1, x.Cols)
	d.partialSums(x.Rows, []*Tensor{y}, func(lo, hi int, sums [][]float32) {
		vec.SumRows(sums[0], data(x)[lo*x.Cols:hi*x.Cols], hi-lo, x.Cols)
	})
}

// partialSums adds to the row vectors outs what f sums over rows [0, n): each
// piece of rows sums into vectors of its own, which are then added in the
// order of the pieces, so that the result does not depend on scheduling.
func (d *cpu) partialSums(n int, outs []*Tensor, f func(lo, hi int, sums [][]float32)) {
	cols := 0
	for _, o := range outs {
		cols += o.Cols
	}
	size := par.Split(n, d.pool.Workers(), max(8192/max(cols, 1), 16))
	pieces := (n + size - 1) / size
	if pieces == 0 {
		return
	}
	buf := sumBuffers.Get().(*sumBuffer)
	buf.reset(pieces, outs, cols)
	d.pool.For(pieces, func(_, i int) {
		f(i*size, min((i+1)*size, n), buf.sums[i*len(outs):(i+1)*len(outs)])
	})
	for i, s := range buf.sums {
		vec.Axpy(1, s, data(outs[i%len(outs)]))
	}
	sumBuffers.Put(buf)
}

var sumBuffers = sync.Pool{New: func() any { return &sumBuffer{} }}

// sumBuffer holds one vector for each piece and output.
type sumBuffer struct {
	flat []float32
	sums [][]float32
}

func (b *sumBuffer) reset(pieces int, outs []*Tensor, cols int) {
	if cap(b.flat) < pieces*cols {
		b.flat = make([]float32, pieces*cols)
	}
	b.flat = b.flat[:pieces*cols]
	clear(b.flat)
	b.sums = b.sums[:0]
	rest := b.flat
	for range pieces {
		for _, o := range outs {
			b.sums = append(b.sums, rest[:o.Cols])
			rest = rest[o.Cols:]
		}
	}
}
