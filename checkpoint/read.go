package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"unicode/utf8"
	"unsafe"

	"github.com/onetrunk/onetrunk/internal/mapfile"
	"github.com/onetrunk/onetrunk/internal/strictjson"
)

// File is an open safetensors file. Its methods are safe for concurrent use,
// except for Close. Where the system allows, values are read from the disk
// when Read asks for them; whoever replaces an open file must do so by
// renaming another over it, as Write does, not by changing it in place.
type File struct {
	path    string
	entries map[string]entry
	packed  map[string]packed // those that stand as bits and values
	names   []string
	meta    map[string]string
	values  []byte
	close   func() error
}

// Open opens a file and checks all of its header: every tensor's dtype, shape
// and byte range, and that the ranges cover the rest of the file without gap
// or overlap. Errors name the file and the tensor.
func Open(path string) (*File, error) {
	mapped, err := mapfile.Open(path)
	if err != nil {
		return nil, err
	}
	f, err := parse(path, mapped.Data)
	if err != nil {
		return nil, errors.Join(err, mapped.Close())
	}
	f.close = mapped.Close
	return f, nil
}

// parse checks the bytes of a file and returns a File that reads from them.
func parse(path string, data []byte) (*File, error) {
	if len(data) < 8 {
		return nil, fmt.Errorf("%s: not a safetensors file: %d bytes are too few", path, len(data))
	}
	n := binary.LittleEndian.Uint64(data)
	if n > maxHeader || n > uint64(len(data)-8) {
		return nil, fmt.Errorf("%s: not a safetensors file, or cut off: its header would have %d bytes, the file has %d", path, n, len(data))
	}
	f := &File{path: path, entries: map[string]entry{}, values: data[8+n:]}
	if err := f.readHeader(data[8 : 8+n]); err != nil {
		return nil, err
	}
	if err := f.checkRanges(); err != nil {
		return nil, err
	}
	if err := f.unpack(); err != nil {
		return nil, err
	}
	f.names = slices.Collect(maps.Keys(f.entries))
	for name := range f.packed {
		f.names = append(f.names, name)
	}
	slices.Sort(f.names)
	return f, nil
}

// readHeader fills entries and meta. It walks the top level by tokens, since
// a name that occurs twice must not hide a tensor.
func (f *File) readHeader(head []byte) error {
	bad := func(err error) error {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("%s: header: %w", f.path, err)
	}
	if len(head) == 0 || head[0] != '{' {
		return bad(errors.New("expected a JSON object"))
	}
	if !utf8.Valid(head) {
		return bad(errors.New("not UTF-8"))
	}
	dec := json.NewDecoder(bytes.NewReader(head))
	if _, err := dec.Token(); err != nil {
		return bad(err)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return bad(err)
		}
		name := key.(string)
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return bad(err)
		}
		if err := f.readEntry(name, raw); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return bad(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return bad(errors.New("more data after the JSON object"))
	}
	return nil
}

func (f *File) readEntry(name string, raw json.RawMessage) error {
	where := fmt.Sprintf("%s: tensor %q", f.path, name)
	if name == metaKey {
		if f.meta != nil {
			return fmt.Errorf("%s: %s is given twice", f.path, metaKey)
		}
		f.meta = map[string]string{}
		return strictjson.Unmarshal(f.path+": "+metaKey, raw, &f.meta)
	}
	if _, twice := f.entries[name]; twice {
		return fmt.Errorf("%s is given twice", where)
	}
	// Offsets of another number than two would be cut or filled up in e.
	var given struct {
		DType   *string `json:"dtype"`
		Shape   *[]int  `json:"shape"`
		Offsets []int   `json:"data_offsets"`
	}
	if err := strictjson.Unmarshal(where, raw, &given); err != nil {
		return err
	}
	if given.DType == nil || given.Shape == nil || len(given.Offsets) != 2 {
		return fmt.Errorf("%s: expected dtype, shape and two data_offsets, found %s", where, raw)
	}
	e := entry{DType: *given.DType, Shape: *given.Shape, Offsets: [2]int(given.Offsets)}
	size, ok := sizes[e.DType]
	if !ok {
		return fmt.Errorf("%s: unknown dtype %q", where, e.DType)
	}
	n, err := count(e.Shape)
	if err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	begin, end := e.Offsets[0], e.Offsets[1]
	if begin < 0 || end < begin || end > len(f.values) {
		return fmt.Errorf("%s: bytes %d to %d are outside the file's %d bytes of values", where, begin, end, len(f.values))
	}
	if end-begin != n*size {
		return fmt.Errorf("%s: %s %v needs %d bytes, its range %d to %d has %d", where, e.DType, e.Shape, n*size, begin, end, end-begin)
	}
	f.entries[name] = e
	return nil
}

// checkRanges makes sure that the tensors cover the values exactly.
func (f *File) checkRanges() error {
	byRange := slices.SortedFunc(maps.Keys(f.entries), func(a, b string) int {
		x, y := f.entries[a].Offsets, f.entries[b].Offsets
		return cmp.Or(cmp.Compare(x[0], y[0]), cmp.Compare(x[1], y[1]), cmp.Compare(a, b))
	})
	at := 0
	for _, name := range byRange {
		o := f.entries[name].Offsets
		switch {
		case o[0] > at:
			return fmt.Errorf("%s: tensor %q: begins at byte %d, %d bytes after the one before it ends", f.path, name, o[0], o[0]-at)
		case o[0] < at:
			return fmt.Errorf("%s: tensor %q: begins at byte %d, inside another tensor", f.path, name, o[0])
		}
		at = o[1]
	}
	if at != len(f.values) {
		return fmt.Errorf("%s: %d bytes after the last tensor", f.path, len(f.values)-at)
	}
	return nil
}

// Names returns the names of all tensors, sorted.
func (f *File) Names() []string { return slices.Clone(f.names) }

// Meta returns the file's metadata.
func (f *File) Meta() map[string]string { return maps.Clone(f.meta) }

// Shape returns a tensor's dimensions, and whether there is such a tensor.
func (f *File) Shape(name string) ([]int, bool) {
	if p, ok := f.packed[name]; ok {
		return slices.Clone(p.shape), true
	}
	e, ok := f.entries[name]
	return slices.Clone(e.Shape), ok
}

// Read copies a tensor into dst, converted to float32 from F32, F16 or BF16.
// A tensor that the file lacks, that has another shape than the caller
// expects, or that holds another type is an error; so is a dst whose length
// is not that of shape.
func (f *File) Read(name string, dst []float32, shape []int) error {
	src, dtype, err := f.bytes(name, shape)
	if err != nil {
		return err
	}
	if n, _ := count(shape); len(dst) != n {
		return fmt.Errorf("%s: tensor %q has %d values, there is room for %d", f.path, name, n, len(dst))
	}
	switch dtype {
	case asBits:
		return f.readPacked(name, f.packed[name], dst)
	case "F32":
		fromF32(dst, src)
	case "F16":
		fromF16(dst, src)
	case "BF16":
		fromBF16(dst, src)
	default:
		return fmt.Errorf("%s: tensor %q is %s, expected F32, F16 or BF16", f.path, name, dtype)
	}
	return nil
}

// Bytes returns a copy of a tensor of that type, U8 or I8. One that the file
// lacks, or that has another shape or type, is an error.
func (f *File) Bytes(name, dtype string, shape []int) ([]byte, error) {
	src, found, err := f.bytes(name, shape)
	if err != nil {
		return nil, err
	}
	if found != dtype {
		return nil, fmt.Errorf("%s: tensor %q is %s, expected %s", f.path, name, found, dtype)
	}
	return bytes.Clone(src), nil
}

// Floats returns a tensor's values where the file has them in memory, and
// whether it has them there as this machine's float32; where it has not, Read
// converts them. Errors are Read's. The values must not be written to, nor read
// after Close.
func (f *File) Floats(name string, shape []int) (values []float32, ok bool, err error) {
	src, dtype, err := f.bytes(name, shape)
	if err != nil || dtype != "F32" || len(src) == 0 || !littleEndian {
		return nil, false, err
	}
	p := unsafe.Pointer(&src[0])
	if uintptr(p)%unsafe.Alignof(float32(0)) != 0 {
		return nil, false, nil
	}
	return unsafe.Slice((*float32)(p), len(src)/4), true, nil
}

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// asBits is the type of a tensor that stands as bits and values.
const asBits = "bits and values"

// bytes returns a tensor's values as they stand in the file, and their type; no
// values of one that stands as bits.
func (f *File) bytes(name string, shape []int) (src []byte, dtype string, err error) {
	has, ok := f.Shape(name)
	if !ok {
		return nil, "", fmt.Errorf("%s: no tensor %q", f.path, name)
	}
	if !slices.Equal(has, shape) {
		return nil, "", fmt.Errorf("%s: tensor %q has shape %v, expected %v", f.path, name, has, shape)
	}
	if f.values == nil {
		return nil, "", fmt.Errorf("%s: tensor %q: %w", f.path, name, os.ErrClosed)
	}
	if _, ok := f.packed[name]; ok {
		return nil, asBits, nil
	}
	e := f.entries[name]
	return f.values[e.Offsets[0]:e.Offsets[1]], e.DType, nil
}

// Close gives the file back. Read fails afterwards.
func (f *File) Close() error {
	if f.values == nil {
		return nil
	}
	f.values = nil
	return f.close()
}
