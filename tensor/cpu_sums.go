package tensor

import (
	"sync"

	"github.com/onetrunk/onetrunk/internal/par"
	"github.com/onetrunk/onetrunk/tensor/internal/vec"
)

// partialSums adds to the row vectors outs what f sums over rows [0, n): each
// piece of rows sums into vectors of its own, which are then added in the
// order of the pieces, so that the result does not depend on scheduling.
func (d *cpu) partialSums(n int, outs []*Tensor, f func(lo, hi int, sums [][]float32)) {
	cols := outs[0].Cols
	size := par.Split(n, d.pool.Workers(), max(8192/max(cols, 1), 16))
	pieces := (n + size - 1) / size
	if pieces == 0 {
		return
	}
	buf := sumBuffers.Get().(*sumBuffer)
	buf.reset(pieces*len(outs), cols)
	d.pool.For(pieces, func(_, i int) {
		f(i*size, min((i+1)*size, n), buf.sums[i*len(outs):(i+1)*len(outs)])
	})
	for i, s := range buf.sums {
		vec.Axpy(1, s, written(outs[i%len(outs)]))
	}
	sumBuffers.Put(buf)
}

var sumBuffers = sync.Pool{New: func() any { return &sumBuffer{} }}

// sumBuffer holds vectors in which pieces of work sum.
type sumBuffer struct {
	flat []float32
	sums [][]float32
}

// reset makes n vectors of zeros.
func (b *sumBuffer) reset(n, cols int) {
	if cap(b.flat) < n*cols {
		b.flat = make([]float32, n*cols)
	}
	b.flat = b.flat[:n*cols]
	clear(b.flat)
	b.sums = b.sums[:0]
	for i := range n {
		b.sums = append(b.sums, b.flat[i*cols:(i+1)*cols])
	}
}

func (b *sumBuffer) at(i int) []float32 { return b.sums[i] }
