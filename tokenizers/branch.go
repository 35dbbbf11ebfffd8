package tokenizers

import (
	"fmt"
	"math/bits"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

// Branch is a convolution network beside the trunk, whose stages make rows that
// are added to a picture's at later blocks (MS-CLIP's parallel branch, You et al.
// 2022: five stages of 3 x 3 convolutions with strides 2, 2, 2, 2 and 1 on
// patches of 16, each led to the grid of patches by a convolution whose size is
// its stride). The paper leaves open how many channels a stage has and how the
// rows are added. Here all stages have the same number; a stage is that of the
// residual stem; what leads to the patches begins at zero, so that a trunk begins
// as it would without the branch.
//
// Its tensors are tokenizers/M/branch/J/conv and skip, see stage, and
// tokenizers/M/branch/J/out/weight [D, S S C] for a stage J of which S x S places
// lie in a patch.
type Branch struct {
	o      BranchOptions
	layout Layout
	bank   *sharing.Bank
	stages []stage
}

// BranchOptions says what rows a branch makes.
type BranchOptions struct {
	// Width is D.
	Width int
	// Stages is the number of stages, Channels what each has.
	Stages, Channels int
	// Act is the activation of convolutions.
	Act tensor.Act
}

// Validate says whether a branch can read what a modality makes.
func (o BranchOptions) Validate(l Layout) error {
	if err := l.pictures(); err != nil {
		return fmt.Errorf("branch: %w", err)
	}
	return nil
}

// NewBranch puts a modality's branch into the bank. The options are valid.
func NewBranch(bank *sharing.Bank, modality string, l Layout, o BranchOptions) *Branch {
	b := &Branch{o: o, layout: l, bank: bank}
	in := l.Planes
	for i := range o.Stages {
		s := stage{fmt.Sprintf("tokenizers/%s/branch/%d", modality, i), in, o.Channels, 1}
		if i < bits.TrailingZeros(uint(l.side())) {
			s.stride = 2
		}
		s.declare(bank)
		places := b.places(i)
		bank.Matrix(s.name+"/out/weight", o.Width, places*places*o.Channels, 0)
		b.stages = append(b.stages, s)
		in = o.Channels
	}
	return b
}

// places returns how many places of a stage lie along a patch.
func (b *Branch) places(stage int) int { return max(b.layout.side()>>(stage+1), 1) }

// Forward returns the rows [n, D] of each stage for a batch's tokens, class
// tokens not among them. The samples have passed the stem's Check.
func (b *Branch) Forward(t *autograd.Tape, batch []Tokens) []*autograd.Var {
	x, grids := b.layout.pixels(t, batch)
	act := tensor.Identity // of pixels
	out := make([]*autograd.Var, len(b.stages))
	for i, s := range b.stages {
		x, grids = s.forward(t, b.bank, x, grids, act)
		act = b.o.Act
		n := b.places(i)
		patch, _ := unfold(t, x, grids, window{n, n, 0})
		out[i] = t.Linear(patch, []autograd.Part{b.bank.Part(s.name+"/out", patch.Rows())}, autograd.LinearOptions{Act: act})
	}
	return out
}

// Products returns the number of multiplications of matrix products for a
// sample.
func (b *Branch) Products(tokens Tokens) int64 {
	n := products(b.stages, b.layout.side(), tokens.Grid)
	for i := range b.stages {
		n += int64(tokens.Len() * b.places(i) * b.places(i) * b.o.Channels * b.o.Width)
	}
	return n
}
