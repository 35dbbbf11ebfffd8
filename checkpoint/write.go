package checkpoint

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
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
	parts, head, err := lay(tensors, bytes, meta, true)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return atomicfile.Write(path, func(w io.Writer) error {
		if _, err := w.Write(head); err != nil {
			return err
		}
		for _, p := range parts {
			if err := p.write(w); err != nil {
				return err
			}
		}
		return nil
	})
}

// Size returns the size in bytes of the file that WriteBytes would make. The
// values of tensors that are not Sparse, and bytes, are not looked at and may be
// absent.
func Size(tensors []Tensor, bytes []Bytes, meta map[string]string) (int64, error) {
	parts, head, err := lay(tensors, bytes, meta, false)
	size := int64(len(head))
	for _, p := range parts {
		size += int64(p.bytes)
	}
	return size, err
}

// lay returns the parts of a file in their order, and what stands before them.
// Bits and bytes come last, so that values begin at a multiple of four bytes. With
// whole all tensors must have their values.
func lay(tensors []Tensor, bytes []Bytes, meta map[string]string, whole bool) (parts []stored, head []byte, err error) {
	all := maps.Clone(meta)
	for key := range meta {
		if strings.HasSuffix(key, bitsOf) {
			return nil, nil, fmt.Errorf("metadata %q would describe a tensor", key)
		}
	}
	var ends []stored
	for _, t := range slices.SortedFunc(slices.Values(tensors), func(a, b Tensor) int {
		return strings.Compare(a.Name, b.Name)
	}) {
		if n, err := count(t.Shape); err == nil && n != len(t.Data) && (whole || t.Sparse) {
			return nil, nil, fmt.Errorf("tensor %q: shape %v needs %d values, found %d", t.Name, t.Shape, n, len(t.Data))
		}
		ps, shape, err := laid(t)
		if err != nil {
			return nil, nil, err
		}
		if shape != "" {
			if all == nil {
				all = map[string]string{}
			}
			all[t.Name+bitsOf] = shape
		}
		for _, p := range ps {
			if p.dtype == "U8" {
				ends = append(ends, p)
			} else {
				parts = append(parts, p)
			}
		}
	}
	for _, b := range slices.SortedFunc(slices.Values(bytes), func(a, b Bytes) int { return strings.Compare(a.Name, b.Name) }) {
		n, err := count(b.Shape)
		switch {
		case err != nil:
			return nil, nil, fmt.Errorf("tensor %q: %w", b.Name, err)
		case b.DType != "U8" && b.DType != "I8":
			return nil, nil, fmt.Errorf("tensor %q: bytes of %q, expected U8 or I8", b.Name, b.DType)
		case whole && n != len(b.Data):
			return nil, nil, fmt.Errorf("tensor %q: shape %v needs %d values, found %d", b.Name, b.Shape, n, len(b.Data))
		}
		ends = append(ends, stored{b.Name, b.DType, append([]int{}, b.Shape...), n, func(w io.Writer) error {
			_, err := w.Write(b.Data)
			return err
		}})
	}
	parts = append(parts, ends...)
	head, err = header(parts, all)
	return parts, head, err
}

// header returns the length and the header itself, filled up with spaces so
// that the values begin at a multiple of eight bytes.
func header(parts []stored, meta map[string]string) ([]byte, error) {
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
	for _, p := range parts {
		if p.name == metaKey || !utf8.ValidString(p.name) {
			return nil, fmt.Errorf("%q cannot be the name of a tensor", p.name)
		}
		if _, twice := fields[p.name]; twice {
			return nil, fmt.Errorf("two tensors are named %q", p.name)
		}
		fields[p.name] = entry{DType: p.dtype, Shape: p.shape, Offsets: [2]int{end, end + p.bytes}}
		end += p.bytes
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

func writeFloats(w io.Writer, x []float32) error {
	buf := make([]byte, min(4*len(x), 1<<16))
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
