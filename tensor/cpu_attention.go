package tensor

import (
	"fmt"
	"math"
	"sync"

	"github.com/onetrunk/onetrunk/tensor/internal/gemm"
	"github.com/onetrunk/onetrunk/tensor/internal/vec"
)

// attentionScratch is what one worker needs for one head of one span.
type attentionScratch struct {
	p, dp []float32 // [n, n] probabilities and their gradient
}

var attentionScratches = sync.Pool{New: func() any { return &attentionScratch{} }}

// square returns buf as n*n values, grown as needed.
func square(buf *[]float32, n int) []float32 {
	if cap(*buf) < n*n {
		*buf = make([]float32, n*n)
	}
	return (*buf)[:n*n]
}

// heads calls f for every head of every span, on all workers.
func (d *cpu) heads(spans []Span, heads int, f func(s *attentionScratch, span Span, head int)) {
	d.pool.For(len(spans)*heads, func(_, i int) {
		s := attentionScratches.Get().(*attentionScratch)
		f(s, spans[i/heads], i%heads)
		attentionScratches.Put(s)
	})
}

// qkvViews returns the queries, keys and values of one head of one span, each
// [span.Len, D/heads] within rows of 3D.
func qkvViews(qkv *Tensor, span Span, head, heads int) (q, k, v gemm.Matrix, scale float32) {
	dim := qkv.Cols / 3
	hd := dim / heads
	x := data(qkv)[span.Start*qkv.Cols:]
	at := func(part int) gemm.Matrix {
		if span.Len == 0 {
			return gemm.Matrix{Stride: qkv.Cols}
		}
		return gemm.Matrix{Data: x[part*dim+head*hd:], Stride: qkv.Cols}
	}
	return at(0), at(1), at(2), float32(1 / math.Sqrt(float64(hd)))
}

func transposed(m gemm.Matrix) gemm.Matrix {
	m.Trans = !m.Trans
	return m
}

func checkAttention(op string, y, lse, qkv *Tensor, spans []Span, heads int) (headDim int) {
	if heads <= 0 || qkv.Cols%(3*heads) != 0 {
		panic(fmt.Sprintf("tensor: %s: qkv %v does not divide into 3 x %d heads", op, qkv, heads))
	}
	want(op, "y", y, qkv.Rows, qkv.Cols/3)
	want(op, "lse", lse, qkv.Rows, heads)
	for _, s := range spans {
		if s.Start < 0 || s.Len < 0 || s.Start+s.Len > qkv.Rows {
			panic(fmt.Sprintf("tensor: %s: span %+v of %d rows", op, s, qkv.Rows))
		}
	}
	return qkv.Cols / 3 / heads
}

func (d *cpu) Attention(y, lse, qkv *Tensor, spans []Span, heads int) {
	hd := checkAttention("Attention", y, lse, qkv, spans, heads)
	d.heads(spans, heads, func(s *attentionScratch, span Span, head int) {
		n := span.Len
		if n == 0 {
			return
		}
		q, k, v, scale := qkvViews(qkv, span, head, heads)
		p := square(&s.p, n)
		gemm.Small(n, n, hd, q, transposed(k), p, n, false)
		for i := range n {
			seen := n
			if span.Causal {
				seen = i + 1
			}
			row(lse, span.Start+i)[head] = vec.Softmax(p[i*n:i*n+seen], scale)
			clear(p[i*n+seen : (i+1)*n])
		}
		out := data(y)[span.Start*y.Cols+head*hd:]
		gemm.Small(n, hd, n, gemm.Matrix{Data: p, Stride: n}, v, out, y.Cols, false)
	})
}

func (d *cpu) AttentionGrad(dqkv, dy, lse, qkv *Tensor, spans []Span, heads int) {
	hd := checkAttention("AttentionGrad", dy, lse, qkv, spans, heads)
	want("AttentionGrad", "dqkv", dqkv, qkv.Rows, qkv.Cols)
	d.heads(spans, heads, func(s *attentionScratch, span Span, head int) {
		n := span.Len
		if n == 0 {
			return
		}
		q, k, v, scale := qkvViews(qkv, span, head, heads)
		dq, dk, dv, _ := qkvViews(dqkv, span, head, heads)
		dout := gemm.Matrix{Data: data(dy)[span.Start*dy.Cols+head*hd:], Stride: dy.Cols}
		p, dp := square(&s.p, n), square(&s.dp, n)
		pm, dpm := gemm.Matrix{Data: p, Stride: n}, gemm.Matrix{Data: dp, Stride: n}

		gemm.Small(n, n, hd, q, transposed(k), p, n, false)
		gemm.Small(n, n, hd, dout, transposed(v), dp, n, false)
		for i := range n {
			seen := n
			if span.Causal {
				seen = i + 1
			}
			pi, dpi := p[i*n:i*n+seen], dp[i*n:i*n+seen]
			vec.ExpMinus(pi, pi, scale, row(lse, span.Start+i)[head])
			vec.SoftmaxGrad(dpi, pi, dpi, scale)
			clear(p[i*n+seen : (i+1)*n])
			clear(dp[i*n+seen : (i+1)*n])
		}
		gemm.Small(n, hd, n, transposed(pm), dout, dv.Data, dv.Stride, false)
		gemm.Small(n, hd, n, dpm, k, dq.Data, dq.Stride, false)
		gemm.Small(n, hd, n, transposed(dpm), q, dk.Data, dk.Stride, false)
	})
}
