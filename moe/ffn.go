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

// FFN is the feed-forward slot of all layers: up [F, D], an activation, and
// down [D, F]. Whether a layer's networks are shared or by modality is the
// map's answer.
type FFN struct {
	bank *sharing.Bank
	m    *sharing.Map
	act  tensor.Act
}

// NewFFN puts the networks' tensors into the bank. std is the standard
// deviation of down's first values.
func NewFFN(bank *sharing.Bank, m *sharing.Map, width, hidden int, act tensor.Act, std float64) *FFN {
	for _, name := range m.Tensors(sharing.Up) {
		bank.Matrix(name+"/weight", hidden, width, 1/math.Sqrt(2*float64(width)))
		bank.Vector(name+"/bias", hidden, 0)
	}
	for _, name := range m.Tensors(sharing.Down) {
		bank.Matrix(name+"/weight", width, hidden, std)
		bank.Vector(name+"/bias", width, 0)
	}
	return &FFN{bank: bank, m: m, act: act}
}

// Forward returns residual + down(act(up(h))) [T, D] for h [T, D], whose rows
// are grouped in runs of one modality.
func (f *FFN) Forward(t *autograd.Tape, layer int, h, residual *autograd.Var, runs []sharing.Run) *autograd.Var {
	u := t.Linear(h, f.bank.Parts(f.m, layer, sharing.Up, runs), autograd.LinearOptions{Act: f.act})
	return t.Linear(u, f.bank.Parts(f.m, layer, sharing.Down, runs), autograd.LinearOptions{Residual: residual})
}
