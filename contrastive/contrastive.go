// Package contrastive holds the objective: vectors of the same thing in
// different modalities are drawn together, others apart. It sees vectors,
// never encoders.
package contrastive

import (
	"github.com/onetrunk/onetrunk/autograd"
)

// Vectors are one modality's part of a batch.
type Vectors struct {
	Modality string
	// Z holds unit vectors [n, E].
	Z *autograd.Var
	// Rows gives the batch row of each vector, ascending. A batch row without
	// a vector lacks the modality.
	Rows []int
}

// Objective is the weighted mean of the symmetric InfoNCE losses of all pairs
// of modalities.
type Objective struct {
	// Weight returns the weight of a pair, by names in sorted order; 0 leaves
	// the pair out. nil weighs all pairs one.
	Weight func(a, b string) float64
	// Factor returns what a pair's share in the mean is multiplied with; nil
	// stands for one.
	Factor func(a, b string) float64
	// LogScale returns a pair's learned logarithm of 1/temperature, [1, 1].
	LogScale func(a, b string) *autograd.Var
}

// Result is the objective on one batch.
type Result struct {
	// Loss is [1, 1]; nil when no pair has two rows.
	Loss  *autograd.Var
	Pairs []Pair
}

// Pair is one pair's part of a result.
type Pair struct {
	A, B string
	// N is the number of batch rows that have both.
	N int
	// Loss, HitsAB and HitsBA are [1, 1]: the pair's own loss and in-batch
	// R@1 from A to B and from B to A.
	Loss, HitsAB, HitsBA *autograd.Var
}

// Forward computes the objective on a batch whose modalities stand in sorted
// order. Batch rows of equal group are positives of each other; groups has
// one entry a batch row. The rows that lack one modality of a pair take no
// part in it; a pair with fewer than two rows is left out.
func (o *Objective) Forward(t *autograd.Tape, vs []Vectors, groups []int32) Result {
	var r Result
	var losses []*autograd.Var
	var weights []float32
	total := 0.0
	for i, a := range vs {
		for _, b := range vs[i+1:] {
			w := 1.0
			if o.Weight != nil {
				w = o.Weight(a.Modality, b.Modality)
			}
			ia, ib, g := common(a.Rows, b.Rows, groups)
			if w == 0 || len(g) < 2 {
				continue
			}
			p := Pair{A: a.Modality, B: b.Modality, N: len(g)}
			p.Loss, p.HitsAB, p.HitsBA = t.InfoNCE(pick(t, a.Z, ia), pick(t, b.Z, ib), o.LogScale(a.Modality, b.Modality), g)
			r.Pairs = append(r.Pairs, p)
			losses = append(losses, p.Loss)
			weights = append(weights, float32(w))
			total += w
		}
	}
	if len(losses) == 0 {
		return r
	}
	for i, p := range r.Pairs {
		weights[i] /= float32(total)
		if o.Factor != nil {
			weights[i] *= float32(o.Factor(p.A, p.B))
		}
	}
	r.Loss = t.Sum(weights, losses...)
	return r
}

// common returns the places in a and in b of the batch rows that both have,
// and the rows' groups.
func common(a, b []int, groups []int32) (ia, ib, g []int32) {
	both(a, b, func(i, j int) {
		ia, ib, g = append(ia, int32(i)), append(ib, int32(j)), append(g, groups[a[i]])
	})
	return ia, ib, g
}

// both calls f with the places in a and in b of every batch row that both have.
func both(a, b []int, f func(i, j int)) {
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i] < b[j]:
			i++
		case a[i] > b[j]:
			j++
		default:
			f(i, j)
			i++
			j++
		}
	}
}

// pick returns some rows of z, or z itself when they are all of them.
func pick(t *autograd.Tape, z *autograd.Var, rows []int32) *autograd.Var {
	if len(rows) == z.Rows() {
		return z
	}
	s := t.Sparse()
	for _, r := range rows {
		s.Append(r)
	}
	return t.Gather(autograd.Term{S: s, X: z})
}

// Groups numbers n batch rows so that rows which share a key get the same
// number, directly or through others. Each call of join(key, row) states a
// key of a row: its id, one of its values.
func Groups(n int, keys func(join func(key string, row int))) []int32 {
	parent := make([]int32, n)
	for i := range parent {
		parent[i] = int32(i)
	}
	var root func(i int32) int32
	root = func(i int32) int32 {
		if parent[i] != i {
			parent[i] = root(parent[i])
		}
		return parent[i]
	}
	first := map[string]int{}
	keys(func(key string, row int) {
		if other, ok := first[key]; ok {
			a, b := root(int32(other)), root(int32(row))
			parent[max(a, b)] = min(a, b)
		} else {
			first[key] = row
		}
	})
	for i := range parent {
		parent[i] = root(int32(i))
	}
	return parent
}
