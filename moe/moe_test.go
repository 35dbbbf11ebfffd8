package moe

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

var (
	dev    = tensor.CPU(1)
	three  = []string{"audio", "image", "text"}
	counts = []int{5, 4, 6} // rows of each modality
)

const width, hidden, total = 8, 12, 15

// slotOf is the slot of two layers, with the norms that it reads through.
type slotOf struct {
	bank *sharing.Bank
	w    *sharing.Weights
	ffn  *FFN
}

// build makes the slot by a sharing config, with all values random.
func build(t *testing.T, c sharing.Config, post bool) *slotOf {
	t.Helper()
	if err := c.Validate(2, three); err != nil {
		t.Fatal(err)
	}
	bank := sharing.NewBank(dev, 1)
	w := sharing.NewWeights(c, bank, "trunk", 2, three)
	w.DeclareNorm(sharing.Norm2, width, false)
	s := &slotOf{bank: bank, w: w, ffn: NewFFN(w, width, hidden, tensor.Norm{Eps: 1e-5}, post, tensor.GELU, 0.4)}
	s.shake(0.2)
	bank.Freeze(func(string) bool { return true }, false)
	return s
}

// shake adds noise to every tensor that depends on its name alone.
func (s *slotOf) shake(std float64) {
	other := sharing.NewBank(dev, 99)
	for _, p := range s.bank.Params() {
		x, noise := s.bank.Read(p), other.Read(other.Matrix(p.Name, p.Value.Rows, p.Value.Cols, std))
		for i := range x {
			x[i] += noise[i]
		}
		s.set(p.Name, x)
	}
}

func (s *slotOf) set(name string, x []float32) {
	if err := s.bank.Write(s.bank.Param(name), x); err != nil {
		panic(err)
	}
}

// routed is a config with a router and private norms.
func routed(r sharing.Router) sharing.Config {
	c := sharing.Default()
	c.Router = &r
	return c
}

func rows(seed uint64, n int) []float32 {
	rng := rand.New(rand.NewPCG(seed, 3))
	x := make([]float32, n*width)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

func runs() (runs []sharing.Run) {
	for i, m := range three {
		runs = append(runs, sharing.Run{Modality: m, Rows: counts[i]})
	}
	return runs
}

// forward runs both layers, each a block.
func (s *slotOf) forward(tape *autograd.Tape, x *autograd.Var, runs []sharing.Run) *autograd.Var {
	p := s.w.On(tape, runs)
	for l := range 2 {
		x = tape.Block(x, func(x *autograd.Var) *autograd.Var { return s.ffn.Forward(tape, p, l, x, runs, nil) })
	}
	return x
}

func (s *slotOf) out(x []float32, runs []sharing.Run) []float32 {
	tape := autograd.NewTape(dev, false)
	defer tape.Release()
	return tape.Read(s.forward(tape, tape.Input(len(x)/width, width, x), runs))
}

// gradients returns those of all tensors and of x, for a loss c.y, and the
// penalty.
func (s *slotOf) gradients(x, c []float32, runs []sharing.Run, recompute int) (map[string][]float32, float64) {
	tape := autograd.NewTape(dev, true)
	tape.Recompute = recompute
	in := autograd.NewParam("x", dev.New(len(x)/width, width))
	dev.Write(in.Value, x)
	in.Train(true)
	y := s.forward(tape, in.Var(), runs)
	penalty := tape.Penalty
	tape.Backward(y, c)
	all := map[string][]float32{}
	for _, p := range append(s.bank.Params(), in) {
		if p.Grad() != nil {
			all[p.Name] = make([]float32, p.Value.Len())
			dev.Read(all[p.Name], p.Grad())
			p.Clear(dev)
		}
	}
	return all, penalty
}

// TestOneExpertIsTheDenseNetwork holds a router with nothing to choose to the
// sharing that it then is, bit for bit, in values and gradients.
func TestOneExpertIsTheDenseNetwork(t *testing.T) {
	experts := sharing.Default()
	experts.Experts = "modality"
	for name, k := range map[string]struct {
		router sharing.Router
		plain  sharing.Config
	}{
		"hard sharing":     {sharing.Router{Experts: 1, Gate: "shared", Top: 1}, sharing.Default()},
		"modality experts": {sharing.Router{Private: 1, Sees: "own", Gate: "modality"}, experts},
	} {
		for _, post := range []bool{false, true} {
			a, b := build(t, routed(k.router), post), build(t, k.plain, post)
			if n, want := a.bank.Elements(), b.bank.Elements(); n != want {
				t.Errorf("%s: %d parameters, want %d", name, n, want)
			}
			x, c := rows(1, total), rows(2, total)
			if got, want := a.out(x, runs()), b.out(x, runs()); !slices.Equal(got, want) {
				t.Errorf("%s, post %t: %v, want %v", name, post, got[:4], want[:4])
			}
			got, _ := a.gradients(x, c, runs(), 0)
			want, _ := b.gradients(x, c, runs(), 0)
			for n := range want {
				if !slices.Equal(got[n], want[n]) {
					t.Errorf("%s, post %t: the gradient of %s differs", name, post, n)
				}
			}
		}
	}
}

// lean makes the gates of a layer nearly sure of the experts that want names for
// each modality, by way of the norms, whose first column then is 40.
func (s *slotOf) lean(layer int, want func(modality string) int) {
	for _, m := range three {
		norm := "trunk/" + string('0'+rune(layer)) + "/norm2@" + m
		gain, bias := s.bank.Read(s.bank.Param(norm+"/weight")), s.bank.Read(s.bank.Param(norm+"/bias"))
		gain[0], bias[0] = 0, 40
		s.set(norm+"/weight", gain)
		s.set(norm+"/bias", bias)
		if want == nil {
			continue
		}
		gate := s.w.GateTensor(layer, m) + "/weight"
		x := make([]float32, s.bank.Param(gate).Value.Len())
		x[want(m)*width] = 2 // a logit of 80
		s.set(gate, x)
	}
}

// TestGateOnItsOwnExpertIsModalityExperts fixes the gates of PLE and AdaTT to
// the modality's own expert.
func TestGateOnItsOwnExpertIsModalityExperts(t *testing.T) {
	experts := sharing.Default()
	experts.Experts = "modality"
	plain := build(t, experts, false)
	for name, k := range map[string]struct {
		router sharing.Router
		own    func(m string) int
	}{
		"PLE":   {sharing.Router{Experts: 2, Private: 1, Sees: "own", Gate: "modality"}, func(string) int { return 2 }},
		"AdaTT": {sharing.Router{Private: 1, Sees: "all", Gate: "modality"}, func(m string) int { return slices.Index(three, m) }},
		"top 1": {sharing.Router{Private: 1, Sees: "all", Gate: "modality", Top: 1}, func(m string) int { return slices.Index(three, m) }},
	} {
		s := build(t, routed(k.router), false)
		for l := range 2 {
			s.lean(l, k.own)
			plain.lean(l, nil)
		}
		got, want := s.out(rows(1, total), runs()), plain.out(rows(1, total), runs())
		plain = build(t, experts, false)
		if d := distance(got, want); d > 1e-5 {
			t.Errorf("%s: off by %g", name, d)
		}
	}
}

func distance(a, b []float32) (d float64) {
	for i := range a {
		d = max(d, math.Abs(float64(a[i]-b[i])))
	}
	return d
}

// TestForeignExperts: the tokens of one modality reach another's experts in AdaTT
// and not in PLE, and no other modality's tokens ever.
func TestForeignExperts(t *testing.T) {
	alone := []sharing.Run{{Modality: "image", Rows: 4}}
	for name, k := range map[string]struct {
		router sharing.Router
		reach  bool
	}{
		"PLE":   {sharing.Router{Experts: 1, Private: 2, Sees: "own", Gate: "modality"}, false},
		"AdaTT": {sharing.Router{Private: 2, Sees: "all", Gate: "modality", Residual: true}, true},
	} {
		s := build(t, routed(k.router), false)
		g, _ := s.gradients(rows(1, 4), rows(2, 4), alone, 0)
		for l := range 2 {
			for _, e := range s.w.Experts() {
				n := s.w.ExpertTensor(l, e, sharing.Up) + "/weight"
				moves := slices.ContainsFunc(g[n], func(v float32) bool { return v != 0 })
				if want := k.reach || e.Of == "image" || e.Of == ""; moves != want {
					t.Errorf("%s: an image moves %s: %t, want %t", name, n, moves, want)
				}
			}
			if n := s.w.GateTensor(l, "text") + "/weight"; g[n] != nil {
				t.Errorf("%s: an image moves %s", name, n)
			}
		}
	}
}

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
				for k := 0; k < len(v); k += 1 + len(v)/4 {
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

func TestPackingDoesNotMixRows(t *testing.T) {
	for name, r := range variants {
		if r.Top > 0 {
			r.Capacity = 0.5 // of training alone
		}
		s := build(t, routed(r), false)
		x := rows(1, total)
		together := s.out(x, runs())
		at := 0
		for i, m := range three {
			for range counts[i] {
				alone := s.out(x[at*width:(at+1)*width], []sharing.Run{{Modality: m, Rows: 1}})
				if d := distance(alone, together[at*width:(at+1)*width]); d > 1e-5 {
					t.Errorf("%s: row %d differs by %g when it is packed with others", name, at, d)
				}
				at++
			}
		}
	}
}

// TestParametersHaveAClosedForm counts unique parameters of two layers.
func TestParametersHaveAClosedForm(t *testing.T) {
	norms := 2 * 3 * 2 * width
	network := func(f int) int { return 2*f*width + f + width }
	for name, want := range map[string]int{
		"V-MoE":             2 * (4*network(hidden) + 4*width),
		"Switch":            network(hidden) + 3*network(hidden) + 3*width,
		"DeepSeekMoE":       2 * (7*network(4) + 3*5*width),
		"MMoE":              2 * (3*network(hidden) + 3*3*width),
		"PLE":               2 * (7*network(hidden) + 3*3*width),
		"AdaTT":             2 * (6*network(hidden) + 3*6*width + 3*2),
		"AdaTT of one, top": 2 * (4*network(hidden) + 4*width),
	} {
		if got := build(t, routed(variants[name]), false).bank.Elements() - norms; got != want {
			t.Errorf("%s: %d parameters, want %d", name, got, want)
		}
	}
	c := routed(variants["V-MoE"])
	c.Layers = sharing.Layers{Scheme: "universal", Roles: "all"}
	if got, want := build(t, c, false).bank.Elements(), norms/2+4*network(hidden)+4*width; got != want {
		t.Errorf("one layer for all: %d parameters, want %d", got, want)
	}
}

// TestAlwaysSeesEveryRow: each row, and no other, moves what the always expert
// makes of it, though the capacity leaves room for few.
func TestAlwaysSeesEveryRow(t *testing.T) {
	r := sharing.Router{Layers: []int{0}, Experts: 4, Always: 1, Top: 1, Capacity: 0.1, Gate: "shared"}
	s := build(t, routed(r), false)
	name := s.w.ExpertTensor(0, s.w.Always()[0], sharing.Down) + "/bias"
	for i := range total {
		c := make([]float32, total*width)
		c[i*width] = 1
		g, _ := s.gradients(rows(1, total), c, runs(), 0)
		if g[name] == nil || g[name][0] == 0 {
			t.Errorf("row %d does not pass through the expert that always runs", i)
		}
	}
}

// TestCapacityDropsTheLeastSure fills an expert past its room.
func TestCapacityDropsTheLeastSure(t *testing.T) {
	r := sharing.Router{Layers: []int{0}, Experts: 3, Top: 1, Capacity: 1.2, Gate: "shared"}
	s := build(t, routed(r), false)
	s.lean(0, func(string) int { return 1 })
	told := 0
	s.w.Watch = func(r sharing.Routing) {
		told += r.Dropped
		if r.Chosen[1] != float64(r.Rows) {
			t.Errorf("%s chose %v", r.Modality, r.Chosen)
		}
	}
	out := s.out(rows(1, total), runs())
	if told != 9 { // of 15 rows an even share is 5, and there is room for 6
		t.Errorf("%d choices would be dropped, want 9", told)
	}
	if s.w.Watch = nil; distance(out, s.out(rows(1, total), runs())) != 0 {
		t.Error("to watch changes what comes out")
	}
	x := rows(1, total)
	tape := autograd.NewTape(dev, true)
	defer tape.Release()
	one := runs()
	y := tape.Read(s.ffn.Forward(tape, s.w.On(tape, one), 0, tape.Input(total, width, x), one, nil))
	left := 0
	for i := range total {
		if slices.Equal(y[i*width:(i+1)*width], x[i*width:(i+1)*width]) {
			left++
		}
	}
	if left != 9 {
		t.Errorf("%d rows pass in training without an expert, want 9", left)
	}
}

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
