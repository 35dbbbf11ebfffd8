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
// its size), a convolution or a recurrence, or ids through a table; plus learned
// positions, behind class tokens where the model wants some.
//
// Its tensors are tokenizers/M/patch/weight [D, P] and bias [D], or
// tokenizers/M/subword [V, D], or [V, E] and tokenizers/M/factor/weight [D, E];
// tokenizers/M/conv/J/weight [D, D] for J = 0, 1 and 2 and
// tokenizers/M/conv/1/bias [D] of kind conv; tokenizers/M/gru of kind gru and
// tokenizers/M/stage/J of kind residual, see there;
// tokenizers/M/positions [rows, D], with first rows for the class tokens;
// tokenizers/M/class [C, D]; tokenizers/M/norm where the rows are normalised.
type Stem struct {
	o         StemOptions
	layout    Layout
	bank      *sharing.Bank
	name      string
	positions *autograd.Param // nil without positions
	class     *autograd.Param // nil without class tokens
	table     *autograd.Param // nil for patches
	stages    []stage         // of kind residual
}

// StemOptions says what rows a stem makes.
type StemOptions struct {
	// Width is D.
	Width int
	// Classes is the number of class tokens, C.
	Classes int
	// Kind is one of
	//   patch     a linear map of each patch, or a table of ids
	//   conv      the same, and a convolution of the rows with an activation
	//             before and after: row i sees rows 2i-1, 2i and 2i+1, and zeros
	//             beyond the ends (Radford et al. 2022, section 2.2)
	//   residual  convolutions of a picture's pixels down to the grid of its
	//             patches (MS-CLIP, You et al. 2022), see residual.go
	//   gru       gated recurrent units that read the patches of a sequence
	//             forward (Cho et al. 2014), see gru.go
	Kind string
	// Factor, if not 0, is E: a table of ids has rows of E values, which a matrix
	// leads to D (Lan et al. 2020, ALBERT's factorised embeddings).
	Factor int
	// Act is the activation of convolutions.
	Act tensor.Act
	// Norm, if not nil, normalises the rows.
	Norm *tensor.Norm
}

// Validate says whether a stem of these options can read what a modality makes;
// errors begin with the key that is at fault.
func (o StemOptions) Validate(l Layout) error {
	sequence := l.Patch > 0 && l.Grid[0] == 1
	switch {
	case o.Kind == "residual":
		if err := l.pictures(); err != nil {
			return fmt.Errorf("stem: \"residual\" %w", err)
		}
	case (o.Kind == "conv" || o.Kind == "gru") && !sequence:
		return fmt.Errorf("stem: %q is for patches in one row, a sequence; these are %s", o.Kind, l)
	case o.Factor < 0:
		return fmt.Errorf("factor: expected at least 0, found %d", o.Factor)
	case o.Factor > 0 && l.Vocab == 0:
		return fmt.Errorf("factor: is for a table of ids; these are %s", l)
	}
	return nil
}

// NewStem puts a modality's tensors into the bank. The options are valid.
func NewStem(bank *sharing.Bank, modality string, l Layout, o StemOptions) *Stem {
	s := &Stem{o: o, layout: l, bank: bank, name: "tokenizers/" + modality}
	switch {
	case o.Kind == "residual":
		s.stages = declareResidual(bank, s.name, l, o)
	case o.Kind == "gru":
		s.declareGRU()
	case l.Patch > 0:
		bank.Matrix(s.name+"/patch/weight", o.Width, l.Patch, 1/math.Sqrt(float64(l.Patch)))
		bank.Vector(s.name+"/patch/bias", o.Width, 0)
	case o.Factor > 0:
		s.table = bank.Matrix(s.name+"/subword", l.Vocab, o.Factor, 0.02)
		bank.Matrix(s.name+"/factor/weight", o.Width, o.Factor, 1/math.Sqrt(float64(o.Factor)))
	default:
		s.table = bank.Matrix(s.name+"/subword", l.Vocab, o.Width, 0.02)
	}
	if o.Kind == "conv" {
		for j := range 3 {
			bank.Matrix(s.conv(j)+"/weight", o.Width, o.Width, 1/math.Sqrt(3*float64(o.Width)))
		}
		bank.Vector(s.conv(1)+"/bias", o.Width, 0)
	}
	if o.Classes > 0 {
		s.class = bank.Matrix(s.name+"/class", o.Classes, o.Width, 0.02)
	}
	if o.Kind != "gru" { // whose states tell what was before
		s.positions = bank.Matrix(s.name+"/positions", s.Length(Tokens{Grid: l.Grid}), o.Width, 0.02)
	}
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
	if s.o.Kind == "conv" {
		n = (n + 1) / 2
	}
	return n + s.o.Classes
}

// Products returns the number of multiplications of matrix products for a
// sample.
func (s *Stem) Products(tokens Tokens) int64 {
	n, d := int64(tokens.Len()), int64(s.o.Width)
	switch {
	case s.o.Kind == "residual":
		return products(s.stages, s.layout.side(), tokens.Grid)
	case s.o.Kind == "gru":
		return n * 3 * d * (int64(s.layout.Patch) + d)
	case s.o.Kind == "conv":
		return n*int64(s.layout.Patch)*d + 3*int64(s.Length(tokens))*d*d
	case s.o.Factor > 0:
		return n * int64(s.o.Factor) * d
	}
	return n * int64(s.layout.Patch) * d
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
	direct := s.table != nil && s.o.Factor == 0 // ids have rows of the width
	n := int32(0)
	for _, tokens := range batch {
		for c := range s.o.Classes {
			places.Append()
			classes.Append(int32(c))
			positions.Append(int32(c))
		}
		for i := range s.Length(tokens) - s.o.Classes {
			if direct {
				places.Append(tokens.IDs[i])
			} else {
				places.Append(n)
			}
			classes.Append()
			n++
		}
		if s.o.Kind == "conv" {
			for i := range s.Length(tokens) {
				positions.Append(int32(i))
			}
		} else {
			s.place(positions, tokens.Grid)
		}
	}
	var extra []autograd.Term
	if s.positions != nil {
		extra = append(extra, autograd.Term{S: positions, X: s.positions.Var()})
	}
	if s.class != nil {
		extra = append(extra, autograd.Term{S: classes, X: s.class.Var()})
	}
	var x *autograd.Var
	switch {
	case direct:
		x = s.table.Var()
	case s.o.Kind == "residual":
		x = s.residual(t, batch)
	case s.o.Kind == "gru":
		x = s.recurrent(t, batch)
	case s.o.Kind == "conv":
		in, parts := s.linear(t, batch)
		x = t.Act(s.convolve(t, t.Linear(in, parts, autograd.LinearOptions{}), batch), s.o.Act)
	case s.class == nil:
		in, parts := s.linear(t, batch)
		return t.Linear(in, parts, autograd.LinearOptions{Residual: t.Gather(extra...)})
	default:
		in, parts := s.linear(t, batch)
		x = t.Linear(in, parts, autograd.LinearOptions{})
	}
	if len(extra) == 0 {
		return x
	}
	return t.Gather(append([]autograd.Term{{S: places, X: x}}, extra...)...)
}

// patches puts the patches of a batch on the tape, [n, P].
func (s *Stem) patches(t *autograd.Tape, batch []Tokens) *autograd.Var {
	var patches [][]float32
	n := 0
	for _, tokens := range batch {
		patches = append(patches, tokens.Patches)
		n += tokens.Len()
	}
	return t.Input(n, s.layout.Patch, patches...)
}

// linear returns what the tokens of a batch are before a linear map leads to
// the width, and that map.
func (s *Stem) linear(t *autograd.Tape, batch []Tokens) (*autograd.Var, []autograd.Part) {
	if s.table == nil {
		x := s.patches(t, batch)
		return x, []autograd.Part{s.bank.Part(s.name+"/patch", x.Rows())}
	}
	ids := t.Sparse()
	for _, tokens := range batch {
		for _, id := range tokens.IDs {
			ids.Append(id)
		}
	}
	x := t.Gather(autograd.Term{S: ids, X: s.table.Var()})
	return x, []autograd.Part{s.bank.Part(s.name+"/factor", x.Rows())}
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
