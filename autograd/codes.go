package autograd

import "github.com/onetrunk/onetrunk/tensor"

// Lookup returns table[codes], element by element, of the shape of codes, for a
// table [1, K] and codes of Device.Codes below K. The gradient of a value of the
// table is the sum of those of the elements that it serves.
func (t *Tape) Lookup(table *Var, codes *tensor.Tensor) *Var {
	mark := len(t.owned)
	y := t.alloc(codes.Rows, codes.Cols)
	t.dev.Lookup(y, table.Value, codes)
	return t.add(mark, y, t.wants(table), func(out *Var) {
		t.dev.LookupGrad(t.onto(table), out.grad, codes)
	})
}
