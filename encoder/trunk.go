// Package encoder is the trunk: one stack of pre-norm transformer blocks that
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
	act, err := activation(cfg.Activation)
	if err != nil {
		panic("encoder: " + err.Error())
	}
	t.ffn = moe.NewFFN(bank, m, cfg.Width, cfg.Hidden, t.norm, act, write)
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

// block is one pre-norm block: x + attention(norm1(x)), then + ffn(norm2(.)).
func (t *Trunk) block(tape *autograd.Tape, l int, x *autograd.Var, runs []sharing.Run, spans []tensor.Span) *autograd.Var {
	weights := func(r sharing.Role) []autograd.Part { return t.bank.Parts(t.m, l, r, runs) }
	h := tape.Linear(x, weights(sharing.Qkv), autograd.LinearOptions{Norm: t.norm, NormParts: weights(sharing.Norm1)})
	h = tape.Attention(h, spans, t.cfg.Heads)
	x = tape.Linear(h, weights(sharing.Out), autograd.LinearOptions{Residual: x})
	return t.ffn.Forward(tape, l, x, runs)
}
