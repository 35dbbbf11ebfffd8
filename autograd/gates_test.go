package autograd

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/onetrunk/onetrunk/tensor"
)

func TestGateGradients(t *testing.T) {
	rng := rand.New(rand.NewPCG(12, 1))
	x := param(rng, "x", 9, 4, 0, 1.5)
	noise := make([]float32, 36)
	for i := range noise {
		noise[i] = float32(0.3 * rng.NormFloat64())
	}
	for name, g := range map[string]tensor.GateLoss{
		"switch":     {Switch: 1},
		"importance": {Importance: 1},
		"load":       {Load: 1, Sigma: 0.3},
		"local":      {Local: 1},
		"global":     {Global: 1},
		"z":          {Z: 1},
		"all":        {Switch: 0.5, Importance: 1, Load: 0.3, Sigma: 0.3, Local: 0.7, Global: 2, Z: 0.1},
	} {
		t.Run(name, func(t *testing.T) {
			g.K, g.Gates, g.Modalities, g.Least = 2, []int{3, 0, 6}, []int{4, 5}, []float64{math.Log(4), math.Log(4)}
			checkGradients(t, rng, []*Param{x}, func(t *Tape) *Var {
				noisy := t.Sum([]float32{1, 1}, x.Var(), t.Input(9, 4, noise))
				chosen, _ := t.TopK(noisy, 2)
				return t.GateLoss(x.Var(), noisy, chosen, g)
			})
			x.Clear(cpu)
		})
	}
	checkGradients(t, rng, []*Param{x}, func(t *Tape) *Var { return t.Softmax(t.Reshape(x.Var(), 6, 6)) })
	x.Clear(cpu)
}

// TestGateLossHasItsKnownValues holds each loss to what it is where that is
// plain: all choose one of two columns, or each has its half.
func TestGateLossHasItsKnownValues(t *testing.T) {
	const sure = 30 // a logit of which the softmax is one
	one, half := []float32{sure, 0, sure, 0}, []float32{sure, 0, 0, sure}
	z := sure * sure
	for _, c := range []struct {
		name   string
		logits []float32
		g      tensor.GateLoss
		want   float64
	}{
		{"switch, one for all", one, tensor.GateLoss{Switch: 1}, 2},
		{"switch, in balance", half, tensor.GateLoss{Switch: 1}, 1},
		{"importance, one for all", one, tensor.GateLoss{Importance: 1}, 1},
		{"importance, in balance", half, tensor.GateLoss{Importance: 1}, 0},
		// The chosen column stands at its own threshold and is chosen again half
		// of the time; the other never is.
		{"load, one for all", one, tensor.GateLoss{Load: 1, Sigma: 0.5}, 1},
		{"load, in balance", half, tensor.GateLoss{Load: 1, Sigma: 0.5}, 0},
		{"local, sure", half, tensor.GateLoss{Local: 1}, 0},
		{"local, at a loss", make([]float32, 4), tensor.GateLoss{Local: 1}, math.Ln2},
		{"global, one for all", one, tensor.GateLoss{Global: 1}, math.Ln2},
		{"global, in balance", half, tensor.GateLoss{Global: 1}, 0},
		{"z", half, tensor.GateLoss{Z: 1}, float64(z)},
	} {
		c.g.K, c.g.Gates, c.g.Modalities, c.g.Least = 1, []int{2}, []int{2}, []float64{math.Ln2}
		tape := NewTape(cpu, false)
		x := tape.Input(2, 2, c.logits)
		chosen, _ := tape.TopK(x, 1)
		if got := float64(tape.Scalar(tape.GateLoss(x, x, chosen, c.g))); math.Abs(got-c.want) > 1e-5*max(c.want, 1) {
			t.Errorf("%s: %g, want %g", c.name, got, c.want)
		}
		tape.Release()
	}
}

func TestTopK(t *testing.T) {
	tape := NewTape(cpu, false)
	x := tape.Input(3, 4, []float32{1, 4, 3, 2, 5, 5, 5, 5, -1, -4, -2, -3})
	columns, values := tape.TopK(x, 3)
	if !slices.Equal(columns, []int32{1, 2, 3, 0, 1, 2, 0, 2, 3}) || !slices.Equal(values, []float32{4, 3, 2, 5, 5, 5, -1, -2, -3}) {
		t.Errorf("columns %v of values %v", columns, values)
	}
}
