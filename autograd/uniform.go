package autograd

// Uniform returns the mean cross-entropy [1, 1] between the softmax of
// exp(logScale) za zb', row by row, and the uniform distribution over zb's rows,
// for za [N, E] and zb [M, E]. It is least, log M, where all of a row's
// similarities are equal. logScale [1, 1] has no gradient.
func (t *Tape) Uniform(za, zb, logScale *Var) *Var {
	check(za.Cols() == zb.Cols(), "Uniform: za %v, zb %v", za.Value, zb.Value)
	mark := len(t.owned)
	n, m := za.Rows(), zb.Rows()
	y, d := t.alloc(1, 1), t.alloc(n, m)
	sim, hits, dscale := t.dev.New(n, m), t.dev.New(1, 1), t.dev.New(1, 1)
	t.dev.MatMul(sim, za.Value, zb.Value, false, true, false)
	// All columns are of one group, so that the targets are uniform over them.
	t.dev.Contrast(y, hits, d, dscale, sim, logScale.Value, make([]int32, n), make([]int32, m))
	t.dev.Free(sim)
	t.dev.Free(hits)
	t.dev.Free(dscale)
	return t.add(mark, y, t.wants(za, zb), func(out *Var) {
		t.dev.Scale(d, t.Scalar(&Var{Value: out.grad}))
		if za.needs {
			dz, acc := t.into(za)
			t.dev.MatMul(dz, d, zb.Value, false, false, acc)
		}
		if zb.needs {
			dz, acc := t.into(zb)
			t.dev.MatMul(dz, d, za.Value, true, false, acc)
		}
	})
}
