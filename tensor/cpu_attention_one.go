package tensor

import (
	"math"

	"github.com/onetrunk/onetrunk/tensor/internal/vec"
)

// room returns n values of a worker's scratch, twice.
func (s *attentionScratch) room(n int) (p, dp []float32) {
	if n > len(s.p) {
		return make([]float32, n), make([]float32, n)
	}
	return s.p[:n], s.dp[:n]
}

// headRow returns one head's queries (0), keys (1) or values (2) of a row.
func headRow(qkv *Tensor, i, part, head, hd int) []float32 {
	at := part*qkv.Cols/3 + head*hd
	return row(qkv, i)[at : at+hd]
}

// attendOne is Attention for one head of a span with one query.
func attendOne(s *attentionScratch, y, lse, qkv *Tensor, span Span, head, hd int, scale float32) {
	n := seen(span, span.Query, 0, span.Len)
	p, _ := s.room(n)
	at := span.Start + span.Query
	q := headRow(qkv, at, 0, head, hd)
	for j := range p {
		p[j] = vec.Dot(q, headRow(qkv, span.Start+j, 1, head, hd))
	}
	top := scale * vec.Max(p)
	sum := vec.ExpSum(p, p, scale, top)
	out := row(y, at-span.Skip)[head*hd : (head+1)*hd]
	clear(out)
	for j, w := range p {
		vec.Axpy(w, headRow(qkv, span.Start+j, 2, head, hd), out)
	}
	vec.Scale(1/sum, out)
	row(lse, at-span.Skip)[head] = top + float32(math.Log(float64(sum)))
}

// attendOneGrad is AttentionGrad for one head of a span with one query.
func attendOneGrad(s *attentionScratch, dqkv, dy, y, lse, qkv *Tensor, span Span, head, hd int, scale float32) {
	n := seen(span, span.Query, 0, span.Len)
	p, dp := s.room(n)
	at := span.Start + span.Query
	q := headRow(qkv, at, 0, head, hd)
	out, dout := row(y, at-span.Skip)[head*hd:(head+1)*hd], row(dy, at-span.Skip)[head*hd:(head+1)*hd]
	for j := range p {
		p[j] = vec.Dot(q, headRow(qkv, span.Start+j, 1, head, hd))
		dp[j] = vec.Dot(dout, headRow(qkv, span.Start+j, 2, head, hd))
	}
	vec.ExpMinus(p, p, scale, row(lse, at-span.Skip)[head])
	vec.SoftmaxGradAt(dp, p, dp, scale, vec.Dot(out, dout))
	for part := range 3 {
		for j := range max(span.Len, span.Query+1) {
			clear(headRow(dqkv, span.Start+j, part, head, hd))
		}
	}
	dq := headRow(dqkv, at, 0, head, hd)
	for j := range p {
		vec.Axpy(dp[j], headRow(qkv, span.Start+j, 1, head, hd), dq)
		vec.Axpy(dp[j], q, headRow(dqkv, span.Start+j, 1, head, hd))
		vec.Axpy(p[j], dout, headRow(dqkv, span.Start+j, 2, head, hd))
	}
}
