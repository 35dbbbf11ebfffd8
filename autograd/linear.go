package autograd

import "github.com/onetrunk/onetrunk/tensor"

// Part says which weights serve a run of rows. The parts of an operation
// follow each other and cover all rows.
type Part struct {
	// Rows is the length of the run.
	Rows int
	// W is the weight: [O, I] of a linear map, gamma [1, D] of a norm.
	W *Var
	// B is the bias [1, O] or beta [1, D]; nil where there is none.
	B *Var
}

// LinearOptions says what is fused behind a product.
type LinearOptions struct {
	Act tensor.Act
	// Residual [T, O] is added last.
	Residual *Var
}

// Linear returns act(x W' + b) + residual [T, O] for x [T, I], with the
// weights of each part on its own rows.
func (t *Tape) Linear(x *Var, parts []Part, o LinearOptions) *Var {
	mark := len(t.owned)
	cols := parts[0].W.Rows()
	want := needs(x, o.Residual)
	rows := 0
	for _, p := range parts {
		rows += p.Rows
		want = want || needs(p.W, p.B)
	}
	check(rows == x.Rows(), "Linear: parts of %d rows for x %v", rows, x.Value)
	y := t.alloc(rows, cols)
	var pre *tensor.Tensor
	if o.Act != tensor.Identity && want && t.record {
		pre = t.alloc(rows, cols)
	}
	lo := 0
	for _, p := range parts {
		hi := lo + p.Rows
		t.dev.Linear(y.Slice(lo, hi), slice(pre, lo, hi), x.Value.Slice(lo, hi),
			p.W.Value, value(p.B), slice(value(o.Residual), lo, hi), o.Act)
		lo = hi
	}
	return t.add(mark, y, want, func(out *Var) {
		dy := out.grad
		if pre != nil {
			if needs(o.Residual) { // the residual's gradient is dy before the activation's
				g, acc := t.into(o.Residual)
				if !acc {
					t.dev.Fill(g, 0)
				}
				t.dev.Axpy(g, 1, dy)
			}
			t.dev.ActGrad(dy, dy, pre, o.Act)
		}
		var dx *tensor.Tensor
		var acc bool
		if x.needs {
			dx, acc = t.into(x)
		}
		lo := 0
		for _, p := range parts {
			hi := lo + p.Rows
			d := dy.Slice(lo, hi)
			if p.W.needs {
				dw, acc := t.into(p.W)
				t.dev.MatMul(dw, d, x.Value.Slice(lo, hi), true, false, acc)
			}
			if needs(p.B) {
				t.dev.SumRows(t.onto(p.B), d)
			}
			if dx != nil {
				t.dev.MatMul(dx.Slice(lo, hi), d, p.W.Value, false, false, acc)
			}
			lo = hi
		}
		if pre == nil && needs(o.Residual) {
			t.pass(o.Residual, out)
		}
	})
}

// Norm normalises each row of x [T, D] with the weights of its part: gamma
// and beta for layer norm (Ba et al. 2016), gamma alone for RMS norm (Zhang
// and Sennrich 2019).
func (t *Tape) Norm(x *Var, parts []Part, o tensor.Norm) *Var {
	mark := len(t.owned)
	want := x.needs
	rows := 0
	for _, p := range parts {
		rows += p.Rows
		want = want || needs(p.W, p.B)
	}
	check(rows == x.Rows(), "Norm: parts of %d rows for x %v", rows, x.Value)
	y, stats := t.alloc(rows, x.Cols()), t.alloc(rows, 2)
	lo := 0
	for _, p := range parts {
		hi := lo + p.Rows
		t.dev.Norm(y.Slice(lo, hi), stats.Slice(lo, hi), x.Value.Slice(lo, hi), p.W.Value, value(p.B), o)
		lo = hi
	}
	return t.add(mark, y, want, func(out *Var) {
		// The three gradients come from one pass, so each needs a place even
		// when it is not wanted.
		place := func(v *Var) (g *tensor.Tensor, spare bool) {
			if needs(v) {
				return t.onto(v), false
			}
			return t.dev.New(1, x.Cols()), true
		}
		dx, acc := (*tensor.Tensor)(nil), false
		if x.needs {
			dx, acc = t.into(x)
		} else {
			dx = t.dev.New(rows, x.Cols())
			defer t.dev.Free(dx)
		}
		lo := 0
		for _, p := range parts {
			hi := lo + p.Rows
			dg, spareG := place(p.W)
			var db *tensor.Tensor
			spareB := false
			if !o.RMS {
				db, spareB = place(p.B)
			}
			t.dev.NormGrad(dx.Slice(lo, hi), dg, db, out.grad.Slice(lo, hi), x.Value.Slice(lo, hi),
				stats.Slice(lo, hi), p.W.Value, o, acc)
			if spareG {
				t.dev.Free(dg)
			}
			if spareB {
				t.dev.Free(db)
			}
			lo = hi
		}
	})
}

func value(v *Var) *tensor.Tensor {
	if v == nil {
		return nil
	}
	return v.Value
}

func slice(x *tensor.Tensor, lo, hi int) *tensor.Tensor {
	if x == nil {
		return nil
	}
	return x.Slice(lo, hi)
}
