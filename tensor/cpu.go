package tensor

import (
	"fmt"
	"math/bits"
	"sync"

	"github.com/onetrunk/onetrunk/internal/hugepage"
	"github.com/onetrunk/onetrunk/internal/par"
	"github.com/onetrunk/onetrunk/tensor/internal/gemm"
	"github.com/onetrunk/onetrunk/tensor/internal/vec"
)

// cpu is the device of the host's processor.
type cpu struct {
	pool *par.Pool

	mu   sync.Mutex
	free [128][]*Tensor // by size class of the memory
}

// CPU returns a device that computes on the host with the given number of
// threads; 0 or less takes one for each processor.
func CPU(threads int) Device {
	return &cpu{pool: par.New(par.Threads(threads))}
}

func (d *cpu) String() string {
	return fmt.Sprintf("cpu (%s, %d threads)", gemm.Kernel(), d.pool.Workers())
}

// sizeClass returns the class of memory that serves n floats and the floats
// that it holds: four sizes an octave, so that at most a quarter is unused.
func sizeClass(n int) (class, size int) {
	if n <= 256 {
		return 0, 256
	}
	shift := bits.Len(uint(n-1)) - 3
	quarter := (n-1)>>shift + 1 // 5..8 quarters of the lower power of two
	return (shift-6)*4 + quarter - 4, quarter << shift
}

func (d *cpu) New(rows, cols int) *Tensor {
	class, size := sizeClass(rows * cols)
	if class < len(d.free) {
		d.mu.Lock()
		if l := len(d.free[class]); l > 0 {
			t := d.free[class][l-1]
			d.free[class] = d.free[class][:l-1]
			d.mu.Unlock()
			t.Rows, t.Cols = rows, cols
			return t
		}
		d.mu.Unlock()
	}
	return &Tensor{Rows: rows, Cols: cols, Mem: &hostMemory{f: hugepage.Floats(size)}}
}

func (d *cpu) NewLasting(rows, cols int) *Tensor {
	return &Tensor{Rows: rows, Cols: cols, Mem: &hostMemory{f: hugepage.Floats(rows * cols), held: true}}
}

func (d *cpu) Hold(rows, cols int, values []float32, owner any) *Tensor {
	if len(values) != rows*cols {
		panic(fmt.Sprintf("tensor: Hold of %d values as [%d, %d]", len(values), rows, cols))
	}
	return &Tensor{Rows: rows, Cols: cols, Mem: &hostMemory{f: values, held: true, owner: owner}}
}

func (d *cpu) Free(t *Tensor) {
	if m, ok := t.Mem.(*hostMemory); ok && m.held {
		return // not of a size to be used again
	}
	class, size := sizeClass(t.Len())
	m, ok := t.Mem.(*hostMemory)
	if !ok || t.Off != 0 || len(m.f) != size {
		panic("tensor: Free of a tensor that New did not return")
	}
	if class < len(d.free) {
		d.mu.Lock()
		m.views = nil
		d.free[class] = append(d.free[class], t)
		d.mu.Unlock()
	}
}

func (d *cpu) Write(t *Tensor, src ...[]float32) {
	rest, n := written(t), 0
	for _, piece := range src {
		n += len(piece)
		rest = rest[copy(rest, piece):]
	}
	if n != t.Len() {
		panic(fmt.Sprintf("tensor: Write of %d values to %v", n, t))
	}
}

func (d *cpu) Read(dst []float32, t *Tensor) {
	if len(dst) != t.Len() {
		panic(fmt.Sprintf("tensor: Read of %v into %d values", t, len(dst)))
	}
	copy(dst, data(t))
}

// chunks calls f for even pieces [lo, hi) of n elements, on all workers.
func (d *cpu) chunks(n int, f func(lo, hi int)) {
	size := par.Split(n, 4*d.pool.Workers(), 8192)
	d.pool.For((n+size-1)/size, func(_, i int) {
		f(i*size, min((i+1)*size, n))
	})
}

// rows calls f for even pieces [lo, hi) of t's rows, on all workers.
func (d *cpu) rows(t *Tensor, f func(lo, hi int)) {
	size := par.Split(t.Rows, 4*d.pool.Workers(), 8192/max(t.Cols, 1))
	d.pool.For((t.Rows+size-1)/size, func(_, i int) {
		f(i*size, min((i+1)*size, t.Rows))
	})
}

func (d *cpu) Copy(dst, src *Tensor) {
	want("Copy", "dst", dst, src.Rows, src.Cols)
	x, y := data(src), written(dst)
	d.chunks(len(x), func(lo, hi int) { copy(y[lo:hi], x[lo:hi]) })
}

func (d *cpu) Fill(t *Tensor, v float32) {
	x := written(t)
	if v == 0 {
		clear(x)
		return
	}
	for i := range x {
		x[i] = v
	}
}

func (d *cpu) Scale(t *Tensor, alpha float32) {
	x := written(t)
	d.chunks(len(x), func(lo, hi int) { vec.Scale(alpha, x[lo:hi]) })
}

func (d *cpu) Axpy(y *Tensor, alpha float32, x *Tensor) {
	want("Axpy", "y", y, x.Rows, x.Cols)
	a, b := data(x), written(y)
	d.chunks(len(a), func(lo, hi int) { vec.Axpy(alpha, a[lo:hi], b[lo:hi]) })
}

func (d *cpu) Clamp(t *Tensor, lo, hi float32) {
	x := written(t)
	for i := range x {
		x[i] = min(max(x[i], lo), hi)
	}
}
