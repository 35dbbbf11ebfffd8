package autograd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/onetrunk/onetrunk/tensor"
)

var cpu = tensor.CPU(2)

// param makes a trained parameter of normal values around mean.
func param(rng *rand.Rand, name string, rows, cols int, mean, std float64) *Param {
	x := make([]float32, rows*cols)
	for i := range x {
		x[i] = float32(mean + std*rng.NormFloat64())
	}
	p := NewParam(name, cpu.New(rows, cols))
	cpu.Write(p.Value, x)
	p.Train(true)
	return p
}

// gradError compares the gradient of sum(c*build()) for random c with central
// differences, and returns for each parameter the relative error
// |numeric - analytic| / |numeric| over all its elements. Sums are float64.
func gradError(rng *rand.Rand, params []*Param, build func(t *Tape) *Var) map[string]float64 {
	tape := NewTape(cpu, true)
	out := build(tape)
	c := make([]float32, out.Value.Len())
	for i := range c {
		c[i] = float32(rng.NormFloat64())
	}
	tape.Backward(out, c)
	f := func() float64 {
		plain := NewTape(cpu, false)
		defer plain.Release()
		var sum float64
		for i, y := range plain.Read(build(plain)) {
			sum += float64(c[i]) * float64(y)
		}
		return sum
	}
	errs := map[string]float64{}
	const h = 1e-2
	for _, p := range params {
		x := make([]float32, p.Value.Len())
		g := make([]float32, p.Value.Len())
		cpu.Read(x, p.Value)
		cpu.Read(g, p.Grad())
		var diff, norm float64
		for i, old := range x {
			x[i] = old + h
			hi := float64(x[i])
			cpu.Write(p.Value, x)
			up := f()
			x[i] = old - h
			lo := float64(x[i])
			cpu.Write(p.Value, x)
			numeric := (up - f()) / (hi - lo)
			x[i] = old
			diff += (numeric - float64(g[i])) * (numeric - float64(g[i]))
			norm += numeric * numeric
		}
		cpu.Write(p.Value, x)
		errs[p.Name] = math.Sqrt(diff) / max(math.Sqrt(norm), 1e-3)
	}
	return errs
}

// tolerance of gradError: rounding of float32 over a step of 1e-2. A wrong
// factor of two has an error of 0.5 or 1.
const tolerance = 4e-3

func checkGradients(t *testing.T, rng *rand.Rand, params []*Param, build func(t *Tape) *Var) {
	t.Helper()
	for name, e := range gradError(rng, params, build) {
		if !(e < tolerance) {
			t.Errorf("gradient of %s: relative error %.4f, want < %g", name, e, tolerance)
		}
	}
}

func TestCheckerFindsMistakes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	x := param(rng, "x", 3, 4, 0, 1)
	wrong := func(factor float32, both bool) func(tape *Tape) *Var {
		return func(tape *Tape) *Var { // y = x + x, with a gradient that is off
			y := tape.alloc(3, 4)
			cpu.Copy(y, x.Value)
			cpu.Axpy(y, 1, x.Value)
			return tape.add(0, y, tape.wants(x.Var()), func(out *Var) {
				g := tape.onto(x.Var())
				cpu.Axpy(g, factor, out.grad)
				if both {
					cpu.Axpy(g, factor, out.grad)
				}
			})
		}
	}
	for _, c := range []struct {
		name   string
		factor float32
		both   bool
		right  bool
	}{{"right", 1, true, true}, {"twice", 2, true, false}, {"half", 0.5, true, false}, {"a dropped term", 1, false, false}} {
		x.Clear(cpu)
		if e := gradError(rng, []*Param{x}, wrong(c.factor, c.both))["x"]; (e < tolerance) != c.right {
			t.Errorf("%s: relative error %g", c.name, e)
		}
	}
}

// parts cuts rows into three runs, two of which one weight serves.
func parts(rows int, w, b [2]*Param) []Part {
	a := rows / 3
	ps := []Part{{Rows: a, W: w[0].Var()}, {Rows: rows - 2*a, W: w[1].Var()}, {Rows: a, W: w[0].Var()}}
	for i := range ps {
		if b[0] != nil {
			ps[i].B = b[i%2].Var()
		}
	}
	return ps
}

func TestLinear(t *testing.T) {
	for _, in := range []string{"plain", "gelu", "quick_gelu", "layer", "rms"} {
		for _, residual := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,residual=%t", in, residual), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(2, uint64(len(in))))
				x := param(rng, "x", 7, 5, 0.3, 1)
				r := param(rng, "residual", 7, 6, 0, 1)
				w := [2]*Param{param(rng, "w0", 6, 5, 0, 0.5), param(rng, "w1", 6, 5, 0, 0.5)}
				b := [2]*Param{param(rng, "b0", 1, 6, 0, 0.5), param(rng, "b1", 1, 6, 0, 0.5)}
				gamma := [2]*Param{param(rng, "gamma0", 1, 5, 1, 0.3), param(rng, "gamma1", 1, 5, 1, 0.3)}
				beta := [2]*Param{param(rng, "beta0", 1, 5, 0, 0.3), param(rng, "beta1", 1, 5, 0, 0.3)}
				params := []*Param{x, w[0], w[1], b[0], b[1]}
				var o LinearOptions
				// The runs of the norm's weights are not those of the product's.
				norms := []Part{{Rows: 3, W: gamma[0].Var(), B: beta[0].Var()}, {Rows: 4, W: gamma[1].Var(), B: beta[1].Var()}}
				switch in {
				case "gelu":
					o.Act = tensor.GELU
				case "quick_gelu":
					o.Act = tensor.QuickGELU
				case "layer":
					o.NormParts, o.Norm = norms, tensor.Norm{Eps: 1e-5}
					params = append(params, gamma[0], gamma[1], beta[0], beta[1])
				case "rms":
					o.NormParts, o.Norm = norms, tensor.Norm{Eps: 1e-5, RMS: true}
					norms[0].B, norms[1].B = nil, nil
					params = append(params, gamma[0], gamma[1])
				}
				if residual {
					o.Residual = r.Var()
					params = append(params, r)
				}
				checkGradients(t, rng, params, func(tape *Tape) *Var {
					return tape.Linear(x.Var(), parts(7, w, b), o)
				})
			})
		}
	}
}

// TestReLU keeps away from zero, where the function has no derivative.
func TestReLU(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	x := param(rng, "x", 4, 4, 0, 0)
	values := make([]float32, 16)
	for i := range values {
		values[i] = float32(i%3-1) + 0.3
	}
	cpu.Write(x.Value, values)
	w := param(rng, "w", 4, 4, 0, 0)
	eye := make([]float32, 16)
	for i := range 4 {
		eye[i*5] = 1
	}
	cpu.Write(w.Value, eye)
	checkGradients(t, rng, []*Param{x}, func(tape *Tape) *Var {
		return tape.Linear(x.Var(), []Part{{Rows: 4, W: w.Var()}}, LinearOptions{Act: tensor.ReLU})
	})
}

func TestNorm(t *testing.T) {
	for _, rms := range []bool{false, true} {
		t.Run(fmt.Sprintf("rms=%t", rms), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(4, 1))
			x := param(rng, "x", 7, 9, 0.5, 1)
			g := [2]*Param{param(rng, "gamma0", 1, 9, 1, 0.3), param(rng, "gamma1", 1, 9, 1, 0.3)}
			var b [2]*Param
			params := []*Param{x, g[0], g[1]}
			if !rms {
				b = [2]*Param{param(rng, "beta0", 1, 9, 0, 0.3), param(rng, "beta1", 1, 9, 0, 0.3)}
				params = append(params, b[0], b[1])
			}
			checkGradients(t, rng, params, func(tape *Tape) *Var {
				return tape.Norm(x.Var(), parts(7, g, b), tensor.Norm{RMS: rms, Eps: 1e-5})
			})
		})
	}
}

func TestAttention(t *testing.T) {
	for _, causal := range []bool{false, true} {
		t.Run(fmt.Sprintf("causal=%t", causal), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(5, 1))
			x := param(rng, "qkv", 10, 3*8, 0, 1)
			spans := []tensor.Span{{Start: 0, Len: 4, Causal: causal}, {Start: 4, Len: 1, Causal: causal}, {Start: 5, Len: 5, Causal: causal}}
			checkGradients(t, rng, []*Param{x}, func(tape *Tape) *Var {
				return tape.Attention(x.Var(), spans, 2)
			})
		})
	}
}

// A query behind a span's rows attends to them and is no key.
func TestAttentionOfOneQuery(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 2))
	x := param(rng, "qkv", 9, 3*8, 0, 1)
	spans := []tensor.Span{
		{Start: 0, Len: 3, One: true, Query: 3, Skip: 3},
		{Start: 4, Len: 4, One: true, Query: 4, Skip: 7},
	}
	checkGradients(t, rng, []*Param{x}, func(tape *Tape) *Var {
		return tape.Attention(x.Var(), spans, 2)
	})
	tape := NewTape(cpu, true)
	with := tape.Read(tape.Attention(x.Var(), []tensor.Span{{Len: 3, One: true, Query: 3, Skip: 3}}, 2))
	values := tape.Read(x.Var())
	for i := 3*24 + 8; i < 4*24; i++ { // the query's own key and value
		values[i] += 5
	}
	cpu.Write(x.Value, values)
	if again := tape.Read(tape.Attention(x.Var(), []tensor.Span{{Len: 3, One: true, Query: 3, Skip: 3}}, 2)); !slices.Equal(with, again) {
		t.Error("the query behind the span is a key")
	}
}

func TestAct(t *testing.T) {
	for _, act := range []tensor.Act{tensor.Identity, tensor.GELU, tensor.QuickGELU, tensor.GELUTanh} {
		rng := rand.New(rand.NewPCG(5, 3))
		x := param(rng, "x", 5, 7, 0, 1)
		checkGradients(t, rng, []*Param{x}, func(tape *Tape) *Var {
			return tape.Sum([]float32{1, 2}, tape.Act(x.Var(), act), tape.Act(x.Var(), act))
		})
	}
}

func TestGather(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 1))
	x, y := param(rng, "x", 5, 3, 0, 1), param(rng, "y", 2, 3, 0, 1)
	lookup := &tensor.Sparse{}
	for _, i := range []int32{4, 0, 0, 2} {
		lookup.Append(i)
	}
	mixed := &tensor.Sparse{}
	mixed.Append()
	mixed.Add(0, 0.25)
	mixed.Add(1, -1.5)
	mixed.EndRow()
	mixed.Append(1)
	mixed.Append(0, 1)
	checkGradients(t, rng, []*Param{x, y}, func(tape *Tape) *Var {
		return tape.Gather(Term{lookup, x.Var()}, Term{mixed, y.Var()})
	})
}

func TestUnitAndSum(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 1))
	x, y := param(rng, "x", 4, 6, 0, 1), param(rng, "y", 4, 6, 0, 1)
	checkGradients(t, rng, []*Param{x, y}, func(tape *Tape) *Var {
		return tape.Sum([]float32{0.5, -2, 1}, tape.Unit(x.Var()), y.Var(), x.Var())
	})
}

func TestInfoNCE(t *testing.T) {
	for _, groups := range [][]int32{{0, 1, 2, 3, 4}, {0, 1, 0, 3, 1}} {
		t.Run(fmt.Sprint(groups), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(8, 1))
			a, b := param(rng, "a", 5, 4, 0, 1), param(rng, "b", 5, 4, 0, 1)
			scale := param(rng, "log scale", 1, 1, 1, 0)
			checkGradients(t, rng, []*Param{a, b, scale}, func(tape *Tape) *Var {
				loss, _, _ := tape.InfoNCE(tape.Unit(a.Var()), tape.Unit(b.Var()), scale.Var(), groups)
				return loss
			})
		})
	}
}

// TestSharedInputs uses variables in several operations, so that gradients
// are added, taken over and written into places that hold something.
func TestSharedInputs(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 1))
	x := param(rng, "x", 6, 4, 0, 1)
	w := param(rng, "w", 4, 4, 0, 0.5)
	in := param(rng, "in", 12, 4, 0, 0.5)
	gamma, beta := param(rng, "gamma", 1, 4, 1, 0.2), param(rng, "beta", 1, 4, 0, 0.2)
	spans := []tensor.Span{{Start: 0, Len: 2}, {Start: 2, Len: 4}}
	checkGradients(t, rng, []*Param{x, w, in, gamma, beta}, func(tape *Tape) *Var {
		one := func(p *Param) []Part { return []Part{{Rows: 6, W: p.Var()}} }
		h := tape.Norm(x.Var(), []Part{{Rows: 6, W: gamma.Var(), B: beta.Var()}}, tensor.Norm{Eps: 1e-5})
		h = tape.Linear(h, one(w), LinearOptions{Residual: x.Var()})
		qkv := tape.Linear(h, one(in), LinearOptions{})
		a := tape.Attention(qkv, spans, 2)
		b := tape.Attention(qkv, spans, 1)
		h = tape.Linear(a, one(w), LinearOptions{Act: tensor.GELU, Residual: h})
		return tape.Sum([]float32{1, 1, 0.5}, h, b, x.Var())
	})
}
