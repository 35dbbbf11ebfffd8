// Package gemm multiplies float32 matrices.
//
// B is packed into panels as wide as a micro-kernel's tile, a block of rows of
// A is copied together, and the kernel multiplies the block with one panel
// after the other, each tile of C in registers (Goto and van de Geijn 2008).
// What an operand holds may be computed while it is packed or copied, and what
// is to be done to C is done to a block of it while it is in cache: layer
// norms, activations, biases and residuals need no pass of their own.
//
// The kernels are generated assembly; each has a twin in plain Go.
package gemm

import (
	"sync"

	"github.com/onetrunk/onetrunk/internal/hugepage"
	"github.com/onetrunk/onetrunk/internal/par"
)

//go:generate sh -c "cd gen && go run . -out ../gemm_amd64.s -stubs ../stubs_amd64.go -pkg gemm"

// Matrix is an operand. Its rows are a view of Data, element (i, j) being
// Data[i*Stride+j], or what Load writes. Trans says that the operand is the
// transpose of those rows.
type Matrix struct {
	Data   []float32
	Stride int
	Trans  bool
	// Load, if not nil, stands for Data: it writes rows [i0, i1) and columns
	// [j0, j1) to dst, rows stride apart. It is called from all workers.
	Load func(dst []float32, stride, i0, i1, j0, j1 int)
}

// T returns the transposed operand.
func (m Matrix) T() Matrix {
	m.Trans = !m.Trans
	return m
}

// Block is rows [I0, I1) and columns [J0, J1) of C with their final value:
// element (i, j) of it is C[(i-I0)*Stride+j-J0]. Index numbers the blocks of
// rows.
type Block struct {
	Index, I0, I1, J0, J1 int
	C                     []float32
	Stride                int
}

// Row returns a row of the block, I0 <= i < I1.
func (b *Block) Row(i int) []float32 {
	at := (i - b.I0) * b.Stride
	return b.C[at : at+b.J1-b.J0]
}

// Done is called for each block of C when it has its final value and is still
// in cache.
type Done func(b Block)

const (
	depth   = 256 // rows of B in a panel: a panel stays in the first cache
	height  = 96  // rows of A in a block: a block stays in the second
	breadth = 256 // columns of C that product works on at a time, so that they too stay there
	// strip is the number of floats of B that all rows go by before the next.
	strip = 1 << 20
	// alone is the work, in multiplications, that is not worth a second worker.
	alone = 1 << 17
)

// chunk returns the number of inner indexes that are multiplied at a time:
// even pieces of k of at most depth.
func chunk(k int) int {
	pieces := max((k+depth-1)/depth, 1)
	return max(((k+pieces-1)/pieces+7)/8*8, 8)
}

// scratch is what one worker needs.
type scratch struct {
	a, b, rows []float32 // a block of A, panels of B, rows on their way into panels
	tile       []float32 // [height, nr], for what is narrower than a panel
	sums       []float32 // the parts of a long product
	c, loaded  []float32 // a block of C that nobody keeps; an operand that is loaded once
}

var scratches = sync.Pool{New: func() any { return &scratch{} }}

func grow(s *[]float32, n int) []float32 {
	if cap(*s) < n {
		*s = hugepage.Floats(n)
	}
	return (*s)[:n]
}

// Mul computes C = op(A) op(B), or C += with acc, for C [m, n] with rows ldc
// apart and an inner size of k, on the pool's workers. done, if not nil, is
// called once for every element of C. The order in which an element is summed
// depends on the shapes alone.
func Mul(p *par.Pool, m, n, k int, a, b Matrix, c []float32, ldc int, acc bool, done Done) {
	if m == 0 || n == 0 {
		return
	}
	if done == nil && deep(m, n, k) {
		mulDeep(p, m, n, k, a, b, c, ldc, acc, nil)
		return
	}
	packed := packs.Get().(*Packed)
	packed.Pack(p, n, k, b)
	MulPacked(p, m, a, packed, c, ldc, acc, false, done)
	packs.Put(packed)
}

var packs = sync.Pool{New: func() any { return &Packed{} }}

// MulPacked is Mul with an operand B [k, n] that is packed. With whole, done
// is called for whole rows of C. Without c, C is seen by done alone and lasts
// as long as its call.
func MulPacked(p *par.Pool, m int, a Matrix, b *Packed, c []float32, ldc int, acc, whole bool, done Done) {
	nr := use.nr
	if m == 0 || b.n == 0 {
		return
	}
	workers := p.Workers()
	if m*b.n*b.k <= alone {
		workers = 1
	}
	panels := (b.n + nr - 1) / nr
	rows := RowBlock(m, workers)
	blocks := (m + rows - 1) / rows
	// The part of B that serves a strip of columns stays in the third cache
	// while the rows go by. Where there are few rows, there are more strips.
	wide := max(strip/max(b.k, 1)/nr, 8)
	if workers > 1 && blocks < 4*workers {
		rows = min(height, (m+use.mr-1)/use.mr*use.mr)
		blocks = (m + rows - 1) / rows
		wide = min(wide, max(panels*blocks/(6*workers), 1))
	}
	if whole {
		wide = panels
		rows = RowBlock(m, p.Workers())
		blocks = (m + rows - 1) / rows
	}
	strips := (panels + wide - 1) / wide
	if strips > 1 && a.Load != nil {
		// What is loaded is computed once.
		s := scratches.Get().(*scratch)
		defer scratches.Put(s)
		a = s.materialise(p, workers, a, m, b.k)
	}
	each(p, workers, strips*blocks, func(i int) {
		p0, i0 := i/blocks*wide, i%blocks*rows
		s := scratches.Get().(*scratch)
		s.rowBlock(a, b, i%blocks, i0, min(i0+rows, m), p0, min(p0+wide, panels), c, ldc, acc, whole, done)
		scratches.Put(s)
	})
}

// RowBlock returns the number of rows in a block of MulPacked with whole rows
// on a number of workers: low enough that all workers end at about the same
// time.
func RowBlock(m, workers int) int {
	rows := min(height, max(par.Split(m, 6*workers, 1), 4*use.mr))
	return (rows + use.mr - 1) / use.mr * use.mr
}

// materialise computes the rows [m, k] of an operand A, as A's Load gives
// them.
func (s *scratch) materialise(p *par.Pool, workers int, a Matrix, m, k int) Matrix {
	rows, cols := m, k
	if a.Trans {
		rows, cols = k, m
	}
	x := grow(&s.loaded, rows*cols)
	const some = 16
	each(p, workers, (rows+some-1)/some, func(i int) {
		a.Load(x[i*some*cols:], cols, i*some, min((i+1)*some, rows), 0, cols)
	})
	return Matrix{Data: x, Stride: cols, Trans: a.Trans}
}

// each runs f for [0, n) on the pool, or here when one worker is enough.
func each(p *par.Pool, workers, n int, f func(i int)) {
	if workers == 1 {
		for i := range n {
			f(i)
		}
		return
	}
	p.For(n, func(_, i int) { f(i) })
}

// rowBlock computes rows [i0, i1) and panels [p0, p1) of C.
func (s *scratch) rowBlock(a Matrix, b *Packed, index, i0, i1, p0, p1 int, c []float32, ldc int, acc, whole bool, done Done) {
	nr, step := use.nr, chunk(b.k)
	const group = 8 // panels of C that done finds in cache
	first := p0 * nr
	if c == nil {
		ldc = (p1 - p0) * nr
		c = grow(&s.c, (i1-i0)*ldc)
	} else {
		c = c[i0*ldc+first:]
	}
	for k0 := 0; k0 == 0 || k0 < b.k; k0 += step {
		kc := min(step, b.k-k0)
		block := s.block(a, i0, i1, k0, kc)
		last := done != nil && k0+kc >= b.k
		for q := p0; q < p1; q++ {
			j1 := min((q+1)*nr, b.n)
			s.multiply(block, b.panel(k0, kc, q), c[q*nr-first:], ldc, j1-q*nr, acc || k0 > 0)
			if last && !whole && ((q-p0)%group == group-1 || q == p1-1) {
				j0 := (q - (q-p0)%group) * nr
				done(Block{index, i0, i1, j0, j1, c[j0-first:], ldc})
			}
		}
	}
	if done != nil && whole {
		done(Block{index, i0, i1, 0, b.n, c, ldc})
	}
}

// Small computes C = op(A) op(B), or C += with acc, on the calling goroutine.
func Small(m, n, k int, a, b Matrix, c []float32, ldc int, acc bool) {
	if m == 0 || n == 0 {
		return
	}
	s := scratches.Get().(*scratch)
	s.product(m, n, 0, k, a, b, c, ldc, acc, nil)
	scratches.Put(s)
}

// product is Small over the inner indexes [from, to). before, if not nil, is
// called with each piece of them first.
func (s *scratch) product(m, n, from, to int, a, b Matrix, c []float32, ldc int, acc bool, before func(k0, k1 int)) {
	nr, step := use.nr, chunk(to-from)
	for k0 := from; k0 == from || k0 < to; k0 += step {
		kc := min(step, to-k0)
		if before != nil {
			before(k0, k0+kc)
		}
		for j0 := 0; j0 < n; j0 += breadth {
			cols := min(breadth, n-j0)
			panels := (cols + nr - 1) / nr
			packed := grow(&s.b, panels*nr*kc)
			s.packB(b, k0, kc, j0, cols, packed)
			for i0 := 0; i0 < m; i0 += height {
				block := s.block(a, i0, min(i0+height, m), k0, kc)
				for q := range panels {
					s.multiply(block, packed[q*nr*kc:(q+1)*nr*kc], c[i0*ldc+j0+q*nr:], ldc, min(nr, cols-q*nr), acc || k0 > from)
				}
			}
		}
	}
}
