// Package moe holds what can stand in a block's feed-forward slot: one
// network for all modalities, or modality experts, a network for each (VLMo,
// Bao et al. 2022). Rows of one modality lie together, so an expert sees its
// own range of rows and nothing is routed.
package moe

import (
	"math"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

// FFN is the feed-forward slot of all layers: a norm, up [F, D], an
// activation, and down [D, F]. Whether a layer's networks are shared or by
// modality is the map's answer. The norm's tensors are the trunk's; it stands
// before up, or with post after the sum.
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
	return &FFN{norm: norm, post: post, act: act}
}

// Forward returns x + down(act(up(norm2(x)))) [T, D], or with post
// norm2(x + down(act(up(x)))), for x [T, D], whose rows are grouped in runs of
// one modality and spans of one sample.
func (f *FFN) Forward(t *autograd.Tape, w *sharing.Pass, layer int, x *autograd.Var, runs []sharing.Run, spans []tensor.Span) *autograd.Var {
	var o autograd.LinearOptions
	if !f.post {
		o = autograd.LinearOptions{Norm: f.norm, NormParts: w.Parts(layer, sharing.Norm2, runs)}
	}
	u := w.Linear(layer, sharing.Up, x, runs, spans, o)
	y := w.Linear(layer, sharing.Down, u, runs, spans, autograd.LinearOptions{Act: f.act, Residual: x})
	if f.post {
		y = t.Norm(y, w.Parts(layer, sharing.Norm2, runs), f.norm)
	}
	return y
}
