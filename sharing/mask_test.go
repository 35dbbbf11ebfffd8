package sharing

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/tensor"
)

// masked makes weights of two layers with a mask; up is [6, 4], down [4, 6].
func masked(t *testing.T, m Mask) *Weights {
	t.Helper()
	c := Default()
	if m.Kind != "units" {
		m.Roles = []Role{Up, Down}
	}
	c.Mask = &m
	if err := c.Validate(2, three); err != nil {
		t.Fatal(err)
	}
	w := NewWeights(c, NewBank(tensor.CPU(1), 1), "trunk", 2, three)
	w.Declare(Up, 6, 4, 1)
	w.Declare(Down, 4, 6, 1)
	w.Bank.Freeze(func(string) bool { return true }, false)
	return w
}

func ones(x []float32) (n int) {
	for _, v := range x {
		if v == 1 {
			n++
		}
	}
	return n
}

// fullMoments are moments of every parameter, filled with 1.
func fullMoments(w *Weights) map[*autograd.Param][]*tensor.Tensor {
	all := map[*autograd.Param][]*tensor.Tensor{}
	for _, p := range w.Bank.Params() {
		for range 2 {
			m := w.Bank.dev.New(p.Value.Rows, p.Value.Cols)
			w.Bank.dev.Fill(m, 1)
			all[p] = append(all[p], m)
		}
	}
	return all
}

func TestRandomMasks(t *testing.T) {
	w := masked(t, Mask{Kind: "random", Keep: 0.4})
	again := masked(t, Mask{Kind: "random", Keep: 0.4})
	if n := len(w.Masked()); n != 2*2*3 {
		t.Errorf("%d masks, want one for each layer, product and modality", n)
	}
	used := map[*autograd.Param][]bool{}
	drawn := map[string]bool{}
	for _, m := range w.Masked() {
		x := w.Bank.Read(m.Mask)
		if n := ones(x); n != 10 || len(x) != 24 {
			t.Errorf("%s: %d of %d entries, want 10 of 24", m.Mask.Name, n, len(x))
		}
		if fmt.Sprint(x) != fmt.Sprint(again.Bank.Read(again.Bank.Param(m.Mask.Name))) {
			t.Errorf("%s is another at the same seed", m.Mask.Name)
		}
		drawn[fmt.Sprint(x)] = true
		if used[m.Param] == nil {
			used[m.Param] = make([]bool, len(x))
		}
		for i, v := range x {
			used[m.Param][i] = used[m.Param][i] || v == 1
		}
	}
	if len(drawn) != 12 {
		t.Errorf("%d different masks of 12", len(drawn))
	}
	for p, u := range used {
		for i, v := range w.Bank.Read(p) {
			if (v != 0) != u[i] {
				t.Errorf("%s[%d] is %g, used %t", p.Name, i, v, u[i])
			}
		}
	}
	// The closed form of what is trained: masks are no parameters.
	if n := w.Bank.Elements(); n != 2*(24+6+24+4) {
		t.Errorf("%d parameters", n)
	}
	if !w.Bank.Has("trunk/0/ffn@image/up/mask") || w.Bank.Has("trunk/0/attn@image/qkv/mask") {
		t.Error("masks have other names, or are of roles that there are not")
	}
}

// TestMasksOfOne: a mask that keeps all is none at all, and one of ones written by
// hand leaves the product as it is.
func TestMasksOfOne(t *testing.T) {
	plain := NewWeights(Default(), NewBank(tensor.CPU(1), 1), "trunk", 2, three)
	plain.Declare(Up, 6, 4, 1)
	plain.Declare(Down, 4, 6, 1)
	runs := []Run{{"audio", 2}, {"image", 1}}
	product := func(w *Weights) []float32 {
		tape := autograd.NewTape(w.Bank.dev, true)
		x := tape.Input(3, 4, []float32{1, 2, 3, 4, -1, -2, 1, 2, 0.5, 1, 1, -3})
		return tape.Read(w.On(tape, runs).Linear(0, Up, x, runs, nil, autograd.LinearOptions{}))
	}
	want := product(plain)
	for _, kind := range []Mask{{Kind: "random", Keep: 1}, {Kind: "sparse", Keep: 0.5, Rounds: 1, Steps: 1}, {Kind: "units", Keep: 0.5, Score: "correlation", By: "modality", At: 1, Batches: 1}} {
		w := masked(t, kind) // all but the first are of ones before training
		if got := product(w); !slices.Equal(got, want) {
			t.Errorf("%s: product %v, want %v", kind.Kind, got, want)
		}
		if kind.Keep == 1 && len(w.Bank.Params()) != len(plain.Bank.Params()) {
			t.Errorf("a mask that keeps all has parameters")
		}
	}
}

// TestRegrow plants weights and gradients, and holds the change of a mask to what
// the algorithm says.
func TestRegrow(t *testing.T) {
	w := masked(t, Mask{Kind: "dynamic", Keep: 0.5, Every: 1, Fraction: 0.5})
	dev := w.Bank.dev
	rng := rand.New(rand.NewPCG(1, 2))
	weight := w.Bank.Param("trunk/0/ffn/up/weight")
	image, audio := w.Bank.Param("trunk/0/ffn@image/up/mask"), w.Bank.Param("trunk/0/ffn@audio/up/mask")
	moments := fullMoments(w)
	w.Prune(func(p *autograd.Param) []*tensor.Tensor { return moments[p] })
	before, was, others := w.Bank.Read(weight), w.Bank.Read(image), make([]float32, 24)
	for _, m := range w.Masked() {
		if m.Param == weight && m.Modality != "image" {
			for i, v := range w.Bank.Read(m.Mask) {
				others[i] = max(others[i], v)
			}
		}
	}
	audioWas := w.Bank.Read(audio)
	// A step of images alone, of a known dense gradient by x' dy.
	w.Probe(true)
	tape := autograd.NewTape(dev, true)
	runs := []Run{{"image", 3}}
	x, dy := make([]float32, 12), make([]float32, 18)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	for i := range dy {
		dy[i] = float32(rng.NormFloat64())
	}
	y := w.On(tape, runs).Linear(0, Up, tape.Input(3, 4, x), runs, nil, autograd.LinearOptions{})
	tape.Backward(y, dy)
	dense := make([]float64, 24)
	for o := range 6 {
		for i := range 4 {
			for r := range 3 {
				dense[o*4+i] += float64(dy[r*6+o]) * float64(x[r*4+i])
			}
		}
	}
	g := make([]float32, 24)
	dev.Read(g, weight.Grad())
	for i, v := range g {
		if want := dense[i] * float64(was[i]); math.Abs(float64(v)-want) > 1e-5 {
			t.Fatalf("gradient %d is %g, want %g", i, v, want)
		}
	}
	w.Regrow(0.5, func(p *autograd.Param) []*tensor.Tensor { return moments[p] })
	w.Probe(false)
	got, values := w.Bank.Read(image), w.Bank.Read(weight)
	if ones(got) != 12 {
		t.Errorf("%d entries, there were 12", ones(got))
	}
	if !slices.Equal(audioWas, w.Bank.Read(audio)) {
		t.Error("the mask of a modality that was in no pass changed")
	}
	var mags []float64
	for i, v := range was {
		if v == 1 {
			mags = append(mags, math.Abs(float64(before[i])))
		}
	}
	slices.Sort(mags)
	kept := make([]bool, 24)
	var left []float64
	for i := range kept {
		if kept[i] = was[i] == 1 && math.Abs(float64(before[i])) >= mags[6]; !kept[i] {
			left = append(left, math.Abs(dense[i]))
		}
	}
	slices.Sort(left)
	m := [2][]float32{make([]float32, 24), make([]float32, 24)}
	for i, t := range moments[weight] {
		dev.Read(m[i], t)
	}
	zeros := 0
	for i, v := range got {
		want := kept[i] || math.Abs(dense[i]) >= left[len(left)-6]
		if (v == 1) != want {
			t.Errorf("entry %d: in the mask %g, want %t", i, v, want)
		}
		switch grown := v == 1 && was[i] == 0; {
		case grown && others[i] == 1:
			if values[i] != before[i] || m[0][i] != 1 {
				t.Errorf("entry %d, which others use, was changed", i)
			}
		case grown, v == 0 && others[i] == 0:
			zeros++
			if values[i] != 0 || m[0][i] != 0 || m[1][i] != 0 {
				t.Errorf("entry %d, grown %t, begins at %g with moments %g, %g", i, grown, values[i], m[0][i], m[1][i])
			}
		case values[i] != before[i] || m[1][i] != 1:
			t.Errorf("entry %d, which is used, was changed", i)
		}
	}
	if zeros == 0 {
		t.Error("nothing to see: no entry is zero")
	}
}

func TestChangesStopAtThreeQuarters(t *testing.T) {
	m := &Mask{Kind: "dynamic", Keep: 0.5, Every: 10, Fraction: 0.4}
	last := 1.0
	for n := 1; n <= 200; n++ {
		c := m.Changes(n, 200)
		if n < 150 && (n%10 == 0) != (c > 0) || n > 150 && c != 0 {
			t.Errorf("step %d of 200 changes %g", n, c)
		}
		if c > 0 {
			if c >= last || c > 0.4 {
				t.Errorf("step %d changes %g, the one before %g", n, c, last)
			}
			last = c
		}
	}
	if c := m.Changes(150, 200); c > 1e-9 {
		t.Errorf("the last change is of %g", c)
	}
	if c := m.Changes(70, 200); math.Abs(c-0.2*(1+math.Cos(math.Pi*70/150))) > 1e-12 {
		t.Errorf("step 70 changes %g", c)
	}
}

func TestAgreement(t *testing.T) {
	// The second looks important and hurts, the third does neither.
	got := Agreement([]float64{3, 9, 1, 5}, []float64{0.4, -2, 0.1, 0.2})
	if want := []float64{0.25, 0, 0, 0.25}; !slices.EqualFunc(got, want, func(a, b float64) bool { return math.Abs(a-b) < 1e-12 }) {
		t.Errorf("scores %v, want %v", got, want)
	}
	for _, y := range [][]float64{MinMax([]float64{2, 2}), Agreement([]float64{1, 2}, []float64{-1, 0})} {
		if y[0] != 0 || y[1] != 0 {
			t.Errorf("scores of nothing: %v", y)
		}
	}
}

// TestSelect keeps units by score; entries of up that no modality uses are zero,
// their bias too.
func TestSelect(t *testing.T) {
	w := masked(t, Mask{Kind: "units", Keep: 0.5, Score: "causal", By: "modality", At: 1, Batches: 1})
	for _, p := range w.Bank.Params() {
		if strings.HasSuffix(p.Name, "/bias") {
			w.Bank.dev.Fill(p.Value, 1)
		}
	}
	if n := len(w.MaskedUnits()); n != 2*3 {
		t.Fatalf("%d masks of units, want one for each layer and modality", n)
	}
	for _, mask := range w.MaskedUnits() {
		w.Select(mask, []float64{0, 5, 1, 1, 0, 3})
		if got := w.Bank.Read(mask); !slices.Equal(got, []float32{0, 1, 1, 0, 0, 1}) {
			t.Errorf("%s: %v", mask.Name, got)
		}
	}
	w.Prune(nil)
	for i, v := range w.Bank.Read(w.Bank.Param("trunk/1/ffn/up/weight")) {
		if unit := i / 4; (v == 0) != (unit == 0 || unit == 3 || unit == 4) {
			t.Errorf("weight %d of unit %d is %g", i, unit, v)
		}
	}
	if b := w.Bank.Read(w.Bank.Param("trunk/1/ffn/up/bias")); !slices.Equal(b, []float32{0, 1, 1, 0, 0, 1}) {
		t.Errorf("biases %v", b)
	}
	all := masked(t, Mask{Kind: "units", Keep: 0.5, Score: "causal", By: "all", At: 1, Batches: 1})
	if n := len(all.MaskedUnits()); n != 2 || !all.Bank.Has("trunk/0/ffn/up/units") {
		t.Errorf("%d masks of units for all modalities, want one for each layer", n)
	}
}

func TestMaskNamesTheKey(t *testing.T) {
	good := Mask{Kind: "sparse", Keep: 0.5, Rounds: 2, Steps: 10}
	for want, change := range map[string]func(c *Config, m *Mask){
		`mask.kind: "dense"`:                    func(_ *Config, m *Mask) { m.Kind = "dense" },
		`mask.keep: expected a share in (0, 1]`: func(_ *Config, m *Mask) { m.Keep = 0 },
		`mask.rounds: expected at least 1`:      func(_ *Config, m *Mask) { m.Rounds = 0 },
		`mask.every: is of kind dynamic`:        func(_ *Config, m *Mask) { m.Every = 5 },
		`mask.at: is of kind units, not sparse`: func(_ *Config, m *Mask) { m.At = 5 },
		`mask.fraction: expected a share`:       func(_ *Config, m *Mask) { *m = Mask{Kind: "dynamic", Keep: 0.5, Every: 3} },
		`mask.score: expected correlation or`:   func(_ *Config, m *Mask) { *m = Mask{Kind: "units", Keep: 0.5, By: "all", At: 1, Batches: 1} },
		`mask.roles: units are those`: func(_ *Config, m *Mask) {
			*m = Mask{Kind: "units", Keep: 0.5, Score: "causal", By: "all", At: 1, Batches: 1, Roles: []Role{Up}}
		},
		`mask.roles: "norm1" is a norm`:           func(_ *Config, m *Mask) { m.Roles = []Role{Norm1} },
		`"up" is routed`:                          func(c *Config, m *Mask) { c.Router = &Router{Experts: 4, Top: 1, Gate: "shared"}; m.Roles = []Role{Up} },
		`"qkv" is mixed`:                          func(c *Config, _ *Mask) { c.Mix = &Mix{Kind: "bank", Bank: 2} },
		`what apg adds to "qkv"`:                  func(c *Config, _ *Mask) { c.Delta = &Delta{Kind: "apg", Of: "tokens", Rank: 1} },
		`does not go with sharing.adapt`:          func(c *Config, _ *Mask) { c.Adapt = &Adapt{} },
		`pull: none of [qkv out up down] is priv`: func(c *Config, _ *Mask) { c.Pull = &Pull{Kind: "l2"} },
		`pull.roles: "out" is not private`:        func(c *Config, _ *Mask) { c.Pull = &Pull{Kind: "l2", Roles: []Role{Norm1, Out}} },
		`pull.kind: "l1"`:                         func(c *Config, _ *Mask) { c.Pull = &Pull{Kind: "l1"} },
		`pull.lambda: expected a number`:          func(c *Config, _ *Mask) { c.Pull = &Pull{Kind: "l2", Lambda: -1} },
		`pull.anchor: is of kind l2`:              func(c *Config, _ *Mask) { c.Pull = &Pull{Kind: "trace", Anchor: "mean"} },
		`pull.anchor: "last"`:                     func(c *Config, _ *Mask) { c.Pull = &Pull{Kind: "l2", Anchor: "last"} },
		`pull.drop: is of kind adaptive`:          func(c *Config, _ *Mask) { c.Pull = &Pull{Kind: "l2", Drop: 0.5} },
	} {
		c, m := Default(), good
		c.Mask = &m
		change(&c, &m)
		if err := c.Validate(4, three); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to hold %q", err, want)
		}
	}
	c := Default()
	c.Mask = &good
	if err := c.Validate(4, three); err != nil {
		t.Error(err)
	}
	// One rule of a map that separates is enough for a pull.
	c.Map = []Rule{{Layers: []int{1}, Roles: []Role{Qkv}, Groups: [][]string{{"audio"}, {"image", "text"}}}}
	c.Pull = &Pull{Kind: "adaptive", Lambda: 1, Drop: 0.5}
	if err := c.Validate(4, three); err != nil {
		t.Error(err)
	}
}
