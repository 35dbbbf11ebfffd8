// Package hugepage makes large arrays of numbers that the system may keep in
// large pages: a product walks through many rows at once, and with small pages
// the processor looks up an address for every one of them, which a virtual
// machine makes several times as slow.
package hugepage

import "unsafe"

// size is that of a large page on the systems where it matters, in bytes.
const size = 2 << 20

// Floats returns n zeros. An array of the size of a large page or more begins
// where one begins.
func Floats(n int) []float32 {
	if 4*n < size {
		return make([]float32, n)
	}
	x := make([]float32, n+size/4)
	skip := int(-uintptr(unsafe.Pointer(&x[0]))%size) / 4
	x = x[skip : skip+n : skip+n]
	advise(x)
	return x
}
