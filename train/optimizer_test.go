package train

import (
	"math"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

// optimized takes three steps on a loss of two weights, a reached bias and a
// weight that no sample reaches, and returns all values. early says that the
// optimizer is told of gradients as they become whole.
func optimized(t *testing.T, s Settings, early bool) (values []float32, norms []float64) {
	t.Helper()
	dev := tensor.CPU(2)
	bank := sharing.NewBank(dev, 1)
	bank.Matrix("w/weight", 4, 4, 1)
	bank.Vector("w/bias", 4, 0)
	bank.Matrix("v/weight", 4, 4, 1)
	bank.Matrix("unreached/weight", 3, 3, 1)
	bank.Freeze(func(string) bool { return true }, false)
	o := newOptimizer(dev, bank, &s)
	tape := autograd.NewTape(dev, true)
	for n := 1; n <= 3; n++ {
		o.begin(n)
		for pass := range 2 { // gradients accumulate over two passes
			tape.Ready = nil
			if early && pass == 1 {
				tape.Ready = o.ready
			}
			x := tape.Input(2, 4, []float32{1, 2, 3, 4, 4, 3, 2, float32(pass)})
			x = tape.Linear(x, []autograd.Part{bank.Part("w", 2)}, autograd.LinearOptions{})
			x = tape.Linear(x, []autograd.Part{bank.Part("v", 2)}, autograd.LinearOptions{Act: tensor.GELU})
			tape.Backward(x, []float32{1, -1, 2, -2, 3, -3, 1, 1})
		}
		_, norm, err := o.finish()
		if err != nil {
			t.Fatal(err)
		}
		norms = append(norms, norm)
	}
	for _, p := range bank.Params() {
		if p.Grad() != nil {
			t.Errorf("the gradient of %s was not cleared", p.Name)
		}
		values = append(values, bank.Read(p)...)
	}
	return values, norms
}

// TestEarlyStepsAreTheSame holds a parameter changed in the backward pass to
// the same bits as one changed after it.
func TestEarlyStepsAreTheSame(t *testing.T) {
	for _, clip := range []float64{0, 0.5} {
		s := Settings{Steps: 10, LR: 0.1, Beta1: 0.9, Beta2: 0.98, Eps: 1e-6, Decay: 0.1, Clip: clip}
		late, lateNorms := optimized(t, s, false)
		early, earlyNorms := optimized(t, s, true)
		for i := range late {
			if late[i] != early[i] {
				t.Fatalf("clip %g: element %d is %g, after the backward pass %g", clip, i, early[i], late[i])
			}
		}
		for i := range lateNorms {
			if lateNorms[i] != earlyNorms[i] || lateNorms[i] == 0 {
				t.Errorf("clip %g: norms %v, after the backward pass %v", clip, earlyNorms, lateNorms)
			}
		}
	}
	unclipped, _ := optimized(t, Settings{Steps: 10, LR: 0.1, Beta1: 0.9, Beta2: 0.98, Eps: 1, Decay: 0.1}, true)
	clipped, _ := optimized(t, Settings{Steps: 10, LR: 0.1, Beta1: 0.9, Beta2: 0.98, Eps: 1, Decay: 0.1, Clip: 0.5}, true)
	if unclipped[0] == clipped[0] {
		t.Error("clipping changes nothing")
	}
}

func TestGradientThatIsNotFinite(t *testing.T) {
	for _, clip := range []float64{0, 1} {
		dev := tensor.CPU(1)
		bank := sharing.NewBank(dev, 1)
		bank.Matrix("w/weight", 2, 2, 1)
		bank.Freeze(func(string) bool { return true }, false)
		before := bank.Read(bank.Param("w/weight"))
		o := newOptimizer(dev, bank, &Settings{Steps: 10, LR: 0.1, Clip: clip})
		tape := autograd.NewTape(dev, true)
		tape.Ready = o.ready
		o.begin(1)
		x := tape.Linear(tape.Input(1, 2, []float32{1, float32(math.Inf(1))}), []autograd.Part{bank.Part("w", 1)}, autograd.LinearOptions{})
		tape.Backward(x, []float32{1, 1})
		if _, _, err := o.finish(); err == nil || !strings.Contains(err.Error(), "w/weight") {
			t.Errorf("clip %g: error %v, want it to name w/weight", clip, err)
		}
		for i, v := range bank.Read(bank.Param("w/weight")) {
			if v != before[i] {
				t.Errorf("clip %g: a parameter was changed by a gradient that is not finite", clip)
			}
		}
	}
}
