package int8gemm

import (
	"math"

	"github.com/onetrunk/onetrunk/internal/par"
)

// Rows is a matrix x [m, I] of activations: a view of Data, element (i, p)
// being Data[i*Stride+p], or what Load writes.
type Rows struct {
	Data   []float32
	Stride int
	// Load, if not nil, stands for Data: it writes rows [i0, i1) of x to dst
	// [i1-i0, I]. It is called once for every row, from all workers.
	Load func(i0, i1 int, dst []float32)
}

// Activations is a matrix [m, I] in integers: row i is scale[i] * data[i].
// The zero value is ready for Quantize.
type Activations struct {
	m, k  int
	depth int // I with zeros up to a multiple of unroll
	// stride is the distance of rows, an odd number of 32 bytes: were it a
	// multiple of a large power of two, the rows of a slab would be in each
	// other's way in the first cache, at 2048 bytes to 0.6 of the speed.
	stride int
	data   []int16
	scale  []float32
}

// loads is the most rows that are loaded at a time: as floats they stay in the
// second cache.
const loads = 16

// Quantize makes a the matrix x [m, k] on the pool's workers, in the memory of
// what it was before. It panics when k is beyond MaxInner.
func (a *Activations) Quantize(p *par.Pool, m, k int, x Rows) {
	n := levels(k)
	a.m, a.k = m, k
	a.depth = padded(k)
	a.stride = (a.depth+15)/32*32 + 16
	grow(&a.data, m*a.stride)
	grow(&a.scale, m)
	workers := p.Workers()
	if m*k <= 1<<14 {
		workers = 1
	}
	rows := min(par.Split(m, 4*workers, 4), loads)
	each(p, workers, (m+rows-1)/rows, func(piece int) {
		i0, i1 := piece*rows, min((piece+1)*rows, m)
		s := scratches.Get().(*scratch)
		data, stride := x.Data, x.Stride
		first := i0
		if x.Load != nil {
			data, stride, first = grow(&s.rows, (i1-i0)*k), k, 0
			x.Load(i0, i1, data)
		}
		for i := i0; i < i1; i++ {
			from := (first + i - i0) * stride
			q := a.data[i*a.stride : i*a.stride+a.depth]
			a.scale[i] = quantize(q, data[from:from+k], n)
		}
		scratches.Put(s)
	})
}

// tiny is the magnitude below which a row counts as zeros: its scale could not
// be inverted.
const tiny = 0x1p-100

// quantize writes q[p] = x[p]/scale, rounded, with zeros beyond x, and returns
// the scale max|x|/levels. A row of x with a NaN or an infinity is zeros with
// NaN as its scale.
func quantize(q []int16, x []float32, levels int) (scale float32) {
	n := len(x)
	most := math.Float32frombits(absMax(x))
	switch {
	case most < tiny:
		clear(q)
		return 0
	case !(most <= math.MaxFloat32):
		clear(q)
		return float32(math.NaN())
	}
	inverse := float32(levels) / most
	whole := n &^ 15
	if whole > 0 {
		use.round(whole, &x[0], inverse, &q[0])
	}
	if whole < n {
		roundGo(n-whole, &x[whole], inverse, &q[whole])
	}
	clear(q[n:])
	return most / float32(levels)
}

// absMax returns the bits of the largest magnitude in x.
func absMax(x []float32) uint32 {
	whole := len(x) &^ 15
	var most uint32
	if whole > 0 {
		most = use.absMax(whole, &x[0])
	}
	if whole < len(x) {
		most = max(most, absMaxGo(len(x)-whole, &x[whole]))
	}
	return most
}
