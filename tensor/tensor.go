// Package tensor holds float32 arrays and the seam to the hardware. A Tensor
// is a row-major matrix on a Device; a Device is a few dozen coarse
// operations on tensors. Everything above this package works through that
// interface and never sees an element, so that another device can be added
// without a change above the seam.
package tensor

import "fmt"

// Tensor is a row-major float32 matrix [Rows, Cols] in a device's memory. A
// vector is a matrix of one row. Its elements are reached through the device
// alone.
type Tensor struct {
	Rows, Cols int
	// Mem is the memory that the device gave out, Off the place of the first
	// element in it.
	Mem Memory
	Off int
}

// Memory is a device's own handle on a piece of its memory.
type Memory interface {
	// Len is the number of float32 that it holds.
	Len() int
}

// Len returns the number of elements.
func (t *Tensor) Len() int { return t.Rows * t.Cols }

// Slice returns a view of rows [lo, hi) that shares t's memory. It panics
// when the range is not within t.
func (t *Tensor) Slice(lo, hi int) *Tensor {
	if lo < 0 || hi < lo || hi > t.Rows {
		panic(fmt.Sprintf("tensor: rows [%d, %d) of %v", lo, hi, t))
	}
	if lo == 0 && hi == t.Rows {
		return t
	}
	return &Tensor{Rows: hi - lo, Cols: t.Cols, Mem: t.Mem, Off: t.Off + lo*t.Cols}
}

// Reshape returns a view of the same elements as another matrix. It panics when
// their number differs.
func (t *Tensor) Reshape(rows, cols int) *Tensor {
	if rows*cols != t.Len() {
		panic(fmt.Sprintf("tensor: %v as [%d, %d]", t, rows, cols))
	}
	return &Tensor{Rows: rows, Cols: cols, Mem: t.Mem, Off: t.Off}
}

// String gives the shape: "[3, 4]".
func (t *Tensor) String() string {
	if t == nil {
		return "nil"
	}
	return fmt.Sprintf("[%d, %d]", t.Rows, t.Cols)
}

// want panics unless t has the shape [rows, cols].
func want(op, name string, t *Tensor, rows, cols int) {
	if t == nil || t.Rows != rows || t.Cols != cols {
		panic(fmt.Sprintf("tensor: %s: %s is %v, expected [%d, %d]", op, name, t, rows, cols))
	}
}
