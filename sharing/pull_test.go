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

// pulled makes weights of one layer with private up [6, 4] that are drawn
// together, their values random.
func pulled(t *testing.T, p Pull) *Weights {
	t.Helper()
	c := Default()
	c.Private = []Role{Up}
	p.Roles = []Role{Up}
	c.Pull = &p
	if err := c.Validate(1, three); err != nil {
		t.Fatal(err)
	}
	w := NewWeights(c, NewBank(tensor.CPU(1), 1), "trunk", 1, three)
	w.Declare(Up, 6, 4, 1)
	w.Bank.Freeze(func(string) bool { return true }, false)
	rng := rand.New(rand.NewPCG(9, 1))
	for _, q := range w.Bank.Params() {
		x := w.Bank.Read(q)
		for i := range x {
			x[i] += float32(0.5 * rng.NormFloat64())
		}
		w.Bank.dev.Write(q.Value, x)
	}
	return w
}

// penalise runs the penalty of weights forward and backward.
func (w *Weights) penalise() float64 {
	tape := autograd.NewTape(w.Bank.dev, true)
	if w.Config.Pull.Lambda == 0 {
		return 0
	}
	y := w.On(tape, nil).Penalise(tape.Input(1, 1, []float32{0}))
	value := tape.Penalty
	tape.Backward(y, []float32{0})
	return value
}

func (w *Weights) grad(p *autograd.Param) []float32 {
	g := make([]float32, p.Value.Len())
	if p.Grad() != nil {
		w.Bank.dev.Read(g, p.Grad())
	}
	return g
}

// TestPullGradients holds the gradient of every kind to differences; adaptive's
// with its coefficients as they stand.
func TestPullGradients(t *testing.T) {
	for _, p := range []Pull{{Kind: "l2", Lambda: 0.7}, {Kind: "l2", Lambda: 0.7, Anchor: "first"}, {Kind: "trace", Lambda: 0.7}} {
		w := pulled(t, p)
		w.penalise()
		grads := map[*autograd.Param][]float32{}
		for _, q := range w.Bank.Params() {
			grads[q] = w.grad(q)
			q.Clear(w.Bank.dev)
		}
		for _, q := range w.Bank.Params() {
			if q.Fixed {
				continue
			}
			g := grads[q]
			x := w.Bank.Read(q)
			var diff, norm float64
			for i, old := range x {
				at := func(v float32) float64 {
					x[i] = v
					w.Bank.dev.Write(q.Value, x)
					defer func() {
						for _, r := range w.Bank.Params() {
							r.Clear(w.Bank.dev)
						}
					}()
					return w.penalise()
				}
				const h = 1e-2
				numeric := (at(old+h) - at(old-h)) / (2 * h)
				at(old)
				diff += math.Pow(numeric-float64(g[i]), 2)
				norm += numeric * numeric
			}
			if e := math.Sqrt(diff / norm); !(e < 5e-3) {
				t.Errorf("%+v: %s: relative error of the gradient %.4f", p, q.Name, e)
			}
		}
	}
	// Adaptive is the weighed l2 of its own coefficients.
	rng := rand.New(rand.NewPCG(2, 1))
	gram := stack(rng, 3, 10)
	l := similarities(gram, 0)
	value, by := toMean(gram, l)
	again, byAgain := (&Pull{Kind: "adaptive"}).penalty()(gram)
	if value != again || !slices.Equal(by, byAgain) {
		t.Errorf("adaptive %g %v, want %g %v", again, byAgain, value, by)
	}
}

// stack returns the inner products of n vectors around a common one.
func stack(rng *rand.Rand, n, d int) []float64 {
	common, xs := make([]float64, d), make([][]float64, n)
	for j := range common {
		common[j] = rng.NormFloat64()
	}
	for i := range xs {
		xs[i] = make([]float64, d)
		for j := range xs[i] {
			xs[i][j] = common[j] + 0.5*rng.NormFloat64()
		}
	}
	g := make([]float64, n*n)
	for i := range xs {
		for j := range xs {
			g[i*n+j] = dot(xs[i], xs[j])
		}
	}
	return g
}

// TestPenalties holds values to their definitions.
func TestPenalties(t *testing.T) {
	// [3 0], [0 4], [0 0]: singular values 3 and 4, mean [1 4/3].
	gram := []float64{9, 0, 0, 0, 16, 0, 0, 0, 0}
	near := func(name string, got, want float64) {
		if math.Abs(got-want) > 1e-3 {
			t.Errorf("%s is %g, want %g", name, got, want)
		}
	}
	v, _ := nuclear(gram)
	near("the trace norm", v, 7)
	v, _ = toMean(gram, nil)
	near("the squares to the mean", v, 25-3*(1+16.0/9))
	v, _ = toAnchor(gram)
	near("the squares to an anchor at zero", v, 25)
	v, _ = toAnchor([]float64{9, 0, 9, 0, 16, 0, 9, 0, 9}) // the anchor is [3 0]
	near("the squares to an anchor", v, 25)
	// Two alike and one against them.
	s := similarities([]float64{1, 0.9, -0.5, 0.9, 1, -0.5, -0.5, -0.5, 1}, 0)
	near("s of one alike", s[0], 0.4/math.Sqrt(1+1-1))
	near("s of one against", s[2], 0)
	if s := similarities([]float64{1, 0.9, 0.1, 0.9, 1, 0.2, 0.1, 0.2, 1}, 0.34); s[2] != 0 || s[0] == 0 || s[1] == 0 {
		t.Errorf("similarities %v: the lowest third is to be dropped", s)
	}
}

// descend follows the penalty, and for the tensors of targets half the squared
// distance to them, for some steps of gradient descent.
func descend(w *Weights, steps int, rate float32, targets map[*autograd.Param]*tensor.Tensor) {
	for range steps {
		w.penalise()
		for _, p := range w.Bank.Params() {
			if p.Fixed {
				continue
			}
			step := w.Bank.dev.New(p.Value.Rows, p.Value.Cols)
			w.Bank.dev.Fill(step, 0)
			if p.Grad() != nil {
				w.Bank.dev.Axpy(step, 1, p.Grad())
				p.Clear(w.Bank.dev)
			}
			if to := targets[p]; to != nil {
				w.Bank.dev.Axpy(step, 1, p.Value)
				w.Bank.dev.Axpy(step, -1, to)
			}
			w.Bank.dev.Axpy(p.Value, -rate, step)
			w.Bank.dev.Free(step)
		}
	}
}

// ups lists the weights of the modalities.
func (w *Weights) ups() (ps []*autograd.Param) {
	for _, m := range three {
		ps = append(ps, w.Bank.Param("trunk/0/ffn@"+m+"/up/weight"))
	}
	return ps
}

// TestGreatPullIsHardSharing: each tensor has a target of its own; the greater
// lambda is, the nearer are the tensors, up to the outputs of one for all.
func TestGreatPullIsHardSharing(t *testing.T) {
	apart := func(lambda float64, anchor string) (spread float64, mean []float64) {
		w := pulled(t, Pull{Kind: "l2", Lambda: lambda, Anchor: anchor})
		targets := map[*autograd.Param]*tensor.Tensor{}
		for i, p := range w.ups() {
			targets[p] = w.Bank.dev.New(6, 4)
			w.Bank.dev.Fill(targets[p], float32(i))
		}
		descend(w, 600, float32(0.2/(0.5+lambda)), targets)
		var outs [][]float32
		for _, m := range three {
			tape := autograd.NewTape(w.Bank.dev, true)
			runs := []Run{{m, 1}}
			outs = append(outs, tape.Read(w.On(tape, runs).Linear(0, Up, tape.Input(1, 4, []float32{1, 1, 1, 1}), runs, nil, autograd.LinearOptions{})))
		}
		for i := range outs[0] {
			spread = max(spread, math.Abs(float64(outs[0][i]-outs[2][i])))
			mean = append(mean, float64(outs[0][i]+outs[1][i]+outs[2][i])/3)
		}
		return spread, mean
	}
	last := math.Inf(1)
	for _, lambda := range []float64{0, 1, 30, 1000} {
		spread, _ := apart(lambda, "")
		if spread >= last {
			t.Errorf("lambda %g: outputs are %g apart, %g with less", lambda, spread, last)
		}
		last = spread
	}
	if last > 0.02 {
		t.Errorf("lambda 1000: outputs are %g apart, 8 with none", last)
	}
	if spread, mean := apart(1000, "first"); spread > 0.3 || math.Abs(mean[0]-4) < 0.1 {
		t.Errorf("drawn to their first values, outputs are %g apart around %g", spread, mean[0])
	}
}

// TestNoPull: at lambda 0 nothing of private tensors is another, and common ones
// begin as the tensor that all would share.
func TestNoPull(t *testing.T) {
	c := Default()
	c.Private = []Role{Up}
	make := func(p *Pull) *Weights {
		c.Pull = p
		w := NewWeights(c, NewBank(tensor.CPU(1), 1), "trunk", 1, three)
		w.Declare(Up, 6, 4, 1)
		w.Bank.Freeze(func(string) bool { return true }, false)
		return w
	}
	read := func(w *Weights) string {
		s := ""
		for _, p := range w.Bank.Params() {
			s += p.Name + fmt.Sprint(w.Bank.Read(p))
		}
		return s
	}
	alone, none := make(nil), make(&Pull{Kind: "trace", Lambda: 0})
	if read(alone) != read(none) {
		t.Error("a pull of 0 changes first values")
	}
	tape := autograd.NewTape(alone.Bank.dev, true)
	if x := tape.Input(1, 1, []float32{1}); none.On(tape, nil).Penalise(x) != x {
		t.Error("a pull of 0 is on the tape")
	}
	c.Private = nil
	shared := make(nil)
	want := fmt.Sprint(shared.Bank.Read(shared.Bank.Param("trunk/0/ffn/up/weight")))
	c.Private = []Role{Up}
	for _, w := range []*Weights{make(&Pull{Kind: "adaptive", Common: true}), make(&Pull{Kind: "l2", Anchor: "first"})} {
		for _, p := range w.ups() {
			if fmt.Sprint(w.Bank.Read(p)) != want {
				t.Errorf("%s does not begin as the shared tensor", p.Name)
			}
		}
		if a := "trunk/0/ffn/up/anchor/weight"; w.Config.Pull.anchored() && (fmt.Sprint(w.Bank.Read(w.Bank.Param(a))) != want || w.Bank.Param(a).Trained()) {
			t.Error("the anchor is not the first value, or is trained")
		}
		if n := w.Bank.Elements(); n != 3*(24+6) {
			t.Errorf("%d parameters, want those of three towers", n)
		}
	}
}

// TestTraceNormLowersTheRank counts the singular values of the stack that matter.
func TestTraceNormLowersTheRank(t *testing.T) {
	rank := func(lambda float64) int {
		w := pulled(t, Pull{Kind: "trace", Lambda: lambda})
		targets := map[*autograd.Param]*tensor.Tensor{}
		rng := rand.New(rand.NewPCG(4, 1))
		common := make([]float32, 24)
		for i := range common {
			common[i] = float32(rng.NormFloat64())
		}
		for i, p := range w.ups() { // nearly one direction
			x := make([]float32, 24)
			for j := range x {
				x[j] = float32(i+1)*common[j] + float32(0.1*rng.NormFloat64())
			}
			targets[p] = w.Bank.dev.New(6, 4)
			w.Bank.dev.Write(targets[p], x)
		}
		descend(w, 400, 0.05, targets)
		gram := make([]float64, 9)
		for i, p := range w.ups() {
			for j, q := range w.ups() {
				gram[i*3+j] = w.Bank.dev.Dot(p.Value, q.Value)
			}
		}
		n := 0
		for _, s := range singular(gram) {
			if s > 0.1 {
				n++
			}
		}
		return n
	}
	if before, after := rank(0), rank(1); before != 3 || after != 1 {
		t.Errorf("rank %d without, %d with the trace norm, want 3 and 1", before, after)
	}
}

// singular returns the singular values whose inner products are given, from the
// sum of their powers: by deflation.
func singular(gram []float64) (s []float64) {
	n := side(gram)
	g := slices.Clone(gram)
	for range n {
		v := make([]float64, n)
		for i := range v {
			v[i] = 1 / float64(i+1)
		}
		for range 500 {
			next := make([]float64, n)
			for i := range n {
				next[i] = dot(g[i*n:(i+1)*n], v)
			}
			size := math.Sqrt(dot(next, next)) + 1e-30
			for i := range v {
				v[i] = next[i] / size
			}
		}
		value := 0.0
		for i := range n {
			value += v[i] * dot(g[i*n:(i+1)*n], v)
		}
		s = append(s, math.Sqrt(max(value, 0)))
		for i := range n {
			for j := range n {
				g[i*n+j] -= value * v[i] * v[j]
			}
		}
	}
	return s
}

// TestUnrelatedTowerLosesItsPull: of two alike and one unrelated, the two are
// drawn together and the third neither pulls nor is pulled.
func TestUnrelatedTowerLosesItsPull(t *testing.T) {
	for _, drop := range []float64{0, 0.34} {
		w := pulled(t, Pull{Kind: "adaptive", Lambda: 1, Drop: drop})
		ups := w.ups()
		alike := w.Bank.Read(ups[0])
		against := slices.Clone(alike)
		for i := range alike {
			alike[i] += float32(i%3) * 0.1
			against[i] *= -0.5
			if drop > 0 { // then a weak likeness is enough to be dropped
				against[i] = 0.3*alike[i] + float32(i%2)
			}
		}
		w.Bank.dev.Write(ups[1].Value, alike)
		w.Bank.dev.Write(ups[2].Value, against)
		w.penalise()
		var size [3]float64
		for i, p := range ups {
			for _, v := range w.grad(p) {
				size[i] += math.Abs(float64(v))
			}
		}
		if size[0] == 0 || size[1] == 0 || size[2] != 0 {
			t.Errorf("drop %g: pulls of %v, want none of the third", drop, size)
		}
		for i, v := range w.grad(ups[0]) {
			if toOther := alike[i] - w.Bank.Read(ups[0])[i]; toOther*v > 0 {
				t.Errorf("drop %g: entry %d is pushed from the tensor that is alike", drop, i)
			}
		}
	}
	if s := (&Pull{Kind: "adaptive", Lambda: 0.5}).String(); !strings.Contains(s, "adaptive") {
		t.Error(s)
	}
}
