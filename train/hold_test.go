package train

import (
	"math/rand/v2"
	"testing"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

// TestMasksMaskTheUpdate takes steps of all modalities, so that every entry has
// momentum, then of images alone: what images do not use must not move, nor its
// moments, whether steps are taken early, late, of one pass or of several.
func TestMasksMaskTheUpdate(t *testing.T) {
	names := []string{"audio", "image", "text"}
	for _, kind := range []sharing.Mask{
		{Kind: "random", Keep: 0.5, Roles: []sharing.Role{sharing.Up}},
		{Kind: "units", Keep: 0.5, Score: "causal", By: "modality", At: 1, Batches: 1},
	} {
		for _, clip := range []float64{0, 0.5} {
			dev := tensor.CPU(1)
			bank := sharing.NewBank(dev, 1)
			c := sharing.Default()
			c.Mask = &kind
			w := sharing.NewWeights(c, bank, "trunk", 1, names)
			w.Declare(sharing.Up, 6, 4, 1)
			bank.Freeze(func(string) bool { return true }, false)
			for i, mask := range w.MaskedUnits() {
				w.Select(mask, []float64{float64(i % 2), 1, float64(i), 0.5, 0.1, 3 - float64(i)})
			}
			w.Prune(nil)
			o := newOptimizer(dev, bank, &Settings{Steps: 20, LR: 0.1, Beta1: 0.9, Beta2: 0.98, Eps: 1e-6, Decay: 0.3, Clip: clip})
			tape := autograd.NewTape(dev, true)
			rng := rand.New(rand.NewPCG(1, 1))
			step := func(n int, passes ...string) {
				o.begin(n)
				for i, m := range passes {
					tape.Ready = nil
					if i == len(passes)-1 {
						tape.Ready = o.ready
					}
					x, dy := make([]float32, 12), make([]float32, 18)
					for i := range x {
						x[i] = float32(rng.NormFloat64())
					}
					for i := range dy {
						dy[i] = float32(rng.NormFloat64())
					}
					runs := []sharing.Run{{Modality: m, Rows: 3}}
					tape.Backward(w.On(tape, runs).Linear(0, sharing.Up, tape.Input(3, 4, x), runs, nil, autograd.LinearOptions{}), dy)
				}
				if _, _, err := o.finish(); err != nil {
					t.Fatal(err)
				}
			}
			// used returns the entries that some modalities use, by parameter.
			used := func(of ...string) map[*autograd.Param][]bool {
				all := map[*autograd.Param][]bool{}
				for _, m := range w.Masked() {
					x := bank.Read(m.Mask)
					if all[m.Param] == nil {
						all[m.Param] = make([]bool, m.Param.Value.Len())
					}
					for _, name := range of {
						for i := range all[m.Param] {
							if name == m.Modality && x[i*len(x)/len(all[m.Param])] == 1 {
								all[m.Param][i] = true
							}
						}
					}
				}
				return all
			}
			read := func() map[*autograd.Param][3][]float32 {
				all := map[*autograd.Param][3][]float32{}
				for p := range used() {
					x := [3][]float32{bank.Read(p), make([]float32, p.Value.Len()), make([]float32, p.Value.Len())}
					for i, m := range o.moments(p) {
						dev.Read(x[i+1], m)
					}
					all[p] = x
				}
				return all
			}
			n := 0
			for _, of := range [][]string{{"audio", "image", "text"}, {"text", "audio", "image"}, {"image"}, {"image"}, {"audio", "text"}, {"image", "image"}} {
				before := read()
				n++
				step(n, of...)
				after := read()
				may := used(of...)
				moved, still := 0, 0
				for p, x := range after {
					for i := range x[0] {
						same := x[0][i] == before[p][0][i] && x[1][i] == before[p][1][i] && x[2][i] == before[p][2][i]
						if !may[p][i] && !same {
							t.Errorf("%s, clip %g, step %d of %v: entry %d of %s moved", kind.Kind, clip, n, of, i, p.Name)
						}
						if may[p][i] && !same {
							moved++
						}
						if !may[p][i] {
							still++
						}
					}
				}
				if moved == 0 || still == 0 {
					t.Errorf("%s, step %d of %v: %d entries moved, %d were not to: nothing to see", kind.Kind, n, of, moved, still)
				}
			}
			// The bias of masked weights is no part of the mask.
			if b := bank.Param("trunk/0/ffn/up/bias"); b.Masked != (kind.Kind == "units") {
				t.Errorf("%s: the bias is masked: %t", kind.Kind, b.Masked)
			}
		}
	}
}
