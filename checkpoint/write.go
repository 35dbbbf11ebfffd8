package checkpoint

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/onetrunk/onetrunk/internal/atomicfile"
)

// Write makes a safetensors file of float32 tensors, sorted by name. The same
// tensors and meta give the same bytes. The file appears whole or not at all.
// A name that occurs twice, or data that does not fit its shape, is an error.
func Write(path string, tensors []Tensor, meta map[string]string) error {
	sorted := slices.SortedFunc(slices.Values(tensors), func(a, b Tensor) int {
		return strings.Compare(a.Name, b.Name)
	})
	head, err := header(sorted, meta)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return atomicfile.Write(path, func(w io.Writer) error {
		if _, err := w.Write(head); err != nil {
			return err
		}
		buf := make([]byte, 1<<16)
		for _, t := range sorted {
			if err := writeFloats(w, t.Data, buf); err != nil {
				return err
			}
		}
		return nil
	})
}

// header returns the length and the header itself, filled up with spaces so
// that the values begin at a multiple of eight bytes.
func header(sorted []Tensor, meta map[string]string) ([]byte, error) {
	fields := map[string]any{}
	if len(meta) > 0 {
		for k, v := range meta {
			if !utf8.ValidString(k) || !utf8.ValidString(v) {
				return nil, fmt.Errorf("metadata %q: %q is not UTF-8", k, v)
			}
		}
		fields[metaKey] = meta
	}
	end := 0
	for _, t := range sorted {
		if t.Name == metaKey || !utf8.ValidString(t.Name) {
			return nil, fmt.Errorf("%q cannot be the name of a tensor", t.Name)
		}
		if _, twice := fields[t.Name]; twice {
			return nil, fmt.Errorf("two tensors are named %q", t.Name)
		}
		n, err := count(t.Shape)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if n != len(t.Data) {
			return nil, fmt.Errorf("tensor %q: shape %v needs %d values, found %d", t.Name, t.Shape, n, len(t.Data))
		}
		// A nil shape would be written as null.
		shape := append([]int{}, t.Shape...)
		fields[t.Name] = entry{DType: "F32", Shape: shape, Offsets: [2]int{end, end + 4*n}}
		end += 4 * n
	}
	text, err := json.Marshal(fields) // sorts the keys
	if err != nil {
		return nil, err
	}
	text = append(text, bytes.Repeat([]byte(" "), -len(text)&7)...)
	if len(text) > maxHeader {
		return nil, fmt.Errorf("the header has %d bytes, the format allows %d", len(text), maxHeader)
	}
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), nil
}

func writeFloats(w io.Writer, x []float32, buf []byte) error {
	for len(x) > 0 {
		n := min(len(x), len(buf)/4)
		for i, v := range x[:n] {
			binary.LittleEndian.PutUint32(buf[4*i:], math.Float32bits(v))
		}
		if _, err := w.Write(buf[:4*n]); err != nil {
			return err
		}
		x = x[n:]
	}
	return nil
}
