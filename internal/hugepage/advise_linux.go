package hugepage

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// advise asks for large pages for those that lie wholly within x, which begins
// with one. The memory stays the Go heap's; a system that declines changes
// nothing.
func advise(x []float32) {
	whole := 4 * len(x) / size * size
	_ = unix.Madvise(unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), whole), unix.MADV_HUGEPAGE)
}
