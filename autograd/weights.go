package autograd

import "github.com/onetrunk/onetrunk/tensor"

// This file holds the operations that make weights of weights, and gates.

// MixTerm is one summand of Mix: the sum of some coefficients, times X.
type MixTerm struct {
	// Coefs are the columns of the coefficients that are summed.
	Coefs []int
	X     *Var
}

// Mix returns the sum of its terms [R, D], with coefficients a [1, K].
func (t *Tape) Mix(a *Var, terms ...MixTerm) *Var {
	check(a.Rows() == 1, "Mix: coefficients %v", a.Value)
	mark := len(t.owned)
	all := t.Read(a)
	coef := func(term MixTerm) (c float32) {
		for _, i := range term.Coefs {
			c += all[i]
		}
		return c
	}
	y := t.alloc(terms[0].X.Rows(), terms[0].X.Cols())
	t.dev.Fill(y, 0)
	want := t.wants(a)
	for _, term := range terms {
		t.dev.Axpy(y, coef(term), term.X.Value)
		want = t.wants(term.X) || want
	}
	return t.add(mark, y, want, func(out *Var) {
		da := make([]float32, a.Cols())
		for _, term := range terms {
			if term.X.needs {
				t.dev.Axpy(t.onto(term.X), coef(term), out.grad)
			}
			if a.needs {
				d := float32(t.dev.Dot(out.grad, term.X.Value))
				for _, i := range term.Coefs {
					da[i] += d
				}
			}
		}
		if a.needs {
			t.addHost(t.onto(a), da)
		}
	})
}

// addHost adds values of the host to a tensor.
func (t *Tape) addHost(to *tensor.Tensor, x []float32) {
	own := t.dev.New(to.Rows, to.Cols)
	t.dev.Write(own, x)
	t.dev.Axpy(to, 1, own)
	t.dev.Free(own)
}

// Mul returns a b [R, D], element by element.
func (t *Tape) Mul(a, b *Var) *Var {
	mark := len(t.owned)
	y := t.alloc(a.Rows(), a.Cols())
	t.dev.Mul(y, a.Value, b.Value, false)
	want := t.wants(a, b)
	return t.add(mark, y, want, func(out *Var) {
		if a.needs {
			g, acc := t.into(a)
			t.dev.Mul(g, out.grad, b.Value, acc)
		}
		if b.needs {
			g, acc := t.into(b)
			t.dev.Mul(g, out.grad, a.Value, acc)
		}
	})
}

// ScaleRows returns x [T, D] with row i times s[i], s [T, 1].
func (t *Tape) ScaleRows(x, s *Var) *Var {
	mark := len(t.owned)
	y := t.alloc(x.Rows(), x.Cols())
	t.dev.ScaleRows(y, x.Value, s.Value, false)
	want := t.wants(x, s)
	return t.add(mark, y, want, func(out *Var) {
		if s.needs {
			t.dev.RowDots(t.onto(s), out.grad, x.Value)
		}
		if x.needs {
			g, acc := t.into(x)
			t.dev.ScaleRows(g, out.grad, s.Value, acc)
		}
	})
}

// Reshape returns the elements of x as a matrix [rows, cols].
func (t *Tape) Reshape(x *Var, rows, cols int) *Var {
	y := x.Value.Reshape(rows, cols)
	return t.add(len(t.owned), y, t.wants(x), func(out *Var) {
		t.dev.Axpy(t.onto(x).Reshape(rows, cols), 1, out.grad)
	})
}

// Softmax returns the softmax of each row of x [T, E].
func (t *Tape) Softmax(x *Var) *Var {
	mark := len(t.owned)
	y := t.alloc(x.Rows(), x.Cols())
	t.dev.Softmax(y, x.Value)
	return t.add(mark, y, t.wants(x), func(out *Var) {
		g, acc := t.into(x)
		t.dev.SoftmaxGrad(g, out.grad, y, acc)
	})
}

// Above returns 1 where x >= at and 0 elsewhere. Its gradient is that of the
// identity: the straight-through estimate (Bengio et al. 2013).
func (t *Tape) Above(x *Var, at float32) *Var {
	mark := len(t.owned)
	y := t.alloc(x.Rows(), x.Cols())
	t.dev.Above(y, x.Value, at)
	return t.add(mark, y, t.wants(x), func(out *Var) { t.pass(x, out) })
}

// SpanMul returns x [T, R] with each run of rows times a matrix of its own: run
// i is the next lens[i] rows, its matrix [R, R] is row i of s [N, R R].
func (t *Tape) SpanMul(x, s *Var, lens []int) *Var {
	mark := len(t.owned)
	y := t.alloc(x.Rows(), x.Cols())
	t.dev.SpanMul(y, x.Value, s.Value, lens)
	want := t.wants(x, s)
	return t.add(mark, y, want, func(out *Var) {
		dx, ds := t.dev.New(x.Rows(), x.Cols()), t.dev.New(s.Rows(), s.Cols())
		t.dev.SpanMulGrad(dx, ds, out.grad, x.Value, s.Value, lens)
		for _, g := range []struct {
			v    *Var
			grad *tensor.Tensor
		}{{x, dx}, {s, ds}} {
			if g.v.needs {
				t.dev.Axpy(t.onto(g.v), 1, g.grad)
			}
			t.dev.Free(g.grad)
		}
	})
}

// MeanAbs returns the mean [1, 1] of |x|.
func (t *Tape) MeanAbs(x *Var) *Var {
	mark := len(t.owned)
	n := float32(x.Value.Len())
	y := t.alloc(1, 1)
	t.dev.Fill(y, float32(t.dev.SumAbs(x.Value))/n)
	return t.add(mark, y, t.wants(x), func(out *Var) {
		t.dev.AddSign(t.onto(x), t.Scalar(&Var{Value: out.grad})/n, x.Value)
	})
}

// OfGram returns a function [1, 1] of the inner products of tensors of one
// shape: f is given them, xs[i].xs[j] at [i*n+j], and returns its value and its
// derivative by each of them, the n n products taken as independent.
func (t *Tape) OfGram(f func(gram []float64) (value float64, by []float64), xs ...*Var) *Var {
	mark := len(t.owned)
	n := len(xs)
	gram := make([]float64, n*n)
	for i, x := range xs {
		for j, y := range xs[:i+1] {
			gram[i*n+j] = t.dev.Dot(x.Value, y.Value)
			gram[j*n+i] = gram[i*n+j]
		}
	}
	value, by := f(gram)
	y := t.alloc(1, 1)
	t.dev.Fill(y, float32(value))
	return t.add(mark, y, t.wants(xs...), func(out *Var) {
		g := float64(t.Scalar(&Var{Value: out.grad}))
		for i, x := range xs {
			if !x.needs {
				continue
			}
			to := t.onto(x)
			for j, y := range xs {
				t.dev.Axpy(to, float32(g*(by[i*n+j]+by[j*n+i])), y.Value)
			}
		}
	})
}

// Penalise returns x and adds weight times loss [1, 1] to what Backward
// differentiates, times the tape's PenaltyScale. A loss that is made within a
// block is added there, so that the block may be computed again.
func (t *Tape) Penalise(x, loss *Var, weight float32) *Var {
	if t.trains && !t.replay {
		t.Penalty += float64(weight) * float64(t.Scalar(loss))
	}
	want := t.wants(x, loss)
	return t.add(len(t.owned), x.Value, want, func(out *Var) {
		if loss.needs {
			t.addHost(t.onto(loss), []float32{weight * t.PenaltyScale})
		}
		if x.needs {
			t.pass(x, out)
		}
	})
}
