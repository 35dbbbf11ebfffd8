package train

import (
	"math"
	"math/rand/v2"
	"strings"

	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/sharing"
)

// balance holds what a balance of pairs remembers, in a run's state. Maps are by
// pair: "audio+image".
type balance struct {
	of   *sharing.Balance
	seed uint64

	// Kappa is dtp's moving average of the in-batch R@1.
	Kappa map[string]float64 `json:"kappa,omitempty"`
	// Weights are gradnorm's, First the pairs' first losses.
	Weights map[string]float64 `json:"weights,omitempty"`
	First   map[string]float64 `json:"first,omitempty"`
	// S is uncertainty's.
	S map[string]float64 `json:"s,omitempty"`
}

// newBalance returns the balance of a config as it begins, nil for none.
func newBalance(of *sharing.Balance, seed uint64) *balance {
	if of == nil {
		return nil
	}
	return &balance{of: of, seed: seed, Kappa: map[string]float64{}, Weights: map[string]float64{}, First: map[string]float64{}, S: map[string]float64{}}
}

// restore takes over what a checkpoint remembers.
func (b *balance) restore(from *balance) {
	if b == nil || from == nil {
		return
	}
	for _, m := range [][2]map[string]float64{{b.Kappa, from.Kappa}, {b.Weights, from.Weights}, {b.First, from.First}, {b.S, from.S}} {
		for k, v := range m[1] {
			m[0][k] = v
		}
	}
}

// factor returns what multiplies a pair's share in the loss; pairs are those that
// weigh something.
func (b *balance) factor(pair string, pairs []string) float64 {
	if b == nil {
		return 1
	}
	var weight func(pair string) float64
	switch b.of.Kind {
	case "dtp":
		weight = func(pair string) float64 { return priority(b.kappa(pair), b.of.Gamma) }
	case "gradnorm":
		weight = func(pair string) float64 { return or(b.Weights, pair, 1) }
	case "uncertainty":
		return 0.5 * math.Exp(-b.S[pair])
	default:
		return 1
	}
	sum := 0.0
	for _, p := range pairs {
		sum += weight(p)
	}
	return float64(len(pairs)) * weight(pair) / sum
}

// or returns the value of a key, or another where there is none.
func or(m map[string]float64, key string, other float64) float64 {
	if v, ok := m[key]; ok {
		return v
	}
	return other
}

// The bounds of dtp's kappa.
const leastKappa, mostKappa = 0.1, 0.99

// kappa returns a pair's kappa; one that has not been seen knows nothing.
func (b *balance) kappa(pair string) float64 {
	return min(max(b.Kappa[pair], leastKappa), mostKappa)
}

// priority is the focal loss of kappa (Guo et al. 2018, equation 3).
func priority(kappa, gamma float64) float64 {
	return -math.Pow(1-kappa, gamma) * math.Log(kappa)
}

// learn takes a step's figures into account, for the steps to come.
func (b *balance) learn(seen map[string]*pairStats) {
	if b == nil {
		return
	}
	for pair, s := range seen {
		loss, hits := s.loss/float64(s.passes), s.hits/float64(s.passes)
		switch b.of.Kind {
		case "dtp":
			old := or(b.Kappa, pair, hits)
			b.Kappa[pair] = b.of.Average*old + (1-b.of.Average)*hits
		case "uncertainty":
			b.S[pair] -= b.of.Rate * 0.5 * (1 - loss*math.Exp(-b.S[pair]))
		}
	}
}

// merge makes one gradient of those of the pairs, all of whose names are given,
// and of what stands behind them, which counts as it is. Pairs' gradients are
// those of their shares in the loss.
func (b *balance) merge(a *apart, all []string, step int, s *stepStats, m *model.Model) {
	n := len(all)
	shared := make([]bool, len(a.params))
	for p := range shared {
		shared[p] = a.reached(n, p) > 1
	}
	gram := a.gram(n, func(p int) bool { return shared[p] })
	s.conflicts = cosines(all, gram)
	if b.of.Kind == "pcgrad" {
		of := project(gram, rand.New(rand.NewPCG(b.seed, uint64(step))))
		a.merge(func(i, p int) float64 {
			if i < n && shared[p] {
				return of[i]
			}
			return 1
		})
		return
	}
	weights := make([]float64, n)
	for i, pair := range all {
		weights[i] = b.factor(pair, all)
	}
	names := lastBlock(m)
	last := a.gram(n, func(p int) bool { return shared[p] && names[a.params[p].Name] })
	a.merge(func(i, _ int) float64 {
		if i < n {
			return weights[i]
		}
		return 1
	})
	norms := make([]float64, n)
	for i, pair := range all {
		if of := s.pairs[pair]; of != nil {
			norms[i] = math.Sqrt(last[i][i]) / of.share
		}
	}
	b.pace(all, norms, s.pairs)
}

// project returns the coefficients of the sum of all projected gradients (Yu et
// al. 2020, algorithm 1): each g_i loses, for the others g_j in random order, its
// part along those with g_i.g_j < 0, g_i as it is by then. All are combinations of
// the gradients, so their inner products are enough.
func project(gram [][]float64, rng *rand.Rand) []float64 {
	n := len(gram)
	sum := make([]float64, n)
	for i := range n {
		of := make([]float64, n) // g_i as it is by now
		of[i] = 1
		for _, j := range rng.Perm(n) {
			if j == i || gram[j][j] == 0 {
				continue
			}
			dot := 0.0
			for k, c := range of {
				dot += c * gram[k][j]
			}
			if dot < 0 {
				of[j] -= dot / gram[j][j]
			}
		}
		for k, c := range of {
			sum[k] += c
		}
	}
	return sum
}

// leastWeight is what gradnorm's weights stay above, before they are scaled to
// their sum.
const leastWeight = 0.01

// pace takes gradnorm's step on the weights by the norms of the pairs' gradients
// (Chen et al. 2018, algorithm 1). Pairs that were not in the step, or whose
// gradient is zero, stay.
func (b *balance) pace(all []string, norms []float64, seen map[string]*pairStats) {
	var in []string
	var norm, ratio []float64
	for i, pair := range all {
		if s := seen[pair]; s != nil && norms[i] > 0 {
			loss := s.loss / float64(s.passes)
			if _, ok := b.First[pair]; !ok {
				b.First[pair] = loss
			}
			if b.First[pair] > 0 {
				in, norm, ratio = append(in, pair), append(norm, norms[i]), append(ratio, loss/b.First[pair])
			}
		}
	}
	if len(in) < 2 {
		return
	}
	mean := func(x []float64) (m float64) {
		for _, v := range x {
			m += v / float64(len(x))
		}
		return m
	}
	size, pace := mean(norm), mean(ratio)
	var weighted []float64
	for i, pair := range in {
		weighted = append(weighted, or(b.Weights, pair, 1)*norm[i])
	}
	target := mean(weighted)
	sum, before := 0.0, 0.0
	next := make([]float64, len(in))
	for i, pair := range in {
		w := or(b.Weights, pair, 1)
		before += w
		r := 1.0
		if pace > 0 {
			r = math.Pow(ratio[i]/pace, b.of.Alpha)
		}
		slope := norm[i] / size
		switch d := weighted[i] - target*r; {
		case d > 0:
			w -= b.of.Rate * slope
		case d < 0:
			w += b.of.Rate * slope
		}
		next[i] = max(w, leastWeight)
		sum += next[i]
	}
	for i, pair := range in { // their sum stays
		b.Weights[pair] = next[i] * before / sum
	}
}

// lastBlock returns the names of the parameters that serve the last block of the
// shared trunk.
func lastBlock(m *model.Model) map[string]bool {
	names := map[string]bool{}
	w := m.Weights
	for _, modality := range w.Modalities {
		for _, role := range sharing.Roles {
			for _, n := range w.Serving(w.Layers-1, modality, role) {
				names[n] = true
			}
		}
	}
	return names
}

// pairNames lists the pairs that weigh something, sorted.
func (r *run) pairNames() []string {
	var names []string
	all := r.model.Modalities()
	for i, a := range all {
		for _, b := range all[i+1:] {
			if r.base(a, b) > 0 {
				names = append(names, a+"+"+b)
			}
		}
	}
	return names
}

// factor is what the balance multiplies a pair's share in the loss with.
func (r *run) factor(a, b string) float64 { return r.balance.factor(a+"+"+b, r.pairNames()) }

// pairRecord is a pair's line in the log of a step.
type pairRecord struct {
	Loss float64 `json:"loss"`
	R1   float64 `json:"r1"`
	// Weight is what the loss counted, by train.pairs or the phase and by the
	// balance.
	Weight float64 `json:"weight"`
}

// pairRecords returns the figures of the pairs of a step, for a balance.
func (r *run) pairRecords(s *stepStats) map[string]pairRecord {
	if r.balance == nil {
		return nil
	}
	of := map[string]pairRecord{}
	for pair, p := range s.pairs {
		of[pair] = pairRecord{p.loss / float64(p.passes), p.hits / float64(p.passes), s.weights[pair]}
	}
	return of
}

// weights returns what each pair counts in the step that comes.
func (r *run) weights() map[string]float64 {
	of := map[string]float64{}
	for _, pair := range r.pairNames() {
		a, b, _ := strings.Cut(pair, "+")
		of[pair] = r.base(a, b) * r.factor(a, b)
	}
	return of
}
