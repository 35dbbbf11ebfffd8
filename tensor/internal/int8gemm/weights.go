package int8gemm

import (
	"fmt"
	"math"
)

// most is the largest magnitude of an int8 weight.
const most = 127

// MaxInner is the largest inner size: beyond it activations would be coarser
// than weights.
const MaxInner = math.MaxInt32 / (most * most)

// levels returns the largest magnitude that activations may have so that no
// sum of k products can leave an int32.
func levels(k int) int {
	if k > MaxInner {
		panic(fmt.Sprintf("int8gemm: an inner size of %d is beyond %d", k, MaxInner))
	}
	return min(math.MaxInt32/(most*max(k, 1)), math.MaxInt16)
}

// padded returns k rounded up to what the kernel takes.
func padded(k int) int { return max((k+unroll-1)/unroll, 1) * unroll }

// Weights is a matrix [O, I] in int8, packed for the kernel: panels of width
// rows, whose inner indexes are in pairs; element (j, p) of a panel lies at
// p/2*2*width + 2*j + p%2. Rows beyond O and inner indexes beyond I are zeros.
type Weights struct {
	out, in int
	depth   int // I with its zeros
	data    []int8
	scale   []float32 // a row's weights are scale * data
}

// Quantize makes weights of w [o, i]. A row's scale is its largest magnitude
// over 127. A row with a NaN or an infinity makes NaN of all its products. It
// panics when w is too short or i is beyond MaxInner.
func Quantize(w []float32, o, i int) *Weights {
	levels(i)
	panels, depth := (o+width-1)/width, padded(i)
	out := &Weights{
		out: o, in: i, depth: depth,
		data: make([]int8, max(panels*width*depth, 1)), scale: make([]float32, panels*width),
	}
	row := make([]int16, depth)
	for j := range o {
		out.scale[j] = quantize(row, w[j*i:(j+1)*i], most)
		panel := out.data[j/width*width*depth : (j/width+1)*width*depth]
		at := 2 * (j % width)
		for p := 0; p < depth; p += 2 {
			panel[p*width+at], panel[p*width+at+1] = int8(row[p]), int8(row[p+1])
		}
	}
	return out
}

// Out returns O, the number of columns of a product.
func (w *Weights) Out() int { return w.out }

// In returns I, the inner size.
func (w *Weights) In() int { return w.in }

// Bytes returns the memory that the weights hold.
func (w *Weights) Bytes() int { return len(w.data) + 4*len(w.scale) }

// Row writes row j to dst [I] as it is in products.
func (w *Weights) Row(j int, dst []float32) {
	panel := w.data[j/width*width*w.depth:]
	for p := range dst[:w.in] {
		dst[p] = float32(panel[p/2*2*width+2*(j%width)+p%2]) * w.scale[j]
	}
}
