// Package hugepage makes large arrays of numbers that the system may keep in
// large pages: a product walks through many rows at once, and with small pages
// the processor looks up an address for every one of them, which a virtual
// machine makes several times as slow.
package hugepage

// size is that of a large page on the systems where it matters, in bytes.
const size = 2 << 20

// Floats returns n zeros.
func Floats(n int) []float32 {
	x := make([]float32, n)
	if 4*n >= 2*size {
		advise(x)
	}
	return x
}
