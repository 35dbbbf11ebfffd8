package moe

import (
	"math"
	"slices"
	"testing"

	"github.com/onetrunk/onetrunk/sharing"
)

// TestACollapsedRouterRecovers trains gates that send all rows to one expert by
// their balance alone.
func TestACollapsedRouterRecovers(t *testing.T) {
	for name, b := range map[string]sharing.Balancing{
		"switch":     {Switch: 1},
		"importance": {Importance: 1},
		"load":       {Load: 1},
		"global":     {Global: 1},
	} {
		r := sharing.Router{Layers: []int{0}, Experts: 3, Top: 1, Gate: "shared", Balance: b}
		if b.Load > 0 {
			r.Noise = 3
		}
		s := build(t, routed(r), false)
		x, gate := rows(1, total), "trunk/0/ffn/gate/weight"
		for _, m := range three { // one and the same column for all rows leads to expert 0
			norm := "trunk/0/norm2@" + m
			gain, bias := s.bank.Read(s.bank.Param(norm+"/weight")), s.bank.Read(s.bank.Param(norm+"/bias"))
			gain[0], bias[0] = 0, 1
			s.set(norm+"/weight", gain)
			s.set(norm+"/bias", bias)
		}
		v := s.bank.Read(s.bank.Param(gate))
		for i := range 3 {
			v[i*width] = 0
		}
		v[0] = 3
		s.set(gate, v)
		s.bank.Freeze(func(n string) bool { return n != gate }, true)
		step := 0
		s.w.Noise = func(_ string, n int) []float32 { step++; return rows(uint64(step), n)[:n] }
		most := func() (share float64) {
			var all [3]float64
			s.w.Watch = func(r sharing.Routing) {
				for e, n := range r.Chosen {
					all[e] += n / total
				}
			}
			s.out(x, runs())
			s.w.Watch = nil
			return max(all[0], all[1], all[2])
		}
		if before := most(); before < 0.9 {
			t.Fatalf("%s: the router is not collapsed: %g", name, before)
		}
		zero := make([]float32, total*width)
		if _, got := s.gradients(x, zero, runs(), 0); name == "switch" { // three times p, for logits of about 3, 0, 0
			if want := 3 / (1 + 2*math.Exp(-3)); math.Abs(got-want) > 0.2 {
				t.Errorf("collapse costs %g, want %g", got, want)
			}
		}
		for range 150 {
			g, _ := s.gradients(x, zero, runs(), 0)
			for i := range v {
				v[i] -= 0.3 * g[gate][i]
			}
			s.set(gate, v)
		}
		if after := most(); after > 0.6 {
			t.Errorf("%s: an expert still has %.0f%% of the rows", name, 100*after)
		}
	}
}

func TestInformation(t *testing.T) {
	route := func(layer int, m string, chosen ...float64) sharing.Routing {
		return sharing.Routing{Layer: layer, Modality: m, Rows: 4, Chosen: chosen, Dropped: 1}
	}
	uses := Uses([]sharing.Expert{{Name: "0"}, {Name: "1"}, {Name: "2"}}, []sharing.Routing{
		route(0, "audio", 4, 0, 0), route(0, "image", 0, 8, 0), // apart
		route(2, "audio", 2, 1, 1), route(2, "image", 4, 2, 2), // alike
		route(3, "audio", 2, 2, 0), route(3, "image", 0, 2, 2), // half
	})
	if len(uses) != 3 || uses[1].Layer != 2 || !slices.Equal(uses[2].ByModality["image"], []float64{0, 0.5, 0.5}) {
		t.Fatalf("%+v", uses)
	}
	for i, want := range []float64{1, 0, 0.5} {
		if got := uses[i].MutualInformation; math.Abs(got-want) > 1e-12 {
			t.Errorf("use %d: %g bits, want %g", i, got, want)
		}
	}
	if got := uses[0].Dropped; got != 2.0/12 {
		t.Errorf("%g of the choices are dropped", got)
	}
}

// TestItTrains has a slot learn a function that each modality wants its own of,
// by top-1 routing.
func TestItTrains(t *testing.T) {
	r := variants["V-MoE"]
	r.Top, r.Experts = 1, 3
	s := build(t, routed(r), false)
	x, want := rows(1, total), rows(7, total)
	loss := func() float64 {
		sum := 0.0
		for i, v := range s.out(x, runs()) {
			sum += math.Pow(float64(v-want[i]), 2)
		}
		return sum / float64(len(x))
	}
	before := loss()
	for range 200 {
		y := s.out(x, runs())
		c := make([]float32, len(y))
		for i := range y {
			c[i] = 2 * (y[i] - want[i]) / total
		}
		g, _ := s.gradients(x, c, runs(), 0)
		for _, p := range s.bank.Params() {
			v := s.bank.Read(p)
			for i := range g[p.Name] {
				v[i] -= 0.05 * g[p.Name][i]
			}
			s.set(p.Name, v)
		}
	}
	if after := loss(); !(after < 0.1*before) {
		t.Errorf("the error goes from %.3f to %.3f", before, after)
	}
}
