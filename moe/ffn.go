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
	bank *sharing.Bank
	m    *sharing.Map
	norm tensor.Norm
	post bool
	act  tensor.Act
}

// NewFFN puts the networks' tensors into the bank. std is the standard
// deviation of down's first values.
func NewFFN(bank *sharing.Bank, m *sharing.Map, width, hidden int, norm tensor.Norm, post bool, act tensor.Act, std float64) *FFN {
	for _, name := range m.Tensors(sharing.Up) {
		bank.Matrix(name+"/weight", hidden, width, 1/math.Sqrt(2*float64(width)))
		bank.Vector(name+"/bias", hidden, 0)
	}
	for _, name := range m.Tensors(sharing.Down) {
		bank.Matrix(name+"/weight", width, hidden, std)
		bank.Vector(name+"/bias", width, 0)
	}
	return &FFN{bank: bank, m: m, norm: norm, post: post, act: act}
}

// Forward returns x + down(act(up(norm2(x)))) [T, D], or with post
// norm2(x + down(act(up(x)))), for x [T, D], whose rows are grouped in runs of
// one modality.
func (f *FFN) Forward(t *autograd.Tape, layer int, x *autograd.Var, runs []sharing.Run) *autograd.Var {
	weights := func(r sharing.Role) []autograd.Part { return f.bank.Parts(f.m, layer, r, runs) }
	var o autograd.LinearOptions
	if !f.post {
		o = autograd.LinearOptions{Norm: f.norm, NormParts: weights(sharing.Norm2)}
	}
	u := t.Linear(x, weights(sharing.Up), o)
	y := t.Linear(u, weights(sharing.Down), autograd.LinearOptions{Act: f.act, Residual: x})
	if f.post {
		y = t.Norm(y, weights(sharing.Norm2), f.norm)
	}
	return y
}
