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

// LinearOptions says what is fused with a product.
type LinearOptions struct {
	// Act is the activation through which x is read.
	Act tensor.Act
	// Norm normalises the rows of x, with the weights of NormParts: gamma and
	// beta for layer norm (Ba et al. 2016), gamma alone for RMS norm (Zhang
	// and Sennrich 2019). Act is not used then.
	Norm      tensor.Norm
	NormParts []Part
	// Residual [T, O] is added last.
	Residual *Var
}

// Linear returns in(x) W' + b + residual [T, O] for x [T, I], with the weights
// of each part on its own rows. in is the identity, an activation or a norm;
// what it makes of x is neither kept nor, for a norm, ever in memory: the
// gradients compute it again.
func (t *Tape) Linear(x *Var, parts []Part, o LinearOptions) *Var {
	mark := len(t.owned)
	cols := parts[0].W.Rows()
	want := t.wants(x, o.Residual)
	check(covered(parts) == x.Rows(), "Linear: parts of %d rows for x %v", covered(parts), x.Value)
	for _, p := range parts {
		want = t.wants(p.W, p.B) || want
	}
	in := tensor.Input{X: x.Value, Act: o.Act}
	wantIn := x.needs
	y := t.alloc(x.Rows(), cols)
	if o.NormParts != nil {
		check(covered(o.NormParts) == x.Rows(), "Linear: norms of %d rows for x %v", covered(o.NormParts), x.Value)
		in.Norm = &tensor.InputNorm{Norm: o.Norm, Stats: t.alloc(x.Rows(), 2)}
		for _, p := range o.NormParts {
			wantIn = t.wants(p.W, p.B) || wantIn
			in.Norm.Parts = append(in.Norm.Parts, tensor.NormPart{Rows: p.Rows, Gamma: p.W.Value, Beta: value(p.B)})
		}
	}
	lo := 0
	for _, p := range parts {
		hi := lo + p.Rows
		t.dev.Linear(y.Slice(lo, hi), rows(in, lo, hi), p.W.Value, value(p.B), slice(value(o.Residual), lo, hi))
		lo = hi
	}
	return t.add(mark, y, want || wantIn, func(out *Var) {
		dy := out.grad
		lo := 0
		for _, p := range parts {
			hi := lo + p.Rows
			t.weightGrad(p, dy.Slice(lo, hi), rows(in, lo, hi))
			lo = hi
		}
		if wantIn {
			t.inputGrad(x, parts, dy, in, o)
		}
		if needs(o.Residual) {
			t.pass(o.Residual, out)
		}
	})
}

func (t *Tape) weightGrad(p Part, dy *tensor.Tensor, in tensor.Input) {
	var dw, db *tensor.Tensor
	var accW, accB bool
	if p.W.needs {
		dw, accW = t.into(p.W)
	}
	if needs(p.B) {
		db, accB = t.into(p.B)
	}
	if dw != nil || db != nil {
		t.dev.LinearWeightGrad(dw, db, dy, in, accW, accB)
	}
}

// inputGrad adds the gradient of x and of the norm's weights.
func (t *Tape) inputGrad(x *Var, parts []Part, dy *tensor.Tensor, in tensor.Input, o LinearOptions) {
	for i, p := range o.NormParts {
		n := &in.Norm.Parts[i]
		if needs(p.W) {
			n.DGamma = t.onto(p.W)
		}
		if needs(p.B) {
			n.DBeta = t.onto(p.B)
		}
	}
	var dx *tensor.Tensor
	acc := false
	if x.needs {
		dx, acc = t.into(x)
	} else { // the norm's gradients come with that of x, which nobody wants
		dx = t.dev.New(x.Rows(), x.Cols())
		defer t.dev.Free(dx)
	}
	lo := 0
	for _, p := range parts {
		hi := lo + p.Rows
		t.dev.LinearInputGrad(dx.Slice(lo, hi), dy.Slice(lo, hi), p.W.Value, rows(in, lo, hi), acc)
		lo = hi
	}
}

// covered returns the number of rows of all parts.
func covered(parts []Part) (n int) {
	for _, p := range parts {
		n += p.Rows
	}
	return n
}

// rows returns rows [lo, hi) of an input.
func rows(in tensor.Input, lo, hi int) tensor.Input {
	if in.X.Rows == hi-lo {
		return in
	}
	out := tensor.Input{X: in.X.Slice(lo, hi), Act: in.Act}
	if in.Norm != nil {
		n := *in.Norm
		n.Stats = n.Stats.Slice(lo, hi)
		n.Parts = nil
		start := 0
		for _, p := range in.Norm.Parts {
			end := start + p.Rows
			if p.Rows = min(end, hi) - max(start, lo); p.Rows > 0 {
				n.Parts = append(n.Parts, p)
			}
			start = end
		}
		out.Norm = &n
	}
	return out
}

// Norm normalises each row of x [T, D] with the weights of its part: gamma
// and beta for layer norm, gamma alone for RMS norm. A product reads its rows
// normalised by itself: see LinearOptions.
func (t *Tape) Norm(x *Var, parts []Part, o tensor.Norm) *Var {
	mark := len(t.owned)
	want := t.wants(x)
	for _, p := range parts {
		want = t.wants(p.W, p.B) || want
	}
	check(covered(parts) == x.Rows(), "Norm: parts of %d rows for x %v", covered(parts), x.Value)
	y, stats := t.alloc(x.Rows(), x.Cols()), t.alloc(x.Rows(), 2)
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
			dx = t.dev.New(x.Rows(), x.Cols())
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
