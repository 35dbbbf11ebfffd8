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

var host = tensor.CPU(1)

// made returns the weights of a trunk of matrices [out, in] for one role, with
// random values.
func made(t *testing.T, c Config, layers int, r Role, out, in int) *Weights {
	t.Helper()
	c.Experts = "none"
	if c.Layers.Scheme == "" {
		c.Layers.Scheme = "none"
	}
	c.Layers.Roles = "all"
	if err := c.Validate(layers, three); err != nil {
		t.Fatal(err)
	}
	w := NewWeights(c, NewBank(host, 1), "trunk", layers, three)
	for _, role := range Products {
		if role == r {
			w.Declare(r, out, in, 0.5)
		} else {
			w.Declare(role, 1, 1, 1)
		}
	}
	rng := rand.New(rand.NewPCG(9, 1))
	for _, p := range w.Bank.Params() {
		x := w.Bank.Read(p)
		for i := range x {
			x[i] += float32(0.3 * rng.NormFloat64())
		}
		write(t, w.Bank, p.Name, x)
	}
	return w
}

func write(t *testing.T, b *Bank, name string, x []float32) {
	t.Helper()
	if err := b.Write(b.Param(name), x); err != nil {
		t.Fatal(err)
	}
}

// matrix is a tensor's values by row.
type matrix [][]float64

func read(b *Bank, name string) matrix {
	p := b.Param(name)
	return rowsOf(b.Read(p), p.Value.Cols)
}

func rowsOf(x []float32, cols int) matrix {
	var m matrix
	for i, v := range x {
		if i%cols == 0 {
			m = append(m, nil)
		}
		m[i/cols] = append(m[i/cols], float64(v))
	}
	return m
}

func (a matrix) transposed() matrix {
	t := make(matrix, len(a[0]))
	for i := range t {
		for _, row := range a {
			t[i] = append(t[i], row[i])
		}
	}
	return t
}

func (a matrix) times(b matrix) matrix {
	y := make(matrix, len(a))
	for i := range a {
		y[i] = make([]float64, len(b[0]))
		for k, v := range a[i] {
			for j := range y[i] {
				y[i][j] += v * b[k][j]
			}
		}
	}
	return y
}

// plus returns a + c b.
func (a matrix) plus(c float64, b matrix) matrix {
	y := make(matrix, len(a))
	for i := range a {
		for j := range a[i] {
			y[i] = append(y[i], a[i][j]+c*b[i][j])
		}
	}
	return y
}

func (a matrix) distance(b matrix) (d float64) {
	for i := range a {
		for j := range a[i] {
			d = max(d, math.Abs(a[i][j]-b[i][j]))
		}
	}
	return d
}

// weight returns the weight that serves a place in a pass.
func weight(w *Weights, layer int, modality string, r Role) matrix {
	tape := autograd.NewTape(host, false)
	defer tape.Release()
	runs := []Run{{modality, 1}}
	v := w.On(tape, runs).Parts(layer, r, runs)[0].W
	return rowsOf(tape.Read(v), v.Cols())
}

// TestStitchedWeightsAreStitchedActivations: for linear maps on a modality's own
// rows, mixing weights is mixing what all modalities' maps make of the rows, and
// nothing of another sample comes in.
func TestStitchedWeightsAreStitchedActivations(t *testing.T) {
	w := made(t, Config{Mix: &Mix{Kind: "stitch"}}, 1, Qkv, 3, 4)
	rng := rand.New(rand.NewPCG(9, 2))
	h := make([]float32, 5*4)
	for i := range h {
		h[i] = float32(rng.NormFloat64())
	}
	for _, m := range three {
		a := read(w.Bank, "trunk/0/attn@"+m+"/qkv/mix")[0]
		want := make(matrix, 5)
		for i := range want {
			want[i] = make([]float64, 3)
		}
		for j, other := range three {
			want = want.plus(a[j], rowsOf(h, 4).times(read(w.Bank, "trunk/0/attn@"+other+"/qkv/weight").transposed()))
		}
		if d := rowsOf(h, 4).times(weight(w, 0, m, Qkv).transposed()).distance(want); d > 1e-5 {
			t.Errorf("%s: off by %g", m, d)
		}
	}
}

func TestFirstCoefficients(t *testing.T) {
	fresh := func(mix Mix, name string) []float32 {
		w := NewWeights(Config{Layers: Layers{Scheme: "none", Roles: "all"}, Mix: &mix}, NewBank(host, 1), "trunk", 1, three)
		w.Declare(Qkv, 2, 2, 1)
		return w.Bank.Read(w.Bank.Param(name))
	}
	if got := fresh(Mix{Kind: "stitch"}, "trunk/0/attn@image/qkv/mix"); !slices.Equal(got, []float32{0.05, 0.9, 0.05}) {
		t.Errorf("stitch begins at %v", got)
	}
	if got := fresh(Mix{Kind: "bank", Bank: 2}, "trunk/0/attn@text/qkv/mix"); !slices.Equal(got, []float32{2, 0}) {
		t.Errorf("a bank begins at %v", got)
	}
}

func TestLoRAIsItsDefinition(t *testing.T) {
	for _, by := range []string{"layer", "modality", "both"} {
		c := Config{Layers: Layers{Scheme: "universal"}, Delta: &Delta{Kind: "lora", By: by, Rank: 2}}
		w := made(t, c, 2, Down, 3, 5)
		for l := range 2 {
			for _, m := range three {
				n := map[string]string{
					"layer":    fmt.Sprintf("trunk/%d/ffn/down/lora", l),
					"modality": "trunk/0/ffn@" + m + "/down/lora",
					"both":     fmt.Sprintf("trunk/%d/ffn@%s/down/lora", l, m),
				}[by]
				want := read(w.Bank, "trunk/0/ffn/down/weight").plus(1, read(w.Bank, n+"/b").times(read(w.Bank, n+"/a").transposed()))
				if d := weight(w, l, m, Down).distance(want); d > 1e-5 {
					t.Errorf("by %s, layer %d, %s: off by %g", by, l, m, d)
				}
			}
		}
	}
}

// TestConstantContextIsAStaticMatrix: with one z for a modality's rows, APG is a
// product with one matrix, W + V' S(z)' U'; also where U and V are products of
// two, and those folded.
func TestConstantContextIsAStaticMatrix(t *testing.T) {
	const out, in, rank = 4, 5, 2
	rng := rand.New(rand.NewPCG(9, 3))
	x := make([]float32, 7*in)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	for _, inner := range []int{0, 3} {
		w := made(t, Config{Delta: &Delta{Kind: "apg", Of: "modality", Rank: rank, Inner: inner}}, 1, Qkv, out, in)
		n := "trunk/0/attn/qkv/apg"
		factor := func(name string) matrix {
			if inner == 0 {
				return read(w.Bank, n+name)
			}
			return read(w.Bank, n+name+"1").times(read(w.Bank, n+name+"2").transposed())
		}
		want := matrix{}
		for i := range three[:2] {
			z := matrix{read(w.Bank, "trunk/0/apg/modalities")[i]}
			flat := z.times(read(w.Bank, n+"/s/weight").transposed()).plus(1, read(w.Bank, n+"/s/bias"))[0]
			s := matrix{flat[:rank], flat[rank:]}
			static := read(w.Bank, "trunk/0/attn/qkv/weight").plus(1, factor("/v").times(s.transposed()).times(factor("/u")))
			lo, hi := []int{0, 3}[i], []int{3, 7}[i]
			want = append(want, rowsOf(x, in)[lo:hi].times(static.transposed())...)
		}
		for i := range want {
			for j, b := range read(w.Bank, "trunk/0/attn/qkv/bias")[0] {
				want[i][j] += b
			}
		}
		product := func() ([]float32, matrix) {
			tape := autograd.NewTape(host, false)
			defer tape.Release()
			runs, spans := []Run{{"audio", 3}, {"image", 4}}, []tensor.Span{{Len: 3}, {Start: 3, Len: 2}, {Start: 5, Len: 2}}
			p := w.On(tape, runs)
			rows := tape.Input(7, in, x)
			p.Enter(0, rows, runs, spans)
			y := tape.Read(p.Linear(0, Qkv, rows, runs, spans, autograd.LinearOptions{}))
			return y, rowsOf(y, out)
		}
		flat, y := product()
		if d := y.distance(want); d > 1e-4 {
			t.Errorf("inner %d: off by %g", inner, d)
		}
		w.Fold()
		if folded, _ := product(); !slices.Equal(folded, flat) {
			t.Errorf("inner %d: folded, it is another product", inner)
		}
		if inner > 0 {
			write(t, w.Bank, n+"/u1", make([]float32, rank*inner))
			if still, _ := product(); !slices.Equal(still, flat) {
				t.Error("folded factors are multiplied again")
			}
		}
	}
}

// TestOwnTokensMakeAnAPGMatrix: another sample of the batch changes nothing, the
// sample's own rows do.
func TestOwnTokensMakeAnAPGMatrix(t *testing.T) {
	w := made(t, Config{Delta: &Delta{Kind: "apg", Of: "tokens", Rank: 2}}, 1, Up, 4, 3)
	product := func(x ...float32) []float32 {
		tape := autograd.NewTape(host, false)
		defer tape.Release()
		runs, spans := []Run{{"text", len(x) / 3}}, []tensor.Span{{Len: 2}, {Start: 2, Len: len(x)/3 - 2}}
		p := w.On(tape, runs)
		rows := tape.Input(len(x)/3, 3, x)
		p.Enter(0, rows, runs, spans)
		return tape.Read(p.Linear(0, Up, rows, runs, spans, autograd.LinearOptions{}))
	}
	a := product(1, 2, 3, -1, 0, 1, 5, 5, 5)
	other := product(1, 2, 3, -1, 0, 1, -4, 0, 2)
	own := product(1, 2, 3, -2, 0, 1, 5, 5, 5)
	if !slices.Equal(a[:8], other[:8]) || slices.Equal(a[8:], other[8:]) {
		t.Error("another sample's rows changed what is made of a row")
	}
	if slices.Equal(a[:4], own[:4]) {
		t.Error("the second row of a sample changes nothing for the first")
	}
}

// TestTAPS trains deltas beside a frozen base: three modalities want weights that
// differ from it more, less and not at all.
func TestTAPS(t *testing.T) {
	const d = 3
	wants := map[string]float64{"audio": 1, "image": 0.35, "text": 0}
	train := func(lambda float64) (w *Weights, base matrix, on int) {
		c := Config{Delta: &Delta{Kind: "taps", Lambda: lambda, Roles: []Role{Qkv}}}
		c.Layers, c.Experts = Layers{Scheme: "none", Roles: "all"}, "none"
		if err := c.Validate(2, three); err != nil {
			t.Fatal(err)
		}
		w = NewWeights(c, NewBank(host, 1), "trunk", 2, three)
		w.Declare(Qkv, d, d, 0.5)
		w.Bank.Freeze(func(n string) bool { return strings.Contains(n, "/taps/") }, false)
		base = read(w.Bank, "trunk/0/attn/qkv/weight")
		rng := rand.New(rand.NewPCG(9, 4))
		runs := []Run{{"audio", 8}, {"image", 8}, {"text", 8}}
		for range 300 {
			tape := autograd.NewTape(host, true)
			p := w.On(tape, runs)
			x := make([]float32, 24*d)
			for i := range x {
				x[i] = float32(rng.NormFloat64())
			}
			rows := p.Penalise(tape.Input(24, d, x))
			// The loss is the mean square of rows times (W - target).
			var losses []*autograd.Var
			for l := range 2 {
				var parts []autograd.Part
				for i, part := range p.Parts(l, Qkv, runs) {
					target := make([]float32, d*d)
					physical := w.Bank.Read(w.Bank.Param(fmt.Sprintf("trunk/%d/attn/qkv/weight", l)))
					for k := range target {
						target[k] = physical[k]
						if k%2 == 0 {
							target[k] += float32(wants[runs[i].Modality])
						}
					}
					parts = append(parts, autograd.Part{Rows: 8, W: tape.Sum([]float32{1, -1}, part.W, tape.Input(d, d, target))})
				}
				e := tape.Linear(rows, parts, autograd.LinearOptions{})
				losses = append(losses, tape.MeanAbs(tape.Mul(e, e)))
			}
			tape.Backward(tape.Sum([]float32{1, 1}, losses...), nil)
			for _, q := range w.Bank.Params() {
				if q.Grad() != nil {
					host.Axpy(q.Value, -0.05, q.Grad())
					q.Clear(host)
				}
			}
		}
		for _, q := range w.Bank.Params() {
			if strings.HasSuffix(q.Name, "/score") && w.Bank.Read(q)[0] >= threshold {
				on++
			}
		}
		return w, base, on
	}
	last := 7
	for _, lambda := range []float64{0, 0.03, 0.3, 3} {
		w, base, on := train(lambda)
		if on > last || lambda == 0 && on < 4 {
			t.Errorf("lambda %g: %d of 6 places use a delta, %d at the lambda before", lambda, on, last)
		}
		last = on
		if read(w.Bank, "trunk/0/attn/qkv/weight").distance(base) != 0 {
			t.Errorf("lambda %g: the base has changed", lambda)
		}
		if lambda == 3 {
			for _, m := range three {
				if weight(w, 0, m, Qkv).distance(base) != 0 {
					t.Errorf("lambda %g: %s has a weight other than the base", lambda, m)
				}
			}
		}
	}
	if last != 0 {
		t.Errorf("at a large lambda %d places use a delta", last)
	}
}

// TestTAPSScoreGradient holds the straight-through gradient of a score to what it
// estimates: the product of the weight's gradient and the delta, on whichever
// side of the threshold the score is, plus the penalty's sign over the number of
// scores.
func TestTAPSScoreGradient(t *testing.T) {
	const d = 2
	for _, score := range []float32{0.3, 0.05, -0.2} {
		w := made(t, Config{Delta: &Delta{Kind: "taps", Lambda: 0.5, Roles: []Role{Qkv}}}, 1, Qkv, d, d)
		n := "trunk/0/attn@text/qkv/taps"
		write(t, w.Bank, n+"/score", []float32{score})
		w.Bank.Freeze(func(string) bool { return true }, false)
		tape := autograd.NewTape(host, true)
		runs := []Run{{"text", 1}}
		p := w.On(tape, runs)
		x, dy := []float32{0.7, -1.2}, []float32{2, -0.5}
		y := tape.Linear(p.Penalise(tape.Input(1, d, x)), p.Parts(0, Qkv, runs), autograd.LinearOptions{})
		tape.Backward(y, dy)
		want := 0.5 / 3.0
		if score < 0 {
			want = -want
		}
		for i, row := range read(w.Bank, n+"/delta") {
			for j, v := range row {
				want += float64(dy[i]) * float64(x[j]) * v
			}
		}
		got := make([]float32, 1)
		host.Read(got, w.Bank.Param(n+"/score").Grad())
		if math.Abs(float64(got[0])-want) > 1e-5 {
			t.Errorf("score %g: gradient %g, want %g", score, got[0], want)
		}
		// Below the threshold the delta has none.
		g := make([]float32, d*d)
		host.Read(g, w.Bank.Param(n+"/delta").Grad())
		if none := slices.Max(g) == 0 && slices.Min(g) == 0; none != (score < threshold) {
			t.Errorf("score %g: gradient of the delta %v", score, g)
		}
	}
}

func TestDeltasAndMixesNameTheKey(t *testing.T) {
	for want, change := range map[string]func(*Config){
		`sharing.delta.kind: "lore" is not one of`:                 func(c *Config) { c.Delta = &Delta{Kind: "lore"} },
		`sharing.delta.by: "" is not one of layer, modality, both`: func(c *Config) { c.Delta = &Delta{Kind: "lora", Rank: 2} },
		`sharing.delta.rank: expected at least 0, found -1`:        func(c *Config) { c.Delta = &Delta{Kind: "lora", By: "layer", Rank: -1} },
		`sharing.delta.rank: taps has none`:                        func(c *Config) { c.Delta = &Delta{Kind: "taps", Rank: 1} },
		`sharing.delta.lambda: expected at least 0, found -1`:      func(c *Config) { c.Delta = &Delta{Kind: "taps", Lambda: -1} },
		`sharing.delta.lambda: is of kind taps, not lora`:          func(c *Config) { c.Delta = &Delta{Kind: "lora", By: "both", Lambda: 1} },
		`sharing.delta.of: "batch" is not one of tokens, modality`: func(c *Config) { c.Delta = &Delta{Kind: "apg", Of: "batch"} },
		`sharing.delta.inner: expected at least 0, found -2`:       func(c *Config) { c.Delta = &Delta{Kind: "apg", Of: "tokens", Inner: -2} },
		`sharing.delta.inner: is of kind apg, not taps`:            func(c *Config) { c.Delta = &Delta{Kind: "taps", Inner: 2} },
		`sharing.delta.roles: "norm1" is a norm`:                   func(c *Config) { c.Delta = &Delta{Kind: "taps", Roles: []Role{Norm1}} },
		`sharing.mix.kind: "stich" is not one of`:                  func(c *Config) { c.Mix = &Mix{Kind: "stich"} },
		`sharing.mix.bank: expected at least 1 for kind bank`:      func(c *Config) { c.Mix = &Mix{Kind: "bank"} },
		`found 2 for kind "stitch"`:                                func(c *Config) { c.Mix = &Mix{Kind: "stitch", Bank: 2} },
		`sharing.mix.roles: kind partitions is about all products`: func(c *Config) {
			c.Mix = &Mix{Kind: "partitions", Roles: []Role{Up}, Search: &Search{Budget: 1, Tau: [2]float64{1, 1}, Rate: 1}}
		},
		`sharing.mix.search: belongs to kind partitions`: func(c *Config) { c.Mix = &Mix{Kind: "partitions"} },
		`sharing.mix.search.rate: 0 is out of its range`: func(c *Config) { c.Mix = &Mix{Kind: "partitions", Search: &Search{Budget: 1, Tau: [2]float64{1, 1}}} },
		`a search is about the map alone`: func(c *Config) {
			c.Mix, c.Phases = &Mix{Kind: "partitions", Search: &Search{Budget: 1, Tau: [2]float64{1, 1}, Rate: 1}}, []Phase{{}}
		},
		`sharing.mix: "up" is private already`:                            func(c *Config) { c.Mix, c.Experts = &Mix{Kind: "stitch"}, "modality" },
		`sharing.mix: does not go with sharing.map`:                       func(c *Config) { c.Mix, c.Map = &Mix{Kind: "stitch"}, []Rule{{Groups: [][]string{three}}} },
		`sharing.map[0].groups: expected each of [audio image text] once`: func(c *Config) { c.Map = []Rule{{Groups: [][]string{{"audio", "text"}}}} },
		`sharing.map[0].groups: a list is empty`:                          func(c *Config) { c.Map = []Rule{{Groups: [][]string{three, {}}}} },
		`sharing.map[0].layers: expected numbers in 0..3, found 4`:        func(c *Config) { c.Map = []Rule{{Layers: []int{4}, Groups: [][]string{three}}} },
		`sharing.map[0].roles: "ffn" is not a role`:                       func(c *Config) { c.Map = []Rule{{Roles: []Role{"ffn"}, Groups: [][]string{three}}} },
	} {
		c := Default()
		change(&c)
		if err := c.Validate(4, three); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to hold %q", err, want)
		}
	}
}

// TestLastRuleHolds: of several rules for a place the last one.
func TestLastRuleHolds(t *testing.T) {
	c := Default()
	c.Map = []Rule{
		{Groups: [][]string{{"text"}, {"image", "audio"}}},
		{Layers: []int{1}, Roles: []Role{Up, Norm1}, Groups: [][]string{{"text", "audio", "image"}}},
	}
	if err := c.Validate(2, three); err != nil {
		t.Fatal(err)
	}
	m := NewMap(c, "trunk", 2, three)
	for _, p := range []struct {
		layer    int
		modality string
		role     Role
		want     string
	}{
		{0, "image", Up, "trunk/0/ffn@audio+image/up"},
		{0, "text", Norm1, "trunk/0/norm1@text"},
		{1, "image", Up, "trunk/1/ffn/up"},
		{1, "text", Norm1, "trunk/1/norm1"},
		{1, "audio", Down, "trunk/1/ffn@audio+image/down"},
	} {
		if got := m.Tensor(p.layer, p.modality, p.role); got != p.want {
			t.Errorf("layer %d, %s, %s: %s, want %s", p.layer, p.modality, p.role, got, p.want)
		}
	}
}
