package tensor

import (
	"fmt"

	"github.com/onetrunk/onetrunk/tensor/internal/gemm"
	"github.com/onetrunk/onetrunk/tensor/internal/vec"
)

func (d *cpu) Linear(y *Tensor, x Input, w, b, residual *Tensor) {
	t, in, out := x.X.Rows, x.X.Cols, w.Rows
	want("Linear", "w", w, out, in)
	want("Linear", "y", y, t, out)
	if residual != nil {
		want("Linear", "residual", residual, t, out)
	}
	var bias []float32
	if b != nil {
		want("Linear", "b", b, 1, out)
		bias = data(b)
	}
	if q, ok := w.Mem.(*int8Memory); ok {
		d.linearInt8(y, x, q.w, bias, residual)
		return
	}
	var done gemm.Done
	if bias != nil || residual != nil {
		done = func(k gemm.Block) {
			for i := k.I0; i < k.I1; i++ {
				addTo(k.Row(i), i, k.J0, bias, residual)
			}
		}
	}
	packed, free := d.packed(w, true)
	gemm.MulPacked(d.pool, t, d.operand("Linear", x, true), packed, written(y), out, false, false, done)
	free()
}

// operand returns an input as the product reads it. With stats, the rows'
// moments are computed on the way; otherwise they are there.
func (d *cpu) operand(op string, x Input, stats bool) gemm.Matrix {
	switch {
	case x.Norm != nil:
		check(op, x)
		return gemm.Matrix{Load: func(dst []float32, stride, i0, i1, j0, j1 int) {
			x.Norm.each(i0, i1, func(p NormPart, lo, hi int) {
				for i := lo; i < hi; i++ {
					x.Norm.read(dst[(i-i0)*stride:], row(x.X, i), row(x.Norm.Stats, i), p, j0, j1, stats && j0 == 0)
				}
			})
		}}
	case x.Act != Identity:
		return gemm.Matrix{Load: func(dst []float32, stride, i0, i1, j0, j1 int) {
			for i := i0; i < i1; i++ {
				at := (i - i0) * stride
				vec.BiasAct(dst[at:at+j1-j0], nil, row(x.X, i)[j0:j1], nil, x.Act)
			}
		}}
	}
	return gemm.Matrix{Data: data(x.X), Stride: x.X.Cols}
}

// check panics unless the norm of an input fits.
func check(op string, x Input) {
	rows := 0
	for _, p := range x.Norm.Parts {
		want(op, "gamma", p.Gamma, 1, x.X.Cols)
		if !x.Norm.RMS {
			want(op, "beta", p.Beta, 1, x.X.Cols)
		}
		rows += p.Rows
	}
	want(op, "stats", x.Norm.Stats, x.X.Rows, 2)
	if rows != x.X.Rows {
		panic(fmt.Sprintf("tensor: %s: norms of %d rows for x %v", op, rows, x.X))
	}
}

// each calls f for the part of every run within rows [i0, i1).
func (n *InputNorm) each(i0, i1 int, f func(p NormPart, lo, hi int)) {
	start := 0
	for _, p := range n.Parts {
		if lo, hi := max(start, i0), min(start+p.Rows, i1); lo < hi {
			f(p, lo, hi)
		}
		start += p.Rows
	}
}

// read normalises columns [j0, j1) of a row, after its moments if they are
// wanted.
func (n *InputNorm) read(dst, x, stats []float32, p NormPart, j0, j1 int, find bool) {
	g := data(p.Gamma)[j0:j1]
	if n.RMS {
		if find {
			stats[0], stats[1] = 0, vec.RMSNormStats(x, n.Eps)
		}
		vec.RMSNormApply(dst[:j1-j0], x[j0:j1], g, stats[1])
		return
	}
	if find {
		stats[0], stats[1] = vec.LayerNormStats(x, n.Eps)
	}
	vec.LayerNormApply(dst[:j1-j0], x[j0:j1], g, data(p.Beta)[j0:j1], stats[0], stats[1])
}

func (d *cpu) LinearInputGrad(dx, dy, w *Tensor, x Input, acc bool) {
	t, in, out := dy.Rows, w.Cols, w.Rows
	want("LinearInputGrad", "dy", dy, t, out)
	want("LinearInputGrad", "dx", dx, t, in)
	want("LinearInputGrad", "x", x.X, t, in)
	packed, free := d.packed(w, false)
	defer free()
	a := gemm.Matrix{Data: data(dy), Stride: out}
	c := written(dx)
	switch {
	case x.Norm != nil:
		d.normInputGrad(dx, a, packed, x, acc)
	case x.Act != Identity && acc:
		gemm.MulPacked(d.pool, t, a, packed, nil, 0, false, false, func(k gemm.Block) {
			for i := k.I0; i < k.I1; i++ {
				g := k.Row(i)
				vec.ActGrad(g, g, row(x.X, i)[k.J0:k.J1], x.Act)
				to := row(dx, i)[k.J0:k.J1]
				vec.Add(to, to, g)
			}
		})
	case x.Act != Identity:
		gemm.MulPacked(d.pool, t, a, packed, c, in, false, false, func(k gemm.Block) {
			for i := k.I0; i < k.I1; i++ {
				g := k.Row(i)
				vec.ActGrad(g, g, row(x.X, i)[k.J0:k.J1], x.Act)
			}
		})
	default:
		gemm.MulPacked(d.pool, t, a, packed, c, in, acc, false, nil)
	}
}

// wholeRows is the size of a packed weight, in floats, up to which the
// gradient of a norm is computed while its rows are in cache: a larger weight
// would be read anew for every block of rows.
const wholeRows = 1 << 20

// normInputGrad is LinearInputGrad through a norm: dh = dy w goes through the
// norm's gradient row by row. Each block of rows sums into vectors of its own,
// which are added in the order of the blocks.
func (d *cpu) normInputGrad(dx *Tensor, dy gemm.Matrix, packed *gemm.Packed, x Input, acc bool) {
	check("LinearInputGrad", x)
	t, in := x.X.Rows, x.X.Cols
	size := gemm.RowBlock(t, d.pool.Workers())
	blocks := (t + size - 1) / size
	parts := len(x.Norm.Parts)
	buf := sumBuffers.Get().(*sumBuffer)
	buf.reset(blocks*parts*2, in)
	rows := func(index, i0, i1 int, dh func(i int) []float32) {
		part := 0
		start := 0
		for _, p := range x.Norm.Parts {
			for i := max(start, i0); i < min(start+p.Rows, i1); i++ {
				s, at := row(x.Norm.Stats, i), (index*parts+part)*2
				if x.Norm.RMS {
					vec.RMSNormGrad(row(dx, i), buf.at(at), dh(i), row(x.X, i), data(p.Gamma), s[1], acc)
				} else {
					vec.LayerNormGrad(row(dx, i), buf.at(at), buf.at(at+1), dh(i), row(x.X, i), data(p.Gamma), s[0], s[1], acc)
				}
			}
			start += p.Rows
			part++
		}
	}
	if packed.Len() <= wholeRows {
		gemm.MulPacked(d.pool, t, dy, packed, nil, 0, false, true, func(k gemm.Block) {
			rows(k.Index, k.I0, k.I1, k.Row)
		})
	} else {
		dh := d.New(t, in)
		gemm.MulPacked(d.pool, t, dy, packed, data(dh), in, false, false, nil)
		d.pool.For(blocks, func(_, i int) {
			rows(i, i*size, min((i+1)*size, t), func(i int) []float32 { return row(dh, i) })
		})
		d.Free(dh)
	}
	for i := range blocks {
		for q, p := range x.Norm.Parts {
			at := (i*parts + q) * 2
			if p.DGamma != nil {
				vec.Axpy(1, buf.at(at), written(p.DGamma))
			}
			if p.DBeta != nil {
				vec.Axpy(1, buf.at(at+1), written(p.DBeta))
			}
		}
	}
	sumBuffers.Put(buf)
}

func (d *cpu) LinearWeightGrad(dw, db, dy *Tensor, x Input, accW, accB bool) {
	t, in, out := x.X.Rows, x.X.Cols, dy.Cols
	want("LinearWeightGrad", "dy", dy, t, out)
	var sum func(part, k0, k1 int)
	var buf *sumBuffer
	if db != nil {
		want("LinearWeightGrad", "db", db, 1, out)
		buf = sumBuffers.Get().(*sumBuffer)
		buf.reset(gemm.Parts, out)
		sum = func(part, k0, k1 int) {
			vec.SumRows(buf.at(part), data(dy)[k0*out:k1*out], k1-k0, out)
		}
	}
	if dw != nil {
		want("LinearWeightGrad", "dw", dw, out, in)
		gemm.MulDeep(d.pool, out, in, t, gemm.Matrix{Data: data(dy), Stride: out, Trans: true},
			d.operand("LinearWeightGrad", x, false), written(dw), in, accW, sum)
	} else {
		sum(0, 0, t)
	}
	if db == nil {
		return
	}
	g := written(db)
	if !accB {
		clear(g)
	}
	for i := range gemm.Parts {
		vec.Axpy(1, buf.at(i), g)
	}
	sumBuffers.Put(buf)
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
		written(c), n, acc, nil)
}
