package encoder

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/sharing"
)

// TestGradientsThroughMasks checks the gradients of masked tensors, over layers
// that run twice and with a delta on top.
func TestGradientsThroughMasks(t *testing.T) {
	twice := sharing.Layers{Scheme: "universal", Roles: "all"}
	c := small()
	c.Layers = 2
	for name, s := range map[string]sharing.Config{
		"some roles":   {Layers: twice, Experts: "modality", Mask: &sharing.Mask{Kind: "random", Keep: 0.3, Roles: []sharing.Role{sharing.Qkv, sharing.Down}}},
		"with a delta": {Layers: twice, Experts: "none", Mask: &sharing.Mask{Kind: "random", Keep: 0.5}, Delta: &sharing.Delta{Kind: "lora", By: "layer", Rank: 2}},
		"units":        {Layers: twice, Experts: "none", Mask: &sharing.Mask{Kind: "units", Keep: 0.5, Score: "correlation", By: "modality", At: 1, Batches: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			bank, trunk, heads := buildOf(t, c, s, sequences)
			bank.Freeze(func(string) bool { return true }, false)
			rng := rand.New(rand.NewPCG(4, 1))
			for _, mask := range trunk.weights.MaskedUnits() {
				score := make([]float64, mask.Value.Len())
				for i := range score {
					score[i] = rng.Float64()
				}
				trunk.weights.Select(mask, score)
			}
			for _, p := range bank.Params() {
				if p.Fixed && p.Trained() {
					t.Errorf("%s is trained", p.Name)
				}
			}
			checkGradients(t, bank, trunk, heads, []sample{draw(rng, "audio", 3, false), draw(rng, "image", 4, false)})
		})
	}
}

// TestUnitsThatAreOffAreNotThere: an embedding does not change with what a unit
// that is off reads and writes.
func TestUnitsThatAreOffAreNotThere(t *testing.T) {
	s := sharing.Config{
		Layers: sharing.Layers{Scheme: "none", Roles: "all"}, Experts: "none",
		Mask: &sharing.Mask{Kind: "units", Keep: 0.5, Score: "causal", By: "modality", At: 1, Batches: 1},
	}
	bank, trunk, heads := build(t, s)
	trunk.weights.Switch(bank.Param("trunk/1/ffn@image/up/units"), 3, false)
	rng := rand.New(rand.NewPCG(4, 2))
	image, audio := draw(rng, "image", 4, false), draw(rng, "audio", 4, false)
	before, beforeAudio := vectors(trunk, heads, image)[0], vectors(trunk, heads, audio)[0]
	for _, name := range []string{"trunk/1/ffn/up/weight", "trunk/1/ffn/down/weight"} {
		p := bank.Param(name)
		x := bank.Read(p)
		if name == "trunk/1/ffn/up/weight" { // [16, 8]
			for i := range 8 {
				x[3*8+i]++
			}
		} else { // [8, 16]
			for i := range 8 {
				x[i*16+3]++
			}
		}
		if err := bank.Write(p, x); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(before, vectors(trunk, heads, image)[0]) {
		t.Error("an image's embedding depends on a unit that is off")
	}
	if slices.Equal(beforeAudio, vectors(trunk, heads, audio)[0]) {
		t.Error("the unit is off for others too")
	}
}

// TestNeutralMasksAndPulls: a mask that keeps all and a pull of 0 are plain hard
// sharing and plain towers, bit for bit, gradients included.
func TestNeutralMasksAndPulls(t *testing.T) {
	layers := sharing.Layers{Scheme: "none", Roles: "all"}
	run := func(s sharing.Config) (all []float32) {
		bank, trunk, heads := build(t, s)
		bank.Freeze(func(string) bool { return true }, false)
		rng := rand.New(rand.NewPCG(4, 3))
		tape := autograd.NewTape(dev, true)
		zs := embed(tape, trunk, heads, []sample{draw(rng, "audio", 3, false), draw(rng, "image", 4, false), draw(rng, "text", 2, true)})
		z := tape.Sum([]float32{1, 1, 1}, zs...)
		all = tape.Read(z)
		tape.Backward(z, []float32{1, 2, 3, -1, -2, 1})
		for _, p := range bank.Params() {
			g := make([]float32, p.Value.Len())
			if p.Grad() != nil {
				dev.Read(g, p.Grad())
			}
			all = append(all, g...)
		}
		return all
	}
	hard := sharing.Config{Layers: layers, Private: []sharing.Role{sharing.Norm1}, Experts: "none"}
	towers := sharing.Config{Layers: layers, Private: sharing.Roles, Experts: "none"}
	for name, c := range map[string]struct {
		plain   sharing.Config
		neutral func(s *sharing.Config)
	}{
		"mask": {hard, func(s *sharing.Config) { s.Mask = &sharing.Mask{Kind: "dynamic", Keep: 1, Every: 1, Fraction: 0.5} }},
		"units": {hard, func(s *sharing.Config) {
			s.Mask = &sharing.Mask{Kind: "units", Keep: 1, Score: "causal", By: "all", At: 1, Batches: 1}
		}},
		"l2":       {towers, func(s *sharing.Config) { s.Pull = &sharing.Pull{Kind: "l2"} }},
		"adaptive": {towers, func(s *sharing.Config) { s.Pull = &sharing.Pull{Kind: "adaptive", Drop: 0.5} }},
	} {
		want := run(c.plain)
		c.neutral(&c.plain)
		if !slices.Equal(want, run(c.plain)) {
			t.Errorf("%s: the neutral setting changes something", name)
		}
	}
}
