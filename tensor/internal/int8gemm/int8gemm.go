// Package int8gemm multiplies float32 activations with int8 weights, to embed
// with a trained model.
//
// A weight matrix [O, I] becomes int8 once, each row with a scale of its own.
// A matrix of activations [m, I] becomes integers in every product, again with
// a scale a row. The sums are exact integers, so a result is the same bits
// whatever the workers do, and on every machine.
//
// Products of int8 pairs saturate on processors without a dot product
// instruction, those of int16 pairs do not and are as fast. So weights are kept
// as int8 and widened as they are read, and activations are as fine as the
// sums' 32 bits and their own 16 allow: what a product loses is what the weights
// lost.
//
// The kernels are generated assembly; each has a twin in plain Go.
package int8gemm

import (
	"sync"

	"github.com/onetrunk/onetrunk/internal/par"
)

//go:generate sh -c "cd gen && go run . -out ../int8gemm_amd64.s -stubs ../stubs_amd64.go -pkg int8gemm"

// Done is called for a block of rows [i0, i1) and columns [j0, j1) of y that
// has its final value and is still in cache.
type Done func(i0, i1, j0, j1 int)

const (
	// block is the number of activations in a block of rows: it stays in the
	// second cache while the panels of weights go by.
	block = 1 << 17
	// height is the most rows in a block.
	height = 16 * slab
	// group is the number of panels after which done is called.
	group = 8
	// alone is the work, in multiplications, that is not worth a second worker.
	alone = 1 << 18
)

// scratch is what one worker needs.
type scratch struct {
	rows []float32 // rows on their way into integers
	tile []float32 // [height, width], for what is narrower than a panel
}

var (
	scratches   = sync.Pool{New: func() any { return &scratch{} }}
	activations = sync.Pool{New: func() any { return &Activations{} }}
)

func grow[T any](s *[]T, n int) []T {
	if cap(*s) < n {
		*s = make([]T, n)
	}
	*s = (*s)[:n]
	return *s
}

// Mul computes y = x Wᵀ for x [m, I], W [O, I] and y [m, O], whose rows are ldy
// apart, on the pool's workers: element (i, j) is y[i*ldy+j]. done, if not nil,
// is called once for every element, from all workers. A row of x that holds a
// NaN or an infinity makes its row of y NaN. Mul panics when y is too short.
func Mul(p *par.Pool, m int, x Rows, w *Weights, y []float32, ldy int, done Done) {
	a := activations.Get().(*Activations)
	a.Quantize(p, m, w.in, x)
	a.Mul(p, w, y, ldy, done)
	activations.Put(a)
}

// Mul is the product of activations that are quantised, for as many weights as
// read them. It panics when the weights do not have I columns.
func (a *Activations) Mul(p *par.Pool, w *Weights, y []float32, ldy int, done Done) {
	m, n := a.m, w.out
	if a.k != w.in {
		panic("int8gemm: activations and weights differ in their inner size")
	}
	if m == 0 || n == 0 {
		return
	}
	if ldy < n || len(y) < (m-1)*ldy+n {
		panic("int8gemm: y is too short")
	}
	workers := p.Workers()
	if m*n*a.k <= alone {
		workers = 1
	}
	// Even blocks of rows, and strips of columns where there are too few blocks
	// for the workers to end at about the same time.
	rows := min(height, max(block/a.stride/slab, 1)*slab)
	rows = (par.Split(m, (m+rows-1)/rows, 1) + slab - 1) / slab * slab
	blocks := (m + rows - 1) / rows
	panels := (n + width - 1) / width
	strips := 1
	if workers > 1 {
		strips = max(min((16*workers+blocks-1)/blocks, panels/4), 1)
	}
	wide := par.Split(panels, strips, 1)
	strips = (panels + wide - 1) / wide
	each(p, workers, strips*blocks, func(i int) {
		i0, q0 := i/strips*rows, i%strips*wide
		s := scratches.Get().(*scratch)
		s.multiply(a, w, i0, min(i0+rows, m), q0, min(q0+wide, panels), y, ldy, done)
		scratches.Put(s)
	})
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

// multiply computes rows [i0, i1) and panels [q0, q1) of y.
func (s *scratch) multiply(a *Activations, w *Weights, i0, i1, q0, q1 int, y []float32, ldy int, done Done) {
	m := i1 - i0
	for q := q0; q < q1; q++ {
		j0 := q * width
		cols := min(width, w.out-j0)
		to, ld := y[i0*ldy+j0:], ldy
		if cols < width {
			to, ld = grow(&s.tile, m*width), width
		}
		use.panel(m, a.depth, &a.data[i0*a.stride], a.stride, &w.data[j0*w.depth], &a.scale[i0], &w.scale[j0], &to[0], ld)
		if cols < width {
			for r := range m {
				copy(y[(i0+r)*ldy+j0:(i0+r)*ldy+j0+cols], to[r*width:])
			}
		}
		if first := q - (q-q0)%group; done != nil && (q == q1-1 || q == first+group-1) {
			done(i0, i1, first*width, j0+cols)
		}
	}
}
