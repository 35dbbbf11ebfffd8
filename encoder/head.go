package encoder

import (
	"math"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

// Head makes a modality's vectors of the trunk's rows: a norm and pooling, a
// projection, unit length. Its tensors are heads/M/norm, heads/M/pool/... for
// attention, heads/M/projection, and heads/M/bridge where the trunk's embedding
// is of another size than the shared space.
type Head struct {
	bank *sharing.Bank
	cfg  Config
	name string
	seq  Sequence
	act  tensor.Act
	norm tensor.Norm
	// bridged says that there is a bridge.
	bridged bool
}

// NewHead puts a modality's head into the bank, for a shared space of size
// embed. The settings are valid.
func NewHead(cfg Config, bank *sharing.Bank, modality string, seq Sequence, embed int) *Head {
	h := &Head{bank: bank, cfg: cfg, name: "heads/" + modality, seq: seq, act: cfg.Act(), norm: cfg.NormOf(), bridged: embed != cfg.Embed}
	if seq.HeadNorm != "none" {
		bank.Norm(h.name+"/norm", cfg.Width, h.norm.RMS)
	}
	std := 1 / math.Sqrt(float64(cfg.Width))
	if seq.Pool == "attention" {
		linear := func(name string, out, in int) {
			bank.Matrix(h.name+"/pool/"+name+"/weight", out, in, 1/math.Sqrt(float64(in)))
			bank.Vector(h.name+"/pool/"+name+"/bias", out, 0)
		}
		bank.Matrix(h.name+"/pool/query", 1, cfg.Width, std)
		linear("qkv", 3*cfg.Width, cfg.Width)
		linear("out", cfg.Width, cfg.Width)
		bank.Norm(h.name+"/pool/norm", cfg.Width, h.norm.RMS)
		linear("up", cfg.Hidden, cfg.Width)
		linear("down", cfg.Width, cfg.Hidden)
	}
	if seq.Projection != "none" {
		bank.Matrix(h.name+"/projection/weight", cfg.Embed, cfg.Width, std)
	}
	if seq.Projection == "bias" {
		bank.Vector(h.name+"/projection/bias", cfg.Embed, 0)
	}
	if h.bridged {
		bank.Matrix(h.name+"/bridge/weight", embed, cfg.Embed, 1/math.Sqrt(float64(cfg.Embed)))
	}
	return h
}

// Forward returns a vector of unit length for each span, [len(spans), E], from
// the trunk's rows x [T, D].
func (h *Head) Forward(t *autograd.Tape, x *autograd.Var, spans []tensor.Span) *autograd.Var {
	if h.seq.HeadNorm == "rows" {
		x, spans = own(t, x, spans)
		x = t.Norm(x, h.part("norm", x.Rows()), h.norm)
	}
	n := len(spans)
	if h.seq.Pool == "attention" {
		x = h.attend(t, x, spans)
	} else {
		s := t.Sparse()
		pooling(s, h.seq.Pool, spans)
		x = t.Gather(autograd.Term{S: s, X: x})
	}
	var o autograd.LinearOptions
	if h.seq.HeadNorm == "pooled" {
		o = autograd.LinearOptions{Norm: h.norm, NormParts: h.part("norm", n)}
	}
	switch {
	case h.seq.Projection != "none":
		x = t.Linear(x, h.part("projection", n), o)
	case o.NormParts != nil:
		x = t.Norm(x, o.NormParts, h.norm)
	}
	if h.bridged {
		x = t.Linear(x, h.part("bridge", n), autograd.LinearOptions{})
	}
	return t.Unit(x)
}

// part returns a tensor of the head for n rows.
func (h *Head) part(name string, n int) []autograd.Part {
	return []autograd.Part{h.bank.Part(h.name+"/"+name, n)}
}

// own returns the rows of the spans alone, and where the spans are in them.
func own(t *autograd.Tape, x *autograd.Var, spans []tensor.Span) (*autograd.Var, []tensor.Span) {
	rows, at := t.Sparse(), 0
	moved := make([]tensor.Span, len(spans))
	for i, s := range spans {
		for r := range s.Len {
			rows.Append(int32(s.Start + r))
		}
		moved[i] = tensor.Span{Start: at, Len: s.Len}
		at += s.Len
	}
	if at == x.Rows() {
		return x, spans
	}
	return t.Gather(autograd.Term{S: rows, X: x}), moved
}

// attend pools the spans of x by the attention of a learned query to their
// rows: y = out(attention), y + down(act(up(norm(y)))) [len(spans), D] (Lee et
// al. 2019, Zhai et al. 2023).
func (h *Head) attend(t *autograd.Tape, x *autograd.Var, spans []tensor.Span) *autograd.Var {
	// The query stands behind each span's rows.
	rows, queries := t.Sparse(), t.Sparse()
	asked := make([]tensor.Span, len(spans))
	at := 0
	for i, s := range spans {
		for r := range s.Len {
			rows.Append(int32(s.Start + r))
			queries.Append()
		}
		rows.Append()
		queries.Append(0)
		asked[i] = tensor.Span{Start: at, Len: s.Len, One: true, Query: s.Len, Skip: at + s.Len - i}
		at += s.Len + 1
	}
	query := h.bank.Param(h.name + "/pool/query").Var()
	x = t.Gather(autograd.Term{S: rows, X: x}, autograd.Term{S: queries, X: query})
	y := t.Attention(t.Linear(x, h.part("pool/qkv", at), autograd.LinearOptions{}), asked, h.cfg.Heads)
	n := len(spans)
	y = t.Linear(y, h.part("pool/out", n), autograd.LinearOptions{})
	u := t.Linear(y, h.part("pool/up", n), autograd.LinearOptions{Norm: h.norm, NormParts: h.part("pool/norm", n)})
	return t.Linear(u, h.part("pool/down", n), autograd.LinearOptions{Act: h.act, Residual: y})
}

// pooling writes to s the matrix [len(spans), T] that makes one row of each
// span.
func pooling(s *tensor.Sparse, pool string, spans []tensor.Span) {
	for _, span := range spans {
		if row, ok := pooledRow(pool, span); ok {
			s.Append(int32(span.Start + row))
			continue
		}
		n := span.Len
		if pool == "classes" {
			n = 2
		}
		for i := range n {
			s.Add(int32(span.Start+i), 1/float32(n))
		}
		s.EndRow()
	}
}

// pooledRow returns the row of a span that a pool asks for, and whether it asks
// for one alone.
func pooledRow(pool string, span tensor.Span) (row int, ok bool) {
	switch pool {
	case "class", "first":
		return 0, true
	case "last":
		return span.Len - 1, true
	}
	return 0, false
}

// OneRow reports whether a pool asks for one row of a sample alone.
func OneRow(pool string) bool {
	_, ok := pooledRow(pool, tensor.Span{})
	return ok
}
