// Package encoder is the trunk: one stack of transformer blocks that
// reads packed rows of all modalities, and the heads that make one vector a
// sample of what comes out.
//
// A batch is one matrix [T, D] without padding. Rows of one modality lie
// together, so a tensor that all modalities share sees one product over all
// rows and a private one sees its own range; attention runs within each
// sample's span.
package encoder

import (
	"math"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/moe"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

// Trunk is the stack of blocks. It owns no weights: it asks the map which of
// the bank's tensors serve a (layer, modality, role).
type Trunk struct {
	cfg  Config
	bank *sharing.Bank
	m    *sharing.Map
	norm tensor.Norm
	ffn  *moe.FFN
}

// NewTrunk puts the trunk's tensors into the bank. The config is valid.
func NewTrunk(cfg Config, bank *sharing.Bank, m *sharing.Map) *Trunk {
	t := &Trunk{cfg: cfg, bank: bank, m: m, norm: cfg.NormOf()}
	// First values as CLIP's: what writes to the residual stream is scaled by
	// the number of times that it is written to.
	d := float64(cfg.Width)
	write := 1 / math.Sqrt(d*2*float64(cfg.Layers))
	for _, r := range []sharing.Role{sharing.Norm1, sharing.Norm2} {
		for _, name := range m.Tensors(r) {
			bank.Norm(name, cfg.Width, t.norm.RMS)
		}
	}
	for _, name := range m.Tensors(sharing.Qkv) {
		bank.Matrix(name+"/weight", 3*cfg.Width, cfg.Width, 1/math.Sqrt(d))
		bank.Vector(name+"/bias", 3*cfg.Width, 0)
	}
	for _, name := range m.Tensors(sharing.Out) {
		bank.Matrix(name+"/weight", cfg.Width, cfg.Width, write)
		bank.Vector(name+"/bias", cfg.Width, 0)
	}
	t.ffn = moe.NewFFN(bank, m, cfg.Width, cfg.Hidden, t.norm, t.post(), cfg.Act(), write)
	return t
}

// Forward runs the packed rows x [T, D] through all blocks and returns them
// [T, D]. runs and spans describe the rows and cover all of them.
func (t *Trunk) Forward(tape *autograd.Tape, x *autograd.Var, runs []sharing.Run, spans []tensor.Span) *autograd.Var {
	for l := range t.cfg.Layers {
		x = tape.Block(x, func(x *autograd.Var) *autograd.Var { return t.block(tape, l, x, runs, spans) })
	}
	return x
}

// ForwardPooled is Forward for heads that pool in the way that pools states for
// each span. Of a span of which one row is asked, the last block computes
// that row alone: it attends to all rows, which are not computed further. It
// returns the rows that there are [R, D], and where each span's now stand.
func (t *Trunk) ForwardPooled(tape *autograd.Tape, x *autograd.Var, runs []sharing.Run, spans []tensor.Span, pools []string) (y *autograd.Var, left []tensor.Span) {
	last := t.cfg.Layers - 1
	for l := range last {
		x = tape.Block(x, func(x *autograd.Var) *autograd.Var { return t.block(tape, l, x, runs, spans) })
	}
	asked, left, fewer := narrow(runs, spans, pools)
	y = tape.Block(x, func(x *autograd.Var) *autograd.Var {
		if fewer == nil {
			return t.block(tape, last, x, runs, spans)
		}
		rows := tape.Sparse()
		for _, s := range asked {
			if s.One {
				rows.Append(int32(s.Start + s.Query))
				continue
			}
			for i := range s.Len {
				rows.Append(int32(s.Start + i))
			}
		}
		h := t.attention(tape, last, x, runs, asked)
		return t.rest(tape, last, h, tape.Gather(autograd.Term{S: rows, X: x}), fewer)
	})
	return y, left
}

// narrow returns the spans with the queries that pools ask for, where their
// rows stand in attention's result, and the runs of those rows; nil when they
// are all rows.
func narrow(runs []sharing.Run, spans []tensor.Span, pools []string) (asked, left []tensor.Span, fewer []sharing.Run) {
	row, some := 0, false
	run, end := -1, 0
	for i, s := range spans {
		for s.Start >= end && run+1 < len(runs) {
			run++
			end += runs[run].Rows
			fewer = append(fewer, sharing.Run{Modality: runs[run].Modality})
		}
		out := tensor.Span{Start: row, Len: s.Len}
		s.Skip = s.Start - row
		if query, ok := pooledRow(pools[i], s); ok {
			some = true
			s.One, s.Query, s.Skip = true, query, s.Start+query-row
			out.Len = 1
		}
		row += out.Len
		fewer[run].Rows += out.Len
		asked, left = append(asked, s), append(left, out)
	}
	if !some {
		return spans, spans, nil
	}
	return asked, left, fewer
}

// post reports whether norms stand after what they normalise is summed.
func (t *Trunk) post() bool { return t.cfg.NormPlace == "post" }

// block is one block: x + attention(norm1(x)), then + ffn(norm2(.)); or with
// norms after the sums, norm1(x + attention(x)), then norm2(. + ffn(.)).
func (t *Trunk) block(tape *autograd.Tape, l int, x *autograd.Var, runs []sharing.Run, spans []tensor.Span) *autograd.Var {
	return t.rest(tape, l, t.attention(tape, l, x, runs, spans), x, runs)
}

// attention returns the attention [R, D] of the spans' queries, before the
// output's projection.
func (t *Trunk) attention(tape *autograd.Tape, l int, x *autograd.Var, runs []sharing.Run, spans []tensor.Span) *autograd.Var {
	var o autograd.LinearOptions
	if !t.post() {
		o = autograd.LinearOptions{Norm: t.norm, NormParts: t.bank.Parts(t.m, l, sharing.Norm1, runs)}
	}
	qkv := tape.Linear(x, t.bank.Parts(t.m, l, sharing.Qkv, runs), o)
	return tape.Attention(qkv, spans, t.cfg.Heads)
}

// rest is what follows attention's result h in a block, on the same rows of x.
func (t *Trunk) rest(tape *autograd.Tape, l int, h, x *autograd.Var, runs []sharing.Run) *autograd.Var {
	x = tape.Linear(h, t.bank.Parts(t.m, l, sharing.Out, runs), autograd.LinearOptions{Residual: x})
	if t.post() {
		x = tape.Norm(x, t.bank.Parts(t.m, l, sharing.Norm1, runs), t.norm)
	}
	return t.ffn.Forward(tape, l, x, runs)
}
