package autograd

import "github.com/onetrunk/onetrunk/tensor"

// This file holds the operations of routers.

// TopK returns the columns of the k greatest elements of each row of x [T, E] and
// their values, the greatest first: T k of each. What follows from the choice
// has no gradient by x.
func (t *Tape) TopK(x *Var, k int) (columns []int32, values []float32) {
	columns, values = make([]int32, x.Rows()*k), make([]float32, x.Rows()*k)
	t.dev.TopK(columns, values, x.Value, k)
	return columns, values
}

// GateLoss returns what logits [T, E] of gates cost, [1, 1]: see tensor.GateLoss.
// noisy is the logits by which g.K columns of each row were chosen, which differ
// from logits by constants.
func (t *Tape) GateLoss(logits, noisy *Var, chosen []int32, g tensor.GateLoss) *Var {
	mark := len(t.owned)
	y, d := t.alloc(1, 1), t.alloc(logits.Rows(), logits.Cols())
	t.dev.GateLoss(y, d, logits.Value, noisy.Value, chosen, g)
	return t.add(mark, y, t.wants(logits), func(out *Var) {
		t.dev.Axpy(t.onto(logits), t.Scalar(&Var{Value: out.grad}), d)
	})
}
