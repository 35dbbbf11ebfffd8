// Package autograd records coarse operations on a tape and runs their
// gradients backwards.
//
// Conventions: a gradient is written (=) by its first consumer and added to
// (+=) by the others. That of an activation is given back when the operation's
// own gradient has run; that of a parameter stays and accumulates until Clear.
// An operation's memory is given back as soon as its gradient has run, so
// values must be read before Backward.
//
// Operations panic on shapes that do not fit: those are programming mistakes.
package autograd

import (
	"fmt"
	"slices"

	"github.com/onetrunk/onetrunk/tensor"
)

// Var is a matrix [rows, cols] on a tape.
type Var struct {
	Value *tensor.Tensor
	grad  *tensor.Tensor
	needs bool   // whether a gradient is wanted
	param *Param // the parameter that it belongs to, if any
	uses  int    // of a parameter: gradients that are still to come
}

// Rows and Cols return the shape.
func (v *Var) Rows() int { return v.Value.Rows }

// Cols returns the number of columns.
func (v *Var) Cols() int { return v.Value.Cols }

// Wants reports whether anything that v was computed from wants a gradient.
func (v *Var) Wants() bool { return v.needs }

// Constant returns v's value without what it was computed from: no gradient
// passes.
func (v *Var) Constant() *Var { return &Var{Value: v.Value} }

// Param is a trained tensor. It exists once, however many places use it.
type Param struct {
	// Name is its path: trunk/3/attn/qkv/weight.
	Name string
	// Value is [rows, cols].
	Value *tensor.Tensor
	// Decay says whether weight decay applies: to matrices, not to biases,
	// norms and temperatures.
	Decay bool
	// Vector says that the shape is [cols], not [1, cols], for those who
	// write it down.
	Vector bool
	// Fixed says that it is never trained: a mask, an anchor.
	Fixed bool
	// Sparse says that many elements may be zero, for those who write it down.
	Sparse bool
	// Masked says that a step changes those elements alone that a mask of Allow
	// lets through, whatever the gradient, momentum and decay.
	Masked bool

	v     Var
	masks []*tensor.Tensor // of Allow, since the last step
}

// Allow lets the next step change the elements of a masked parameter [rows,
// cols] at which mask is not 0: [rows, cols], or [rows, 1] for whole rows. The
// elements that several masks let through are those of any of them.
func (p *Param) Allow(mask *tensor.Tensor) {
	if !slices.Contains(p.masks, mask) {
		p.masks = append(p.masks, mask)
	}
}

// Allowed returns the sum [rows, cols] of the masks of Allow, and forgets them.
// The caller frees it.
func (p *Param) Allowed(dev tensor.Device) *tensor.Tensor {
	sum := dev.New(p.Value.Rows, p.Value.Cols)
	dev.Fill(sum, 0)
	for _, mask := range p.masks {
		if mask.Cols == sum.Cols {
			dev.Axpy(sum, 1, mask)
			continue
		}
		ones := dev.New(sum.Rows, sum.Cols)
		dev.Fill(ones, 1)
		dev.ScaleRows(sum, ones, mask, true)
		dev.Free(ones)
	}
	p.masks = p.masks[:0]
	return sum
}

// Shape returns the shape as it is written down.
func (p *Param) Shape() []int {
	if p.Vector {
		return []int{p.Value.Cols}
	}
	return []int{p.Value.Rows, p.Value.Cols}
}

// NewParam makes a parameter of a value. It is frozen until it is Trained.
func NewParam(name string, value *tensor.Tensor) *Param {
	p := &Param{Name: name, Value: value}
	p.v = Var{Value: value, param: p}
	return p
}

// Train says whether the parameter is trained or frozen. A frozen one has no
// gradient; gradients pass through it.
func (p *Param) Train(on bool) { p.v.needs = on }

// Trained reports whether the parameter is trained.
func (p *Param) Trained() bool { return p.v.needs }

// Grad returns the gradient that has accumulated, of the value's shape; nil
// stands for zero.
func (p *Param) Grad() *tensor.Tensor { return p.v.grad }

// Clear gives the gradient back to the device that it came from, and forgets the
// masks of Allow.
func (p *Param) Clear(dev tensor.Device) {
	p.masks = p.masks[:0]
	if p.v.grad != nil {
		dev.Free(p.v.grad)
		p.v.grad = nil
	}
}

// Take returns the gradient, nil for zero, and leaves none. It is the caller's to
// Give back or to free.
func (p *Param) Take() *tensor.Tensor {
	g := p.v.grad
	p.v.grad = nil
	return g
}

// Give makes g, or zero where it is nil, the gradient of a parameter that has
// none. It panics where there is one.
func (p *Param) Give(g *tensor.Tensor) {
	check(p.v.grad == nil, "Give: %s has a gradient", p.Name)
	p.v.grad = g
}

// Var returns the parameter as a variable, usable on any tape.
func (p *Param) Var() *Var { return &p.v }

// step is one recorded operation.
type step struct {
	out  *Var
	back func()
	mark int // number of tensors that the tape owned before the operation
}

// Tape records operations. It is for one goroutine at a time; Release makes
// it ready for the next use.
type Tape struct {
	dev    tensor.Device
	trains bool // whether Backward may be called
	record bool // whether operations are recorded just now
	steps  []step
	owned  []*tensor.Tensor // values and what operations saved, in order
	// Variables and sparse matrices of earlier uses, of which the first are in
	// use.
	vars       []*Var
	sparse     []*tensor.Sparse
	usedVars   int
	usedSparse int

	// Recompute is the number of blocks, from the first, of which Backward
	// computes again what it needs instead of keeping it.
	Recompute int
	blocks    int     // since the tape was released
	kept      []int64 // bytes that each block keeps, or would keep
	replay    bool    // whether a block is computed again

	// Penalty is the sum of what Penalise added since the tape was released,
	// without PenaltyScale, which multiplies its gradient.
	Penalty      float64
	PenaltyScale float32

	// Ready, if not nil, is called in Backward with each parameter as soon as
	// the last part of its gradient has been added.
	Ready func(p *Param)
	used  []*Param // whose gradients are to come
	whole []*Param // whose gradients just became whole
}

// NewTape makes a tape on a device. One that does not record computes values
// alone: its variables want no gradients.
func NewTape(dev tensor.Device, record bool) *Tape {
	return &Tape{dev: dev, trains: record, record: record, PenaltyScale: 1}
}

// Device returns the tape's device.
func (t *Tape) Device() tensor.Device { return t.dev }

// Trains reports whether Backward may be called.
func (t *Tape) Trains() bool { return t.trains }

// Input puts host data [rows, cols] on the tape, as a constant. The data may
// come in several pieces, one after the other.
func (t *Tape) Input(rows, cols int, data ...[]float32) *Var {
	v := t.variable(t.alloc(rows, cols), false)
	t.dev.Write(v.Value, data...)
	t.steps = append(t.steps, step{out: v, mark: len(t.owned) - 1})
	return v
}

// Read returns a copy of v's elements, row-major.
func (t *Tape) Read(v *Var) []float32 {
	x := make([]float32, v.Value.Len())
	t.dev.Read(x, v.Value)
	return x
}

// Scalar returns the value of a [1, 1] variable.
func (t *Tape) Scalar(v *Var) float32 {
	var x [1]float32
	t.dev.Read(x[:], v.Value)
	return x[0]
}

// Block returns f(x), which is computed from what is already on the tape. A
// tape that does not record gives back at once all that f used except
// its result, so that memory does not grow with depth; so does one that is to
// Recompute this block (Chen et al. 2016), and runs f again in Backward: f
// must compute the same each time.
func (t *Tape) Block(x *Var, f func(x *Var) *Var) *Var {
	i := t.blocks
	t.blocks++
	if !t.record {
		return t.forget(x, f)
	}
	if len(t.kept) <= i {
		t.kept = append(t.kept, 0)
	}
	if i >= t.Recompute {
		mark := len(t.owned)
		out := f(x)
		t.kept[i] = t.bytes(mark, out)
		return out
	}
	t.record = false
	mark := len(t.owned)
	y := t.forget(x, f).Value
	t.record = true
	// What forget recorded is this operation's.
	t.steps = t.steps[:len(t.steps)-1]
	return t.add(mark, y, true, func(out *Var) {
		steps, from := len(t.steps), len(t.owned)
		t.replay = true
		again := f(x)
		t.replay = false
		t.kept[i] = t.bytes(from, again)
		again.grad, out.grad = out.grad, nil
		t.unwind(steps)
	})
}

// Kept returns the bytes that each block of the last use of the tape kept for
// its gradients, or would have kept if it had not been computed again.
func (t *Tape) Kept() []int64 { return t.kept }

// bytes returns the size of what the tape owns since mark, but for a result.
func (t *Tape) bytes(mark int, out *Var) (n int64) {
	for _, x := range t.owned[mark:] {
		if x != out.Value {
			n += 4 * int64(x.Len())
		}
	}
	return n
}

// forget returns f(x) and gives back all that it used.
func (t *Tape) forget(x *Var, f func(x *Var) *Var) *Var {
	mark, steps := len(t.owned), len(t.steps)
	out := f(x)
	kept := mark
	for _, x := range t.owned[mark:] {
		if x == out.Value {
			t.owned[kept] = x
			kept++
		} else {
			t.dev.Free(x)
		}
	}
	t.owned = t.owned[:kept]
	t.steps = append(t.steps[:steps], step{out: out, mark: mark})
	return out
}

// Backward runs the gradients of everything that out was computed from. seed
// is the gradient of out, row-major; nil stands for a one, for a loss [1, 1].
// The values on the tape are gone afterwards.
func (t *Tape) Backward(out *Var, seed []float32) {
	if !t.record {
		panic("autograd: Backward on a tape that does not record")
	}
	if seed == nil {
		seed = []float32{1}
	}
	if !out.needs {
		panic("autograd: nothing that the output depends on wants a gradient")
	}
	g, _ := t.into(out)
	t.dev.Write(g, seed)
	t.unwind(0)
	t.Release()
}

// unwind runs the gradients of the operations from the last to the one of that
// number, and gives their memory back.
func (t *Tape) unwind(to int) {
	for i := len(t.steps) - 1; i >= to; i-- {
		s := t.steps[i]
		if s.back != nil && s.out.grad != nil {
			s.back()
			for _, p := range t.whole {
				if t.Ready != nil {
					t.Ready(p)
				}
			}
			t.whole = t.whole[:0]
		}
		t.drop(s)
		t.steps = t.steps[:i]
	}
}

// Release gives back all memory of the tape. Its variables are dead.
func (t *Tape) Release() {
	for i := len(t.steps) - 1; i >= 0; i-- {
		t.drop(t.steps[i])
	}
	for _, p := range t.used {
		p.v.uses = 0
	}
	t.used, t.Penalty = t.used[:0], 0
	clear(t.steps)
	t.steps, t.usedVars, t.usedSparse, t.blocks = t.steps[:0], 0, 0, 0
}

// drop gives back a step's memory; the later steps' is gone already.
func (t *Tape) drop(s step) {
	for _, x := range t.owned[s.mark:] {
		t.dev.Free(x)
	}
	t.owned = t.owned[:s.mark]
	if s.out.grad != nil && s.out.param == nil {
		t.dev.Free(s.out.grad)
		s.out.grad = nil
	}
}

// alloc returns a tensor that lives until the gradient of the operation that
// is being recorded has run.
func (t *Tape) alloc(rows, cols int) *tensor.Tensor {
	x := t.dev.New(rows, cols)
	t.owned = append(t.owned, x)
	return x
}

// variable returns a Var from the tape's store.
func (t *Tape) variable(x *tensor.Tensor, needs bool) *Var {
	if t.usedVars == len(t.vars) {
		t.vars = append(t.vars, &Var{})
	}
	v := t.vars[t.usedVars]
	t.usedVars++
	*v = Var{Value: x, needs: needs && t.record}
	return v
}

// Sparse returns an empty matrix for Gather, which lives as long as the
// tape's variables.
func (t *Tape) Sparse() *tensor.Sparse {
	if t.usedSparse == len(t.sparse) {
		t.sparse = append(t.sparse, &tensor.Sparse{})
	}
	s := t.sparse[t.usedSparse]
	t.usedSparse++
	s.Reset()
	return s
}

// add records an operation with result y. mark is the length of t.owned when
// the operation began. back, the gradient, is kept only when one is wanted.
func (t *Tape) add(mark int, y *tensor.Tensor, needs bool, back func(out *Var)) *Var {
	out := t.variable(y, needs)
	s := step{out: out, mark: mark}
	if out.needs {
		s.back = func() { back(out) }
	}
	t.steps = append(t.steps, s)
	return out
}

// wants reports whether any of an operation's operands wants a gradient. An
// operation asks once for each operand, and calls into or onto as often for
// those that do. Gradients that are still to come are counted when an
// operation is computed first.
func (t *Tape) wants(vs ...*Var) bool {
	any := false
	for _, v := range vs {
		if v == nil || !v.needs {
			continue
		}
		any = true
		if v.param != nil && t.trains && !t.replay {
			if v.uses == 0 {
				t.used = append(t.used, v.param)
			}
			v.uses++
		}
	}
	return any && t.record
}

// into returns the tensor for v's gradient, and whether it already holds
// something to be added to.
func (t *Tape) into(v *Var) (g *tensor.Tensor, acc bool) {
	if v.param != nil {
		if v.uses--; v.uses == 0 {
			t.whole = append(t.whole, v.param)
		}
	}
	if v.grad == nil {
		v.grad = t.dev.New(v.Value.Rows, v.Value.Cols)
		return v.grad, false
	}
	return v.grad, true
}

// onto is into for operations that always add.
func (t *Tape) onto(v *Var) *tensor.Tensor {
	g, acc := t.into(v)
	if !acc {
		t.dev.Fill(g, 0)
	}
	return g
}

// pass makes out's gradient part of v's. It takes the tensor over when v has
// none yet, so it must be the last use of out's gradient.
func (t *Tape) pass(v, out *Var) {
	if v.param != nil {
		g, acc := t.into(v)
		if acc {
			t.dev.Axpy(g, 1, out.grad)
		} else {
			t.dev.Copy(g, out.grad)
		}
		return
	}
	if v.grad == nil {
		v.grad, out.grad = out.grad, nil
		return
	}
	t.dev.Axpy(v.grad, 1, out.grad)
}

func needs(vs ...*Var) bool {
	for _, v := range vs {
		if v != nil && v.needs {
			return true
		}
	}
	return false
}

func check(ok bool, format string, args ...any) {
	if !ok {
		panic("autograd: " + fmt.Sprintf(format, args...))
	}
}
