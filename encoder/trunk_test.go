package encoder

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

var dev = tensor.CPU(2)

func small() Config {
	c := Default()
	c.Width, c.Layers, c.Heads, c.Hidden, c.Embed = 8, 4, 2, 16, 6
	return c
}

// sequences are those of build's three modalities.
var sequences = []Sequence{{Pool: "mean"}, {Pool: "class"}, {Pool: "last"}}

func init() {
	for i := range sequences {
		sequences[i].Defaults(8)
	}
}

// build makes a trunk and heads of three modalities by a sharing config, all
// values random, so that no gain of one or bias of zero hides a mistake.
func build(t *testing.T, s sharing.Config) (*sharing.Bank, *Trunk, map[string]*Head) {
	return buildOf(t, small(), s, sequences)
}

// buildOf is build for a trunk of other settings, and other heads.
func buildOf(t *testing.T, c Config, s sharing.Config, sequences []Sequence) (*sharing.Bank, *Trunk, map[string]*Head) {
	t.Helper()
	if err := s.Validate(c.Layers, []string{"audio", "image", "text"}); err != nil {
		t.Fatal(err)
	}
	bank := sharing.NewBank(dev, 1)
	names := []string{"audio", "image", "text"}
	trunk := NewTrunk(c, sharing.NewWeights(s, bank, "trunk", c.Layers, names))
	heads := map[string]*Head{}
	for i, n := range names {
		heads[n] = NewHead(c, bank, n, sequences[i], c.Embed)
	}
	rng := rand.New(rand.NewPCG(5, 5))
	for _, p := range bank.Params() {
		if p.Fixed {
			continue
		}
		x := bank.Read(p)
		for i := range x {
			x[i] += float32(0.2 * rng.NormFloat64())
		}
		if err := bank.Write(p, x); err != nil {
			t.Fatal(err)
		}
	}
	return bank, trunk, heads
}

// sample is a sequence of one modality.
type sample struct {
	modality string
	rows     []float32 // [n, 8]
	causal   bool
}

func draw(rng *rand.Rand, modality string, n int, causal bool) sample {
	s := sample{modality: modality, rows: make([]float32, n*8), causal: causal}
	for i := range s.rows {
		s.rows[i] = float32(rng.NormFloat64())
	}
	return s
}

// embed packs samples, which are grouped by modality, and returns their
// vectors.
func embed(tape *autograd.Tape, trunk *Trunk, heads map[string]*Head, samples []sample) []*autograd.Var {
	var x []float32
	var runs []sharing.Run
	var spans []tensor.Span
	rows := 0
	for _, s := range samples {
		n := len(s.rows) / 8
		if len(runs) == 0 || runs[len(runs)-1].Modality != s.modality {
			runs = append(runs, sharing.Run{Modality: s.modality})
		}
		runs[len(runs)-1].Rows += n
		spans = append(spans, tensor.Span{Start: rows, Len: n, Causal: s.causal})
		x = append(x, s.rows...)
		rows += n
	}
	var pools []string
	for _, s := range samples {
		pools = append(pools, heads[s.modality].seq.Pool)
	}
	y, spans := trunk.ForwardPooled(tape, tape.Input(rows, 8, x), runs, spans, pools)
	var out []*autograd.Var
	for i, s := range samples {
		out = append(out, heads[s.modality].Forward(tape, y, spans[i:i+1]))
	}
	return out
}

// TestPooledRowsAreForwards holds what the last block computes for the heads
// to the rows that it computes when all are asked for, with its gradient.
func TestPooledRowsAreForwards(t *testing.T) {
	_, trunk, _ := build(t, sharing.Config{Layers: sharing.Layers{Scheme: "none", Roles: "all"}, Private: []sharing.Role{sharing.Norm1, sharing.Down}, Experts: "none"})
	rng := rand.New(rand.NewPCG(6, 1))
	runs := []sharing.Run{{Modality: "audio", Rows: 7}, {Modality: "image", Rows: 9}, {Modality: "text", Rows: 6}}
	spans := []tensor.Span{{Len: 4}, {Start: 4, Len: 3}, {Start: 7, Len: 9}, {Start: 16, Len: 1, Causal: true}, {Start: 17, Len: 5, Causal: true}}
	pools := []string{"mean", "mean", "class", "last", "last"}
	rows := []int{0, 1, 2, 3, 4, 5, 6, 7, 16, 21} // of all rows, those that are asked for
	x := autograd.NewParam("x", dev.New(22, 8))
	x.Train(true)
	values, c := make([]float32, 22*8), make([]float32, len(rows)*8)
	for i := range values {
		values[i] = float32(rng.NormFloat64())
	}
	for i := range c {
		c[i] = float32(rng.NormFloat64())
	}
	dev.Write(x.Value, values)
	gradient := func(tape *autograd.Tape, y *autograd.Var, seed []float32) []float32 {
		tape.Backward(y, seed)
		g := make([]float32, len(values))
		dev.Read(g, x.Grad())
		x.Clear(dev)
		return g
	}
	tape := autograd.NewTape(dev, true)
	y, left := trunk.ForwardPooled(tape, x.Var(), runs, spans, pools)
	got := tape.Read(y)
	gotGrad := gradient(tape, y, c)
	if len(got) != len(rows)*8 || left[2] != (tensor.Span{Start: 7, Len: 1}) || left[4] != (tensor.Span{Start: 9, Len: 1}) {
		t.Fatalf("%d values, spans %v", len(got), left)
	}
	all := trunk.Forward(tape, x.Var(), runs, spans)
	want, seed := tape.Read(all), make([]float32, 22*8)
	for i, r := range rows {
		copy(seed[r*8:(r+1)*8], c[i*8:(i+1)*8])
		if d := distance(got[i*8:(i+1)*8], want[r*8:(r+1)*8]); d > 1e-5 {
			t.Errorf("row %d differs by %g", r, d)
		}
	}
	if d := distance(gotGrad, gradient(tape, all, seed)); d > 1e-4 {
		t.Errorf("the gradient differs by %g", d)
	}
}

func vectors(trunk *Trunk, heads map[string]*Head, samples ...sample) [][]float32 {
	tape := autograd.NewTape(dev, false)
	defer tape.Release()
	var zs [][]float32
	for _, v := range embed(tape, trunk, heads, samples) {
		zs = append(zs, tape.Read(v))
	}
	return zs
}

func distance(a, b []float32) float64 {
	var d float64
	for i := range a {
		d = max(d, math.Abs(float64(a[i]-b[i])))
	}
	return d
}

func TestPackingDoesNotMixSamples(t *testing.T) {
	for name, s := range map[string]sharing.Config{
		"shared":  sharing.Default(),
		"experts": {Layers: sharing.Layers{Scheme: "cycle_rev", Unique: 2, Roles: "all"}, Experts: "modality"},
		"private": {Layers: sharing.Layers{Scheme: "none", Roles: "all"}, Private: sharing.Roles, Experts: "none"},
	} {
		_, trunk, heads := build(t, s)
		rng := rand.New(rand.NewPCG(1, 1))
		samples := []sample{
			draw(rng, "audio", 5, false), draw(rng, "audio", 1, false),
			draw(rng, "image", 7, false), draw(rng, "text", 3, true), draw(rng, "text", 9, true),
		}
		together := vectors(trunk, heads, samples...)
		for i := range samples {
			alone := vectors(trunk, heads, samples[i])[0]
			if d := distance(alone, together[i]); d > 1e-5 {
				t.Errorf("%s: sample %d differs by %g when it is packed with others", name, i, d)
			}
			if n := math.Sqrt(dev.SumSquares(autograd.NewTape(dev, false).Input(1, 6, alone).Value)); math.Abs(n-1) > 1e-5 {
				t.Errorf("%s: sample %d has length %g, want 1", name, i, n)
			}
		}
	}
}

func TestCausalSeesNoFuture(t *testing.T) {
	_, trunk, _ := build(t, sharing.Default())
	rng := rand.New(rand.NewPCG(2, 1))
	s := draw(rng, "text", 6, true)
	rows := func(s sample) []float32 {
		tape := autograd.NewTape(dev, false)
		defer tape.Release()
		n := len(s.rows) / 8
		return tape.Read(trunk.Forward(tape, tape.Input(n, 8, s.rows),
			[]sharing.Run{{Modality: "text", Rows: n}}, []tensor.Span{{Len: n, Causal: s.causal}}))
	}
	for _, causal := range []bool{true, false} {
		s.causal = causal
		before := rows(s)
		changed := s
		changed.rows = append([]float32(nil), s.rows...)
		changed.rows[5*8] += 1 // the last token
		after := rows(changed)
		if d := distance(before[:5*8], after[:5*8]); (d == 0) != causal {
			t.Errorf("causal %t: earlier rows moved by %g when the last token changed", causal, d)
		}
	}
}

// TestModalityTag holds MS-CLIP's property: the tag changes the output
// through the private tensors alone.
func TestModalityTag(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	a := draw(rng, "audio", 5, false)
	b := a
	b.modality = "image"
	trunkOut := func(s sharing.Config, x sample) []float32 {
		_, trunk, _ := build(t, s)
		tape := autograd.NewTape(dev, false)
		defer tape.Release()
		return tape.Read(trunk.Forward(tape, tape.Input(5, 8, x.rows),
			[]sharing.Run{{Modality: x.modality, Rows: 5}}, []tensor.Span{{Len: 5}}))
	}
	hard := sharing.Default()
	hard.Private = nil
	if d := distance(trunkOut(hard, a), trunkOut(hard, b)); d != 0 {
		t.Errorf("without private tensors the tag moves the output by %g", d)
	}
	if d := distance(trunkOut(sharing.Default(), a), trunkOut(sharing.Default(), b)); d == 0 {
		t.Error("with private norms the tag changes nothing")
	}
}

// TestGradientsReachWhatServes checks that an image batch leaves the other
// modalities' experts alone, and gradients through a layer that runs twice.
func TestGradientsReachWhatServes(t *testing.T) {
	s := sharing.Config{Layers: sharing.Layers{Scheme: "cycle", Unique: 2, Roles: "all"}, Private: []sharing.Role{sharing.Norm1}, Experts: "modality"}
	bank, trunk, heads := build(t, s)
	bank.Freeze(func(string) bool { return true }, false)
	rng := rand.New(rand.NewPCG(4, 1))
	samples := []sample{draw(rng, "audio", 3, false), draw(rng, "image", 4, false)}
	checkGradients(t, bank, trunk, heads, samples)
	for _, p := range bank.Params() {
		if (strings.Contains(p.Name, "@text") || strings.HasPrefix(p.Name, "heads/text")) && p.Grad() != nil {
			t.Errorf("%s has a gradient in a batch without text", p.Name)
		}
	}
}

// TestGradientsOfVariants checks the gradients of norms after the sums, and of
// heads that pool, norm and project otherwise.
func TestGradientsOfVariants(t *testing.T) {
	c := small()
	c.Layers, c.NormPlace, c.Activation = 2, "post", "gelu_tanh"
	variants := []Sequence{
		{Pool: "attention", HeadNorm: "rows", Projection: "linear"},
		{Pool: "classes", HeadNorm: "pooled", Projection: "bias"},
		{Pool: "mean", HeadNorm: "none", Projection: "linear"},
	}
	bank, trunk, heads := buildOf(t, c, sharing.Default(), variants)
	bank.Freeze(func(string) bool { return true }, false)
	rng := rand.New(rand.NewPCG(4, 2))
	checkGradients(t, bank, trunk, heads, []sample{
		draw(rng, "audio", 3, false), draw(rng, "audio", 5, false), draw(rng, "image", 4, false), draw(rng, "text", 2, false),
	})
}

// TestHeadVariants holds heads to what they are made of.
func TestHeadVariants(t *testing.T) {
	c := small()
	c.Embed = c.Width
	rng := rand.New(rand.NewPCG(4, 3))
	x := draw(rng, "audio", 4, false).rows
	spans := []tensor.Span{{Start: 1, Len: 3}} // row 0 is another's
	unit := func(x []float32) []float32 {
		var n float64
		for _, v := range x {
			n += float64(v) * float64(v)
		}
		y := make([]float32, len(x))
		for i, v := range x {
			y[i] = float32(float64(v) / math.Sqrt(n))
		}
		return y
	}
	mean := func(rows ...int) []float32 {
		y := make([]float32, 8)
		for _, r := range rows {
			for i := range y {
				y[i] += x[r*8+i] / float32(len(rows))
			}
		}
		return y
	}
	for _, v := range []struct {
		pool string
		want []float32
	}{{"mean", mean(1, 2, 3)}, {"first", mean(1)}, {"last", mean(3)}, {"class", mean(1)}, {"classes", mean(1, 2)}} {
		bank := sharing.NewBank(dev, 1)
		h := NewHead(c, bank, "audio", Sequence{Pool: v.pool, HeadNorm: "none", Projection: "none"}, c.Embed)
		tape := autograd.NewTape(dev, false)
		if d := distance(tape.Read(h.Forward(tape, tape.Input(4, 8, x), spans)), unit(v.want)); d > 1e-6 {
			t.Errorf("pool %s is off by %g", v.pool, d)
		}
		if len(bank.Params()) > 0 {
			t.Errorf("pool %s has parameters", v.pool)
		}
	}
	bank := sharing.NewBank(dev, 1)
	h := NewHead(c, bank, "audio", Sequence{Pool: "mean", HeadNorm: "none", Projection: "none"}, 5)
	tape := autograd.NewTape(dev, false)
	if z := h.Forward(tape, tape.Input(4, 8, x), spans); z.Cols() != 5 || !bank.Has("heads/audio/bridge/weight") {
		t.Errorf("a tower of 8 in a space of 5 gives vectors of %d", z.Cols())
	}
}

// checkGradients compares the gradients of a weighted sum of the samples'
// vectors with differences.
func checkGradients(t *testing.T, bank *sharing.Bank, trunk *Trunk, heads map[string]*Head, samples []sample) {
	t.Helper()
	rng := rand.New(rand.NewPCG(4, 4))
	weights := make([]float32, len(samples))
	for i := range weights {
		weights[i] = 1 - 0.3*float32(i)
	}
	c := make([]float32, 6)
	for i := range c {
		c[i] = float32(rng.NormFloat64())
	}
	loss := func(tape *autograd.Tape) *autograd.Var {
		return tape.Sum(weights, embed(tape, trunk, heads, samples)...)
	}
	tape := autograd.NewTape(dev, true)
	tape.Backward(loss(tape), c)
	f := func() (sum float64) {
		tape := autograd.NewTape(dev, false)
		defer tape.Release()
		for i, v := range tape.Read(loss(tape)) {
			sum += float64(c[i]) * float64(v)
		}
		return sum
	}
	for _, p := range bank.Params() {
		if p.Fixed {
			continue
		}
		g := make([]float32, p.Value.Len())
		if p.Grad() != nil {
			dev.Read(g, p.Grad())
		}
		// A few elements of each tensor, by central differences.
		x := bank.Read(p)
		var diff, norm float64
		for k := 0; k < len(x); k += 1 + len(x)/5 {
			old := x[k]
			const h = 1e-2
			set := func(v float32) float64 {
				x[k] = v
				if err := bank.Write(p, x); err != nil {
					t.Fatal(err)
				}
				return f()
			}
			numeric := (set(old+h) - set(old-h)) / (2 * h)
			set(old)
			diff += math.Pow(numeric-float64(g[k]), 2)
			norm += numeric * numeric
		}
		if e := math.Sqrt(diff) / max(math.Sqrt(norm), 0.02); e > 0.02 {
			t.Errorf("%s: relative error of the gradient %.4f", p.Name, e)
		}
	}
}

func TestUniqueParametersHaveAClosedForm(t *testing.T) {
	c := small()
	d, f := c.Width, c.Hidden
	norm, attn, ffn := 2*d, 3*d*d+3*d+d*d+d, 2*d*f+f+d
	heads := 3 * (2*d + c.Embed*d)
	for _, k := range []struct {
		s    sharing.Config
		want int
	}{
		{sharing.Default(), 4 * (3*2*norm + attn + ffn)},
		{sharing.Config{Layers: sharing.Layers{Scheme: "universal", Roles: "all"}, Experts: "none"}, 2*norm + attn + ffn},
		{sharing.Config{Layers: sharing.Layers{Scheme: "sequence", Unique: 3, Roles: "attention"}, Experts: "modality"}, 2*(norm+attn) + 4*(norm+3*ffn)},
		{sharing.Config{Layers: sharing.Layers{Scheme: "cycle", Unique: 2, Roles: "ffn"}, Experts: "none"}, 4*(norm+attn) + 2*(norm+ffn)},
	} {
		bank, _, _ := build(t, k.s)
		if got := bank.Elements() - heads; got != k.want {
			t.Errorf("%s: %d parameters in the trunk, want %d", k.s, got, k.want)
		}
	}
}
