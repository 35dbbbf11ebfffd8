package tensor

import (
	"slices"
	"sync"

	"github.com/onetrunk/onetrunk/tensor/internal/gemm"
)

// hostMemory is the cpu's Memory. It is a struct behind a pointer so that
// Tensor.Mem holds it without allocating.
type hostMemory struct {
	f []float32
	// held memory is of no size class. While it has an owner, who keeps it
	// alive, it is not ours to write to.
	held  bool
	owner any
	// What stands here as a weight is packed for the product. A view that is
	// used a third time before anything is written keeps its packed form, so
	// that a tensor which serves many layers, or many batches, is not packed
	// for each. Training without sharing uses a view once in a step, or twice
	// where a block is computed again, and has no memory to spare for copies.
	mu    sync.Mutex
	views []*packedView
}

func (m *hostMemory) Len() int { return len(m.f) }

// packedView is a tensor within a memory, or its transpose, as the right side
// of a product.
type packedView struct {
	off, rows, cols int
	trans           bool
	uses            int // since it was written
	fresh           bool
	packed          gemm.Packed
}

// data returns t's elements, to be read.
func data(t *Tensor) []float32 {
	return t.Mem.(*hostMemory).f[t.Off : t.Off+t.Len()]
}

// written returns t's elements, to be written.
func written(t *Tensor) []float32 {
	m := t.Mem.(*hostMemory)
	m.forget()
	if m.owner != nil {
		m.f, m.owner = slices.Clone(m.f), nil
	}
	return m.f[t.Off : t.Off+t.Len()]
}

// forget says that the memory is about to change.
func (m *hostMemory) forget() {
	if len(m.views) == 0 {
		return
	}
	m.mu.Lock()
	for _, v := range m.views {
		v.uses, v.fresh = 0, false
	}
	m.mu.Unlock()
}

// row returns row i of t.
func row(t *Tensor, i int) []float32 {
	return t.Mem.(*hostMemory).f[t.Off+i*t.Cols : t.Off+(i+1)*t.Cols]
}

// packed returns w, or its transpose, as the right side of a product, and a
// function that gives it back.
func (d *cpu) packed(w *Tensor, trans bool) (p *gemm.Packed, free func()) {
	m := w.Mem.(*hostMemory)
	m.mu.Lock()
	defer m.mu.Unlock()
	var v *packedView
	for _, have := range m.views {
		if have.off == w.Off && have.rows == w.Rows && have.cols == w.Cols && have.trans == trans {
			v = have
		}
	}
	if v == nil {
		v = &packedView{off: w.Off, rows: w.Rows, cols: w.Cols, trans: trans}
		m.views = append(m.views, v)
	}
	n, k := w.Cols, w.Rows
	if trans {
		n, k = k, n
	}
	operand := gemm.Matrix{Data: data(w), Stride: w.Cols, Trans: trans}
	if v.fresh {
		return &v.packed, func() {}
	}
	if v.uses++; v.uses > 2 {
		v.packed.Pack(d.pool, n, k, operand)
		v.fresh = true
		return &v.packed, func() {}
	}
	once := packs.Get().(*gemm.Packed)
	once.Pack(d.pool, n, k, operand)
	return once, func() { packs.Put(once) }
}

var packs = sync.Pool{New: func() any { return &gemm.Packed{} }}
