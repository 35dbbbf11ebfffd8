package tensor

import (
	"github.com/onetrunk/onetrunk/tensor/internal/int8gemm"
	"github.com/onetrunk/onetrunk/tensor/internal/vec"
)

// int8Memory is the memory of a weight that products read as int8.
type int8Memory struct{ w *int8gemm.Weights }

func (m *int8Memory) Len() int { return m.w.Out() * m.w.In() }

func (d *cpu) Int8(w *Tensor) *Tensor {
	return &Tensor{Rows: w.Rows, Cols: w.Cols, Mem: &int8Memory{int8gemm.Quantize(data(w), w.Rows, w.Cols)}}
}

// linearInt8 is Linear with a weight of Int8.
func (d *cpu) linearInt8(y *Tensor, x Input, w *int8gemm.Weights, bias []float32, residual *Tensor) {
	from := int8gemm.Rows{Data: nil, Stride: x.X.Cols}
	if m := d.operand("Linear", x, true); m.Load != nil {
		from.Load = func(i0, i1 int, dst []float32) { m.Load(dst, x.X.Cols, i0, i1, 0, x.X.Cols) }
	} else {
		from.Data = m.Data
	}
	var done int8gemm.Done
	if bias != nil || residual != nil {
		done = func(i0, i1, j0, j1 int) {
			for i := i0; i < i1; i++ {
				addTo(row(y, i)[j0:j1], i, j0, bias, residual)
			}
		}
	}
	int8gemm.Mul(d.pool, x.X.Rows, from, w, written(y), y.Cols, done)
}

// addTo adds what Linear adds to columns of row i of a product, from j0 on.
func addTo(y []float32, i, j0 int, bias []float32, residual *Tensor) {
	if bias != nil {
		vec.Add(y, y, bias[j0:j0+len(y)])
	}
	if residual != nil {
		vec.Add(y, y, row(residual, i)[j0:j0+len(y)])
	}
}
