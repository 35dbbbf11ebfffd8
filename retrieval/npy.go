package retrieval

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"unsafe"

	"github.com/onetrunk/onetrunk/internal/atomicfile"
	"github.com/onetrunk/onetrunk/internal/mapfile"
)

// The .npy format, version 1.0: a magic string, the length of a header that
// is a Python dictionary, and the values. Only little-endian float32 [n, E]
// in C order is written and read.
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
const npyMagic = "\x93NUMPY\x01\x00"

// writeNPY writes vectors, each of dim values, as [len(vectors), dim], whole
// or not at all.
func writeNPY(path string, dim int, vectors [][]float32) error {
	return atomicfile.Write(path, func(w io.Writer) error {
		header := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", len(vectors), dim)
		for (len(npyMagic)+2+len(header)+1)%64 != 0 {
			header += " "
		}
		header += "\n"
		head := binary.LittleEndian.AppendUint16([]byte(npyMagic), uint16(len(header)))
		if _, err := w.Write(append(head, header...)); err != nil {
			return err
		}
		buf := make([]byte, 0, 4*dim)
		for _, v := range vectors {
			buf = buf[:0]
			for _, x := range v {
				buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(x))
			}
			if _, err := w.Write(buf); err != nil {
				return err
			}
		}
		return nil
	})
}

var (
	npyShape = regexp.MustCompile(`'shape': \((\d+), (\d+),?\)`)
	npyDescr = regexp.MustCompile(`'descr': '([^']*)'`)
)

// openNPY opens vectors [n, dim]. They lie in the file, which is to be closed
// when they are no longer used, and must not be changed.
func openNPY(path string) (vectors []float32, dim int, f *mapfile.File, err error) {
	f, err = mapfile.Open(path)
	if err != nil {
		return nil, 0, nil, err
	}
	vectors, dim, err = parseNPY(f.Data)
	if err != nil {
		f.Close()
		return nil, 0, nil, fmt.Errorf("%s: %w", path, err)
	}
	return vectors, dim, f, nil
}

// parseNPY finds vectors [n, dim] in the bytes of a file, without a copy
// where the processor reads them as they are.
func parseNPY(data []byte) (vectors []float32, dim int, err error) {
	start := len(npyMagic) + 2
	if len(data) < start || !bytes.HasPrefix(data, []byte(npyMagic)) {
		return nil, 0, fmt.Errorf("not a .npy file of version 1.0")
	}
	length := int(binary.LittleEndian.Uint16(data[len(npyMagic):]))
	if len(data) < start+length {
		return nil, 0, fmt.Errorf("cut off in its header")
	}
	header, values := data[start:start+length], data[start+length:]
	descr, shape := npyDescr.FindSubmatch(header), npyShape.FindSubmatch(header)
	if descr == nil || string(descr[1]) != "<f4" || shape == nil || bytes.Contains(header, []byte("'fortran_order': True")) {
		return nil, 0, fmt.Errorf("expected float32 values [n, E] in C order, found %.200q", bytes.TrimSpace(header))
	}
	n, errN := strconv.Atoi(string(shape[1]))
	dim, errD := strconv.Atoi(string(shape[2]))
	if errN != nil || errD != nil || dim < 1 || n > math.MaxInt/4/dim || len(values) != 4*n*dim {
		return nil, 0, fmt.Errorf("%d bytes of values, expected those of float32 [%s, %s]", len(values), shape[1], shape[2])
	}
	return floats(values), dim, nil
}

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// floats returns bytes as the little-endian float32 values that they are.
func floats(data []byte) []float32 {
	n := len(data) / 4
	if n == 0 {
		return nil
	}
	if p := unsafe.Pointer(unsafe.SliceData(data)); littleEndian && uintptr(p)%4 == 0 {
		return unsafe.Slice((*float32)(p), n)
	}
	x := make([]float32, n)
	for i := range x {
		x[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return x
}
