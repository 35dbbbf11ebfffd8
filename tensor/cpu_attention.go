package tensor

import (
	"fmt"
	"math"
	"sync"

	"github.com/onetrunk/onetrunk/tensor/internal/gemm"
	"github.com/onetrunk/onetrunk/tensor/internal/vec"
)

// Attention goes by blocks of queries and of keys, so that what it holds does
// not grow with the square of a span: the softmax over several blocks of keys
// is kept by its maximum and its sum (Dao et al. 2022, algorithm 1), the
// gradients compute the probabilities again.
const (
	queryBlock = 96
	keyBlock   = 256
	// keyStride is the distance of rows of probabilities: with a power of two
	// they would be in each other's way in the first cache.
	keyStride = keyBlock + 8
)

// attentionScratch is what one worker needs.
type attentionScratch struct {
	p, dp         [queryBlock * keyStride]float32 // probabilities and their gradient
	top, sum, log [queryBlock]float32             // of the softmax so far; sum may be dy.y
	kt, v, vt, k  gemm.Panels
	dy, q         gemm.Panels
}

var attentionScratches = sync.Pool{New: func() any { return &attentionScratch{} }}

// heads calls f for every head of every span, on all workers.
func (d *cpu) heads(spans []Span, heads int, f func(s *attentionScratch, span Span, head int)) {
	d.pool.For(len(spans)*heads, func(_, i int) {
		s := attentionScratches.Get().(*attentionScratch)
		f(s, spans[i/heads], i%heads)
		attentionScratches.Put(s)
	})
}

// headView returns one head's columns of a span's rows, [span.Len, hd] from
// column at on.
func headView(x *Tensor, span Span, at int) gemm.Matrix {
	if span.Len == 0 {
		return gemm.Matrix{Stride: x.Cols}
	}
	return gemm.Matrix{Data: data(x)[span.Start*x.Cols+at:], Stride: x.Cols}
}

// queryView is headView of a matrix that has a row for each query.
func queryView(x *Tensor, span Span, at int) gemm.Matrix {
	span.Start -= span.Skip
	return headView(x, span, at)
}

// from returns the rows of a view from i on.
func from(m gemm.Matrix, i int) gemm.Matrix {
	m.Data = m.Data[i*m.Stride:]
	return m
}

func checkAttention(op string, y, lse, qkv *Tensor, spans []Span, heads int) (headDim int) {
	if heads <= 0 || qkv.Cols%(3*heads) != 0 {
		panic(fmt.Sprintf("tensor: %s: qkv %v does not divide into 3 x %d heads", op, qkv, heads))
	}
	want(op, "lse", lse, y.Rows, heads)
	want(op, "y", y, y.Rows, qkv.Cols/3)
	for _, s := range spans {
		first, last := s.Start-s.Skip, s.Start+s.Len-1-s.Skip
		if s.One {
			first, last = s.Start+s.Query-s.Skip, s.Start+s.Query-s.Skip
		}
		if s.Start < 0 || s.Len < 0 || s.Start+s.Len > qkv.Rows || s.Query < 0 || s.One && (s.Query > s.Len || s.Start+s.Query >= qkv.Rows) || s.Len > 0 && (first < 0 || last >= y.Rows) {
			panic(fmt.Sprintf("tensor: %s: span %+v of %d rows, with %d queries", op, s, qkv.Rows, y.Rows))
		}
	}
	return qkv.Cols / 3 / heads
}

// seen returns how many of the keys [k0, k1) query i of a span attends to.
func seen(span Span, i, k0, k1 int) int {
	if span.Causal {
		return max(min(i+1, k1)-k0, 0)
	}
	return k1 - k0
}

// tiles calls f for the blocks of queries [i0, i1) and keys [k0, k1) of a span
// that have to do with each other, by queries.
func tiles(span Span, f func(i0, i1, k0, k1 int)) {
	for i0 := 0; i0 < span.Len; i0 += queryBlock {
		i1 := min(i0+queryBlock, span.Len)
		for k0 := 0; k0 < seen(span, i1-1, 0, span.Len); k0 += keyBlock {
			f(i0, i1, k0, min(k0+keyBlock, seen(span, i1-1, 0, span.Len)))
		}
	}
}

func (d *cpu) Attention(y, lse, qkv *Tensor, spans []Span, heads int) {
	hd := checkAttention("Attention", y, lse, qkv, spans, heads)
	dim := qkv.Cols / 3
	scale := float32(1 / math.Sqrt(float64(hd)))
	d.heads(spans, heads, func(s *attentionScratch, span Span, head int) {
		if span.One {
			attendOne(s, y, lse, qkv, span, head, hd, scale)
			return
		}
		if span.Len == 0 {
			return
		}
		q, k, v := headView(qkv, span, head*hd), headView(qkv, span, dim+head*hd), headView(qkv, span, 2*dim+head*hd)
		out := queryView(y, span, head*hd)
		one := span.Len <= keyBlock // all keys are in one block
		if one {
			s.kt.Pack(span.Len, hd, k.T())
			s.v.Pack(hd, span.Len, v)
		}
		tiles(span, func(i0, i1, k0, k1 int) {
			n := k1 - k0
			if !one {
				s.kt.Pack(n, hd, from(k, k0).T())
				s.v.Pack(hd, n, from(v, k0))
			}
			s.kt.Mul(i1-i0, n, hd, from(q, i0), s.p[:], keyStride, false, true)
			for i := i0; i < i1; i++ {
				r := i - i0
				m := seen(span, i, k0, k1)
				p := s.p[r*keyStride : r*keyStride+n]
				top := scale * vec.Max(p[:m])
				if k0 > 0 && m == 0 {
					clear(p)
					continue
				}
				if k0 > 0 {
					top = max(top, s.top[r])
				}
				sum := vec.ExpSum(p[:m], p[:m], scale, top)
				clear(p[m:])
				if k0 > 0 {
					fade := float32(math.Exp(float64(s.top[r] - top)))
					vec.Scale(fade, out.Data[i*out.Stride:i*out.Stride+hd])
					sum += fade * s.sum[r]
				}
				s.top[r], s.sum[r] = top, sum
			}
			s.v.Mul(i1-i0, hd, n, gemm.Matrix{Data: s.p[:], Stride: keyStride}, from(out, i0).Data, out.Stride, k0 > 0, false)
			if k1 < seen(span, i1-1, 0, span.Len) {
				return
			}
			logs := s.log[:i1-i0]
			vec.Log(logs, s.sum[:i1-i0])
			for i := i0; i < i1; i++ {
				r := i - i0
				vec.Scale(1/s.sum[r], out.Data[i*out.Stride:i*out.Stride+hd])
				row(lse, span.Start+i-span.Skip)[head] = s.top[r] + logs[r]
			}
		})
	})
}

func (d *cpu) AttentionGrad(dqkv, dy, y, lse, qkv *Tensor, spans []Span, heads int) {
	hd := checkAttention("AttentionGrad", dy, lse, qkv, spans, heads)
	want("AttentionGrad", "y", y, dy.Rows, dy.Cols)
	want("AttentionGrad", "dqkv", dqkv, qkv.Rows, qkv.Cols)
	dim := qkv.Cols / 3
	scale := float32(1 / math.Sqrt(float64(hd)))
	d.heads(spans, heads, func(s *attentionScratch, span Span, head int) {
		if span.One {
			attendOneGrad(s, dqkv, dy, y, lse, qkv, span, head, hd, scale)
			return
		}
		if span.Len == 0 {
			return
		}
		q, k, v := headView(qkv, span, head*hd), headView(qkv, span, dim+head*hd), headView(qkv, span, 2*dim+head*hd)
		dq, dk, dv := headView(dqkv, span, head*hd), headView(dqkv, span, dim+head*hd), headView(dqkv, span, 2*dim+head*hd)
		out, dout := queryView(y, span, head*hd), queryView(dy, span, head*hd)
		one := span.Len <= keyBlock
		pack := func(k0, k1 int) {
			s.kt.Pack(k1-k0, hd, from(k, k0).T())
			s.vt.Pack(k1-k0, hd, from(v, k0).T())
			s.k.Pack(hd, k1-k0, from(k, k0))
		}
		if one {
			pack(0, span.Len)
		}
		written := 0 // keys whose gradients hold something
		tiles(span, func(i0, i1, k0, k1 int) {
			n := k1 - k0
			if !one {
				pack(k0, k1)
			}
			if k0 == 0 {
				s.dy.Pack(hd, i1-i0, from(dout, i0))
				s.q.Pack(hd, i1-i0, from(q, i0))
			}
			s.kt.Mul(i1-i0, n, hd, from(q, i0), s.p[:], keyStride, false, true)
			s.vt.Mul(i1-i0, n, hd, from(dout, i0), s.dp[:], keyStride, false, true)
			for i := i0; i < i1; i++ {
				r := i - i0
				if k0 == 0 {
					s.sum[r] = vec.Dot(out.Data[i*out.Stride:i*out.Stride+hd], dout.Data[i*dout.Stride:i*dout.Stride+hd])
				}
				m := seen(span, i, k0, k1)
				p, dp := s.p[r*keyStride:r*keyStride+n], s.dp[r*keyStride:r*keyStride+n]
				vec.ExpMinus(p[:m], p[:m], scale, row(lse, span.Start+i-span.Skip)[head])
				vec.SoftmaxGradAt(dp[:m], p[:m], dp[:m], scale, s.sum[r])
				clear(p[m:])
				clear(dp[m:])
			}
			// Keys that no block of queries before has seen get their first
			// gradient here.
			p, dp := gemm.Matrix{Data: s.p[:], Stride: keyStride}, gemm.Matrix{Data: s.dp[:], Stride: keyStride}
			add := func(lo, hi int, acc bool) {
				if lo < hi {
					at := func(m gemm.Matrix) gemm.Matrix { m.Data = m.Data[lo-k0:]; return m.T() }
					s.dy.Mul(hi-lo, hd, i1-i0, at(p), from(dv, lo).Data, dv.Stride, acc, false)
					s.q.Mul(hi-lo, hd, i1-i0, at(dp), from(dk, lo).Data, dk.Stride, acc, false)
				}
			}
			add(k0, min(k1, max(written, k0)), true)
			add(max(k0, min(written, k1)), k1, false)
			written = max(written, k1)
			s.k.Mul(i1-i0, hd, n, dp, from(dq, i0).Data, dq.Stride, k0 > 0, false)
		})
	})
}
