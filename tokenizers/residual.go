package tokenizers

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

// This file is the stem of kind residual, which reads pixels instead of patches,
// and what it is made of. MS-CLIP (You et al. 2022) replaces the patches of
// images by a residual convolution network; the paper leaves its blocks open.
// Ours halves the resolution with each stage until a place is a patch, so that a
// patch of side 2^k has k stages; the last has D channels, each before half as
// many. There are no norms within: "stem_norm" puts one behind.

// stage is a convolution of 3 x 3 places with a stride, around which a linear map
// of the place itself goes: y = conv(act(x)) + skip(x). Beyond the edges are
// zeros. Its tensors are NAME/conv/weight [O, 9 I], by place and then channel,
// NAME/conv/bias [O] and NAME/skip/weight [O, I].
type stage struct {
	name            string
	in, out, stride int
}

// side returns the side of a patch in pixels.
func (l Layout) side() int { return int(math.Round(math.Sqrt(float64(l.Patch / max(l.Planes, 1))))) }

// String says what tokens there are.
func (l Layout) String() string {
	switch {
	case l.Vocab > 0:
		return fmt.Sprintf("%d ids", l.Vocab)
	case l.Planes > 0:
		return fmt.Sprintf("patches [%d, %d, %d] of pictures", l.Planes, l.side(), l.side())
	}
	return fmt.Sprintf("patches of %d values, %d x %d", l.Patch, l.Grid[0], l.Grid[1])
}

// pictures says whether convolutions that halve the resolution lead from pixels
// to patches.
func (l Layout) pictures() error {
	switch side := l.side(); {
	case l.Planes == 0:
		return fmt.Errorf("is for pictures; these are %s", l)
	case side < 2 || bits.OnesCount(uint(side)) != 1:
		return fmt.Errorf("halves the resolution until a place is a patch, whose side has to be a power of two; it is %d", side)
	}
	return nil
}

// declareResidual puts the stages of a residual stem into the bank.
func declareResidual(bank *sharing.Bank, name string, l Layout, o StemOptions) []stage {
	n := bits.TrailingZeros(uint(l.side()))
	stages := make([]stage, n)
	in := l.Planes
	for i := range stages {
		out := max(o.Width>>(n-1-i), min(o.Width, 8))
		stages[i] = stage{fmt.Sprintf("%s/stage/%d", name, i), in, out, 2}
		stages[i].declare(bank)
		in = out
	}
	return stages
}

func (s stage) declare(bank *sharing.Bank) {
	bank.Matrix(s.name+"/conv/weight", s.out, 9*s.in, 1/math.Sqrt(9*float64(s.in)))
	bank.Vector(s.name+"/conv/bias", s.out, 0)
	bank.Matrix(s.name+"/skip/weight", s.out, s.in, 1/math.Sqrt(float64(s.in)))
}

// forward returns the stage's channels [R, O] of places x [N, I] on grids, and
// the grids on which those stand. Places are read through act.
func (s stage) forward(t *autograd.Tape, bank *sharing.Bank, x *autograd.Var, grids [][2]int, act tensor.Act) (*autograd.Var, [][2]int) {
	own, fewer := unfold(t, x, grids, window{1, s.stride, 0})
	y := t.Linear(own, []autograd.Part{bank.Part(s.name+"/skip", own.Rows())}, autograd.LinearOptions{})
	near, _ := unfold(t, x, grids, window{3, s.stride, 1})
	return t.Linear(near, []autograd.Part{bank.Part(s.name+"/conv", near.Rows())}, autograd.LinearOptions{Act: act, Residual: y}), fewer
}

// products returns the multiplications of stages over a picture of a grid of
// patches of a side.
func products(stages []stage, side int, grid [2]int) (n int64) {
	places := int64(grid[0] * grid[1] * side * side)
	for _, s := range stages {
		places /= int64(s.stride * s.stride)
		n += places * int64(10*s.in*s.out)
	}
	return n
}

// residual returns the rows [n, D] of a batch's tokens.
func (s *Stem) residual(t *autograd.Tape, batch []Tokens) *autograd.Var {
	x, grids := s.layout.pixels(t, batch)
	act := tensor.Identity // of pixels
	for _, stage := range s.stages {
		x, grids = stage.forward(t, s.bank, x, grids, act)
		act = s.o.Act
	}
	return x
}

// pixels puts the pictures of a batch on the tape: a row [C] for each pixel, line
// by line, and each picture's grid of pixels.
func (l Layout) pixels(t *autograd.Tape, batch []Tokens) (*autograd.Var, [][2]int) {
	side, c := l.side(), l.Planes
	n := 0
	for _, tokens := range batch {
		n += len(tokens.Patches)
	}
	all := make([]float32, 0, n)
	grids := make([][2]int, len(batch))
	for i, tokens := range batch {
		h, w := tokens.Grid[0]*side, tokens.Grid[1]*side
		grids[i] = [2]int{h, w}
		for y := range h {
			for x := range w {
				patch := tokens.Patches[((y/side)*tokens.Grid[1]+x/side)*l.Patch:]
				for k := range c {
					all = append(all, patch[(k*side+y%side)*side+x%side])
				}
			}
		}
	}
	return t.Input(len(all)/c, c, all), grids
}

// window is what each place of a convolution reads: size x size places, stride
// between neighbours, pad places of zeros beyond each edge.
type window struct{ size, stride, pad int }

// unfold returns what each place of a convolution over x [N, C] reads, [R, size
// size C], and the grids on which those places stand; grids are x's, one behind
// the other.
func unfold(t *autograd.Tape, x *autograd.Var, grids [][2]int, w window) (*autograd.Var, [][2]int) {
	if w == (window{1, 1, 0}) {
		return x, grids
	}
	rows, first, n := t.Sparse(), 0, 0
	out := make([][2]int, len(grids))
	for i, g := range grids {
		places := func(n int) int { return (n+2*w.pad-w.size)/w.stride + 1 }
		out[i] = [2]int{places(g[0]), places(g[1])}
		n += out[i][0] * out[i][1]
		for y := range out[i][0] {
			for x := range out[i][1] {
				for k := range w.size * w.size {
					at, across := y*w.stride-w.pad+k/w.size, x*w.stride-w.pad+k%w.size
					if at < 0 || at >= g[0] || across < 0 || across >= g[1] {
						rows.Append()
					} else {
						rows.Append(int32(first + at*g[1] + across))
					}
				}
			}
		}
		first += g[0] * g[1]
	}
	near := t.Gather(autograd.Term{S: rows, X: x})
	return t.Reshape(near, n, w.size*w.size*x.Cols()), out
}
