package checkpoint

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"
	"strings"
)

// A tensor NAME of which many values are zero may stand in a file as
//
//	NAME:bits    U8 [ceil(n/8)]  a bit for each of the n values, row-major, the
//	                             lowest bit of a byte first: 0 where it is zero
//	NAME:values  F32 [k]         the others, in their order; left out where all
//	                             are one
//
// and, in the metadata, NAME:bits with the shape as a JSON list: "[64, 192]". A
// zero with a sign is no zero here, so nothing is lost. A File has it under NAME,
// as if it stood there whole.
const (
	bitsOf   = ":bits"
	valuesOf = ":values"
)

// stored is one tensor as it stands in a file.
type stored struct {
	name  string
	dtype string
	shape []int
	bytes int
	write func(w io.Writer) error
}

// laid returns what a tensor stands in a file as, and, where it is as bits and
// values, the shape that the metadata gives. It is that only where it makes the
// file smaller, its longer header included.
func laid(t Tensor) (parts []stored, shape string, err error) {
	n, err := count(t.Shape)
	if err != nil {
		return nil, "", fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	whole := stored{t.Name, "F32", append([]int{}, t.Shape...), 4 * n, func(w io.Writer) error { return writeFloats(w, t.Data) }}
	if !t.Sparse {
		return []stored{whole}, "", nil
	}
	kept, ones := 0, true
	for _, v := range t.Data {
		if math.Float32bits(v) != 0 {
			kept++
			ones = ones && v == 1
		}
	}
	b := stored{t.Name + bitsOf, "U8", []int{(n + 7) / 8}, (n + 7) / 8, func(w io.Writer) error { return writeBits(w, t.Data) }}
	parts = append(parts, b)
	if !ones {
		parts = append(parts, stored{t.Name + valuesOf, "F32", []int{kept}, 4 * kept, func(w io.Writer) error {
			return writeFloats(w, slices.DeleteFunc(slices.Clone(t.Data), func(v float32) bool { return math.Float32bits(v) == 0 }))
		}})
	}
	if size(parts)+len(t.Name)+50 > size([]stored{whole}) { // what the metadata takes
		return []stored{whole}, "", nil
	}
	text, err := json.Marshal(whole.shape)
	return parts, string(text), err
}

// size bounds what tensors take in a file, their part of the header included.
func size(parts []stored) (n int) {
	for _, p := range parts {
		n += p.bytes + len(p.name) + 100
	}
	return n
}

// writeBits writes a bit for each value, set where it is not zero.
func writeBits(w io.Writer, x []float32) error {
	out := make([]byte, (len(x)+7)/8)
	for i, v := range x {
		if math.Float32bits(v) != 0 {
			out[i/8] |= 1 << (i % 8)
		}
	}
	_, err := w.Write(out)
	return err
}

// packed is a tensor that stands as bits and values.
type packed struct {
	shape  []int
	bits   entry
	values *entry // nil where all are one
}

// unpack takes the tensors that stand as bits and values out of the entries.
func (f *File) unpack() error {
	f.packed = map[string]packed{}
	for key, text := range f.meta {
		name, named := strings.CutSuffix(key, bitsOf)
		e, here := f.entries[key]
		if !named || !here {
			continue // something else of who wrote the file
		}
		p := packed{bits: e}
		where := fmt.Sprintf("%s: tensor %q", f.path, name)
		if err := json.Unmarshal([]byte(text), &p.shape); err != nil || p.shape == nil {
			return fmt.Errorf("%s: its shape under %s is %q, expected a list of dimensions", where, metaKey, text)
		}
		n, err := count(p.shape)
		if err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		if _, twice := f.entries[name]; twice {
			return fmt.Errorf("%s is given twice, whole and as bits", where)
		}
		if p.bits.DType != "U8" || !slices.Equal(p.bits.Shape, []int{(n + 7) / 8}) {
			return fmt.Errorf("%s: its bits are %s %v, shape %v needs U8 [%d]", where, p.bits.DType, p.bits.Shape, p.shape, (n+7)/8)
		}
		if v, ok := f.entries[name+valuesOf]; ok {
			if v.DType != "F32" || len(v.Shape) != 1 || v.Shape[0] > n {
				return fmt.Errorf("%s: its values are %s %v, expected F32 [%d] at most", where, v.DType, v.Shape, n)
			}
			p.values = &v
		}
		f.packed[name] = p
	}
	for name := range f.packed {
		delete(f.entries, name+bitsOf)
		delete(f.entries, name+valuesOf)
		delete(f.meta, name+bitsOf)
	}
	return nil
}

// readPacked is Read of a tensor that stands as bits and values.
func (f *File) readPacked(name string, p packed, dst []float32) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%s: tensor %q: %s", f.path, name, fmt.Sprintf(format, args...))
	}
	set, kept := f.values[p.bits.Offsets[0]:p.bits.Offsets[1]], 0
	for _, b := range set {
		kept += bits.OnesCount8(b)
	}
	if last := len(dst) % 8; last != 0 && set[len(set)-1]>>last != 0 {
		return bad("bits are set behind its %d values", len(dst))
	}
	var values []byte
	if p.values != nil {
		if p.values.Shape[0] != kept {
			return bad("%d bits are set, for %d values", kept, p.values.Shape[0])
		}
		values = f.values[p.values.Offsets[0]:p.values.Offsets[1]]
	}
	for i := range dst {
		switch {
		case set[i/8]>>(i%8)&1 == 0:
			dst[i] = 0
		case values == nil:
			dst[i] = 1
		default:
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(values))
			values = values[4:]
		}
	}
	return nil
}
