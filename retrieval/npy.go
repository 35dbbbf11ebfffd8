package retrieval

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"strconv"

	"github.com/onetrunk/onetrunk/internal/atomicfile"
)

// The .npy format, version 1.0: a magic string, the length of a header that
// is a Python dictionary, and the values. Only little-endian float32 [n, E]
// in C order is written and read.
const npyMagic = "\x93NUMPY\x01\x00"

// writeNPY writes vectors [n, dim], whole or not at all.
func writeNPY(path string, vectors []float32, dim int) error {
	return atomicfile.Write(path, func(w io.Writer) error {
		header := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", len(vectors)/dim, dim)
		for (len(npyMagic)+2+len(header)+1)%64 != 0 {
			header += " "
		}
		header += "\n"
		if _, err := io.WriteString(w, npyMagic); err != nil {
			return err
		}
		if err := binary.Write(w, binary.LittleEndian, uint16(len(header))); err != nil {
			return err
		}
		if _, err := io.WriteString(w, header); err != nil {
			return err
		}
		return binary.Write(w, binary.LittleEndian, vectors)
	})
}

var (
	npyShape = regexp.MustCompile(`'shape': \((\d+), (\d+),?\)`)
	npyDescr = regexp.MustCompile(`'descr': '([^']*)'`)
)

// readNPY reads vectors [n, dim].
func readNPY(path string) (vectors []float32, dim int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	r := bufio.NewReaderSize(f, 1<<20)
	head := make([]byte, len(npyMagic)+2)
	if _, err := io.ReadFull(r, head); err != nil || !bytes.HasPrefix(head, []byte(npyMagic)) {
		return nil, 0, fmt.Errorf("%s: not a .npy file of version 1.0", path)
	}
	header := make([]byte, binary.LittleEndian.Uint16(head[len(npyMagic):]))
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, 0, fmt.Errorf("%s: cut off in its header", path)
	}
	descr, shape := npyDescr.FindSubmatch(header), npyShape.FindSubmatch(header)
	if descr == nil || string(descr[1]) != "<f4" || shape == nil || bytes.Contains(header, []byte("'fortran_order': True")) {
		return nil, 0, fmt.Errorf("%s: expected float32 values [n, E] in C order, found %s", path, bytes.TrimSpace(header))
	}
	n, errN := strconv.Atoi(string(shape[1]))
	dim, errD := strconv.Atoi(string(shape[2]))
	size := info.Size() - int64(len(head)+len(header))
	if errN != nil || errD != nil || dim < 1 || int64(n) > math.MaxInt64/4/int64(dim) || size != 4*int64(n)*int64(dim) {
		return nil, 0, fmt.Errorf("%s: %d bytes of values, expected those of float32 [%s, %s]", path, size, shape[1], shape[2])
	}
	vectors = make([]float32, n*dim)
	return vectors, dim, binary.Read(r, binary.LittleEndian, vectors)
}
