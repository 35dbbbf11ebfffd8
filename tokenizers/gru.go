package tokenizers

import (
	"math"

	"github.com/onetrunk/onetrunk/autograd"
)

// This file is the stem of kind gru: a token is the state of gated recurrent
// units that have read the patches, slices of sound, up to its own (Cho et al.
// 2014). Its tensors are tokenizers/M/gru/input/weight [3D, P] and bias [3D], and
// tokenizers/M/gru/state/weight [3D, D] and bias [3D]: 3D (P + D + 2) values
// whatever the length. There are no positions.

// declareGRU puts the units' tensors into the bank.
func (s *Stem) declareGRU() {
	for _, of := range []struct {
		name string
		in   int
	}{{"/gru/input", s.layout.Patch}, {"/gru/state", s.o.Width}} {
		s.bank.Matrix(s.name+of.name+"/weight", 3*s.o.Width, of.in, 1/math.Sqrt(float64(of.in)))
		s.bank.Vector(s.name+of.name+"/bias", 3*s.o.Width, 0)
	}
}

// recurrent returns the states [n, D] of a batch's tokens.
func (s *Stem) recurrent(t *autograd.Tape, batch []Tokens) *autograd.Var {
	x := s.patches(t, batch)
	x = t.Linear(x, []autograd.Part{s.bank.Part(s.name+"/gru/input", x.Rows())}, autograd.LinearOptions{})
	lens := make([]int, len(batch))
	for i, tokens := range batch {
		lens[i] = tokens.Len()
	}
	state := s.bank.Part(s.name+"/gru/state", 0)
	return t.GRU(x, state.W, state.B, lens)
}
