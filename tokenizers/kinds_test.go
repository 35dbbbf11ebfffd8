package tokenizers

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

// kinds are stems of all sorts, with what they read.
var kinds = map[string]struct {
	o StemOptions
	l Layout
}{
	"patch":               {StemOptions{Width: 3}, Layout{Patch: 4, Grid: [2]int{1, 6}}},
	"conv":                {StemOptions{Width: 3, Kind: "conv", Act: tensor.GELU}, Layout{Patch: 4, Grid: [2]int{1, 6}}},
	"gru":                 {StemOptions{Width: 3, Kind: "gru"}, Layout{Patch: 4, Grid: [2]int{1, 6}}},
	"gru, class token":    {StemOptions{Width: 3, Kind: "gru", Classes: 1}, Layout{Patch: 4, Grid: [2]int{1, 6}}},
	"residual":            {StemOptions{Width: 3, Kind: "residual", Act: tensor.GELU}, Layout{Patch: 32, Planes: 2, Grid: [2]int{3, 2}, Stretch: true}},
	"residual, class":     {StemOptions{Width: 3, Kind: "residual", Classes: 2, Act: tensor.GELU}, Layout{Patch: 4, Planes: 1, Grid: [2]int{3, 2}, Stretch: true}},
	"factor":              {StemOptions{Width: 3, Factor: 2}, Layout{Vocab: 7, Grid: [2]int{1, 6}}},
	"factor, class token": {StemOptions{Width: 3, Factor: 2, Classes: 1}, Layout{Vocab: 7, Grid: [2]int{1, 6}}},
}

// sample draws a sample of a grid.
func sample(rng *rand.Rand, l Layout, grid [2]int) Tokens {
	s := Tokens{Grid: grid}
	for range s.Len() {
		if l.Vocab > 0 {
			s.IDs = append(s.IDs, int32(rng.IntN(l.Vocab)))
		}
		for range l.Patch {
			s.Patches = append(s.Patches, float32(rng.NormFloat64()))
		}
	}
	return s
}

// randomise gives all tensors random values: gains and biases too.
func randomise(t *testing.T, b *sharing.Bank, std float64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(3, 3))
	for _, p := range b.Params() {
		x := b.Read(p)
		for i := range x {
			x[i] = float32(std * rng.NormFloat64())
		}
		set(t, b, p, x)
	}
}

func set(t *testing.T, b *sharing.Bank, p *autograd.Param, x []float32) {
	t.Helper()
	if err := b.Write(p, x); err != nil {
		t.Fatal(err)
	}
}

// differences compares the gradients of what f makes with central differences.
func differences(t *testing.T, b *sharing.Bank, f func(tape *autograd.Tape) *autograd.Var) {
	t.Helper()
	b.Freeze(func(string) bool { return true }, false)
	tape := autograd.NewTape(dev, true)
	y := f(tape)
	rng := rand.New(rand.NewPCG(1, 2))
	c := make([]float32, y.Value.Len())
	for i := range c {
		c[i] = float32(rng.NormFloat64())
	}
	tape.Backward(y, c)
	value := func() (v float64) {
		tape := autograd.NewTape(dev, false)
		defer tape.Release()
		for i, x := range tape.Read(f(tape)) {
			v += float64(c[i]) * float64(x)
		}
		return v
	}
	for _, p := range b.Params() {
		x, g := b.Read(p), make([]float32, p.Value.Len())
		if p.Grad() != nil {
			dev.Read(g, p.Grad())
		}
		var off, norm float64
		for k, old := range x {
			at := func(v float32) float64 {
				x[k] = v
				set(t, b, p, x)
				return value()
			}
			const h = 1e-2
			numeric := (at(old+h) - at(old-h)) / (2 * h)
			at(old)
			off += math.Pow(numeric-float64(g[k]), 2)
			norm += numeric * numeric
		}
		if e := math.Sqrt(off) / max(math.Sqrt(norm), 1e-2); e > 5e-3 {
			t.Errorf("%s: relative error of the gradient %.4f", p.Name, e)
		}
	}
}

func TestGradientsOfKinds(t *testing.T) {
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			if err := k.o.Validate(k.l); err != nil {
				t.Fatal(err)
			}
			b := sharing.NewBank(dev, 1)
			s := NewStem(b, "m", k.l, k.o)
			randomise(t, b, 0.5)
			rng := rand.New(rand.NewPCG(1, 4))
			batch := []Tokens{sample(rng, k.l, [2]int{1, 2}), sample(rng, k.l, [2]int{1, 1}), sample(rng, k.l, [2]int{1, 5})}
			if k.l.Stretch {
				batch = []Tokens{sample(rng, k.l, [2]int{3, 2}), sample(rng, k.l, [2]int{1, 2})}
			}
			differences(t, b, func(tape *autograd.Tape) *autograd.Var { return s.Forward(tape, batch) })
		})
	}
	t.Run("branch", func(t *testing.T) {
		l := Layout{Patch: 16, Planes: 1, Grid: [2]int{2, 2}, Stretch: true}
		b := sharing.NewBank(dev, 1)
		branch := NewBranch(b, "m", l, BranchOptions{Width: 3, Stages: 3, Channels: 2, Act: tensor.GELU})
		randomise(t, b, 0.5)
		rng := rand.New(rand.NewPCG(1, 4))
		batch := []Tokens{sample(rng, l, [2]int{2, 2}), sample(rng, l, [2]int{1, 2})}
		differences(t, b, func(tape *autograd.Tape) *autograd.Var {
			return tape.Sum([]float32{1, 0.5, -2}, branch.Forward(tape, batch)...)
		})
	})
}

// TestStagesAreConvolutions holds a residual stem to sums over planes of pixels.
func TestStagesAreConvolutions(t *testing.T) {
	const c, side, h, w, d = 2, 4, 12, 8, 3
	l := Layout{Patch: c * side * side, Planes: c, Grid: [2]int{h / side, w / side}, Stretch: true}
	b := sharing.NewBank(dev, 1)
	s := NewStem(b, "image", l, StemOptions{Width: d, Kind: "residual", Act: tensor.ReLU})
	randomise(t, b, 0.5)
	rng := rand.New(rand.NewPCG(1, 5))
	planes := make([]float32, c*h*w)
	for i := range planes {
		planes[i] = float32(rng.NormFloat64())
	}
	got := forward(s, Patchify(planes, c, h, w, side))
	// x[y][x][channel], stage by stage.
	x := make([][][]float64, h)
	for i := range x {
		x[i] = make([][]float64, w)
		for j := range x[i] {
			for k := range c {
				x[i][j] = append(x[i][j], float64(planes[(k*h+i)*w+j]))
			}
		}
	}
	for n := range 2 {
		at := fmt.Sprintf("tokenizers/image/stage/%d/", n)
		conv, bias, skip := values(b, at+"conv/weight"), values(b, at+"conv/bias")[0], values(b, at+"skip/weight")
		in := len(x[0][0])
		y := make([][][]float64, len(x)/2)
		for i := range y {
			y[i] = make([][]float64, len(x[0])/2)
			for j := range y[i] {
				for o := range conv {
					v := float64(bias[o])
					for k := range in {
						v += float64(skip[o][k]) * x[2*i][2*j][k]
						for a := range 3 {
							for e := range 3 {
								if p, q := 2*i+a-1, 2*j+e-1; p >= 0 && q >= 0 && p < len(x) && q < len(x[0]) {
									u := x[p][q][k]
									if n > 0 {
										u = max(u, 0)
									}
									v += float64(conv[o][(3*a+e)*in+k]) * u
								}
							}
						}
					}
					y[i][j] = append(y[i][j], v)
				}
			}
		}
		x = y
	}
	pos := values(b, "tokenizers/image/positions")
	for i, row := range got {
		want := make([]float32, d)
		for k, v := range x[i/(w/side)][i%(w/side)] {
			want[k] = float32(v) + pos[i][k]
		}
		for k := range want {
			if math.Abs(float64(row[k]-want[k])) > 1e-4 {
				t.Fatalf("row %d: %v, want %v", i, row, want)
			}
		}
	}
}

func TestFactorIsAProduct(t *testing.T) {
	k := kinds["factor, class token"]
	b := sharing.NewBank(dev, 1)
	s := NewStem(b, "m", k.l, k.o)
	rows := forward(s, Tokens{IDs: []int32{4, 6}, Grid: [2]int{1, 2}})
	table, matrix, pos := values(b, "tokenizers/m/subword"), values(b, "tokenizers/m/factor/weight"), values(b, "tokenizers/m/positions")
	for i, id := range []int32{4, 6} {
		want := slices.Clone(pos[i+1])
		for j := range want {
			for e, v := range table[id] {
				want[j] += matrix[j][e] * v
			}
		}
		near(t, fmt.Sprintf("id %d", id), rows[i+1], want)
	}
	near(t, "class token", rows[0], sum(values(b, "tokenizers/m/class")[0], pos[0]))
}

// TestGradientIsTheSumOverPositions writes out, for a map of patches and for a
// convolution, the sum of what each position asks of the one tensor.
func TestGradientIsTheSumOverPositions(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 6))
	l := Layout{Patch: 4, Planes: 1, Grid: [2]int{2, 3}, Stretch: true}
	in := sample(rng, l, l.Grid)
	const d = 3
	seed := make([]float32, 6*d)
	for i := range seed {
		seed[i] = float32(rng.NormFloat64())
	}
	for kind, of := range map[string]struct {
		tensor string
		read   func(y, x, k int) float64 // what position (y, x) reads as value k
		n      int
	}{
		"patch": {"tokenizers/m/patch/weight", func(y, x, k int) float64 { return float64(in.Patches[(y*3+x)*4+k]) }, 4},
		"residual": {"tokenizers/m/stage/0/conv/weight", func(y, x, k int) float64 {
			p, q := 2*y-1+k/3, 2*x-1+k%3
			if p < 0 || q < 0 {
				return 0
			}
			return float64(in.Patches[((p/2)*3+q/2)*4+p%2*2+q%2])
		}, 9},
	} {
		b := sharing.NewBank(dev, 1)
		s := NewStem(b, "m", l, StemOptions{Width: d, Kind: kind})
		b.Freeze(func(string) bool { return true }, false)
		tape := autograd.NewTape(dev, true)
		tape.Backward(s.Forward(tape, []Tokens{in}), seed)
		got := make([]float32, d*of.n)
		dev.Read(got, b.Param(of.tensor).Grad())
		for o := range d {
			for k := range of.n {
				want := 0.0
				for i := range 6 {
					want += float64(seed[i*d+o]) * of.read(i/3, i%3, k)
				}
				if math.Abs(want-float64(got[o*of.n+k])) > 1e-5 {
					t.Errorf("%s: gradient [%d, %d] is %g, the sum over positions %g", kind, o, k, got[o*of.n+k], want)
				}
			}
		}
	}
}

// TestShiftOfInputShiftsTokens moves inputs by the stride of a token: inside,
// where no edge is seen, tokens move along.
func TestShiftOfInputShiftsTokens(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 7))
	image := Layout{Patch: 3 * 16, Planes: 3, Grid: [2]int{5, 5}, Stretch: true}
	shiftImage := func(x Tokens) Tokens { // one patch down and one across
		y := Tokens{Grid: x.Grid, Patches: make([]float32, len(x.Patches))}
		for i := range 4 {
			for j := range 4 {
				copy(y.Patches[((i+1)*5+j+1)*48:][:48], x.Patches[(i*5+j)*48:])
			}
		}
		return y
	}
	sound := Layout{Patch: 4, Grid: [2]int{1, 12}}
	shiftSound := func(tokens int) func(x Tokens) Tokens {
		return func(x Tokens) Tokens {
			return Tokens{Grid: x.Grid, Patches: append(make([]float32, tokens*4), x.Patches[:len(x.Patches)-tokens*4]...)}
		}
	}
	for kind, c := range map[string]struct {
		l     Layout
		shift func(Tokens) Tokens
		pairs [][2]int // rows before and after
	}{
		"patch": {image, shiftImage, [][2]int{{0, 6}, {7, 13}, {18, 24}}},
		// A place reads what lies up to 3 pixels before it and behind it: not the
		// first row and column, where zeros stand before the edge.
		"residual": {image, shiftImage, [][2]int{{6, 12}, {7, 13}, {18, 24}}},
		"conv":     {sound, shiftSound(2), [][2]int{{1, 2}, {2, 3}, {4, 5}}},
	} {
		b := sharing.NewBank(dev, 1)
		s := NewStem(b, "m", c.l, StemOptions{Width: 8, Kind: kind, Act: tensor.GELU})
		randomise(t, b, 0.5)
		p := b.Param("tokenizers/m/positions")
		set(t, b, p, make([]float32, p.Value.Len()))
		in := sample(rng, c.l, c.l.Grid)
		before, after := forward(s, in), forward(s, c.shift(in))
		for _, pair := range c.pairs {
			near(t, fmt.Sprintf("%s: row %d after the shift", kind, pair[1]), after[pair[1]], before[pair[0]])
		}
		if kind == "residual" && fmt.Sprint(before[0]) == fmt.Sprint(after[6]) {
			t.Error("the corner's token does not see the edge: the test's margin is too wide")
		}
	}
}

// TestStatesReadForward changes a slice of sound: the tokens before it stay.
func TestStatesReadForward(t *testing.T) {
	k := kinds["gru"]
	b := sharing.NewBank(dev, 1)
	s := NewStem(b, "m", k.l, k.o)
	in := sample(rand.New(rand.NewPCG(1, 8)), k.l, [2]int{1, 6})
	before := forward(s, in)
	in.Patches[3*4]++
	for i, row := range forward(s, in) {
		if same := fmt.Sprint(row) == fmt.Sprint(before[i]); same != (i < 3) {
			t.Errorf("slice 3 changed and token %d: same %t", i, same)
		}
	}
}

func TestParametersOfStems(t *testing.T) {
	const d = 16
	residual := func(c, side int) (n int) { // channels halve from the last stage to the first
		for width := d; side > 1; side /= 2 {
			in := max(width/2, 8)
			if side == 2 {
				in = c
			}
			n += 10*in*width + width
			width = in
		}
		return n
	}
	for _, c := range []struct {
		o    StemOptions
		l    Layout
		want int // without positions
	}{
		{StemOptions{Kind: "patch"}, Layout{Patch: 12}, d*12 + d},
		{StemOptions{Kind: "conv"}, Layout{Patch: 12}, d*12 + d + 3*d*d + d},
		{StemOptions{Kind: "gru"}, Layout{Patch: 12}, 3 * d * (12 + d + 2)},
		{StemOptions{Kind: "residual"}, Layout{Patch: 3 * 4, Planes: 3}, residual(3, 2)},
		{StemOptions{Kind: "residual"}, Layout{Patch: 3 * 64, Planes: 3}, residual(3, 8)},
		{StemOptions{Factor: 5}, Layout{Vocab: 100}, 100*5 + 5*d},
		{StemOptions{}, Layout{Vocab: 100}, 100 * d},
	} {
		for _, n := range []int{3, 300} { // whatever the length
			c.o.Width, c.l.Grid = d, [2]int{1, n}
			b := sharing.NewBank(dev, 1)
			NewStem(b, "m", c.l, c.o)
			got := b.Elements()
			if c.o.Kind != "gru" {
				got -= b.Param("tokenizers/m/positions").Value.Len()
			}
			if got != c.want {
				t.Errorf("%+v of %v, %d tokens: %d parameters, want %d", c.o, c.l, n, got, c.want)
			}
		}
	}
	b := sharing.NewBank(dev, 1)
	branch := NewBranch(b, "m", Layout{Patch: 3 * 16, Planes: 3, Grid: [2]int{2, 2}}, BranchOptions{Width: d, Stages: 3, Channels: 4})
	if want := 10*3*4 + 4 + 2*(10*4*4+4) + d*4*(4+1+1); b.Elements() != want {
		t.Errorf("a branch has %d parameters, want %d", b.Elements(), want)
	}
	// Pixels 64, 16 and 4 places of a stage, 4 patches that read 4, 1 and 1.
	if got, want := branch.Products(Tokens{Grid: [2]int{2, 2}}), int64(10*(16*3*4+4*4*4+4*4*4)+4*d*4*(4+1+1)); got != want {
		t.Errorf("a branch costs %d multiplications, want %d", got, want)
	}
}

func TestBranchBeginsAtZero(t *testing.T) {
	l := Layout{Patch: 3 * 16, Planes: 3, Grid: [2]int{2, 2}, Stretch: true}
	b := sharing.NewBank(dev, 1)
	branch := NewBranch(b, "m", l, BranchOptions{Width: 8, Stages: 5, Channels: 4, Act: tensor.GELU})
	tape := autograd.NewTape(dev, false)
	in := []Tokens{sample(rand.New(rand.NewPCG(1, 9)), l, [2]int{2, 2}), sample(rand.New(rand.NewPCG(1, 9)), l, [2]int{3, 1})}
	for i, x := range branch.Forward(tape, in) {
		if x.Rows() != 7 || x.Cols() != 8 || dev.SumAbs(x.Value) != 0 {
			t.Errorf("stage %d: %v, sum %g", i, x.Value, dev.SumAbs(x.Value))
		}
	}
}

func TestOptionsNameTheKey(t *testing.T) {
	sequence, grid := Layout{Patch: 12, Grid: [2]int{1, 5}}, Layout{Patch: 12, Grid: [2]int{2, 5}}
	ids, picture := Layout{Vocab: 9, Grid: [2]int{1, 5}}, Layout{Patch: 3 * 36, Planes: 3, Grid: [2]int{2, 2}}
	for _, c := range []struct {
		err  error
		want string
	}{
		{StemOptions{Kind: "gru"}.Validate(grid), `stem: "gru" is for patches in one row, a sequence; these are patches of 12 values, 2 x 5`},
		{StemOptions{Kind: "conv"}.Validate(ids), `stem: "conv" is for patches in one row, a sequence; these are 9 ids`},
		{StemOptions{Kind: "residual"}.Validate(sequence), `stem: "residual" is for pictures; these are patches of 12 values, 1 x 5`},
		{StemOptions{Kind: "residual"}.Validate(picture), `has to be a power of two; it is 6`},
		{StemOptions{Factor: 3}.Validate(picture), `factor: is for a table of ids; these are patches [3, 6, 6] of pictures`},
		{StemOptions{Factor: -1}.Validate(ids), `factor: expected at least 0, found -1`},
		{BranchOptions{}.Validate(ids), `branch: is for pictures; these are 9 ids`},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("error %v, want it to hold %q", c.err, c.want)
		}
	}
}
