package tensor

import "github.com/onetrunk/onetrunk/tensor/internal/vec"

// DotRows is dst[i] = row i of rows . q on host memory, for rows [len(dst),
// len(q)]: the kernel of exact search. It runs on the calling goroutine.
func DotRows(dst, rows, q []float32) { vec.DotRows(dst, rows, q) }
