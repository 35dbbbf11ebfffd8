package model

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/tensor"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// specialised is a config of pictures, signals and words with keys for two of
// them.
func specialised(t *testing.T, picture, word string) *Model {
	t.Helper()
	c, err := ParseConfig("c", []byte(`{
		"trunk": {"width": 8, "layers": 3, "heads": 2, "hidden": 16, "embed": 6},
		"modalities": {"picture": {"pool": "class"`+picture+`}, "signal": {}, "word": {"pool": "last", "causal": true`+word+`}}
	}`))
	if err != nil {
		t.Fatal(err)
	}
	ps, err := c.OpenProcessors("")
	if err != nil {
		t.Fatal(err)
	}
	return New(c, ps, tensor.CPU(1), 1)
}

// pictures are samples of several grids.
func pictures() []tokenizers.Tokens {
	rng := rand.New(rand.NewPCG(2, 1))
	var ts []tokenizers.Tokens
	for _, grid := range [][2]int{{2, 2}, {1, 3}, {2, 1}} {
		s := tokenizers.Tokens{Grid: grid}
		for range 32 * s.Len() {
			s.Patches = append(s.Patches, float32(rng.NormFloat64()))
		}
		ts = append(ts, s)
	}
	return ts
}

// both embeds signals, pictures and words in one batch.
func both(m *Model, tape *autograd.Tape) []*autograd.Var {
	return m.Forward(tape, []Input{{"signal", signals(3)}, {"picture", pictures()}, {"word", words(2)}})
}

func TestBranchOfAModel(t *testing.T) {
	const branch = `, "stem": "residual", "branch": {"layers": [0, 2], "channels": 2}`
	without, m := specialised(t, `, "stem": "residual"`, ""), specialised(t, branch, `, "factor": 0`)
	read := func(m *Model) [][]float32 {
		tape := autograd.NewTape(m.Device, false)
		defer tape.Release()
		var zs [][]float32
		for _, z := range both(m, tape) {
			zs = append(zs, tape.Read(z))
		}
		return zs
	}
	before := read(m)
	for i, z := range read(without) {
		if !slices.Equal(z, before[i]) {
			t.Errorf("input %d: a branch does not begin as none", i)
		}
	}
	rng := rand.New(rand.NewPCG(2, 2))
	for _, p := range m.Bank.Params() {
		if strings.HasPrefix(p.Name, "tokenizers/picture/branch/") {
			x := m.Bank.Read(p)
			for i := range x {
				x[i] += float32(0.5 * rng.NormFloat64())
			}
			if err := m.Bank.Write(p, x); err != nil {
				t.Fatal(err)
			}
		}
	}
	after := read(m)
	for i, moves := range []bool{false, true, false} {
		if slices.Equal(after[i], before[i]) == moves {
			t.Errorf("input %d: the branch of pictures moves it: want %t", i, moves)
		}
	}
	for i, s := range pictures() {
		alone, err := m.Embed(t.Context(), "picture", []tokenizers.Tokens{s})
		if err != nil {
			t.Fatal(err)
		}
		for j, v := range alone {
			if math.Abs(float64(v-after[1][i*6+j])) > 1e-5 {
				t.Fatalf("picture %d is another thing in a batch", i)
			}
		}
	}
	if got, want := m.Bank.Elements()-without.Bank.Elements(), 10*2*2+2+10*2*2+2+8*2*(4+1); got != want {
		t.Errorf("a branch has %d parameters, want %d", got, want)
	}
	extra := int64(2 * (4*(10*2*2*4+10*2*2) + 4*8*2*(4+1)))
	if got := m.Inspect().FLOPs["picture"] - without.Inspect().FLOPs["picture"]; got != extra {
		t.Errorf("a branch costs %d FLOPs, want %d", got, extra)
	}
}

// TestGradientsOfSpecialisedModels compares the derivative of embeddings along a
// random direction of each tensor with its gradient.
func TestGradientsOfSpecialisedModels(t *testing.T) {
	m := specialised(t, `, "stem": "residual", "branch": {"layers": [0, 2]}`, `, "factor": 3`)
	rng := rand.New(rand.NewPCG(2, 3))
	for _, p := range m.Bank.Params() {
		x := m.Bank.Read(p)
		for i := range x {
			x[i] += float32(0.3 * rng.NormFloat64())
		}
		if err := m.Bank.Write(p, x); err != nil {
			t.Fatal(err)
		}
	}
	m.Bank.Freeze(func(n string) bool { return strings.HasPrefix(n, "tokenizers/") }, false)
	var c []float32
	for range 3 * 6 {
		c = append(c, float32(rng.NormFloat64()))
	}
	// Words have two samples: the first counts twice.
	f := func(tape *autograd.Tape) *autograd.Var {
		zs := both(m, tape)
		s := tape.Sparse()
		for i := range 3 {
			s.Append(int32(i % zs[2].Rows()))
		}
		return tape.Sum([]float32{1, 1, 1}, zs[0], zs[1], tape.Gather(autograd.Term{S: s, X: zs[2]}))
	}
	value := func() (sum float64) {
		tape := autograd.NewTape(m.Device, false)
		defer tape.Release()
		for i, v := range tape.Read(f(tape)) {
			sum += float64(c[i]) * float64(v)
		}
		return sum
	}
	tape := autograd.NewTape(m.Device, true)
	tape.Backward(f(tape), c)
	for _, p := range m.Bank.Params() {
		if !p.Trained() || p.Grad() == nil {
			if p.Trained() {
				t.Errorf("%s has no gradient", p.Name)
			}
			continue
		}
		g, x := make([]float32, p.Value.Len()), m.Bank.Read(p)
		m.Device.Read(g, p.Grad())
		way, want, norm := make([]float32, len(x)), 0.0, 0.0
		for i := range x {
			way[i] = float32(1 - 2*rng.IntN(2))
			want += float64(way[i]) * float64(g[i])
			norm += float64(g[i]) * float64(g[i])
		}
		const h = 3e-3
		at := func(h float32) float64 {
			y := slices.Clone(x)
			for i := range y {
				y[i] += h * way[i]
			}
			if err := m.Bank.Write(p, y); err != nil {
				t.Fatal(err)
			}
			return value()
		}
		numeric := (at(h) - at(-h)) / (2 * h)
		at(0)
		if e := math.Abs(numeric-want) / max(math.Sqrt(norm), 0.02); e > 0.03 {
			t.Errorf("%s: the derivative is %g, the gradient says %g, of length %g", p.Name, numeric, want, math.Sqrt(norm))
		}
	}
}

// TestStemsNameTheKey: what a modality's tokens are is known when its processor is
// opened.
func TestStemsNameTheKey(t *testing.T) {
	for in, want := range map[string]string{
		`"word": {"stem": "gru"}`:                `modalities.word.stem: "gru" is for patches in one row, a sequence; these are 20 ids`,
		`"signal": {"stem": "residual"}`:         `modalities.signal.stem: "residual" is for pictures; these are patches of 3 values, 2 x 4`,
		`"signal": {"branch": {"layers": [1]}}`:  `modalities.signal.branch: is for pictures; these are patches of 3 values, 2 x 4`,
		`"picture": {"factor": 2}`:               `modalities.picture.factor: is for a table of ids; these are patches [2, 4, 4] of pictures`,
		`"picture": {"branch": {"layers": [2]}}`: `modalities.picture.branch.layers: expected rising numbers in 0..1, found [2]`,
	} {
		c, err := ParseConfig("c", []byte(`{"trunk": {"width": 8, "layers": 2, "heads": 2, "hidden": 16, "embed": 6}, "modalities": {`+in+`}}`))
		if err == nil {
			_, err = c.OpenProcessors("")
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want it to hold %q", in, err, want)
		}
	}
}
