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

// compressed declares weights of qkv [12, 6] and down [6, 9], and out and up, which
// stay whole, over layers and modalities.
func compressed(c Config, layers int, b *Bank) *Weights {
	w := NewWeights(c, b, "trunk", layers, three)
	w.Declare(Qkv, 12, 6, 0.5)
	w.Declare(Down, 6, 9, 0.5)
	w.Declare(Out, 6, 6, 0.5)
	w.Declare(Up, 9, 6, 0.5)
	return w
}

func with(c *Compress) Config {
	if c != nil && len(c.Roles) == 0 {
		c.Roles = []Role{Qkv, Down}
	}
	return Config{Layers: Layers{Scheme: "cycle", Unique: 3, Roles: "all"}, Private: []Role{Down}, Experts: "none", Compress: c}
}

// weights returns what serves every place, by layer, modality and role.
func effective(w *Weights) map[Entry][]float32 {
	made, free := w.Made()
	defer free()
	all := map[Entry][]float32{}
	for _, m := range made {
		if m.Role == Qkv || m.Role == Down {
			x := make([]float32, m.W.Value.Len())
			w.Bank.dev.Read(x, m.W.Value)
			all[Entry{Layer: m.Layer, Modality: m.Modality, Role: m.Role}] = x
		}
	}
	return all
}

func distance(a, b []float32) (d float64) {
	for i := range a {
		d = max(d, math.Abs(float64(a[i]-b[i])))
	}
	return d
}

func TestCodesRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 1))
	for bits := 1; bits <= 8; bits++ {
		for _, signed := range []bool{false, true}[:1+bits/8] {
			c := NewBank(tensor.CPU(1), 1).addCodes("x", 3, 11, bits, signed)
			want := make([]uint8, 33)
			for i := range want {
				want[i] = uint8(rng.IntN(1 << bits))
			}
			c.set(slices.Clone(want))
			packed := c.Pack()
			if len(packed) != 3*((11*bits+7)/8) || c.Shape()[1]*3 != len(packed) {
				t.Errorf("%d bits: %d bytes of shape %v", bits, len(packed), c.Shape())
			}
			c.codes = nil
			if err := c.Unpack(packed); err != nil || !slices.Equal(c.codes, want) {
				t.Errorf("%d bits, signed %t: %v (%v), want %v", bits, signed, c.codes, err, want)
			}
			if err := c.Unpack(packed[1:]); err == nil || !strings.Contains(err.Error(), `tensor "x"`) {
				t.Errorf("a missing byte: %v", err)
			}
		}
	}
}

// TestCompressedGradients holds the gradient of every physical tensor to
// differences, through a layer that runs twice and a delta on top.
func TestCompressedGradients(t *testing.T) {
	dev := tensor.CPU(2)
	for name, c := range map[string]Config{
		"basis":  with(&Compress{Kind: "basis", Rank: 3, Group: 2}),
		"kmeans": with(&Compress{Kind: "kmeans", Bits: 3}),
		"int8":   with(&Compress{Kind: "int8"}),
	} {
		c.Delta = &Delta{Kind: "lora", By: "layer", Rank: 2, Bias: true, Roles: []Role{Qkv}}
		rng := rand.New(rand.NewPCG(21, 2))
		w := compressed(c, 4, NewBank(dev, 1))
		for _, p := range w.Bank.Params() {
			x := w.Bank.Read(p)
			for i := range x {
				x[i] += float32(0.2 * rng.NormFloat64())
			}
			if err := w.Bank.Write(p, x); err != nil {
				t.Fatal(err)
			}
		}
		w.Bank.Freeze(func(string) bool { return true }, false)
		runs := []Run{{"audio", 2}, {"text", 3}}
		rows := func(n int) []float32 {
			x := make([]float32, n)
			for i := range x {
				x[i] = float32(rng.NormFloat64())
			}
			return x
		}
		x, y, seed := rows(5*6), rows(5*9), rows(5*6)
		forward := func(tape *autograd.Tape) *autograd.Var {
			p := w.On(tape, runs)
			var sum []*autograd.Var
			a, b := tape.Input(5, 6, x), tape.Input(5, 9, y)
			for l := range 4 {
				qkv := p.Linear(l, Qkv, a, runs, nil, autograd.LinearOptions{})
				// [5, 12] back to [5, 6], so that down sees it too.
				s := tape.Sparse()
				for i := range 12 {
					s.Append(int32(i % 6))
				}
				fold := tape.Input(6, 12, make([]float32, 72))
				dev.Fill(fold.Value, 0.1)
				a = tape.Linear(qkv, []autograd.Part{{Rows: 5, W: fold}}, autograd.LinearOptions{Act: tensor.GELU, Residual: a})
				sum = append(sum, p.Linear(l, Down, b, runs, nil, autograd.LinearOptions{Residual: a}))
			}
			return tape.Sum([]float32{1, 0.5, -0.5, 0.25}, sum...)
		}
		tape := autograd.NewTape(dev, true)
		tape.Backward(forward(tape), seed)
		f := func() (sum float64) {
			tape := autograd.NewTape(dev, false)
			defer tape.Release()
			for i, v := range tape.Read(forward(tape)) {
				sum += float64(v) * float64(seed[i])
			}
			return sum
		}
		for _, p := range w.Bank.Params() {
			if strings.HasSuffix(p.Name, "/out/weight") || strings.HasSuffix(p.Name, "/up/weight") {
				continue
			}
			if strings.Contains(p.Name, "@image") {
				if p.Grad() != nil {
					t.Errorf("%s: %s has a gradient in a batch without images", name, p.Name)
				}
				continue
			}
			v := w.Bank.Read(p)
			g := make([]float32, len(v))
			if p.Grad() != nil {
				dev.Read(g, p.Grad())
			}
			var diff, norm float64
			for k := 0; k < len(v); k += 1 + len(v)/6 {
				old := v[k]
				at := func(x float32) float64 {
					v[k] = x
					if err := w.Bank.Write(p, v); err != nil {
						t.Fatal(err)
					}
					return f()
				}
				const h = 1e-2
				numeric := (at(old+h) - at(old-h)) / (2 * h)
				at(old)
				diff += math.Pow(numeric-float64(g[k]), 2)
				norm += numeric * numeric
			}
			if e := math.Sqrt(diff) / max(math.Sqrt(norm), 0.05); e > 0.02 {
				t.Errorf("%s: relative error of the gradient of %s is %.4f", name, p.Name, e)
			}
		}
	}
}

// TestCompressedSizesHaveAClosedForm: qkv has 3 tensors [12, 6], down 3 for each
// of 3 modalities, [6, 9].
func TestCompressedSizesHaveAClosedForm(t *testing.T) {
	const qkv, down, rest = 3, 9, 3*12 + 9*6 + 3*(6*6+6) + 3*(9*6+9)
	for _, k := range []struct {
		c       Compress
		trained int
		codes   int64 // bytes
	}{
		{Compress{Kind: "basis", Rank: 4}, qkv*4*(6+12) + down*4*(9+6), 0},
		{Compress{Kind: "basis", Rank: 4, Group: 2}, 4*(2*6+3*12) + down*4*(9+6), 0},
		{Compress{Kind: "basis", Rank: 4, Group: 9}, 4*(6+3*12) + down*4*(9+6), 0},
		// R (6 + 12n) <= 12n 6 / 2 is 3 for n = 3; of [6, 9] alone R 15 <= 27.
		{Compress{Kind: "basis", Ratio: 0.5, Group: 3}, 2*(6+3*12) + down*1*(9+6), 0},
		{Compress{Kind: "basis", Rank: 99, Group: 2, Roles: []Role{Qkv}}, 6*(2*6+3*12) + down*54, 0},
		{Compress{Kind: "kmeans", Bits: 4}, (qkv + down) * 16, qkv*12*3 + down*6*5},
		{Compress{Kind: "kmeans", Bits: 3}, (qkv + down) * 8, qkv*12*3 + down*6*4},
		{Compress{Kind: "int8"}, qkv*12 + down*6, qkv*72 + down*54},
	} {
		w := compressed(with(&k.c), 5, NewBank(tensor.CPU(1), 1))
		if got, want := w.Bank.Elements(), k.trained+rest; got != want {
			t.Errorf("%s: %d trained values, want %d", &k.c, got, want)
		}
		if got, want := w.Bank.Bytes(), 4*int64(k.trained+rest)+k.codes; got != want {
			t.Errorf("%s: %d bytes, want %d", &k.c, got, want)
		}
		for _, m := range three {
			for _, n := range w.Serving(4, m, Qkv) {
				if !w.Bank.Has(n) {
					t.Errorf("%s: %s is served by %s, which is not there", &k.c, m, n)
				}
			}
		}
	}
}

// whole is a model of three layers with random weights that are whole.
func whole(t *testing.T) *Weights {
	t.Helper()
	return compressed(with(nil), 5, NewBank(tensor.CPU(1), 3))
}

func fit(t *testing.T, c *Compress, from *Weights, m *Moments) *Weights {
	t.Helper()
	w := compressed(with(c), 5, NewEmptyBank(tensor.CPU(1)))
	n := 0
	if err := w.Compress(t.Context(), from.Bank, m, func() { n++ }); err != nil {
		t.Fatal(err)
	}
	if want := 3 + 9; n != want {
		t.Errorf("%s: progress of %d tensors, want %d", c, n, want)
	}
	return w
}

func TestInt8IsWithinHalfAScale(t *testing.T) {
	from := whole(t)
	w := fit(t, &Compress{Kind: "int8"}, from, nil)
	was := effective(from)
	for e, x := range effective(w) {
		scales := w.Bank.Read(w.Bank.Param(w.Tensor(e.Layer, e.Modality, e.Role) + "/scale"))
		cols := len(x) / len(scales)
		for i, v := range x {
			if d, s := math.Abs(float64(v-was[e][i])), float64(scales[i/cols]); d > s/2*(1+1e-5) {
				t.Fatalf("%v: %g became %g, further than half of the scale %g", e, was[e][i], v, s)
			}
		}
	}
}

func TestKMeansHasFewValues(t *testing.T) {
	from := whole(t)
	for bits := 1; bits <= 8; bits++ {
		w := fit(t, &Compress{Kind: "kmeans", Bits: bits}, from, nil)
		var far, all float64
		was := effective(from)
		for e, x := range effective(w) {
			values := map[float32]bool{}
			for i, v := range x {
				values[v] = true
				far += math.Pow(float64(v-was[e][i]), 2)
				all += math.Pow(float64(v), 2)
			}
			if len(values) > 1<<bits {
				t.Errorf("%d bits: %d distinct values in %v", bits, len(values), e)
			}
		}
		// Half a step of an even grid over a normal distribution, and less.
		if e := math.Sqrt(far / all); e > 1.2/float64(int(1)<<bits)*2 {
			t.Errorf("%d bits: relative error %.3f", bits, e)
		}
	}
	// Two heaps of values are found whatever lies between the even beginnings.
	codes, book := cluster([]float32{-1, -1.1, 5, 5.1, -0.9, 5.2}, 2)
	if !slices.Equal(codes, []uint8{0, 0, 1, 1, 0, 1}) || math.Abs(float64(book[0]+1)) > 1e-6 || math.Abs(float64(book[1]-5.1)) > 1e-6 {
		t.Errorf("clusters %v of %v", codes, book)
	}
	if codes, book := cluster([]float32{2, 2, 2}, 4); book[codes[0]] != 2 || book[codes[2]] != 2 {
		t.Errorf("equal values: %v of %v", codes, book)
	}
}

// TestBasisAtFullRankIsExact, and less so below, and nearest in what products see.
func TestBasisAtFullRankIsExact(t *testing.T) {
	from := whole(t)
	was := effective(from)
	// Rows of a few directions, some much stronger.
	rng := rand.New(rand.NewPCG(21, 3))
	scales := []float64{5, 3, 2, 0.2, 0.1, 0.05, 1, 1, 1}
	rows := func(cols int) []float32 {
		x := make([]float32, 40*cols)
		for i := range x {
			x[i] = float32(rng.NormFloat64() * scales[i%cols])
		}
		return x
	}
	moments, stop := from.Observe()
	runs := []Run{{"audio", 10}, {"image", 20}, {"text", 10}}
	tape := autograd.NewTape(tensor.CPU(1), false)
	p := from.On(tape, runs)
	qkv, down := rows(6), rows(9)
	for l := range 5 {
		p.Linear(l, Qkv, tape.Input(40, 6, qkv), runs, nil, autograd.LinearOptions{})
		p.Linear(l, Down, tape.Input(40, 9, down), runs, nil, autograd.LinearOptions{Act: tensor.GELU})
	}
	stop()
	if moments.rows["trunk/0/attn/qkv"] != 80 || moments.rows["trunk/2/ffn@image/down"] != 20 {
		t.Errorf("rows %v", moments.rows)
	}
	// What is seen of a difference by qkv's rows, over all layers.
	seen := func(w *Weights) (sum float64) {
		now := effective(w)
		for e, x := range was {
			if e.Role != Qkv {
				continue
			}
			for r := range 40 {
				for o := range 12 {
					var d float64
					for i := range 6 {
						d += float64(qkv[r*6+i]) * float64(now[e][o*6+i]-x[o*6+i])
					}
					sum += d * d
				}
			}
		}
		return sum
	}
	for _, group := range []int{1, 2, 3} {
		for _, m := range []*Moments{nil, moments} {
			w := fit(t, &Compress{Kind: "basis", Rank: 6, Group: group}, from, m)
			for e, x := range effective(w) {
				if d := distance(x, was[e]); e.Role == Qkv && d > 1e-4 {
					t.Errorf("groups of %d: %v is off by %g at full rank", group, e, d)
				}
			}
		}
		plain := seen(fit(t, &Compress{Kind: "basis", Rank: 3, Group: group}, from, nil))
		metric := seen(fit(t, &Compress{Kind: "basis", Rank: 3, Group: group}, from, moments))
		if !(metric > 0 && metric < plain/2) {
			t.Errorf("groups of %d: an error of %g in what rows see with their metric, %g without", group, metric, plain)
		}
	}
	delete(moments.sums, "trunk/1/ffn@text/down")
	w := compressed(with(&Compress{Kind: "basis", Rank: 3}), 5, NewEmptyBank(tensor.CPU(1)))
	if err := w.Compress(t.Context(), from.Bank, moments, nil); err == nil || !strings.Contains(err.Error(), `"trunk/1/ffn@text/down"`) {
		t.Errorf("no rows reach a tensor: %v", err)
	}
}

// TestAliasesShareOneForm: a change of a codebook changes every place of the
// tensor, and no other.
func TestAliasesShareOneForm(t *testing.T) {
	for _, c := range []*Compress{{Kind: "basis", Rank: 2, Group: 2}, {Kind: "kmeans", Bits: 2}, {Kind: "int8"}} {
		w := fit(t, c, whole(t), nil)
		was := effective(w)
		name := map[string]string{"basis": "trunk/0/attn/qkv/basis", "kmeans": "trunk/0/attn/qkv/codebook", "int8": "trunk/0/attn/qkv/scale"}[c.Kind]
		w.Bank.dev.Scale(w.Bank.Param(name).Value, 2)
		for e, x := range effective(w) {
			at := e.Layer % 3
			want := e.Role == Qkv && (at == 0 || c.Kind == "basis" && at == 1)
			if moved := distance(x, was[e]) > 0; moved != want {
				t.Errorf("%s: %v moved %t with %s", c, e, moved, name)
			}
		}
	}
}

// TestFoldedIsMade holds what is made once to what each pass makes.
func TestFoldedIsMade(t *testing.T) {
	for _, c := range []*Compress{{Kind: "basis", Rank: 2, Group: 2}, {Kind: "kmeans", Bits: 2}, {Kind: "int8"}} {
		for _, delta := range []*Delta{nil, {Kind: "lora", By: "layer", Rank: 1, Bias: true}} {
			k := with(c)
			k.Delta = delta
			w := compressed(k, 5, NewBank(tensor.CPU(1), 3))
			runs := []Run{{"audio", 2}, {"text", 1}}
			x := []float32{1, 2, 3, 4, 5, 6, 6, 5, 4, 3, 2, 1, 0, 0.5, 0, 0.5, 0, 0.5}
			out := func() []float32 {
				tape := autograd.NewTape(tensor.CPU(1), false)
				return tape.Read(w.On(tape, runs).Linear(4, Qkv, tape.Input(3, 6, x), runs, nil, autograd.LinearOptions{}))
			}
			want := out()
			w.Fold()
			got := out()
			tape := autograd.NewTape(tensor.CPU(1), true)
			if part := w.On(tape, runs).Parts(4, Qkv, runs)[0]; part.W == w.folded[w.key(4, "audio", Qkv)].W {
				t.Errorf("%s, delta %v: a pass that trains has what was made once", c, delta)
			}
			tape.Release()
			d, near := distance(got, want), 0.0
			if c.Kind == "int8" && delta == nil { // rows are rounded too
				near = 2e-3
			}
			if d > near || near > 0 && !w.rounded["trunk/1/attn/qkv"] {
				t.Errorf("%s, delta %v: folded weights differ by %g", c, delta, d)
			}
			w.Int8()
			if d := distance(out(), want); d > 0.2 {
				t.Errorf("%s, delta %v: int8 products differ by %g", c, delta, d)
			}
		}
	}
}

func TestRecursion(t *testing.T) {
	from := NewWeights(Config{Layers: Layers{Scheme: "none", Roles: "all"}, Private: []Role{Norm1, Down}, Experts: "none"}, NewBank(tensor.CPU(1), 3), "trunk", 5, three)
	for _, p := range []struct {
		r       Role
		out, in int
	}{{Qkv, 12, 6}, {Down, 6, 9}, {Out, 6, 6}, {Up, 9, 6}} {
		from.Declare(p.r, p.out, p.in, 0.5)
	}
	rng := rand.New(rand.NewPCG(21, 4))
	for _, p := range from.Bank.Params() {
		if p.Vector {
			b := make([]float32, p.Value.Len())
			for i := range b {
				b[i] = float32(rng.NormFloat64())
			}
			from.Bank.dev.Write(p.Value, b)
		}
	}
	was := effective(from)
	for _, rank := range []int{0, 3, 6} {
		c, err := from.Config.Recursive(Layers{Scheme: "cycle", Unique: 2}, rank)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Validate(5, three); err != nil {
			t.Fatal(err)
		}
		w := compressed(c, 5, NewEmptyBank(tensor.CPU(1)))
		if err := w.Recurse(t.Context(), from, nil); err != nil {
			t.Fatal(err)
		}
		var far float64
		for e, x := range effective(w) {
			far = max(far, distance(x, was[e]))
			if rank == 0 && e.Role == Qkv {
				mean := make([]float32, len(x))
				for l, n := e.Layer%2, float32(3-e.Layer%2); l < 5; l += 2 {
					for i, v := range was[Entry{Layer: l, Modality: e.Modality, Role: e.Role}] {
						mean[i] += v / n
					}
				}
				if d := distance(x, mean); d > 1e-6 {
					t.Errorf("layer %d is %g from the mean of its layers", e.Layer, d)
				}
			}
		}
		if exact := far < 1e-5; exact != (rank == 6) {
			t.Errorf("rank %d: weights are off by %g", rank, far)
		}
		if rank == 6 {
			for l := range 5 {
				made, free := w.Made()
				for _, m := range made {
					if m.Role == Qkv && m.Layer == l {
						b, own := make([]float32, 12), from.Bank.Read(from.Bank.Param(fmt.Sprintf("trunk/%d/attn/qkv/bias", l)))
						w.Bank.dev.Read(b, m.B.Value)
						if d := distance(b, own); d > 1e-6 {
							t.Errorf("layer %d: the bias is off by %g", l, d)
						}
					}
				}
				free()
			}
		}
	}
	if _, err := with(nil).Recursive(Layers{Scheme: "cycle", Unique: 1}, 1); err == nil || !strings.Contains(err.Error(), "sharing.layers.scheme") {
		t.Errorf("layers that share already: %v", err)
	}
}

func TestCompressValidation(t *testing.T) {
	for want, change := range map[string]func(*Config){
		`"huffman" is not one of`:   func(c *Config) { c.Compress.Kind = "huffman" },
		`either "rank" or "ratio"`:  func(c *Config) { c.Compress = &Compress{Kind: "basis"} },
		"either \"rank\"":           func(c *Config) { c.Compress = &Compress{Kind: "basis", Rank: 1, Ratio: 1} },
		"compress.ratio":            func(c *Config) { c.Compress = &Compress{Kind: "basis", Ratio: 1.5} },
		"compress.rank: expected":   func(c *Config) { c.Compress = &Compress{Kind: "basis", Rank: -1} },
		"compress.group: expected":  func(c *Config) { c.Compress = &Compress{Kind: "basis", Rank: 1, Group: -1} },
		"compress.bits: expected":   func(c *Config) { c.Compress.Bits = 9 },
		"compress.bits: is of kind": func(c *Config) { c.Compress = &Compress{Kind: "int8", Bits: 4} },
		"is a norm":                 func(c *Config) { c.Compress.Roles = []Role{Norm1} },
		"sharing.mix":               func(c *Config) { c.Mix = &Mix{Kind: "stitch"} },
		"sharing.adapt":             func(c *Config) { c.Adapt = &Adapt{} },
	} {
		c := Default()
		c.Compress = &Compress{Kind: "kmeans", Bits: 4}
		change(&c)
		if err := c.Compress.validate(&c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to hold %q", err, want)
		}
	}
}
