// Package moe holds what can stand in a block's feed-forward slot: one
// network for all modalities, modality experts, a network for each (VLMo, Bao et
// al. 2022), or experts with a gate. Rows of one modality lie together, so a
// modality's expert sees its own range of rows; rows that a gate sends to experts
// are gathered by expert, so that the experts of a layer are one product too.
package moe

import (
	"cmp"
	"math"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

// FFN is the feed-forward slot of all layers: a norm, up [F, D], an
// activation, and down [D, F]. Whether a layer's networks are shared, by
// modality or chosen by a gate is the map's answer. The norm's tensors are the
// trunk's; it stands before up, or with post after the sum.
type FFN struct {
	norm tensor.Norm
	post bool
	act  tensor.Act
}

// NewFFN puts the networks' tensors among the weights. std is the standard
// deviation of down's first values.
func NewFFN(w *sharing.Weights, width, hidden int, norm tensor.Norm, post bool, act tensor.Act, std float64) *FFN {
	w.Declare(sharing.Up, hidden, width, 1/math.Sqrt(2*float64(width)))
	w.Declare(sharing.Down, width, hidden, std)
	if r := w.Config.Router; r != nil {
		w.DeclareExperts(width, cmp.Or(r.Hidden, hidden), std)
	}
	return &FFN{norm: norm, post: post, act: act}
}

// Forward returns x + down(act(up(norm2(x)))) [T, D], or with post
// norm2(x + down(act(up(x)))), for x [T, D], whose rows are grouped in runs of
// one modality and spans of one sample. In a routed layer down(act(up(.))) is
// what the experts make.
func (f *FFN) Forward(t *autograd.Tape, w *sharing.Pass, layer int, x *autograd.Var, runs []sharing.Run, spans []tensor.Span) *autograd.Var {
	var y *autograd.Var
	if w.Routed(layer) {
		r := routing{FFN: f, tape: t, w: w, layer: layer, router: w.Config.Router, experts: w.Experts(), runs: runs}
		y = r.forward(x)
	} else {
		u := w.Linear(layer, sharing.Up, x, runs, spans, f.read(w, layer, runs))
		y = w.Linear(layer, sharing.Down, u, runs, spans, autograd.LinearOptions{Act: f.act, Residual: x})
	}
	if f.post {
		y = t.Norm(y, w.Parts(layer, sharing.Norm2, runs), f.norm)
	}
	return y
}

// read says how products read the rows that enter the slot.
func (f *FFN) read(w *sharing.Pass, layer int, runs []sharing.Run) autograd.LinearOptions {
	if f.post {
		return autograd.LinearOptions{}
	}
	return autograd.LinearOptions{Norm: f.norm, NormParts: w.Parts(layer, sharing.Norm2, runs)}
}
