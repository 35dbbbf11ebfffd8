package encoder

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

// hard is plain hard sharing.
func hard() sharing.Config {
	return sharing.Config{Layers: sharing.Layers{Scheme: "none", Roles: "all"}, Experts: "none"}
}

// with is hard sharing with something changed.
func with(change func(c *sharing.Config)) sharing.Config {
	c := hard()
	change(&c)
	return c
}

func lora(by string, rank int) *sharing.Delta {
	return &sharing.Delta{Kind: "lora", By: by, Rank: rank}
}

func apg(of string, rank, inner int) *sharing.Delta {
	return &sharing.Delta{Kind: "apg", Of: of, Rank: rank, Inner: inner}
}

// mechanisms are ways of sharing that the trunk is to know nothing of, with the
// number of their parameters in a trunk of 3 layers, width d, hidden f, norms and
// networks of those sizes and 3 modalities.
// searched is any search.
var searched = &sharing.Search{Budget: 1, Weight: 1, Tau: [2]float64{1, 1}, Rate: 1}

var mechanisms = map[string]struct {
	c     sharing.Config
	count func(d, f, norms, attn, ffn int) int
}{
	"hard":          {hard(), func(_, _, norms, attn, ffn int) int { return 3 * (norms + attn + ffn) }},
	"private norms": {sharing.Default(), func(_, _, norms, attn, ffn int) int { return 3 * (3*norms + attn + ffn) }},
	"separate": {with(func(c *sharing.Config) { c.Private = sharing.Roles }), func(_, _, norms, attn, ffn int) int {
		return 9 * (norms + attn + ffn)
	}},
	"modality experts, fused on top": {with(func(c *sharing.Config) {
		c.Experts = "modality"
		c.Map = []sharing.Rule{{Layers: []int{2}, Roles: []sharing.Role{sharing.Up, sharing.Down}, Groups: [][]string{{"audio", "image", "text"}}}}
	}), func(_, _, norms, attn, ffn int) int { return 3*(norms+attn) + 2*3*ffn + ffn }},
	"a group": {
		with(func(c *sharing.Config) { c.Map = []sharing.Rule{{Groups: [][]string{{"image", "audio"}, {"text"}}}} }),
		func(_, _, norms, attn, ffn int) int { return 3 * 2 * (norms + attn + ffn) },
	},
	"universal with depth": {
		with(func(c *sharing.Config) { c.Layers = sharing.Layers{Scheme: "universal", Roles: "all", Depth: true} }),
		func(d, _, norms, attn, ffn int) int { return norms + attn + ffn + 3*d },
	},
	"attention of one layer": {
		with(func(c *sharing.Config) { c.Layers = sharing.Layers{Scheme: "universal", Roles: "attention"} }),
		func(_, _, norms, attn, ffn int) int { return norms/2 + attn + 3*(norms/2+ffn) },
	},
	"lora by layer over one": {with(func(c *sharing.Config) {
		c.Layers.Scheme, c.Delta = "universal", lora("layer", 2)
	}), func(d, f, norms, attn, ffn int) int {
		return norms + attn + ffn + 3*2*((3*d+d)+(d+d)+(f+d)+(d+f))
	}},
	"lora by modality over a cycle": {with(func(c *sharing.Config) {
		c.Layers, c.Delta = sharing.Layers{Scheme: "cycle", Unique: 2, Roles: "all"}, lora("modality", 1)
		c.Delta.Roles = []sharing.Role{sharing.Up}
	}), func(d, f, norms, attn, ffn int) int { return 2*(norms+attn+ffn) + 2*3*(f+d) }},
	"lora by both": {
		with(func(c *sharing.Config) { c.Layers.Scheme, c.Delta = "universal", lora("both", 1) }),
		func(d, f, norms, attn, ffn int) int {
			return norms + attn + ffn + 3*3*((3*d+d)+(d+d)+(f+d)+(d+f))
		},
	},
	"taps": {with(func(c *sharing.Config) {
		c.Delta = &sharing.Delta{Kind: "taps", Lambda: 0.1, Roles: []sharing.Role{sharing.Down}}
	}), func(d, f, norms, attn, ffn int) int { return 3*(norms+attn+ffn) + 3*3*(d*f+1) }},
	"apg of tokens": {
		with(func(c *sharing.Config) { c.Delta = apg("tokens", 2, 0) }),
		func(d, f, norms, attn, ffn int) int {
			return 3*(norms+attn+ffn) + 3*(2*((3*d+d)+(d+d)+(f+d)+(d+f))+4*(4*d+4))
		},
	},
	"apg of the modality, factors": {
		with(func(c *sharing.Config) { c.Delta = apg("modality", 2, 3) }),
		func(d, f, norms, attn, ffn int) int {
			return 3*(norms+attn+ffn) + 3*(3*((3*d+d)+(d+d)+(f+d)+(d+f))+4*2*2*3+4*(4*d+4)+3*d)
		},
	},
	"stitch": {
		with(func(c *sharing.Config) { c.Mix = &sharing.Mix{Kind: "stitch"} }),
		func(_, _, norms, attn, ffn int) int { return 3*norms + 9*(attn+ffn) + 3*3*4*3 },
	},
	"bank": {with(func(c *sharing.Config) {
		c.Mix = &sharing.Mix{Kind: "bank", Bank: 2, Roles: []sharing.Role{sharing.Up, sharing.Down}}
	}), func(_, _, norms, attn, ffn int) int { return 3*(norms+attn+2*ffn) + 3*3*2*2 }},
	"partitions": {
		with(func(c *sharing.Config) { c.Mix = &sharing.Mix{Kind: "partitions", Search: searched} }),
		func(_, _, norms, attn, ffn int) int { return 3*norms + 3*7*(attn+ffn) + 3*2*5 },
	},
	"lora over a bank": {with(func(c *sharing.Config) {
		c.Mix = &sharing.Mix{Kind: "bank", Bank: 2, Roles: []sharing.Role{sharing.Qkv}}
		c.Delta = lora("layer", 1)
		c.Delta.Roles = []sharing.Role{sharing.Qkv}
	}), func(d, _, norms, attn, ffn int) int {
		return 3*(norms+attn+ffn) + 3*(3*d*d+3*d) + 3*3*2 + 3*(3*d+d)
	}},
}

func three() Config {
	c := small()
	c.Layers = 3
	return c
}

// batch is samples of all three modalities.
func batch() []sample {
	rng := rand.New(rand.NewPCG(8, 1))
	return []sample{
		draw(rng, "audio", 3, false), draw(rng, "audio", 2, false), draw(rng, "image", 4, false),
		draw(rng, "text", 2, true), draw(rng, "text", 3, true),
	}
}

// TestMechanismsHaveGradients checks the gradient of every physical tensor of
// every mechanism; and that it is the same, bit by bit, where blocks are computed
// again. The scores of TAPS, whose gradient is an estimate, have a test of
// their own.
func TestMechanismsHaveGradients(t *testing.T) {
	for name, m := range mechanisms {
		t.Run(name, func(t *testing.T) {
			bank, trunk, heads := buildOf(t, three(), m.c, sequences)
			bank.Freeze(func(n string) bool { return !strings.HasPrefix(n, "heads/") && !strings.HasSuffix(n, "/score") }, false)
			first := gradients(bank, trunk, heads, 0)
			checkDirections(t, bank, trunk, heads, first)
			again := gradients(bank, trunk, heads, 3)
			for i, p := range bank.Params() {
				if !slices.Equal(first[i], again[i]) {
					t.Errorf("%s: another gradient where blocks are computed again", p.Name)
				}
			}
		})
	}
}

// gradients returns those of all parameters, with that number of blocks computed
// again.
func gradients(bank *sharing.Bank, trunk *Trunk, heads map[string]*Head, recompute int) [][]float32 {
	for _, p := range bank.Params() {
		p.Clear(dev)
	}
	tape := autograd.NewTape(dev, true)
	tape.Recompute = recompute
	tape.Backward(loss(tape, trunk, heads), lossBy)
	var gs [][]float32
	for _, p := range bank.Params() {
		g := make([]float32, p.Value.Len())
		if p.Grad() != nil {
			dev.Read(g, p.Grad())
		}
		gs = append(gs, g)
	}
	return gs
}

// lossBy is the gradient of what is differentiated by what loss returns.
var lossBy = []float32{1, 2, -1, 3, -2, 1}

func loss(tape *autograd.Tape, trunk *Trunk, heads map[string]*Head) *autograd.Var {
	return tape.Sum([]float32{1, -1, 2, 1, 0.5}, embed(tape, trunk, heads, batch())...)
}

// checkDirections compares, for each trained tensor, the derivative of the loss
// in a random direction of all its elements with its gradient.
func checkDirections(t *testing.T, bank *sharing.Bank, trunk *Trunk, heads map[string]*Head, grads [][]float32) {
	t.Helper()
	rng := rand.New(rand.NewPCG(8, 3))
	value := func() (sum float64) {
		tape := autograd.NewTape(dev, false)
		defer tape.Release()
		for i, v := range tape.Read(loss(tape, trunk, heads)) {
			sum += float64(lossBy[i]) * float64(v)
		}
		return sum
	}
	for i, p := range bank.Params() {
		if !p.Trained() {
			continue
		}
		x := bank.Read(p)
		way, moved := make([]float64, len(x)), make([]float32, len(x))
		want, norm := 0.0, 0.0
		for k := range x {
			way[k] = float64(1 - 2*rng.IntN(2))
			want += way[k] * float64(grads[i][k])
			norm += float64(grads[i][k]) * float64(grads[i][k])
		}
		const h = 5e-3
		at := func(h float64) float64 {
			for k := range x {
				moved[k] = x[k] + float32(h*way[k])
			}
			if err := bank.Write(p, moved); err != nil {
				t.Fatal(err)
			}
			return value()
		}
		numeric := (at(h) - at(-h)) / (2 * h)
		at(0)
		if e := math.Abs(numeric-want) / max(math.Sqrt(norm), 0.02); !(e < 0.03) {
			t.Errorf("%s: along a random direction the derivative is %g, the gradient says %g, of length %g", p.Name, numeric, want, math.Sqrt(norm))
		}
	}
}

func TestMechanismsHaveClosedForms(t *testing.T) {
	c := three()
	d, f := c.Width, c.Hidden
	heads := 3 * (2*d + c.Embed*d)
	for name, m := range mechanisms {
		bank, _, _ := fresh(t, c, m.c)
		if got, want := bank.Elements()-heads, m.count(d, f, 2*2*d, 4*d*d+4*d, 2*d*f+f+d); got != want {
			t.Errorf("%s: %d parameters in the trunk, want %d", name, got, want)
		}
	}
}

// fresh is buildOf with the first values as they are.
func fresh(t *testing.T, c Config, s sharing.Config) (*sharing.Bank, *Trunk, map[string]*Head) {
	t.Helper()
	names := []string{"audio", "image", "text"}
	if err := s.Validate(c.Layers, names); err != nil {
		t.Fatal(err)
	}
	bank := sharing.NewBank(dev, 1)
	trunk := NewTrunk(c, sharing.NewWeights(s, bank, "trunk", c.Layers, names))
	heads := map[string]*Head{}
	for i, n := range names {
		heads[n] = NewHead(c, bank, n, sequences[i], c.Embed)
	}
	return bank, trunk, heads
}

// TestMechanismsDoNotMixSamples packs samples with others and alone.
func TestMechanismsDoNotMixSamples(t *testing.T) {
	for name, m := range mechanisms {
		_, trunk, heads := buildOf(t, three(), m.c, sequences)
		together := vectors(trunk, heads, batch()...)
		for i, s := range batch() {
			if d := distance(vectors(trunk, heads, s)[0], together[i]); d > 1e-5 {
				t.Errorf("%s: sample %d differs by %g when it is packed with others", name, i, d)
			}
		}
	}
}

// TestNeutralSettingsAreHardSharing holds mechanisms in their neutral setting,
// and those that begin as hard sharing, to it, bit by bit.
func TestNeutralSettingsAreHardSharing(t *testing.T) {
	universal := sharing.Layers{Scheme: "universal", Roles: "all"}
	for name, c := range map[string]struct {
		neutral func(c *sharing.Config)
		layers  sharing.Layers
		within  float64
	}{
		"lora of rank 0":                 {func(c *sharing.Config) { c.Delta = lora("layer", 0) }, universal, 0},
		"lora as it begins":              {func(c *sharing.Config) { c.Delta = lora("both", 2) }, universal, 0},
		"taps as it begins":              {func(c *sharing.Config) { c.Delta = &sharing.Delta{Kind: "taps", Lambda: 1} }, hard().Layers, 0},
		"apg of rank 0":                  {func(c *sharing.Config) { c.Delta = apg("tokens", 0, 0) }, hard().Layers, 0},
		"apg as it begins":               {func(c *sharing.Config) { c.Delta = apg("tokens", 2, 3) }, hard().Layers, 0},
		"apg of a modality, beginning":   {func(c *sharing.Config) { c.Delta = apg("modality", 2, 0) }, hard().Layers, 0},
		"a bank of one":                  {func(c *sharing.Config) { c.Mix = &sharing.Mix{Kind: "bank", Bank: 1} }, hard().Layers, 0},
		"depth as it begins":             {func(c *sharing.Config) { c.Layers.Depth = true }, universal, 0},
		"a map of one group":             {func(c *sharing.Config) { c.Map = []sharing.Rule{{Groups: [][]string{{"text", "audio", "image"}}}} }, hard().Layers, 0},
		"partitions, of equal tensors":   {func(c *sharing.Config) { c.Mix = &sharing.Mix{Kind: "partitions", Search: searched} }, hard().Layers, 1e-6},
		"a cycle of as many as layers":   {func(c *sharing.Config) { c.Layers = sharing.Layers{Scheme: "cycle", Unique: 3, Roles: "all"} }, hard().Layers, 0},
		"a sequence of one is all alike": {func(c *sharing.Config) { c.Layers = sharing.Layers{Scheme: "sequence", Unique: 1, Roles: "all"} }, universal, 0},
	} {
		plain := with(func(h *sharing.Config) { h.Layers = c.layers })
		neutral := plain
		c.neutral(&neutral)
		_, a, headsA := fresh(t, three(), plain)
		_, b, headsB := fresh(t, three(), neutral)
		want, got := vectors(a, headsA, batch()...), vectors(b, headsB, batch()...)
		for i := range want {
			if d := distance(want[i], got[i]); d > c.within {
				t.Errorf("%s: sample %d is off by %g", name, i, d)
			}
		}
	}
}

// TestFoldedWeightsAreThoseUnfolded also holds int8 to them, roughly.
func TestFoldedWeightsAreThoseUnfolded(t *testing.T) {
	for name, m := range mechanisms {
		bank, trunk, heads := buildOf(t, three(), m.c, sequences)
		want := vectors(trunk, heads, batch()...)
		before := len(bank.Params())
		trunk.Weights().Fold()
		if got := vectors(trunk, heads, batch()...); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: folded weights embed another thing", name)
		}
		if len(bank.Params()) != before {
			t.Errorf("%s: folding changed the bank", name)
		}
		trunk.Weights().Int8()
		for i, v := range vectors(trunk, heads, batch()...) {
			if d := distance(v, want[i]); d > 0.2 || d == 0 {
				t.Errorf("%s: sample %d of int8 weights is off by %g", name, i, d)
			}
		}
	}
}

// TestFullRankIsUntied: with deltas of full rank by layer, one layer for all is
// any three layers (Bae et al. 2025).
func TestFullRankIsUntied(t *testing.T) {
	c := three()
	untied, a, headsA := fresh(t, c, hard())
	tied, b, headsB := fresh(t, c, with(func(s *sharing.Config) {
		s.Layers.Scheme, s.Delta = "universal", lora("layer", c.Width)
	}))
	read := func(b *sharing.Bank, name string) []float32 { return b.Read(b.Param(name)) }
	write := func(name string, x []float32) {
		if err := tied.Write(tied.Param(name), x); err != nil {
			t.Fatal(err)
		}
	}
	d := c.Width
	for _, r := range []string{"attn/qkv", "attn/out", "ffn/up", "ffn/down"} {
		shared := read(tied, "trunk/0/"+r+"/weight")
		for l := range c.Layers {
			w := read(untied, fmt.Sprintf("trunk/%d/%s/weight", l, r))
			n := fmt.Sprintf("trunk/%d/%s/lora", l, r)
			x, y := read(tied, n+"/a"), read(tied, n+"/b") // W' + y x', [in, D] and [out, D]
			in, out := len(x)/d, len(y)/d
			clear(x)
			clear(y)
			for i := range out {
				for j := range in {
					v := w[i*in+j] - shared[i*in+j]
					if in == d { // x is the identity
						x[j*d+j], y[i*d+j] = 1, v
					} else {
						y[i*d+i], x[j*d+i] = 1, v
					}
				}
			}
			write(n+"/a", x)
			write(n+"/b", y)
		}
	}
	want, got := vectors(a, headsA, batch()...), vectors(b, headsB, batch()...)
	for i := range want {
		if e := distance(want[i], got[i]); e > 1e-5 {
			t.Errorf("sample %d is off by %g", i, e)
		}
	}
}

// TestAliasesStayOne changes a tensor that serves several places: all of them
// change, and no place that another serves.
func TestAliasesStayOne(t *testing.T) {
	s := with(func(c *sharing.Config) {
		c.Layers = sharing.Layers{Scheme: "cycle", Unique: 2, Roles: "all"}
		c.Map = []sharing.Rule{{Roles: []sharing.Role{sharing.Up}, Groups: [][]string{{"audio", "image"}, {"text"}}}}
	})
	bank, trunk, heads := buildOf(t, three(), s, sequences)
	in := batch()
	before := vectors(trunk, heads, in...)
	p := bank.Param("trunk/0/ffn@audio+image/up/weight")
	x := bank.Read(p)
	for i := range x {
		x[i] += 0.5
	}
	if err := bank.Write(p, x); err != nil {
		t.Fatal(err)
	}
	for i, v := range vectors(trunk, heads, in...) {
		if moved := distance(v, before[i]) > 0; moved != (in[i].modality != "text") {
			t.Errorf("%s: moved %t", in[i].modality, moved)
		}
	}
	w := trunk.Weights()
	for _, modality := range []string{"audio", "image"} {
		for _, l := range []int{0, 2} {
			if got := w.Tensor(l, modality, sharing.Up) + "/weight"; got != p.Name {
				t.Errorf("layer %d of %s is served by %s", l, modality, got)
			}
		}
	}
}

// TestLateRowsEnterAtTheirLayer adds rows to some of a trunk's at two blocks.
func TestLateRowsEnterAtTheirLayer(t *testing.T) {
	bank, trunk, _ := buildOf(t, three(), sharing.Default(), sequences)
	rng := rand.New(rand.NewPCG(8, 2))
	first := autograd.NewParam("first", dev.New(6, 8))
	extra := autograd.NewParam("extra", dev.New(2, 8))
	for _, p := range []*autograd.Param{first, extra} {
		x := make([]float32, p.Value.Len())
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		dev.Write(p.Value, x)
		p.Train(true)
	}
	zero := autograd.NewParam("zero", dev.New(2, 8))
	dev.Fill(zero.Value, 0)
	runs := []sharing.Run{{Modality: "audio", Rows: 2}, {Modality: "image", Rows: 4}}
	spans := []tensor.Span{{Len: 2}, {Start: 2, Len: 4}}
	at := []int{3, 5}
	run := func(late ...Late) (*autograd.Tape, *autograd.Var, []float32) {
		tape := autograd.NewTape(dev, true)
		y := trunk.Forward(tape, first.Var(), runs, spans, late...)
		return tape, y, tape.Read(y)
	}
	_, _, plain := run()
	if _, _, y := run(Late{1, zero.Var(), at}, Late{2, zero.Var(), at}); !slices.Equal(y, plain) {
		t.Error("rows of zeros change the trunk")
	}
	// At block 0 they are what is added to the rows before it.
	tape := autograd.NewTape(dev, false)
	s, all := tape.Sparse(), tape.Sparse()
	for i := range 6 {
		all.Append(int32(i))
		if n := slices.Index(at, i); n >= 0 {
			s.Append(int32(n))
		} else {
			s.Append()
		}
	}
	sum := tape.Gather(autograd.Term{S: all, X: first.Var()}, autograd.Term{S: s, X: extra.Var()})
	want := tape.Read(trunk.Forward(tape, sum, runs, spans))
	if _, _, y := run(Late{0, extra.Var(), at}); !slices.Equal(y, want) {
		t.Error("rows that enter the first block are not what is added to its rows")
	}
	_, _, later := run(Late{2, extra.Var(), at})
	if slices.Equal(later, want) || slices.Equal(later, plain) || distance(later[:16], plain[:16]) != 0 {
		t.Error("rows of an image that enter block 2 change nothing, or all, or the audio")
	}
	// Their gradient, by differences, with and without blocks computed again.
	bank.Freeze(func(string) bool { return true }, true)
	c := make([]float32, 48)
	for i := range c {
		c[i] = float32(rng.NormFloat64())
	}
	late := []Late{{1, extra.Var(), at}, {2, extra.Var(), at}}
	x, g := make([]float32, 16), make([]float32, 16)
	for _, recompute := range []int{0, 3} {
		tape := autograd.NewTape(dev, true)
		tape.Recompute = recompute
		tape.Backward(trunk.Forward(tape, first.Var(), runs, spans, late...), c)
		dev.Read(g, extra.Grad())
		extra.Clear(dev)
		dev.Read(x, extra.Value)
		for k, old := range x {
			value := func(v float32) (sum float64) {
				x[k] = v
				dev.Write(extra.Value, x)
				_, _, y := run(late...)
				for i, v := range y {
					sum += float64(c[i]) * float64(v)
				}
				return sum
			}
			numeric := (value(old+1e-2) - value(old-1e-2)) / 2e-2
			value(old)
			if d := numeric - float64(g[k]); d > 0.02*max(1, numeric) || d < -0.02*max(1, numeric) {
				t.Errorf("recompute %d: gradient [%d] is %g, by differences %g", recompute, k, g[k], numeric)
			}
		}
	}
}

func TestBranchNamesTheKey(t *testing.T) {
	for want, b := range map[string]Branch{
		"m.branch.layers: expected at least one of 0..2":                {},
		"m.branch.layers: expected rising numbers in 0..2, found [1 3]": {Layers: []int{1, 3}},
		"m.branch.layers: expected rising numbers in 0..2, found [1 1]": {Layers: []int{1, 1}},
		"m.branch.channels: expected at least 1, found -1":              {Layers: []int{1}, Channels: -1},
	} {
		s := Sequence{Branch: &b}
		s.Defaults(8)
		if err := s.Validate("m", three()); err == nil || err.Error() != want {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if s := (Sequence{Branch: &Branch{Layers: []int{0}}}); true {
		s.Defaults(8)
		if s.Branch.Channels != 2 {
			t.Errorf("%d channels in a trunk of width 8, want 2", s.Branch.Channels)
		}
	}
}
