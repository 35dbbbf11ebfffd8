package tokenizers

import (
	"fmt"
	"math"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

// Stem is the half of a tokenizer that has weights. It makes the first rows
// of the trunk: patches through a linear map (a convolution whose stride is
// its size) or ids through a table, plus learned positions, behind a class
// tokens where the model wants some.
//
// Its tensors are tokenizers/M/patch/weight [D, P] and bias [D], or
// tokenizers/M/subword [V, D]; tokenizers/M/conv/J/weight [D, D] for J = 0, 1
// and 2 and tokenizers/M/conv/1/bias [D] where rows are convolved;
// tokenizers/M/positions [rows, D], with first rows for the class tokens;
// tokenizers/M/class [C, D]; tokenizers/M/norm where the rows are normalised.
type Stem struct {
	o         StemOptions
	layout    Layout
	bank      *sharing.Bank
	name      string
	positions *autograd.Param
	class     *autograd.Param // nil without class tokens
	table     *autograd.Param // nil for patches
}

// StemOptions says what rows a stem makes.
type StemOptions struct {
	// Width is D.
	Width int
	// Classes is the number of class tokens, C.
	Classes int
	// Conv convolves the rows, with an activation Act before and after: row i
	// of the result sees rows 2i-1, 2i and 2i+1, and zeros beyond the ends
	// (Radford et al. 2022, section 2.2).
	Conv bool
	Act  tensor.Act
	// Norm, if not nil, normalises the rows.
	Norm *tensor.Norm
}

// NewStem puts a modality's tensors into the bank.
func NewStem(bank *sharing.Bank, modality string, l Layout, o StemOptions) *Stem {
	s := &Stem{o: o, layout: l, bank: bank, name: "tokenizers/" + modality}
	if l.Patch > 0 {
		bank.Matrix(s.name+"/patch/weight", o.Width, l.Patch, 1/math.Sqrt(float64(l.Patch)))
		bank.Vector(s.name+"/patch/bias", o.Width, 0)
	} else {
		s.table = bank.Matrix(s.name+"/subword", l.Vocab, o.Width, 0.02)
	}
	if o.Conv {
		for j := range 3 {
			bank.Matrix(s.conv(j)+"/weight", o.Width, o.Width, 1/math.Sqrt(3*float64(o.Width)))
		}
		bank.Vector(s.conv(1)+"/bias", o.Width, 0)
	}
	if o.Classes > 0 {
		s.class = bank.Matrix(s.name+"/class", o.Classes, o.Width, 0.02)
	}
	s.positions = bank.Matrix(s.name+"/positions", s.Length(Tokens{Grid: l.Grid}), o.Width, 0.02)
	if o.Norm != nil {
		bank.Norm(s.name+"/norm", o.Width, o.Norm.RMS)
	}
	// Neither is a map that could grow out of proportion.
	for _, p := range []*autograd.Param{s.class, s.positions} {
		if p != nil {
			p.Decay = false
		}
	}
	return s
}

// conv is the name of the weight for neighbour j-1.
func (s *Stem) conv(j int) string { return fmt.Sprintf("%s/conv/%d", s.name, j) }

// Length returns the number of rows that a sample takes.
func (s *Stem) Length(tokens Tokens) int {
	n := tokens.Len()
	if s.o.Conv {
		n = (n + 1) / 2
	}
	return n + s.o.Classes
}

// Check says whether the stem can take a sample.
func (s *Stem) Check(tokens Tokens) error {
	g := s.layout.Grid
	switch n := tokens.Len(); {
	case n == 0:
		return fmt.Errorf("no tokens")
	case !s.layout.Stretch && (tokens.Grid[0] > g[0] || tokens.Grid[1] > g[1]):
		return fmt.Errorf("%d x %d tokens, at most %d x %d", tokens.Grid[0], tokens.Grid[1], g[0], g[1])
	case s.table == nil && len(tokens.Patches) != n*s.layout.Patch:
		return fmt.Errorf("%d values for %d patches of %d", len(tokens.Patches), n, s.layout.Patch)
	case s.table != nil && len(tokens.IDs) != n:
		return fmt.Errorf("%d ids for %d tokens", len(tokens.IDs), n)
	}
	for _, id := range tokens.IDs {
		if id < 0 || int(id) >= s.layout.Vocab {
			return fmt.Errorf("id %d of a vocabulary of %d", id, s.layout.Vocab)
		}
	}
	return nil
}

// Forward returns the rows [T, D] of a batch of samples, one after the other;
// T is the sum of their lengths. The samples have passed Check.
func (s *Stem) Forward(t *autograd.Tape, batch []Tokens) *autograd.Var {
	x := s.rows(t, batch)
	if s.o.Norm == nil {
		return x
	}
	return t.Norm(x, []autograd.Part{s.bank.Part(s.name+"/norm", x.Rows())}, *s.o.Norm)
}

// rows is Forward before the norm.
func (s *Stem) rows(t *autograd.Tape, batch []Tokens) *autograd.Var {
	// Where tokens, class tokens and positions stand.
	places, classes, positions := t.Sparse(), t.Sparse(), t.Sparse()
	var patches [][]float32
	n := int32(0)
	for _, tokens := range batch {
		for c := range s.o.Classes {
			places.Append()
			classes.Append(int32(c))
			positions.Append(int32(c))
		}
		for i := range tokens.Len() {
			if s.table != nil {
				places.Append(tokens.IDs[i])
			} else {
				places.Append(n)
			}
			classes.Append()
			n++
		}
		if s.table == nil {
			patches = append(patches, tokens.Patches)
		}
		if s.o.Conv {
			for i := range s.Length(tokens) {
				positions.Append(int32(i))
			}
		} else {
			s.place(positions, tokens.Grid)
		}
	}
	pos := autograd.Term{S: positions, X: s.positions.Var()}
	if s.table != nil {
		terms := []autograd.Term{{S: places, X: s.table.Var()}, pos}
		if s.class != nil {
			terms = append(terms, autograd.Term{S: classes, X: s.class.Var()})
		}
		return t.Gather(terms...)
	}
	x := t.Input(int(n), s.layout.Patch, patches...)
	part := []autograd.Part{s.bank.Part(s.name+"/patch", int(n))}
	if s.o.Conv {
		x = t.Act(s.convolve(t, t.Linear(x, part, autograd.LinearOptions{}), batch), s.o.Act)
		places.Reset()
		for i := range x.Rows() {
			places.Append(int32(i))
		}
		return t.Gather(autograd.Term{S: places, X: x}, pos)
	}
	if s.class == nil {
		return t.Linear(x, part, autograd.LinearOptions{Residual: t.Gather(pos)})
	}
	x = t.Linear(x, part, autograd.LinearOptions{})
	return t.Gather(autograd.Term{S: places, X: x}, autograd.Term{S: classes, X: s.class.Var()}, pos)
}

// convolve returns the rows of a convolution of act(x), before its activation.
func (s *Stem) convolve(t *autograd.Tape, x *autograd.Var, batch []Tokens) *autograd.Var {
	var y *autograd.Var
	for j := range 3 {
		rows, start := t.Sparse(), 0
		for _, tokens := range batch {
			for i := range s.Length(tokens) {
				if at := 2*i + j - 1; at >= 0 && at < tokens.Len() {
					rows.Append(int32(start + at))
				} else {
					rows.Append()
				}
			}
			start += tokens.Len()
		}
		// A row of zeros stays one through an activation.
		near := t.Gather(autograd.Term{S: rows, X: x})
		y = t.Linear(near, []autograd.Part{s.bank.Part(s.conv(j), near.Rows())}, autograd.LinearOptions{Act: s.o.Act, Residual: y})
	}
	return y
}

// place appends, for each token of a grid, the entries of its position in the
// table.
func (s *Stem) place(to *tensor.Sparse, grid [2]int) {
	first := int32(s.o.Classes)
	table := s.layout.Grid
	if !s.layout.Stretch || grid == table {
		for i := range grid[0] {
			for j := range grid[1] {
				to.Append(first + int32(i*table[1]+j))
			}
		}
		return
	}
	down, across := cubic(grid[0], table[0]), cubic(grid[1], table[1])
	for _, y := range down {
		for _, x := range across {
			for a := range 4 {
				for b := range 4 {
					to.Add(first+int32(y.at[a]*table[1]+x.at[b]), y.weight[a]*x.weight[b])
				}
			}
			to.EndRow()
		}
	}
}

// taps are the four table entries that make an interpolated one.
type taps struct {
	at     [4]int
	weight [4]float32
}

// cubic returns for each of n places the entries of a table of m: cubic
// convolution with a = -0.75 (Keys 1981), centres of cells aligned, the edge
// repeated; as PyTorch's bicubic interpolation without antialiasing.
func cubic(n, m int) []taps {
	const a = -0.75
	ts := make([]taps, n)
	for i := range ts {
		x := (float64(i)+0.5)*float64(m)/float64(n) - 0.5
		lo := math.Floor(x)
		f := x - lo
		near := func(d float64) float64 { return ((a+2)*d-(a+3))*d*d + 1 }
		far := func(d float64) float64 { return ((a*d-5*a)*d+8*a)*d - 4*a }
		for k, w := range [4]float64{far(1 + f), near(f), near(1 - f), far(2 - f)} {
			ts[i].at[k] = min(max(int(lo)-1+k, 0), m-1)
			ts[i].weight[k] = float32(w)
		}
	}
	return ts
}
