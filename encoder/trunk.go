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

// Trunk is the stack of blocks. It owns no tensors: it asks for the weights of
// a (layer, modality, role).
type Trunk struct {
	cfg     Config
	weights *sharing.Weights
	norm    tensor.Norm
	ffn     *moe.FFN
}

// NewTrunk puts the trunk's tensors among the weights. The config is valid.
func NewTrunk(cfg Config, w *sharing.Weights) *Trunk {
	t := &Trunk{cfg: cfg, weights: w, norm: cfg.NormOf()}
	// First values as CLIP's: what writes to the residual stream is scaled by
	// the number of times that it is written to.
	d := float64(cfg.Width)
	write := 1 / math.Sqrt(d*2*float64(cfg.Layers))
	for _, r := range []sharing.Role{sharing.Norm1, sharing.Norm2} {
		w.DeclareNorm(r, cfg.Width, t.norm.RMS)
	}
	w.Declare(sharing.Qkv, 3*cfg.Width, cfg.Width, 1/math.Sqrt(d))
	w.Declare(sharing.Out, cfg.Width, cfg.Width, write)
	t.ffn = moe.NewFFN(w, cfg.Width, cfg.Hidden, t.norm, t.post(), cfg.Act(), write)
	if w.Config.Layers.Depth {
		w.Bank.Matrix(t.depth(), cfg.Layers, cfg.Width, 0)
	}
	return t
}

// Weights returns what serves the trunk's places.
func (t *Trunk) Weights() *sharing.Weights { return t.weights }

// Watched returns the trunk for passes of which f is told where the tokens go in
// routed layers.
func (t *Trunk) Watched(f func(sharing.Routing)) *Trunk {
	trunk, weights := *t, *t.weights
	weights.Watch = f
	trunk.weights = &weights
	return &trunk
}

// depth is the tensor of the layers' own rows.
func (t *Trunk) depth() string { return t.weights.Trunk + "/depth" }

// Late is rows that enter the trunk at a later block: row i of X [n, D] is added
// to the packed row Rows[i] as that block reads it. Rows rise.
type Late struct {
	Layer int
	X     *autograd.Var
	Rows  []int
}

// Forward runs the packed rows x [T, D] through all blocks and returns them
// [T, D]. runs and spans describe the rows and cover all of them.
func (t *Trunk) Forward(tape *autograd.Tape, x *autograd.Var, runs []sharing.Run, spans []tensor.Span, late ...Late) *autograd.Var {
	p := t.begin(tape, x, runs, spans, late)
	for l := range t.cfg.Layers {
		p.block(l)
	}
	return p.x
}

// ForwardPooled is Forward for heads that pool in the way that pools states for
// each span. Of a span of which one row is asked, the last block computes
// that row alone: it attends to all rows, which are not computed further. It
// returns the rows that there are [R, D], and where each span's now stand.
func (t *Trunk) ForwardPooled(tape *autograd.Tape, x *autograd.Var, runs []sharing.Run, spans []tensor.Span, pools []string, late ...Late) (y *autograd.Var, left []tensor.Span) {
	p := t.begin(tape, x, runs, spans, late)
	last := t.cfg.Layers - 1
	for l := range last {
		p.block(l)
	}
	asked, left, fewer := narrow(runs, spans, pools)
	if fewer == nil {
		p.block(last)
		return p.x, left
	}
	return tape.Block(p.x, func(x *autograd.Var) *autograd.Var {
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
		x = p.enter(last, x)
		h := p.attention(last, x, asked)
		return p.rest(last, h, tape.Gather(autograd.Term{S: rows, X: x}), fewer, left)
	}), left
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

// pass is one pass of rows through the trunk.
type pass struct {
	*Trunk
	tape    *autograd.Tape
	weights *sharing.Pass
	x       *autograd.Var // [T, D] as it stands
	runs    []sharing.Run
	spans   []tensor.Span
	late    []Late
}

func (t *Trunk) begin(tape *autograd.Tape, x *autograd.Var, runs []sharing.Run, spans []tensor.Span, late []Late) *pass {
	w := t.weights.On(tape, runs)
	return &pass{Trunk: t, tape: tape, weights: w, x: w.Penalise(x), runs: runs, spans: spans, late: late}
}

// block runs a block: x + attention(norm1(x)), then + ffn(norm2(.)); or with
// norms after the sums, norm1(x + attention(x)), then norm2(. + ffn(.)).
func (p *pass) block(l int) {
	p.x = p.tape.Block(p.x, func(x *autograd.Var) *autograd.Var {
		x = p.enter(l, x)
		return p.rest(l, p.attention(l, x, p.spans), x, p.runs, p.spans)
	})
}

// enter returns what a block reads of the rows x: them, and what is added to
// them there.
func (p *pass) enter(l int, x *autograd.Var) *autograd.Var {
	var added []autograd.Term
	if p.Trunk.weights.Config.Layers.Depth {
		own := p.tape.Sparse()
		for range x.Rows() {
			own.Append(int32(l))
		}
		added = append(added, autograd.Term{S: own, X: p.weights.Bank.Param(p.depth()).Var()})
	}
	for _, late := range p.late {
		if late.Layer == l {
			added = append(added, autograd.Term{S: place(p.tape, late.Rows, x.Rows()), X: late.X})
		}
	}
	if len(added) > 0 {
		all := p.tape.Sparse()
		for i := range x.Rows() {
			all.Append(int32(i))
		}
		x = p.tape.Gather(append([]autograd.Term{{S: all, X: x}}, added...)...)
	}
	p.weights.Enter(l, x, p.runs, p.spans)
	return x
}

// place returns the matrix [n, len(at)] that puts row i at row at[i].
func place(tape *autograd.Tape, at []int, n int) *tensor.Sparse {
	s := tape.Sparse()
	for i := range n {
		if next := len(s.Index); next < len(at) && at[next] == i {
			s.Append(int32(next))
		} else {
			s.Append()
		}
	}
	return s
}

// attention returns the attention [R, D] of the spans' queries, before the
// output's projection.
func (p *pass) attention(l int, x *autograd.Var, spans []tensor.Span) *autograd.Var {
	var o autograd.LinearOptions
	if !p.post() {
		o = autograd.LinearOptions{Norm: p.norm, NormParts: p.weights.Parts(l, sharing.Norm1, p.runs)}
	}
	qkv := p.weights.Linear(l, sharing.Qkv, x, p.runs, p.spans, o)
	return p.tape.Attention(qkv, spans, p.cfg.Heads)
}

// rest is what follows attention's result h in a block, on the same rows of x,
// whose runs and spans are given.
func (p *pass) rest(l int, h, x *autograd.Var, runs []sharing.Run, spans []tensor.Span) *autograd.Var {
	x = p.weights.Linear(l, sharing.Out, h, runs, spans, autograd.LinearOptions{Residual: x})
	if p.post() {
		x = p.tape.Norm(x, p.weights.Parts(l, sharing.Norm1, runs), p.norm)
	}
	return p.ffn.Forward(p.tape, p.weights, l, x, runs, spans)
}
