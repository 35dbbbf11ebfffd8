package contrastive

import (
	"math"

	"github.com/onetrunk/onetrunk/autograd"
)

// Forget computes the objective of a model that is to forget some items and keep
// the others, on a batch of which the rows from first on are those to forget.
//
// Those that stay are contrasted with each other, as in Forward: the loss R. Of
// those to forget, the similarities of each to all of the batch in another
// modality, scaled by the temperature and made a distribution by softmax, are drawn
// towards the uniform one: F is the cross-entropy less its least value log M, a
// divergence that is 0 once a row says nothing. It does not grow without bound as
// the negative of a loss would. The temperature is taken as it is.
//
// RFU-SS trains one set of parameters under a forget and a retain objective, each
// weighed by its own size. The formula is open; ours is R + min(1, R/F) F, with the
// weight taken as it is: while there is much to forget, its gradient is divided by
// its own size and given that of the other, so that it does not drown what stays;
// what has been forgotten weighs nothing by itself. Pairs are weighed as in Forward.
func (o *Objective) Forget(t *autograd.Tape, vs []Vectors, groups []int32, first int) Result {
	var kept []Vectors
	for _, v := range vs {
		var rows []int
		var at []int32
		for i, r := range v.Rows {
			if r < first {
				rows = append(rows, r)
				at = append(at, int32(i))
			}
		}
		if len(rows) > 0 {
			kept = append(kept, Vectors{Modality: v.Modality, Z: pick(t, v.Z, at), Rows: rows})
		}
	}
	r := o.Forward(t, kept, groups)
	forget, least := o.uniform(t, vs, first)
	switch {
	case forget == nil:
		return r
	case r.Loss == nil:
		r.Loss = forget
		return r
	}
	f, s := max(float64(t.Scalar(forget))-least, 0), float64(t.Scalar(r.Loss))
	w := float32(s / max(f, s, math.SmallestNonzeroFloat32))
	r.Loss = t.Sum([]float32{1, w, -w}, r.Loss, forget, t.Input(1, 1, []float32{float32(least)}))
	return r
}

// uniform returns the weighted mean of the pairs' cross-entropies between the rows
// to forget and the uniform distribution, nil when no pair has such a row, and the
// least value that it can have.
func (o *Objective) uniform(t *autograd.Tape, vs []Vectors, first int) (loss *autograd.Var, least float64) {
	var losses []*autograd.Var
	var weights []float32
	var total float64
	for i, a := range vs {
		for _, b := range vs[i+1:] {
			w := 1.0
			if o.Weight != nil {
				w = o.Weight(a.Modality, b.Modality)
			}
			var ia, ib, fa, fb []int32
			both(a.Rows, b.Rows, func(i, j int) {
				ia, ib = append(ia, int32(i)), append(ib, int32(j))
				if a.Rows[i] >= first {
					fa, fb = append(fa, int32(i)), append(fb, int32(j))
				}
			})
			if w == 0 || len(fa) == 0 || len(ia) < 2 {
				continue
			}
			scale := t.Input(1, 1, t.Read(o.LogScale(a.Modality, b.Modality)))
			za, zb := pick(t, a.Z, ia), pick(t, b.Z, ib)
			losses = append(losses, t.Uniform(pick(t, a.Z, fa), zb, scale), t.Uniform(pick(t, b.Z, fb), za, scale))
			weights = append(weights, float32(w/2), float32(w/2))
			least += w * math.Log(float64(len(ia)))
			total += w
		}
	}
	if len(losses) == 0 {
		return nil, 0
	}
	for i := range weights {
		weights[i] /= float32(total)
	}
	return t.Sum(weights, losses...), least / total
}
