package evaluate

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/floats"
)

// The minimum is scikit-learn's, whose products are of float64.
func TestLogisticIsThatOfScikitLearn(t *testing.T) {
	f, train, test := readFixture(t)
	l := newLogistic(train, nil)
	defer l.close()
	for _, want := range f.Logistic {
		x, err := l.minimise(t.Context(), want.L2, nil)
		if err != nil {
			t.Fatal(err)
		}
		w, b := l.weights(x)
		for i := range want.W {
			if math.Abs(float64(w[i])-want.W[i]) > 5e-3 {
				t.Errorf("l2 %g: W[%d] is %g, want %g", want.L2, i, w[i], want.W[i])
			}
		}
		for i := range want.B {
			if math.Abs(b[i]-want.B[i]) > 5e-3 {
				t.Errorf("l2 %g: b[%d] is %g, want %g", want.L2, i, b[i], want.B[i])
			}
		}
		s, err := classify(t.Context(), test.Z, test.Labels, test.Dim, test.Classes, w, b)
		if err != nil || math.Abs(s.Top1-want.Top1) > 1e-12 {
			t.Errorf("l2 %g: accuracy %g (%v), want %g", want.L2, s.Top1, err, want.Top1)
		}
	}
}

// Loss and gradient are those of a plain sum in float64, over more rows than
// a block has.
func TestLogisticGradient(t *testing.T) {
	const n, k, e = 1500, 5, 6
	rng := rand.New(rand.NewPCG(1, 2))
	z, labels := make([]float32, n*e), make([]int, n)
	for i := range z {
		z[i] = float32(rng.NormFloat64())
	}
	for i := range labels {
		labels[i] = rng.IntN(k)
	}
	l := newLogistic(vectors(z, labels, k, e), nil)
	defer l.close()
	l.l2 = 0.3
	x := make([]float64, k*e+k)
	for i := range x {
		x[i] = float64(float32(rng.NormFloat64()))
	}
	plain := func(x []float64) float64 {
		sum := 0.0
		for i, label := range labels {
			logits := slices.Clone(x[k*e:])
			for j := range logits {
				for c := range e {
					logits[j] += x[j*e+c] * float64(z[i*e+c])
				}
			}
			sum += floats.LogSumExp(logits) - logits[label]
		}
		return sum/n + 0.3/2*floats.Dot(x[:k*e], x[:k*e])
	}
	grad := make([]float64, len(x))
	loss := l.compute(grad, x)
	if want := plain(x); math.Abs(loss-want) > 1e-6*want {
		t.Errorf("loss %g, want %g", loss, want)
	}
	for i := range x {
		const h = 1e-4
		up, down := slices.Clone(x), slices.Clone(x)
		up[i] += h
		down[i] -= h
		if want := (plain(up) - plain(down)) / (2 * h); math.Abs(grad[i]-want) > 1e-6 {
			t.Errorf("gradient %d is %g, want %g", i, grad[i], want)
		}
	}
}

// Directions that lie apart are told apart without a mistake, and the figures
// are the same each time.
func TestProbeOfSeparableClasses(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	draw := func(n int) *Vectors {
		var degrees []float64
		var labels []int
		for i := range n {
			degrees = append(degrees, float64(120*(i%3))+50*(2*rng.Float64()-1))
			labels = append(labels, i%3)
		}
		return vectors(at(degrees...), labels, 3, 2)
	}
	train, test := draw(100), draw(200)
	steps := 0
	p, err := Probe(t.Context(), train, test, 1, func(done, total int) {
		if steps++; done != steps || total != len(strengths)+1 {
			t.Errorf("step %d: %d of %d are done", steps, done, total)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if p.Top1 != 1 || p.PerClass != 1 || p.N != 200 || len(p.Confusions) != 0 || steps != len(strengths)+1 {
		t.Errorf("%+v", p)
	}
	// Of all that make no mistake the strongest is taken.
	for i, h := range p.HeldOut {
		if h.Top1 == 1 {
			if p.L2 != h.L2 || h.L2 != strengths[i] {
				t.Errorf("took %g of %v", p.L2, p.HeldOut)
			}
			break
		}
	}
	again, err := Probe(t.Context(), train, test, 1, nil)
	if err != nil || !slices.Equal(again.HeldOut, p.HeldOut) || again.L2 != p.L2 {
		t.Errorf("%+v (%v), then %+v", p.HeldOut, err, again.HeldOut)
	}
}

// What is tried is judged by files that were not fitted: with labels by
// chance, no better than chance.
func TestProbeHoldsOut(t *testing.T) {
	const n, e = 400, 64
	rng := rand.New(rand.NewPCG(7, 8))
	z, labels := make([]float32, n*e), make([]int, n)
	for i := range z {
		z[i] = float32(rng.NormFloat64() / 8)
	}
	for i := range labels {
		labels[i] = rng.IntN(2)
	}
	v := vectors(z, labels, 2, e)
	p, err := Probe(t.Context(), v, v, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range p.HeldOut {
		if h.Top1 > 0.65 {
			t.Errorf("%+v of labels by chance", h)
		}
	}
	if p.Top1 < 0.6 {
		t.Errorf("%.2f of what it was fitted to; 64 values tell more", p.Top1)
	}
}

func TestSplit(t *testing.T) {
	labels := []int{2}
	for i := range 28 {
		labels = append(labels, []int{0, 0, 0, 0, 0, 0, 1}[i%7])
	}
	rest, drawn := split(labels, 1)
	all := slices.Concat(rest, drawn)
	slices.Sort(all)
	for i := range all {
		if all[i] != i {
			t.Fatalf("%v and %v are not a split", rest, drawn)
		}
	}
	of := map[int]int{}
	for _, i := range drawn {
		of[labels[i]]++
	}
	if of[0] != 5 || of[1] != 1 || of[2] != 0 {
		t.Errorf("drew %v of 24, 4 and 1", of)
	}
	if r, d := split(labels, 1); !slices.Equal(r, rest) || !slices.Equal(d, drawn) {
		t.Error("the same seed draws others")
	}
	if _, d := split(labels, 2); slices.Equal(d, drawn) {
		t.Error("another seed draws the same")
	}
}
