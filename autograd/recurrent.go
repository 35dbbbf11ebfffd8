package autograd

import (
	"slices"

	"github.com/onetrunk/onetrunk/tensor"
)

// GRU returns the states [T, D] of gated recurrent units that read runs of rows
// forward, each run from a state of zeros: run i is the next lens[i] rows. x
// [T, 3D] is what the rows say to the reset gate r, the update gate z and the
// candidate n, side by side; w [3D, D] and b [1, 3D] are what the state says to
// them. Cho et al. 2014 give two forms of the candidate; this is the one of
// their first version, tanh(x_n + r (w_n h + b_n)), in which a step is one
// product.
func (t *Tape) GRU(x, w, b *Var, lens []int) *Var {
	d := w.Cols()
	check(x.Cols() == 3*d && w.Rows() == 3*d && b.Cols() == 3*d, "GRU: x %v, w %v, b %v", x.Value, w.Value, b.Value)
	mark := len(t.owned)
	want := t.wants(x, w, b)
	order, inverse, steps := t.stepwise(lens, x.Rows())
	y := t.alloc(x.Rows(), d)
	// All that follows has the rows of a step together.
	in, state, gates := t.alloc(x.Rows(), 3*d), t.alloc(x.Rows(), 3*d), t.alloc(x.Rows(), 3*d)
	h, prev := t.alloc(x.Rows(), d), t.alloc(x.Rows(), d)
	t.dev.Gather(in, order, x.Value, false)
	for i, s := range steps {
		was := prev.Slice(s.lo, s.hi)
		if i == 0 {
			t.dev.Fill(was, 0)
		} else {
			t.dev.Copy(was, h.Slice(s.before, s.before+s.hi-s.lo))
		}
		p := state.Slice(s.lo, s.hi)
		t.dev.Linear(p, tensor.Input{X: was}, w.Value, b.Value, nil)
		t.dev.GRU(h.Slice(s.lo, s.hi), gates.Slice(s.lo, s.hi), in.Slice(s.lo, s.hi), p, was)
	}
	t.dev.Gather(y, inverse, h, false)
	return t.add(mark, y, want, func(out *Var) {
		dh, dx, dp := t.dev.New(x.Rows(), d), t.dev.New(x.Rows(), 3*d), t.dev.New(x.Rows(), 3*d)
		t.dev.Gather(dh, order, out.grad, false)
		for i, s := range slices.Backward(steps) {
			dprev := t.dev.New(s.hi-s.lo, d)
			p := dp.Slice(s.lo, s.hi)
			t.dev.GRUGrad(dx.Slice(s.lo, s.hi), p, dprev, dh.Slice(s.lo, s.hi), gates.Slice(s.lo, s.hi), state.Slice(s.lo, s.hi), prev.Slice(s.lo, s.hi))
			if i > 0 {
				t.dev.MatMul(dprev, p, w.Value, false, false, true)
				t.dev.Axpy(dh.Slice(s.before, s.before+s.hi-s.lo), 1, dprev)
			}
			t.dev.Free(dprev)
		}
		t.weightGrad(Part{W: w, B: b}, dp, tensor.Input{X: prev})
		if x.needs {
			g, acc := t.into(x)
			t.dev.Gather(g, inverse, dx, acc)
		}
		for _, g := range []*tensor.Tensor{dh, dx, dp} {
			t.dev.Free(g)
		}
	})
}

// stepRows are the rows [lo, hi) of a step over runs; the first of the rows that
// begin at before are those of the same runs, a step earlier.
type stepRows struct{ lo, hi, before int }

// stepwise returns the order that puts the rows of each step over runs together,
// those of longer runs first, its inverse, and the steps.
func (t *Tape) stepwise(lens []int, rows int) (order, inverse *tensor.Sparse, steps []stepRows) {
	starts, longest, total := make([]int, len(lens)), 0, 0
	runs := make([]int, len(lens))
	for i, n := range lens {
		starts[i], runs[i] = total, i
		total += n
		longest = max(longest, n)
	}
	check(total == rows, "runs of %d rows for %d", total, rows)
	slices.SortStableFunc(runs, func(a, b int) int { return lens[b] - lens[a] })
	order, inverse = t.Sparse(), t.Sparse()
	at := make([]int32, rows)
	n := 0
	for s := range longest {
		step := stepRows{lo: n}
		if s > 0 {
			step.before = steps[s-1].lo
		}
		for _, r := range runs {
			if lens[r] <= s {
				break
			}
			order.Append(int32(starts[r] + s))
			at[starts[r]+s] = int32(n)
			n++
		}
		step.hi = n
		steps = append(steps, step)
	}
	for _, i := range at {
		inverse.Append(i)
	}
	return order, inverse, steps
}
