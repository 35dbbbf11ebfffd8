package tokenizers

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

var dev = tensor.CPU(1)

func forward(s *Stem, batch ...Tokens) [][]float32 {
	tape := autograd.NewTape(dev, false)
	defer tape.Release()
	y := s.Forward(tape, batch)
	flat := tape.Read(y)
	rows := make([][]float32, y.Rows())
	for i := range rows {
		rows[i] = flat[i*y.Cols() : (i+1)*y.Cols()]
	}
	return rows
}

func values(b *sharing.Bank, name string) [][]float32 {
	p := b.Param(name)
	flat := b.Read(p)
	rows := make([][]float32, p.Value.Rows)
	for i := range rows {
		rows[i] = flat[i*p.Value.Cols : (i+1)*p.Value.Cols]
	}
	return rows
}

func near(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i := range want {
		if math.Abs(float64(got[i]-want[i])) > 1e-5 {
			t.Errorf("%s: %v, want %v", what, got, want)
			return
		}
	}
}

func sum(xs ...[]float32) []float32 {
	y := make([]float32, len(xs[0]))
	for _, x := range xs {
		for i, v := range x {
			y[i] += v
		}
	}
	return y
}

func TestIDsWithClassToken(t *testing.T) {
	b := sharing.NewBank(dev, 1)
	s := NewStem(b, "text", Layout{Vocab: 10, Grid: [2]int{1, 5}}, StemOptions{Width: 4, Classes: 1})
	rows := forward(s, Tokens{IDs: []int32{7, 7, 2}, Grid: [2]int{1, 3}}, Tokens{IDs: []int32{9}, Grid: [2]int{1, 1}})
	table, pos, class := values(b, "tokenizers/text/subword"), values(b, "tokenizers/text/positions"), values(b, "tokenizers/text/class")[0]
	if len(rows) != 6 {
		t.Fatalf("%d rows, want 6", len(rows))
	}
	near(t, "class token", rows[0], sum(class, pos[0]))
	near(t, "second token", rows[2], sum(table[7], pos[2]))
	near(t, "third token", rows[3], sum(table[2], pos[3]))
	near(t, "second sample's class token", rows[4], sum(class, pos[0]))
	near(t, "second sample's token", rows[5], sum(table[9], pos[1]))
}

func TestPatches(t *testing.T) {
	for _, first := range []int{0, 1, 2} {
		b := sharing.NewBank(dev, 1)
		s := NewStem(b, "audio", Layout{Patch: 3, Grid: [2]int{2, 3}}, StemOptions{Width: 4, Classes: first})
		if err := b.Write(b.Param("tokenizers/audio/patch/bias"), []float32{1, 2, 3, 4}); err != nil {
			t.Fatal(err)
		}
		patches := []float32{1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1} // 2 x 2: a prefix of the table in both directions
		rows := forward(s, Tokens{Patches: patches, Grid: [2]int{2, 2}})
		w, pos := values(b, "tokenizers/audio/patch/weight"), values(b, "tokenizers/audio/positions")
		column := func(j int) []float32 { return []float32{w[0][j], w[1][j], w[2][j], w[3][j]} }
		bias := []float32{1, 2, 3, 4}
		near(t, "row 0, column 1", rows[first+1], sum(column(1), bias, pos[first+1]))
		near(t, "row 1, column 0", rows[first+2], sum(column(2), bias, pos[first+3]))
		near(t, "row 1, column 1", rows[first+3], sum(column(0), column(1), column(2), bias, pos[first+4]))
	}
}

func TestCubicInterpolation(t *testing.T) {
	for i, tap := range cubic(5, 5) { // the same size: the table itself
		for k, w := range tap.weight {
			want := float32(0)
			if tap.at[k] == i && k == 1 {
				want = 1
			}
			if math.Abs(float64(w-want)) > 1e-6 {
				t.Errorf("place %d: weight %g of entry %d", i, w, tap.at[k])
			}
		}
	}
	// Keys' kernel, as it is published.
	kernel := func(d float64) float64 {
		const a = -0.75
		switch d = math.Abs(d); {
		case d <= 1:
			return (a+2)*d*d*d - (a+3)*d*d + 1
		case d < 2:
			return a*d*d*d - 5*a*d*d + 8*a*d - 4*a
		}
		return 0
	}
	const n, m = 8, 4
	for i, tap := range cubic(n, m) {
		want := make([]float64, m)
		got := make([]float64, m)
		x := (float64(i)+0.5)*m/n - 0.5
		for j := -3; j < m+3; j++ { // beyond the edge the last entry is repeated
			want[min(max(j, 0), m-1)] += kernel(x - float64(j))
		}
		for k, w := range tap.weight {
			got[tap.at[k]] += float64(w)
		}
		for j := range want {
			if math.Abs(got[j]-want[j]) > 1e-6 {
				t.Errorf("place %d: weights %v, want %v", i, got, want)
				break
			}
		}
	}
}

func TestStretchedPositionsAndGradient(t *testing.T) {
	b := sharing.NewBank(dev, 1)
	s := NewStem(b, "image", Layout{Patch: 2, Grid: [2]int{2, 2}, Stretch: true}, StemOptions{Width: 3, Classes: 1})
	checkGradient(t, b, s, [2]int{3, 2})
}

// TestConvolution holds the rows of a convolution to its definition, and its
// gradient.
func TestConvolution(t *testing.T) {
	b := sharing.NewBank(dev, 1)
	s := NewStem(b, "audio", Layout{Patch: 2, Grid: [2]int{1, 6}}, StemOptions{Width: 3, Kind: "conv", Act: tensor.GELU})
	rng := rand.New(rand.NewPCG(2, 1))
	for _, p := range b.Params() {
		x := b.Read(p)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		if err := b.Write(p, x); err != nil {
			t.Fatal(err)
		}
	}
	gelu := func(x []float32) []float32 {
		y := make([]float32, len(x))
		for i, v := range x {
			y[i] = float32(float64(v) * (1 + math.Erf(float64(v)/math.Sqrt2)) / 2)
		}
		return y
	}
	times := func(w [][]float32, x []float32) []float32 {
		y := make([]float32, len(w))
		for i := range w {
			for j := range x {
				y[i] += w[i][j] * x[j]
			}
		}
		return y
	}
	const n = 5
	patches := make([]float32, 2*n)
	for i := range patches {
		patches[i] = float32(rng.NormFloat64())
	}
	rows := forward(s, Tokens{Patches: patches, Grid: [2]int{1, n}})
	if len(rows) != 3 || s.Length(Tokens{Grid: [2]int{1, n}}) != 3 {
		t.Fatalf("%d rows of %d tokens, want 3", len(rows), n)
	}
	at := "tokenizers/audio/"
	for i, row := range rows {
		y := values(b, at+"conv/1/bias")[0]
		for j := range 3 {
			if k := 2*i + j - 1; k >= 0 && k < n {
				h := sum(times(values(b, at+"patch/weight"), patches[2*k:2*k+2]), values(b, at+"patch/bias")[0])
				y = sum(y, times(values(b, fmt.Sprintf("%sconv/%d/weight", at, j)), gelu(h)))
			}
		}
		near(t, fmt.Sprintf("row %d", i), row, sum(gelu(y), values(b, at+"positions")[i]))
	}
	checkGradient(t, b, s, [2]int{1, 3}, [2]int{1, n})
}

// checkGradient compares the gradients of a stem that reads patches of 2 with
// differences, for samples of these grids.
func checkGradient(t *testing.T, b *sharing.Bank, s *Stem, grids ...[2]int) {
	t.Helper()
	b.Freeze(func(string) bool { return true }, false)
	rng := rand.New(rand.NewPCG(1, 1))
	var batch []Tokens
	rows := 0
	for _, g := range grids {
		tokens := Tokens{Grid: g}
		for range 2 * tokens.Len() {
			tokens.Patches = append(tokens.Patches, rng.Float32())
		}
		batch = append(batch, tokens)
		rows += s.Length(tokens)
	}
	c := make([]float32, rows*3)
	for i := range c {
		c[i] = float32(rng.NormFloat64())
	}
	f := func() (v float64) {
		for i, row := range forward(s, batch...) {
			for j, x := range row {
				v += float64(c[i*3+j]) * float64(x)
			}
		}
		return v
	}
	tape := autograd.NewTape(dev, true)
	tape.Backward(s.Forward(tape, batch), c)
	for _, p := range b.Params() {
		g := make([]float32, p.Value.Len())
		if p.Grad() != nil {
			dev.Read(g, p.Grad())
		}
		x := b.Read(p)
		for k, old := range x {
			set := func(v float32) float64 {
				x[k] = v
				if err := b.Write(p, x); err != nil {
					t.Fatal(err)
				}
				return f()
			}
			numeric := (set(old+0.05) - set(old-0.05)) / 0.1
			set(old)
			if math.Abs(numeric-float64(g[k])) > 2e-3*max(1, math.Abs(numeric)) {
				t.Errorf("%s[%d]: gradient %g, by differences %g", p.Name, k, g[k], numeric)
			}
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	ids := NewStem(sharing.NewBank(dev, 1), "text", Layout{Vocab: 10, Grid: [2]int{1, 5}}, StemOptions{Width: 4})
	patches := NewStem(sharing.NewBank(dev, 1), "audio", Layout{Patch: 3, Grid: [2]int{1, 2}}, StemOptions{Width: 4})
	for _, c := range []struct {
		s    *Stem
		t    Tokens
		want string
	}{
		{ids, Tokens{}, "no tokens"},
		{ids, Tokens{IDs: make([]int32, 6), Grid: [2]int{1, 6}}, "at most 1 x 5"},
		{ids, Tokens{IDs: []int32{10}, Grid: [2]int{1, 1}}, "id 10 of a vocabulary of 10"},
		{ids, Tokens{Patches: make([]float32, 3), Grid: [2]int{1, 1}}, "0 ids"},
		{patches, Tokens{Patches: make([]float32, 4), Grid: [2]int{1, 2}}, "4 values for 2 patches of 3"},
	} {
		if err := c.s.Check(c.t); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want it to hold %q", c.t, err, c.want)
		}
	}
}
