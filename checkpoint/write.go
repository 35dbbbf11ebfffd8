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
	return WriteBytes(path, tensors, nil, meta)
}

// WriteBytes is Write with arrays of bytes, which stand behind the tensors, so
// that float32 lies as it must.
func WriteBytes(path string, tensors []Tensor, bytes []Bytes, meta map[string]string) error {
	sorted := slices.SortedFunc(slices.Values(tensors), func(a, b Tensor) int { return strings.Compare(a.Name, b.Name) })
	behind := slices.SortedFunc(slices.Values(bytes), func(a, b Bytes) int { return strings.Compare(a.Name, b.Name) })
	head, err := header(sorted, behind, meta)
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
		for _, b := range behind {
			if _, err := w.Write(b.Data); err != nil {
				return err
			}
		}
		return nil
	})
}

// header returns the length and the header itself, filled up with spaces so
// that the values begin at a multiple of eight bytes.
func header(sorted []Tensor, behind []Bytes, meta map[string]string) ([]byte, error) {
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
	add := func(name, dtype string, shape []int, found int) error {
		if name == metaKey || !utf8.ValidString(name) {
			return fmt.Errorf("%q cannot be the name of a tensor", name)
		}
		if _, twice := fields[name]; twice {
			return fmt.Errorf("two tensors are named %q", name)
		}
		n, err := count(shape)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		if n != found {
			return fmt.Errorf("tensor %q: shape %v needs %d values, found %d", name, shape, n, found)
		}
		// A nil shape would be written as null.
		size := n * sizes[dtype]
		fields[name] = entry{DType: dtype, Shape: append([]int{}, shape...), Offsets: [2]int{end, end + size}}
		end += size
		return nil
	}
	for _, t := range sorted {
		if err := add(t.Name, "F32", t.Shape, len(t.Data)); err != nil {
			return nil, err
		}
	}
	for _, b := range behind {
		if b.DType != "U8" && b.DType != "I8" {
			return nil, fmt.Errorf("tensor %q: bytes of %q, expected U8 or I8", b.Name, b.DType)
		}
		if err := add(b.Name, b.DType, b.Shape, len(b.Data)); err != nil {
			return nil, err
		}
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
