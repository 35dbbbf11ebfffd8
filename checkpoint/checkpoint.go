// Package checkpoint reads and writes safetensors files: named tensors behind
// a JSON header, readable by every tool of the field and by mapping the file
// into memory.
//
// The format: eight bytes with the header's length (little-endian), the header
// (a JSON object from tensor names to dtype, shape and byte range, and a map
// of strings under "__metadata__"), then the values, without gaps. See
// https://github.com/huggingface/safetensors#format.
package checkpoint

import (
	"fmt"
	"math"
)

// Tensor is a named array of numbers, row-major.
type Tensor struct {
	Name string
	// Shape holds the dimensions; empty for a single number.
	Shape []int
	Data  []float32
	// Sparse says that many values may be zero: Write then stores it without
	// them where that makes the file smaller.
	Sparse bool
}

// Bytes is a named array of numbers of one byte each, row-major: of DType U8 or
// I8.
type Bytes struct {
	Name  string
	DType string
	Shape []int
	Data  []byte
}

const (
	metaKey = "__metadata__"
	// maxHeader is the limit that the format's own reader sets.
	maxHeader = 100_000_000
)

// entry is a tensor as the header describes it.
type entry struct {
	DType string `json:"dtype"`
	Shape []int  `json:"shape"`
	// Offsets are the first byte and the one past the last, counted from the
	// end of the header.
	Offsets [2]int `json:"data_offsets"`
}

// sizes holds the bytes of one value of each dtype. All of them may stand in
// a file; Read converts three of them.
var sizes = map[string]int{
	"BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1,
	"I16": 2, "U16": 2, "F16": 2, "BF16": 2,
	"I32": 4, "U32": 4, "F32": 4,
	"I64": 8, "U64": 8, "F64": 8, "C64": 8,
}

// count returns the number of values of a shape.
func count(shape []int) (int, error) {
	n := 1
	for _, d := range shape {
		if d < 0 || d > 0 && n > math.MaxInt/8/d {
			return 0, fmt.Errorf("shape %v is not possible", shape)
		}
		n *= d
	}
	return n, nil
}
