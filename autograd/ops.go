package autograd

import "github.com/onetrunk/onetrunk/tensor"

// Attention returns multi-head attention [R, D] within each span of qkv
// [T, 3D] (Vaswani et al. 2017, section 3.2), a row for each of the spans' R
// queries. The spans, and queries behind them, cover all rows.
func (t *Tape) Attention(qkv *Var, spans []tensor.Span, heads int) *Var {
	mark := len(t.owned)
	queries := tensor.Queries(spans)
	y, lse := t.alloc(queries, qkv.Cols()/3), t.alloc(queries, heads)
	t.dev.Attention(y, lse, qkv.Value, spans, heads)
	return t.add(mark, y, t.wants(qkv), func(out *Var) {
		g, acc := t.into(qkv)
		if !acc {
			t.dev.AttentionGrad(g, out.grad, y, lse, qkv.Value, spans, heads)
			return
		}
		own := t.dev.New(g.Rows, g.Cols)
		t.dev.AttentionGrad(own, out.grad, y, lse, qkv.Value, spans, heads)
		t.dev.Axpy(g, 1, own)
		t.dev.Free(own)
	})
}

// Act returns act(x) [T, D]. A product reads its rows through an activation by
// itself: see LinearOptions.
func (t *Tape) Act(x *Var, act tensor.Act) *Var {
	mark := len(t.owned)
	y := t.alloc(x.Rows(), x.Cols())
	t.dev.Act(y, x.Value, act)
	return t.add(mark, y, t.wants(x), func(out *Var) {
		g, acc := t.into(x)
		t.dev.ActGrad(g, out.grad, x.Value, act, acc)
	})
}

// Term is one summand of Gather: S [R, N] times X [N, D].
type Term struct {
	S *tensor.Sparse
	X *Var
}

// Gather returns the sum of S X [R, D] over its terms, all of R rows. It is
// the embedding lookup (one entry a row), learned positions (interpolated: a
// few weighted entries), mean, class-token and last-token pooling, and the
// packing of several matrices into one.
func (t *Tape) Gather(terms ...Term) *Var {
	mark := len(t.owned)
	y := t.alloc(terms[0].S.Rows(), terms[0].X.Cols())
	want := false
	for i, term := range terms {
		t.dev.Gather(y, term.S, term.X.Value, i > 0)
		want = t.wants(term.X) || want
	}
	return t.add(mark, y, want, func(out *Var) {
		for _, term := range terms {
			if term.X.needs {
				t.dev.Scatter(t.onto(term.X), term.S, out.grad)
			}
		}
	})
}

// Sum returns the weighted sum [R, D] of variables of one shape.
func (t *Tape) Sum(weights []float32, xs ...*Var) *Var {
	check(len(weights) == len(xs), "Sum: %d weights for %d variables", len(weights), len(xs))
	mark := len(t.owned)
	y := t.alloc(xs[0].Rows(), xs[0].Cols())
	t.dev.Fill(y, 0)
	for i, x := range xs {
		t.dev.Axpy(y, weights[i], x.Value)
	}
	return t.add(mark, y, t.wants(xs...), func(out *Var) {
		for i, x := range xs {
			if x.needs {
				t.dev.Axpy(t.onto(x), weights[i], out.grad)
			}
		}
	})
}

// Unit scales each row of x [B, E] to length 1.
func (t *Tape) Unit(x *Var) *Var {
	mark := len(t.owned)
	y, lengths := t.alloc(x.Rows(), x.Cols()), t.alloc(x.Rows(), 1)
	t.dev.Unit(y, lengths, x.Value)
	return t.add(mark, y, t.wants(x), func(out *Var) {
		g, acc := t.into(x)
		t.dev.UnitGrad(g, out.grad, y, lengths, acc)
	})
}

// InfoNCE returns the symmetric contrastive loss [1, 1] between rows za and zb
// [N, E] (Radford et al. 2021, figure 3): the mean of the two directions'
// cross-entropies, with logits exp(logScale) za zb' and logScale [1, 1]. Rows
// i and j belong together when groups[i] = groups[j]; the target is uniform
// over those. hitsAB and hitsBA [1, 1] are the shares of rows whose nearest
// row on the other side belongs to them; they have no gradient.
func (t *Tape) InfoNCE(za, zb, logScale *Var, groups []int32) (loss, hitsAB, hitsBA *Var) {
	check(za.Rows() == len(groups) && zb.Rows() == len(groups) && za.Cols() == zb.Cols(),
		"InfoNCE: za %v, zb %v, %d groups", za.Value, zb.Value, len(groups))
	n := len(groups)
	hitsAB, hitsBA = t.constant(1, 1), t.constant(1, 1)
	mark := len(t.owned)
	y := t.alloc(1, 1)
	dAB, dBA := t.alloc(n, n), t.alloc(n, n)
	dscale := t.alloc(1, 1)
	sim, half, dhalf := t.dev.New(n, n), t.dev.New(1, 1), t.dev.New(1, 1)

	t.dev.MatMul(sim, za.Value, zb.Value, false, true, false)
	t.dev.Contrast(y, hitsAB.Value, dAB, dscale, sim, logScale.Value, groups, groups)
	t.dev.MatMul(sim, zb.Value, za.Value, false, true, false)
	t.dev.Contrast(half, hitsBA.Value, dBA, dhalf, sim, logScale.Value, groups, groups)
	t.dev.Axpy(y, 1, half)
	t.dev.Axpy(dscale, 1, dhalf)
	t.dev.Scale(y, 0.5)
	for _, x := range []*tensor.Tensor{sim, half, dhalf} {
		t.dev.Free(x)
	}
	loss = t.add(mark, y, t.wants(za, zb, logScale), func(out *Var) {
		g := 0.5 * t.Scalar(&Var{Value: out.grad})
		t.dev.Scale(dAB, g)
		t.dev.Scale(dBA, g)
		if za.needs {
			dz, acc := t.into(za)
			t.dev.MatMul(dz, dAB, zb.Value, false, false, acc)
			t.dev.MatMul(dz, dBA, zb.Value, true, false, true)
		}
		if zb.needs {
			dz, acc := t.into(zb)
			t.dev.MatMul(dz, dAB, za.Value, true, false, acc)
			t.dev.MatMul(dz, dBA, za.Value, false, false, true)
		}
		if logScale.needs {
			t.dev.Axpy(t.onto(logScale), g, dscale)
		}
	})
	return loss, hitsAB, hitsBA
}

// constant returns a variable without gradient whose value the caller fills.
func (t *Tape) constant(rows, cols int) *Var {
	mark := len(t.owned)
	return t.add(mark, t.alloc(rows, cols), false, nil)
}
