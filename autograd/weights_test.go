package autograd

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestWeightGradients(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 1))
	p := func(name string, rows, cols int) *Param { return param(rng, name, rows, cols, 0, 1) }
	a, x, y, z := p("a", 1, 3), p("x", 5, 4), p("y", 5, 4), p("z", 5, 4)
	s, m := p("s", 5, 1), p("m", 2, 16)
	in, w, b := p("in", 7, 9), p("w", 9, 3), p("b", 1, 9)
	plus, minus := param(rng, "plus", 2, 3, 3, 0.5), param(rng, "minus", 2, 3, -3, 0.5)
	for name, c := range map[string]struct {
		params []*Param
		build  func(t *Tape) *Var
	}{
		"Mix": {[]*Param{a, x, y}, func(t *Tape) *Var {
			return t.Mix(a.Var(), MixTerm{[]int{0, 2}, x.Var()}, MixTerm{[]int{1}, y.Var()}, MixTerm{[]int{2}, x.Var()})
		}},
		"Mul":        {[]*Param{x, y}, func(t *Tape) *Var { return t.Mul(x.Var(), y.Var()) }},
		"Mul itself": {[]*Param{x}, func(t *Tape) *Var { return t.Mul(x.Var(), x.Var()) }},
		"ScaleRows":  {[]*Param{x, s}, func(t *Tape) *Var { return t.ScaleRows(x.Var(), s.Var()) }},
		"Reshape": {[]*Param{x, s}, func(t *Tape) *Var {
			return t.ScaleRows(t.Reshape(x.Var(), 5, 4), t.Reshape(t.Reshape(s.Var(), 1, 5), 5, 1))
		}},
		"Softmax": {[]*Param{x}, func(t *Tape) *Var { return t.Softmax(x.Var()) }},
		"SpanMul": {[]*Param{x, m}, func(t *Tape) *Var { return t.SpanMul(x.Var(), m.Var(), []int{2, 3}) }},
		"MeanAbs": {[]*Param{plus, minus}, func(t *Tape) *Var {
			return t.Sum([]float32{1, 2}, t.MeanAbs(plus.Var()), t.MeanAbs(minus.Var()))
		}},
		"OfGram": {[]*Param{x, y, z}, func(t *Tape) *Var {
			return t.OfGram(func(g []float64) (float64, []float64) { // not symmetric in its use of the products
				return g[0]*g[1] + math.Sin(g[5]), []float64{g[1], g[0], 0, 0, 0, math.Cos(g[5]), 0, 0, 0}
			}, x.Var(), y.Var(), z.Var())
		}},
		"GRU": {[]*Param{in, w, b}, func(t *Tape) *Var { return t.GRU(in.Var(), w.Var(), b.Var(), []int{2, 0, 4, 1}) }},
		"GRU of equal lengths": {[]*Param{in, w, b}, func(t *Tape) *Var {
			return t.GRU(t.Mul(in.Var(), in.Var()), w.Var(), b.Var(), []int{3, 4})
		}},
		"Penalise": {[]*Param{x}, func(t *Tape) *Var { return t.Penalise(t.Softmax(x.Var()), t.MeanAbs(x.Var()), 0) }},
	} {
		t.Run(name, func(t *testing.T) {
			for _, q := range c.params {
				q.Clear(cpu)
			}
			checkGradients(t, rng, c.params, c.build)
			for _, q := range c.params {
				q.Clear(cpu)
			}
		})
	}
}

// TestPenaltyIsPartOfTheGradient holds a penalty that is added within a block,
// computed again or not, to the same loss summed outside.
func TestPenaltyIsPartOfTheGradient(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 2))
	x := param(rng, "x", 3, 4, 0, 1)
	gradient := func(recompute int, f func(t *Tape) *Var) []float32 {
		tape := NewTape(cpu, true)
		tape.Recompute = recompute
		out := f(tape)
		if tape.Penalty == 0 && recompute >= 0 {
			t.Error("no penalty is reported")
		}
		tape.Backward(out, nil)
		g := make([]float32, 12)
		cpu.Read(g, x.Grad())
		x.Clear(cpu)
		return g
	}
	want := gradient(-1, func(t *Tape) *Var {
		s := t.Softmax(x.Var())
		return t.Sum([]float32{1, 0.7}, t.MeanAbs(t.Mul(s, s)), t.MeanAbs(x.Var()))
	})
	for _, recompute := range []int{0, 1} {
		got := gradient(recompute, func(t *Tape) *Var {
			s := t.Block(x.Var(), func(x *Var) *Var { return t.Penalise(t.Softmax(x), t.MeanAbs(x), 0.7) })
			return t.MeanAbs(t.Mul(s, s))
		})
		for i := range want {
			if math.Abs(float64(got[i]-want[i])) > 1e-6 {
				t.Fatalf("recompute %d: gradient %v, want %v", recompute, got, want)
			}
		}
	}
}

func TestAboveIsStraightThrough(t *testing.T) {
	x := NewParam("x", cpu.New(1, 3))
	cpu.Write(x.Value, []float32{0.05, 0.1, 0.2})
	x.Train(true)
	tape := NewTape(cpu, true)
	y := tape.Above(x.Var(), 0.1)
	if got := tape.Read(y); got[0] != 0 || got[1] != 1 || got[2] != 1 {
		t.Errorf("above 0.1: %v", got)
	}
	tape.Backward(y, []float32{1, 2, 3})
	g := make([]float32, 3)
	cpu.Read(g, x.Grad())
	if g[0] != 1 || g[1] != 2 || g[2] != 3 {
		t.Errorf("gradient %v", g)
	}
}

// TestGRUIsItsDefinition holds the states of runs of several lengths to the
// recurrence, written out.
func TestGRUIsItsDefinition(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 3))
	const d = 3
	lens := []int{2, 4, 1}
	x, w, b := param(rng, "x", 7, 3*d, 0, 1), param(rng, "w", 3*d, d, 0, 1), param(rng, "b", 1, 3*d, 0, 1)
	read := func(p *Param) []float32 { return (&Tape{dev: cpu}).Read(p.Var()) }
	xs, ws, bs := read(x), read(w), read(b)
	tape := NewTape(cpu, false)
	got := tape.Read(tape.GRU(x.Var(), w.Var(), b.Var(), lens))
	sigmoid := func(v float64) float64 { return 1 / (1 + math.Exp(-v)) }
	row := 0
	for _, n := range lens {
		h := make([]float64, d)
		for range n {
			p, in := make([]float64, 3*d), xs[row*3*d:]
			for i := range p {
				p[i] = float64(bs[i])
				for j := range h {
					p[i] += float64(ws[i*d+j]) * h[j]
				}
			}
			for j := range h {
				r, z := sigmoid(float64(in[j])+p[j]), sigmoid(float64(in[d+j])+p[d+j])
				h[j] = (1-z)*math.Tanh(float64(in[2*d+j])+r*p[2*d+j]) + z*h[j]
			}
			for j, v := range h {
				if math.Abs(v-float64(got[row*d+j])) > 1e-5 {
					t.Fatalf("row %d: %v, want %v", row, got[row*d:(row+1)*d], h)
				}
			}
			row++
		}
	}
}
