package moe

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/sharing"
)

var variants = map[string]sharing.Router{
	"V-MoE":  {Experts: 4, Top: 2, Gate: "shared", Noise: 1, Balance: sharing.Balancing{Importance: 0.3, Load: 0.2}},
	"Switch": {Layers: []int{1}, Experts: 3, Top: 1, Gate: "shared", Balance: sharing.Balancing{Switch: 0.5, Z: 0.1}},
	"LIMoE": {Experts: 3, Top: 1, Gate: "shared", Balance: sharing.Balancing{
		Local: 0.3, Global: 0.4, Least: map[string]int{"text": 2},
	}},
	"DeepSeekMoE":       {Experts: 5, Always: 2, Top: 2, Hidden: 4, Gate: "modality", Balance: sharing.Balancing{Switch: 0.5}},
	"MMoE":              {Experts: 3, Gate: "modality", Balance: sharing.Balancing{Importance: 0.3}},
	"PLE":               {Experts: 1, Private: 2, Sees: "own", Gate: "modality"},
	"AdaTT":             {Private: 2, Sees: "all", Gate: "modality", Residual: true},
	"AdaTT of one, top": {Experts: 1, Private: 1, Sees: "all", Gate: "shared", Residual: true, Top: 2},
}

// TestGradients compares the gradients of every tensor with differences, but for
// steps in which a row changes its experts: there is no derivative.
func TestGradients(t *testing.T) {
	for name, r := range variants {
		for _, post := range []bool{false, true}[:1+len(name)%2] { // norms after the sum for half
			s := build(t, routed(r), post)
			for _, p := range s.bank.Params() { // choices are clear
				if x := s.bank.Read(p); len(p.Name) > 12 && p.Name[len(p.Name)-11:] == "gate/weight" {
					for i := range x {
						x[i] *= 4
					}
					s.set(p.Name, x)
				}
			}
			s.w.Noise = func(unit string, n int) []float32 {
				rng := rand.New(rand.NewPCG(uint64(len(unit)), 5))
				x := make([]float32, n)
				for i := range x {
					x[i] = float32(rng.NormFloat64())
				}
				return x
			}
			x, c := rows(4, total), rows(2, total)
			g, _ := s.gradients(x, c, runs(), 0)
			var choice string
			f := func() (float64, string) {
				tape := autograd.NewTape(dev, true) // the penalty is added in training
				defer tape.Release()
				s.w.Watch = func(r sharing.Routing) { choice += watched(r) }
				defer func() { s.w.Watch = nil }()
				choice = ""
				sum := 0.0
				for i, v := range tape.Read(s.forward(tape, tape.Input(total, width, x), runs())) {
					sum += float64(c[i]) * float64(v)
				}
				return sum + tape.Penalty, choice
			}
			_, first := f()
			steps, crossed := 0, 0
			for _, p := range s.bank.Params() {
				v := s.bank.Read(p)
				var diff, norm float64
				for k := 0; k < len(v); k += 1 + len(v)/3 {
					old := v[k]
					const h = 5e-3
					same := true
					at := func(x float32) float64 {
						v[k] = x
						s.set(p.Name, v)
						y, now := f()
						same = same && (r.Top == 0 || now == first)
						return y
					}
					numeric := (at(old+h) - at(old-h)) / (2 * h)
					at(old)
					if steps++; !same {
						crossed++
						continue
					}
					got := 0.0
					if g[p.Name] != nil {
						got = float64(g[p.Name][k])
					}
					diff += (numeric - got) * (numeric - got)
					norm += numeric * numeric
				}
				if e := math.Sqrt(diff) / max(math.Sqrt(norm), 0.05); e > 0.02 {
					t.Errorf("%s, post %t: %s: relative error of the gradient %.4f", name, post, p.Name, e)
				}
			}
			if 10*crossed > steps {
				t.Errorf("%s: %d of %d steps change the choice of experts; take other values", name, crossed, steps)
			}
		}
	}
}

// watched writes down where rows went; of a router that runs all experts how many
// there are.
func watched(r sharing.Routing) string {
	s := r.Modality
	for _, n := range r.Chosen {
		s += " " + string('a'+rune(int(n)))
	}
	return s
}

// TestRecomputeIsTheSame holds blocks that are computed again to those that are
// kept: noise, choices, what is dropped and the penalty.
func TestRecomputeIsTheSame(t *testing.T) {
	r := variants["V-MoE"]
	r.Capacity = 0.5
	s := build(t, routed(r), false)
	s.w.Noise = func(unit string, n int) []float32 { return rows(uint64(unit[6]), n)[:n] }
	x, c := rows(1, total), rows(2, total)
	want, penalty := s.gradients(x, c, runs(), 0)
	for _, n := range []int{1, 2} {
		got, again := s.gradients(x, c, runs(), n)
		if again != penalty || penalty == 0 {
			t.Errorf("penalty %g, want %g", again, penalty)
		}
		for name := range want {
			if !slices.Equal(got[name], want[name]) {
				t.Errorf("%d blocks again: the gradient of %s differs", n, name)
			}
		}
	}
}
