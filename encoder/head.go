package encoder

import (
	"math"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

// Head makes a modality's vectors of the trunk's rows: pooling, a norm, a
// projection [E, D] without bias, unit length. Its tensors are heads/M/norm
// and heads/M/projection.
type Head struct {
	bank *sharing.Bank
	name string
	pool string
	norm tensor.Norm
}

// NewHead puts a modality's head into the bank.
func NewHead(cfg Config, bank *sharing.Bank, modality, pool string) *Head {
	h := &Head{bank: bank, name: "heads/" + modality, pool: pool, norm: cfg.NormOf()}
	bank.Norm(h.name+"/norm", cfg.Width, h.norm.RMS)
	bank.Matrix(h.name+"/projection/weight", cfg.Embed, cfg.Width, 1/math.Sqrt(float64(cfg.Width)))
	return h
}

// Forward returns a vector of unit length for each span, [len(spans), E], from
// the trunk's rows x [T, D].
func (h *Head) Forward(t *autograd.Tape, x *autograd.Var, spans []tensor.Span) *autograd.Var {
	n := len(spans)
	s := t.Sparse()
	pooling(s, h.pool, spans)
	p := t.Gather(autograd.Term{S: s, X: x})
	p = t.Linear(p, []autograd.Part{h.bank.Part(h.name+"/projection", n)},
		autograd.LinearOptions{Norm: h.norm, NormParts: []autograd.Part{h.bank.Part(h.name+"/norm", n)}})
	return t.Unit(p)
}

// pooling writes to s the matrix [len(spans), T] that makes one row of each
// span: its mean, its first row (the class token) or its last.
func pooling(s *tensor.Sparse, pool string, spans []tensor.Span) {
	for _, span := range spans {
		if row, ok := pooledRow(pool, span); ok {
			s.Append(int32(span.Start + row))
			continue
		}
		for i := range span.Len {
			s.Add(int32(span.Start+i), 1/float32(span.Len))
		}
		s.EndRow()
	}
}

// pooledRow returns the row of a span that a pool asks for, and whether it asks
// for one alone.
func pooledRow(pool string, span tensor.Span) (row int, ok bool) {
	switch pool {
	case "class":
		return 0, true
	case "last":
		return span.Len - 1, true
	case "mean":
		return 0, false
	}
	panic("encoder: pool " + pool)
}
