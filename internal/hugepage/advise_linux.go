package hugepage

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// advise asks for large pages for those that lie wholly within x. The memory
// stays the Go heap's; a system that declines changes nothing.
func advise(x []float32) {
	first := unsafe.Pointer(&x[0])
	skip := -uintptr(first) % size
	whole := (uintptr(4*len(x)) - skip) / size * size
	if whole > 0 {
		_ = unix.Madvise(unsafe.Slice((*byte)(unsafe.Add(first, skip)), whole), unix.MADV_HUGEPAGE)
	}
}
