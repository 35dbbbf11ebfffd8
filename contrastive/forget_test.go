package contrastive

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/tensor"
)

// TestForgetWeighsBySize holds the objective to its parts: row 3 of four is to be
// forgotten, and audio lacks row 1.
func TestForgetWeighsBySize(t *testing.T) {
	dev := tensor.CPU(1)
	rng := rand.New(rand.NewPCG(2, 1))
	param := func(n int) (*autograd.Param, [][]float64) {
		x, rows := make([]float32, n*3), make([][]float64, n)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
			if i >= 3*(n-1) {
				x[i] *= 2 // there is more to forget than to keep
			}
			rows[i/3] = append(rows[i/3], float64(x[i]))
		}
		p := autograd.NewParam("z", dev.New(n, 3))
		dev.Write(p.Value, x)
		p.Train(true)
		return p, rows
	}
	za, a := param(3)
	zi, im := param(4)
	scale := autograd.NewParam("scale", dev.New(1, 1))
	dev.Write(scale.Value, []float32{float32(math.Log(2))})
	scale.Train(true)
	o := Objective{LogScale: func(_, _ string) *autograd.Var { return scale.Var() }}
	groups := []int32{0, 1, 0, 3} // those that stay and that both have belong together
	gradient := func(f func(t *autograd.Tape) *autograd.Var) (loss float64, grad []float32) {
		tape := autograd.NewTape(dev, true)
		out := f(tape)
		loss = float64(tape.Scalar(out))
		tape.Backward(out, nil)
		for _, p := range []*autograd.Param{za, zi, scale} {
			g := make([]float32, p.Value.Len())
			if p.Grad() != nil {
				dev.Read(g, p.Grad())
			}
			p.Clear(dev)
			grad = append(grad, g...)
		}
		return loss, grad
	}
	vs := []Vectors{{"audio", za.Var(), []int{0, 2, 3}}, {"image", zi.Var(), []int{0, 1, 2, 3}}}
	got, gotGrad := gradient(func(t *autograd.Tape) *autograd.Var { return o.Forget(t, vs, groups, 3).Loss })

	uniform := func(row []float64, to ...[]float64) float64 {
		var z, mean float64
		for _, b := range to {
			var s float64
			for k := range row {
				s += 2 * row[k] * b[k]
			}
			z += math.Exp(s)
			mean += s / float64(len(to))
		}
		return math.Log(z) - mean
	}
	r := reference([][]float64{a[0], a[1]}, [][]float64{im[0], im[2]}, 2, []int32{0, 0})
	f := (uniform(a[2], im[0], im[2], im[3]) + uniform(im[3], a[0], a[1], a[2])) / 2
	size := f - math.Log(3)
	w := min(1, r/size)
	want := r + w*size
	if w == 1 || math.Abs(got-want) > 1e-5 {
		t.Errorf("loss %.6f, want %.6f of R %.4f and F %.4f", got, want, r, size)
	}
	rows := func(t *autograd.Tape, v *autograd.Var, rows ...int32) *autograd.Var { return pick(t, v, rows) }
	_, kept := gradient(func(t *autograd.Tape) *autograd.Var {
		loss, _, _ := t.InfoNCE(rows(t, za.Var(), 0, 1), rows(t, zi.Var(), 0, 2), scale.Var(), []int32{0, 0})
		return loss
	})
	_, forgot := gradient(func(t *autograd.Tape) *autograd.Var {
		s := t.Input(1, 1, []float32{float32(math.Log(2))})
		return t.Sum([]float32{0.5, 0.5}, t.Uniform(rows(t, za.Var(), 2), rows(t, zi.Var(), 0, 2, 3), s), t.Uniform(rows(t, zi.Var(), 3), za.Var(), s))
	})
	for i := range gotGrad {
		want := float64(kept[i]) + w*float64(forgot[i])
		if math.Abs(float64(gotGrad[i])-want) > 1e-5 {
			t.Errorf("gradient %d is %g, want %g", i, gotGrad[i], want)
		}
	}
	// A batch of those that stay alone is Forward's.
	plain, plainGrad := gradient(func(t *autograd.Tape) *autograd.Var { return o.Forward(t, vs, groups).Loss })
	none, noneGrad := gradient(func(t *autograd.Tape) *autograd.Var { return o.Forget(t, vs, groups, 4).Loss })
	if plain != none || plainGrad[0] != noneGrad[0] {
		t.Errorf("nothing to forget: loss %g, want %g", none, plain)
	}
}
