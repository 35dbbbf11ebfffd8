package evaluate

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	gonum "gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/floats"

	"github.com/onetrunk/onetrunk/internal/par"
)

// Probed are the scores of a linear probe.
type Probed struct {
	// L2 is the regularisation that was taken, HeldOut what was tried for it.
	L2      float64 `json:"l2"`
	HeldOut []Trial `json:"held_out"`
	Scores
}

// Trial is a regularisation and the share of held-out files that are taken for
// what they are.
type Trial struct {
	L2   float64 `json:"l2"`
	Top1 float64 `json:"top1"`
}

// strengths are the regularisations that are tried, strongest first.
var strengths = []float64{1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8}

// Probe fits a linear classifier to the embeddings of train and classifies
// those of test by it (Radford et al. 2021, section 3.2): multinomial logistic
// regression with an L2 penalty of its matrix, by L-BFGS. The penalty is that
// of a few which does best on a fifth of each class of train, drawn by the
// seed, when the others are fitted; of several the strongest. The classifier
// is then fitted to all of train. The classes are those of train, which must
// have all of test's.
func Probe(ctx context.Context, train, test *Vectors, seed uint64, progress Progress) (Probed, error) {
	labels, err := labelsIn(train, test)
	if err != nil {
		return Probed{}, err
	}
	fit, held := split(train.Labels, seed)
	if len(held) == 0 {
		return Probed{}, fmt.Errorf("%s: a probe holds out a fifth of the files to choose its regularisation by, and no class has two", train.Name)
	}
	some := newLogistic(train, fit)
	defer some.close()
	heldZ, heldLabels := rows(train, held)
	var p Probed
	var x []float64
	best := 0.0
	for i, l2 := range strengths {
		// The last solution is near the next.
		if x, err = some.minimise(ctx, l2, x); err != nil {
			return p, err
		}
		w, b := some.weights(x)
		s, err := classify(ctx, heldZ, heldLabels, train.Dim, train.Classes, w, b)
		if err != nil {
			return p, err
		}
		p.HeldOut = append(p.HeldOut, Trial{l2, s.Top1})
		if i == 0 || s.Top1 > best {
			best, p.L2 = s.Top1, l2
		}
		progress.report(i+1, len(strengths)+1)
	}
	whole := newLogistic(train, nil)
	defer whole.close()
	if x, err = whole.minimise(ctx, p.L2, nil); err != nil {
		return p, err
	}
	w, b := whole.weights(x)
	p.Scores, err = classify(ctx, test.Z, labels, train.Dim, train.Classes, w, b)
	progress.report(len(strengths)+1, len(strengths)+1)
	return p, err
}

// split draws a fifth of each class, rounded, but one at least of a class of
// two. It returns the other files and those that were drawn, ascending.
func split(labels []int, seed uint64) (rest, drawn []int) {
	of := map[int][]int{}
	for i, l := range labels {
		of[l] = append(of[l], i)
	}
	rng := rand.New(rand.NewPCG(seed, 0x7072_6f62))
	for l := range slices.Max(labels) + 1 {
		n := (len(of[l]) + 2) / 5
		if len(of[l]) > 1 {
			n = max(n, 1)
		}
		for at, i := range rng.Perm(len(of[l])) {
			if at < n {
				drawn = append(drawn, of[l][i])
			} else {
				rest = append(rest, of[l][i])
			}
		}
	}
	slices.Sort(rest)
	slices.Sort(drawn)
	return rest, drawn
}

// rows copies some of the vectors and their labels, or returns all for nil.
func rows(v *Vectors, some []int) ([]float32, []int) {
	if some == nil {
		return v.Z, v.Labels
	}
	z, labels := make([]float32, 0, len(some)*v.Dim), make([]int, 0, len(some))
	for _, i := range some {
		z = append(z, v.Z[i*v.Dim:(i+1)*v.Dim]...)
		labels = append(labels, v.Labels[i])
	}
	return z, labels
}

// logistic is multinomial logistic regression of labels on rows z [N, E]. Its
// parameters x are the matrix W [K, E] followed by the biases b [K]. What it
// minimises is
//
//	-1/N sum_i log softmax(W z_i + b)[label_i] + l2/2 |W|^2
//
// which is what scikit-learn's LogisticRegression does with C = 1/(N l2).
// Products are made of float32, all else of float64.
type logistic struct {
	z       []float32
	labels  []int
	n, k, e int
	l2      float64
	pool    *par.Pool

	w      []float32 // W [K, E]
	p      []float32 // of a block of rows [B, K]: logits, then their gradient
	g      []float32 // a block's part of W's gradient [K, E]
	losses []float64 // of a block's rows [B]
}

// fitBlock is the number of rows that are computed at once.
const fitBlock = 1024

// newLogistic makes the problem of some of the vectors, or all for nil.
func newLogistic(v *Vectors, some []int) *logistic {
	l := &logistic{k: len(v.Classes), e: v.Dim, pool: par.New(par.Threads(0))}
	l.z, l.labels = rows(v, some)
	l.n = len(l.labels)
	l.w, l.g = make([]float32, l.k*l.e), make([]float32, l.k*l.e)
	b := min(fitBlock, l.n)
	l.p, l.losses = make([]float32, b*l.k), make([]float64, b)
	return l
}

func (l *logistic) close() { l.pool.Close() }

// weights returns the parameters' parts.
func (l *logistic) weights(x []float64) (w []float32, b []float64) {
	for i, v := range x[:l.k*l.e] {
		l.w[i] = float32(v)
	}
	return l.w, x[l.k*l.e:]
}

// compute returns the loss at x and writes its gradient there.
func (l *logistic) compute(grad, x []float64) float64 {
	w, b := l.weights(x)
	gradW, gradB := grad[:len(w)], grad[len(w):]
	clear(grad)
	loss := 0.0
	for lo := 0; lo < l.n; lo += fitBlock {
		rows := min(fitBlock, l.n-lo)
		z := l.z[lo*l.e : (lo+rows)*l.e]
		similarities(l.p, z, w, rows, l.k, l.e)
		piece := par.Split(rows, l.pool.Workers(), 1)
		l.pool.For((rows+piece-1)/piece, func(_, i int) {
			for r := i * piece; r < min((i+1)*piece, rows); r++ {
				l.losses[r] = crossEntropy(l.p[r*l.k:(r+1)*l.k], b, l.labels[lo+r])
			}
		})
		loss += floats.Sum(l.losses[:rows])
		for i, p := range l.p[:rows*l.k] {
			gradB[i%l.k] += float64(p)
		}
		products().Sgemm(gonum.Trans, gonum.NoTrans, l.k, l.e, rows, 1, l.p, l.k, z, l.e, 0, l.g, l.e)
		for i, g := range l.g {
			gradW[i] += float64(g)
		}
	}
	floats.Scale(1/float64(l.n), grad)
	floats.AddScaled(gradW, l.l2, x[:len(w)])
	return loss/float64(l.n) + l.l2/2*floats.Dot(x[:len(w)], x[:len(w)])
}

// crossEntropy returns -log softmax(row + b)[label] and makes row its gradient,
// softmax(row + b) with 1 taken from the label's.
func crossEntropy(row []float32, b []float64, label int) float64 {
	most := math.Inf(-1)
	for j, x := range row {
		most = max(most, float64(x)+b[j])
	}
	right := float64(row[label]) + b[label] - most
	var sum float64
	for j, x := range row {
		e := math.Exp(float64(x) + b[j] - most)
		sum += e
		row[j] = float32(e)
	}
	for j := range row {
		row[j] = float32(float64(row[j]) / sum)
	}
	row[label]--
	return math.Log(sum) - right
}

// minimise returns the best parameters from a start, nil for zeros.
func (l *logistic) minimise(ctx context.Context, l2 float64, start []float64) ([]float64, error) {
	x := make([]float64, l.k*l.e+l.k)
	copy(x, start)
	l.l2 = l2
	return x, lbfgs(ctx, l.compute, x)
}
