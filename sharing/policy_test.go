package sharing

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/tensor"
)

// TestSearchFindsWhatWasPlanted has a teacher whose audio and text want one
// weight in layer 0 and whose image wants another, while in layer 1 all want the
// same, and a search that sees it through noisy samples, within a budget that
// the planted map just fits.
func TestSearchFindsWhatWasPlanted(t *testing.T) {
	const d, rows = 6, 12
	dev := tensor.CPU(1)
	for seed := range uint64(3) {
		w := NewWeights(Config{Layers: Layers{Scheme: "none", Roles: "all"}, Experts: "none", Mix: &Mix{Kind: "partitions"}}, NewBank(dev, seed), "trunk", 2, three)
		w.Declare(Qkv, d, d, 0.3)
		for _, r := range []Role{Out, Up, Down} { // nothing asks for these
			w.Declare(r, 1, 1, 1)
		}
		rng := rand.New(rand.NewPCG(seed, 7))
		normal := func(n int, std float64) []float32 {
			x := make([]float32, n)
			for i := range x {
				x[i] = float32(std * rng.NormFloat64())
			}
			return x
		}
		common, other, all := normal(d*d, 0.5), normal(d*d, 0.5), normal(d*d, 0.5)
		teacher := func(layer int, modality string) []float32 {
			switch {
			case layer == 1:
				return all
			case modality == "image":
				return other
			}
			return common
		}
		units := w.Units()
		planted := 0
		for _, u := range units {
			planted += u.Size
			if u.Layer == 0 && u.Roles[0] == Qkv {
				planted += u.Size
			}
		}
		policy := map[string]bool{}
		for _, u := range units {
			policy[u.Policy] = true
		}
		runs := []Run{{"audio", rows}, {"image", rows}, {"text", rows}}
		step := func(moves func(name string) bool, rate float32) {
			w.Bank.Freeze(func(string) bool { return true }, true)
			w.Bank.Freeze(moves, false)
			tape := autograd.NewTape(dev, true)
			p := w.On(tape, runs)
			var losses []*autograd.Var
			var ones []float32
			for l := range 2 {
				x := tape.Input(3*rows, d, normal(3*rows*d, 1))
				y := tape.Linear(p.Penalise(x), p.Parts(l, Qkv, runs), autograd.LinearOptions{})
				var target []*autograd.Var
				for i, run := range runs {
					s := tape.Sparse()
					for j := range rows {
						s.Append(int32(i*rows + j))
					}
					want := tape.Linear(tape.Gather(autograd.Term{S: s, X: x}), []autograd.Part{{Rows: rows, W: tape.Input(d, d, teacher(l, run.Modality))}}, autograd.LinearOptions{})
					target = append(target, tape.Sum([]float32{1, 1}, want, tape.Input(rows, d, normal(rows*d, 0.3))))
				}
				for i := range runs {
					s := tape.Sparse()
					for j := range rows {
						s.Append(int32(i*rows + j))
					}
					e := tape.Sum([]float32{1, -1}, tape.Gather(autograd.Term{S: s, X: y}), target[i])
					losses, ones = append(losses, tape.MeanAbs(tape.Mul(e, e))), append(ones, 1)
				}
			}
			tape.Backward(tape.Sum(ones, losses...), nil)
			for _, q := range w.Bank.Params() {
				if q.Grad() != nil {
					dev.Axpy(q.Value, -rate, q.Grad())
					q.Clear(dev)
				}
			}
		}
		for n := range 400 {
			w.SetPolicy(&Policy{
				Tau: 2 * math.Pow(0.995, float64(n)), Budget: float64(planted), Weight: 1,
				Noise: func(_ string, n int) []float32 {
					g := make([]float32, n)
					for i := range g {
						g[i] = float32(-math.Log(rng.ExpFloat64()))
					}
					return g
				},
			})
			step(func(name string) bool { return !policy[name] }, 0.3)
			if n >= 50 {
				step(func(name string) bool { return policy[name] }, 0.2)
			}
		}
		logits := make([][]float32, len(units))
		for i, u := range units {
			logits[i] = w.Bank.Read(w.Bank.Param(u.Policy))
		}
		rs, err := Best(units, three, planted, func(i, j int) float64 { return float64(logits[i][j]) })
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(rs[0], ", ", rs[2]); got != "0 qkv,out: audio+text | image, 1 qkv,out: audio+image+text" {
			t.Errorf("seed %d: found %s (logits %v)", seed, got, logits)
		}
	}
}
