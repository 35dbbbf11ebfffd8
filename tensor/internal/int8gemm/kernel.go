package int8gemm

import (
	"math"
	"unsafe"
)

// The shape of the kernel's work: slabs of six rows of activations, panels of
// 16 rows of weights, inner indexes in pairs, four pairs at a time.
const (
	slab   = 6
	width  = 16
	unroll = 8
)

// kernel is what the driver is made of.
type kernel struct {
	name string
	// panel is panelGo.
	panel func(m, k int, a *int16, lda int, b *int8, sx, sw, y *float32, ldy int)
	// absMax is absMaxGo, round is roundGo, both for n a multiple of 16.
	absMax func(n int, x *float32) uint32
	round  func(n int, x *float32, scale float32, q *int16)
}

var generic = kernel{name: "go", panel: panelGo, absMax: absMaxGo, round: roundGo}

// use is the kernel of this machine.
var use = available()[0]

// Kernel names the instruction set in use: "avx2" or "go".
func Kernel() string { return use.name }

// panelGo multiplies m rows of activations with a panel of weights, for k a
// multiple of unroll. For i < m and j < width,
//
//	y[i*ldy+j] = sum over p < k of a[i*lda+p] * b[p/2*2*width+2*j+p%2], times sx[i], times sw[j]
//
// The sum is exact, and it is rounded to a float32 once before it is scaled.
func panelGo(m, k int, a *int16, lda int, b *int8, sx, sw, y *float32, ldy int) {
	if m == 0 {
		return
	}
	as, bs := unsafe.Slice(a, (m-1)*lda+k), unsafe.Slice(b, k*width)
	xs, ws := unsafe.Slice(sx, m), unsafe.Slice(sw, width)
	ys := unsafe.Slice(y, (m-1)*ldy+width)
	for i := range m {
		var sum [width]int32
		row := as[i*lda : i*lda+k]
		for p := 0; p < k; p += 2 {
			a0, a1 := int32(row[p]), int32(row[p+1])
			pairs := bs[p*width : (p+2)*width]
			for j := range sum {
				sum[j] += a0*int32(pairs[2*j]) + a1*int32(pairs[2*j+1])
			}
		}
		for j, v := range sum {
			ys[i*ldy+j] = float32(v) * xs[i] * ws[j]
		}
	}
}

// absMaxGo returns the bits of the largest of |x[i]|, i < n, with infinities
// and then NaNs above all others; 0 for no elements.
func absMaxGo(n int, x *float32) uint32 {
	var most uint32
	for _, v := range unsafe.Slice(x, n) {
		most = max(most, math.Float32bits(v)&^(1<<31))
	}
	return most
}

// roundGo writes q[i] = x[i]*scale, rounded to the nearest integer, halves to
// the even one, for i < n. The products must be within int16.
func roundGo(n int, x *float32, scale float32, q *int16) {
	qs := unsafe.Slice(q, n)
	for i, v := range unsafe.Slice(x, n) {
		qs[i] = int16(math.RoundToEven(float64(v * scale)))
	}
}
