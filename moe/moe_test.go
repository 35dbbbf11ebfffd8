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

// TestResidual fixes gates to the modality's first own expert, whose weight a
// residual doubles where it is the only one, and takes away where it is -1.
func TestResidual(t *testing.T) {
	for name, k := range map[string]struct {
		private, top int
		weights      []float32
		want         float64 // of what the expert makes
	}{
		"a lone expert":            {1, 0, nil, 2},
		"weights of two":           {2, 0, []float32{-1, 0}, 0},
		"of two, the first chosen": {2, 1, []float32{-1, 0}, 0},
		"the first once more":      {2, 1, []float32{3, 0}, 4},
	} {
		own := func(m string) int { return k.private * slices.Index(three, m) }
		s := build(t, routed(sharing.Router{Private: k.private, Sees: "all", Gate: "modality", Residual: true, Top: k.top}), false)
		plain := build(t, routed(sharing.Router{Private: k.private, Sees: "all", Gate: "modality", Top: 1}), false)
		s.lean(0, own)
		plain.lean(0, own)
		if k.weights != nil {
			for _, m := range three {
				s.set(s.w.ResidualTensor(0, m), k.weights)
			}
		}
		x := rows(1, total)
		one := func(s *slotOf) []float32 {
			tape := autograd.NewTape(dev, false)
			defer tape.Release()
			return tape.Read(s.ffn.Forward(tape, s.w.On(tape, runs()), 0, tape.Input(total, width, x), runs(), nil))
		}
		got, base := one(s), one(plain)
		for i := range x {
			if want := float64(x[i]) + k.want*float64(base[i]-x[i]); math.Abs(float64(got[i])-want) > 1e-4 {
				t.Errorf("%s: element %d is %g, want %g", name, i, got[i], want)
				break
			}
		}
	}
}

// TestDropKeepsTheSurest gives an expert four rows and room for two, of which one
// is read for a residual too.
func TestDropKeepsTheSurest(t *testing.T) {
	s := build(t, routed(sharing.Router{Experts: 2, Top: 1, Capacity: 1, Gate: "shared"}), false)
	tape := autograd.NewTape(dev, true)
	defer tape.Release()
	runs := []sharing.Run{{Modality: "audio", Rows: 3}, {Modality: "text", Rows: 1}}
	r := routing{FFN: s.ffn, tape: tape, w: s.w.On(tape, runs), router: s.w.Config.Router, experts: s.w.Experts(), runs: runs}
	dropped := make([]int, 2)
	by := r.drop([][]slot{nil, {
		{row: 0, p: 0.3, own: -1}, {row: 1, p: 0.9, own: -1}, {row: 2, p: 0.2, own: 0}, {row: 3, run: 1, p: 0.5, own: -1},
	}}, dropped)
	want := []slot{{row: 1, p: 0.9, own: -1}, {row: 2, column: -1, p: 0.2, own: 0}, {row: 3, run: 1, p: 0.5, own: -1}}
	if len(by[0]) > 0 || !slices.Equal(by[1], want) || !slices.Equal(dropped, []int{2, 0}) {
		t.Errorf("left %+v, dropped %v", by, dropped)
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
