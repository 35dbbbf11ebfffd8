package autograd

import (
	"math/rand/v2"
	"testing"

	"github.com/onetrunk/onetrunk/tensor"
)

// counting counts the tensors that are in use.
type counting struct {
	tensor.Device
	live, most int
}

func (c *counting) New(rows, cols int) *tensor.Tensor {
	c.live++
	c.most = max(c.most, c.live)
	return c.Device.New(rows, cols)
}

func (c *counting) Free(t *tensor.Tensor) {
	c.live--
	c.Device.Free(t)
}

// deep runs eight layers of two operations each.
func deep(t *Tape, x *Var, w *Param) *Var {
	for range 8 {
		x = t.Block(x, func(x *Var) *Var {
			h := t.Linear(x, []Part{{Rows: x.Rows(), W: w.Var()}}, LinearOptions{Act: tensor.GELU})
			return t.Linear(h, []Part{{Rows: x.Rows(), W: w.Var()}}, LinearOptions{Residual: x})
		})
	}
	return x
}

func TestMemoryIsGivenBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	w := param(rng, "w", 4, 4, 0, 0.5)
	data := make([]float32, 12)
	for _, record := range []bool{true, false} {
		dev := &counting{Device: cpu}
		tape := NewTape(dev, record)
		for range 3 {
			out := deep(tape, tape.Input(3, 4, data), w)
			if record {
				tape.Backward(out, make([]float32, 12))
				w.Clear(dev)
			} else {
				tape.Release()
			}
			if dev.live != 0 {
				t.Errorf("record %t: %d tensors are still in use", record, dev.live)
			}
		}
		if !record && dev.most > 12 {
			t.Errorf("without recording %d tensors were in use at once: memory grows with depth", dev.most)
		}
	}
}

func TestFrozenParameterPassesGradients(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 1))
	first, frozen := param(rng, "first", 4, 4, 0, 0.5), param(rng, "frozen", 4, 4, 0, 0.5)
	frozen.Train(false)
	tape := NewTape(cpu, true)
	x := tape.Linear(tape.Input(2, 4, []float32{1, 2, 3, 4, 5, 6, 7, 8}), []Part{{Rows: 2, W: first.Var()}}, LinearOptions{})
	x = tape.Linear(x, []Part{{Rows: 2, W: frozen.Var()}}, LinearOptions{})
	tape.Backward(x, []float32{1, 1, 1, 1, 1, 1, 1, 1})
	if cpu.SumSquares(first.Grad()) == 0 {
		t.Error("no gradient came through the frozen parameter")
	}
}

// TestReadyComesOnce fails when a parameter is announced before its gradient
// is whole, twice, or not at all; the weight serves three operations, the
// frozen one none that wants a gradient, and one stands beside the loss.
func TestReadyComesOnce(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	w, bias, frozen, beside := param(rng, "w", 4, 4, 0, 0.5), param(rng, "bias", 1, 4, 0, 1), param(rng, "frozen", 4, 4, 0, 0.5), param(rng, "beside", 4, 4, 0, 0.5)
	frozen.Train(false)
	for range 2 {
		tape := NewTape(cpu, true)
		early := map[string]float64{}
		tape.Ready = func(p *Param) {
			if _, twice := early[p.Name]; twice {
				t.Errorf("%s was announced twice", p.Name)
			}
			early[p.Name] = cpu.SumSquares(p.Grad())
		}
		x := tape.Input(2, 4, []float32{1, 2, 3, 4, 5, 6, 7, 8})
		tape.Linear(x, []Part{{Rows: 2, W: beside.Var()}}, LinearOptions{}) // no part of the loss
		for range 3 {
			x = tape.Linear(x, []Part{{Rows: 1, W: w.Var(), B: bias.Var()}, {Rows: 1, W: w.Var()}}, LinearOptions{Act: tensor.GELU})
			x = tape.Linear(x, []Part{{Rows: 2, W: frozen.Var()}}, LinearOptions{})
		}
		tape.Backward(x, []float32{1, 2, 3, 4, 5, 6, 7, 8})
		if len(early) != 2 {
			t.Errorf("announced %v, want w and bias", early)
		}
		for _, p := range []*Param{w, bias} {
			if got := cpu.SumSquares(p.Grad()); got != early[p.Name] {
				t.Errorf("the gradient of %s was not whole: %g of %g", p.Name, early[p.Name], got)
			}
			p.Clear(cpu)
		}
	}
}

// TestRecomputedBlocks holds gradients to the same bits when blocks are
// computed again, with parameters announced when their gradient is whole, and
// less memory in use.
func TestRecomputedBlocks(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 1))
	w, in := param(rng, "w", 4, 4, 0, 0.5), param(rng, "in", 4, 4, 0, 0.5)
	data := make([]float32, 12)
	for i := range data {
		data[i] = rng.Float32()
	}
	run := func(recompute int) (grads []float32, most int, kept []int64) {
		dev := &counting{Device: cpu}
		tape := NewTape(dev, true)
		tape.Recompute = recompute
		for range 2 { // the tape is used again
			announced := 0
			tape.Ready = func(p *Param) {
				announced++
				if p == w {
					g := make([]float32, 16)
					cpu.Read(g, p.Grad())
					grads = append(grads, g...)
				}
			}
			x := tape.Linear(tape.Input(3, 4, data), []Part{{Rows: 3, W: in.Var()}}, LinearOptions{})
			tape.Backward(deep(tape, x, w), []float32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
			if announced != 2 {
				t.Errorf("recompute %d: %d parameters were announced, want 2", recompute, announced)
			}
			g := make([]float32, 16)
			cpu.Read(g, in.Grad())
			grads = append(grads, g...)
			w.Clear(dev)
			in.Clear(dev)
			if dev.live != 0 {
				t.Errorf("recompute %d: %d tensors are still in use", recompute, dev.live)
			}
		}
		return grads, dev.most, tape.Kept()
	}
	want, all, kept := run(0)
	for _, n := range []int{1, 5, 8, 100} {
		got, most, again := run(n)
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("recompute %d: element %d is %g, want %g", n, i, got[i], want[i])
			}
		}
		if n >= 5 && most >= all {
			t.Errorf("recompute %d: %d tensors in use at once, %d when all is kept", n, most, all)
		}
		for i := range kept {
			if kept[i] != again[i] || kept[i] == 0 {
				t.Errorf("recompute %d: block %d keeps %d bytes, %d when it is kept", n, i, again[i], kept[i])
			}
		}
	}
}
