//go:build unix

package mapfile

import (
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// Open maps a regular file. The file may be replaced or removed while it is
// mapped, but a program that reads beyond the end of one that was cut short
// in place is killed by the system.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	switch size := info.Size(); {
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: not a regular file", path)
	case size == 0: // the system refuses an empty mapping
		return &File{}, nil
	case size > math.MaxInt:
		return nil, fmt.Errorf("%s: %d bytes do not fit into this system's memory", path, size)
	default:
		data, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return nil, fmt.Errorf("%s: mapping into memory: %w", path, err)
		}
		return &File{Data: data, unmap: func() error { return unix.Munmap(data) }}, nil
	}
}
