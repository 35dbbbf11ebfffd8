package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// raw makes floats comparable that == calls different or equal wrongly.
func raw(x []float32) []uint32 {
	b := make([]uint32, len(x))
	for i, v := range x {
		b[i] = math.Float32bits(v)
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	nan := math.Float32frombits(0x7fc01234)
	tensors := []Tensor{
		{"trunk/1/ffn@audio/up", []int{2, 3}, []float32{1, -2, 3.5, float32(math.Inf(-1)), nan, 1e-45}, false},
		{"logit_scale", nil, []float32{0.07}, false},
		{"a \"name\" <of> größe", []int{0, 4}, nil, false},
		{"long", []int{70_000}, make([]float32, 70_000), false}, // more than one buffer
	}
	for i := range tensors[3].Data {
		tensors[3].Data[i] = float32(i)
	}
	meta := map[string]string{"format": "onetrunk", "step": "12"}
	path := filepath.Join(t.TempDir(), "new", "m.safetensors")
	if err := Write(path, tensors, meta); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if diff := cmp.Diff(meta, f.Meta()); diff != "" {
		t.Error("metadata:", diff)
	}
	if !slices.IsSorted(f.Names()) || len(f.Names()) != len(tensors) {
		t.Errorf("names %v", f.Names())
	}
	for _, want := range tensors {
		shape, ok := f.Shape(want.Name)
		if !ok || !slices.Equal(shape, want.Shape) {
			t.Errorf("%s: shape %v, wrote %v", want.Name, shape, want.Shape)
		}
		got := make([]float32, len(want.Data))
		if err := f.Read(want.Name, got, want.Shape); err != nil {
			t.Error(err)
		}
		if !slices.Equal(raw(got), raw(want.Data)) {
			t.Errorf("%s: values changed", want.Name)
		}
	}
}

func TestBytesDoNotDependOnOrder(t *testing.T) {
	a, b := Tensor{"a", []int{1}, []float32{1}, false}, Tensor{"b", []int{2}, []float32{2, 3}, false}
	meta := map[string]string{"x": "1", "y": "2", "z": "3"}
	dir := t.TempDir()
	var files [][]byte
	for _, order := range [][]Tensor{{a, b}, {b, a}} {
		path := filepath.Join(dir, "m")
		if err := Write(path, order, meta); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, data)
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("the order of the tensors changed the file")
	}
	if n := binary.LittleEndian.Uint64(files[0]); n%8 != 0 {
		t.Errorf("the values begin at byte %d, not at a multiple of 8", 8+n)
	}
}

func TestWriteRefuses(t *testing.T) {
	one := []float32{1}
	for _, c := range []struct {
		tensors []Tensor
		meta    map[string]string
		want    string
	}{
		{[]Tensor{{"w", []int{1}, one, false}, {"w", []int{1}, one, false}}, nil, `two tensors are named "w"`},
		{[]Tensor{{"w", []int{2, 3}, one, false}}, nil, `tensor "w": shape [2 3] needs 6 values, found 1`},
		{[]Tensor{{"w", []int{-1}, one, false}}, nil, `tensor "w": shape [-1]`},
		{[]Tensor{{"w", []int{math.MaxInt, 2}, one, false}}, nil, `is not possible`},
		{[]Tensor{{"__metadata__", []int{1}, one, false}}, nil, `cannot be the name`},
		{[]Tensor{{"\xff", []int{1}, one, false}}, nil, `cannot be the name`},
		{nil, map[string]string{"k": "\xff"}, `not UTF-8`},
	} {
		path := filepath.Join(t.TempDir(), "m")
		err := Write(path, c.tensors, c.meta)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("error %v, want it to name the file and hold %q", err, c.want)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s: a file was left behind", c.want)
		}
	}
}

// TestPythonFile reads what the format's own library wrote.
func TestPythonFile(t *testing.T) {
	f, err := Open("testdata/python.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Meta()["note"] != "größer" {
		t.Errorf("metadata %v", f.Meta())
	}
	exact := []float32{0, float32(math.Copysign(0, -1)), 1, -2.5, 0.15625, 96}
	inf := float32(math.Inf(1))
	for _, c := range []struct {
		name  string
		shape []int
		want  []float32
	}{
		{"exact", []int{2, 3}, exact},
		{"exact/f16", []int{2, 3}, exact},
		{"exact/bf16", []int{2, 3}, exact},
		{"scalar", nil, []float32{0.07}},
		{"empty", []int{0, 3}, nil},
		{"corners", []int{10}, []float32{
			0, float32(math.Copysign(0, -1)), 0x1p-24, -0x3ffp-24, 0x1p-14, 1, -3.140625, 65504, inf, -inf,
		}},
	} {
		got := make([]float32, len(c.want))
		if err := f.Read(c.name, got, c.shape); err != nil {
			t.Error(err)
		} else if !slices.Equal(raw(got), raw(c.want)) {
			t.Errorf("%s: read %v, want %v", c.name, got, c.want)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	f, err := Open("testdata/python.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		n     int
		shape []int
		want  string
	}{
		{"exact", 6, []int{3, 2}, `tensor "exact" has shape [2 3], expected [3 2]`},
		{"exact", 5, []int{2, 3}, `has 6 values, there is room for 5`},
		{"position_ids", 4, []int{1, 4}, `tensor "position_ids" is I64`},
		{"absent", 1, []int{1}, `no tensor "absent"`},
	} {
		err := f.Read(c.name, make([]float32, c.n), c.shape)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "python.safetensors") {
			t.Errorf("error %v, want it to name the file and hold %q", err, c.want)
		}
	}
	for range 2 {
		if err := f.Close(); err != nil {
			t.Error("closing:", err)
		}
	}
	if err := f.Read("exact", make([]float32, 6), []int{2, 3}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("reading a closed file: %v", err)
	}
}

// file returns the bytes of a safetensors file with this header and n bytes
// of values.
func file(head string, n int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(head)))
	return append(append(b, head...), make([]byte, n)...)
}

func TestOpenRefuses(t *testing.T) {
	deep := `{"w":` + strings.Repeat("[", 200_000)
	for _, c := range []struct {
		data []byte
		want string
	}{
		{nil, "0 bytes are too few"},
		{[]byte("PK\x03\x04"), "4 bytes are too few"},
		{[]byte("not a checkpoint at all"), "cut off"},
		{file(`{}`, 0)[:9], "cut off"},
		{file(``, 0), "expected a JSON object"},
		{file(` {}`, 0), "expected a JSON object"},
		{file(`{"w":`, 0), "header: unexpected EOF"},
		{file(`{} {}`, 0), "more data"},
		{file("{\"\xff\":1}", 0), "not UTF-8"},
		{file(deep, 0), "header:"},
		{file(`{}`, 4), "4 bytes after the last tensor"},
		{file(`{"__metadata__":{"a":1}}`, 0), "__metadata__"},
		{file(`{"__metadata__":{},"__metadata__":{}}`, 0), "given twice"},
		{file(`{"w":{"dtype":"F32","shape":[1]}}`, 4), `tensor "w": expected dtype, shape and two data_offsets`},
		{file(`{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}`, 4), `tensor "w": expected dtype, shape and two`},
		{file(`{"w":{"dtype":"F32","shape":null,"data_offsets":[0,4]}}`, 4), `tensor "w": expected dtype`},
		{file(`{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}`, 4), `unknown key "x"`},
		{file(`{"w":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}`, 4), `tensor "w": unknown dtype "F31"`},
		{file(`{"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}`, 4), `tensor "w": shape [-1]`},
		{file(`{"w":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}`, 0), `is not possible`},
		{file(`{"w":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}`, 4), `tensor "w"`},
		{file(`{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, 4), `tensor "w": F32 [2] needs 8 bytes`},
		{file(`{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 3), `tensor "w": bytes 0 to 4 are outside`},
		{file(`{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}`, 4), `tensor "w": bytes 4 to 0 are outside`},
		{file(`{"w":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}`, 4), `tensor "w": bytes -4 to 0 are outside`},
		{file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}`, 6), `tensor "b": begins at byte 2, inside`},
		{file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}`, 12), `tensor "b": begins at byte 8, 4 bytes after`},
		{file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8), `tensor "a" is given twice`},
	} {
		path := filepath.Join(t.TempDir(), "m.safetensors")
		if err := os.WriteFile(path, c.data, 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err == nil {
			f.Close()
		}
		if err == nil || !strings.HasPrefix(err.Error(), path) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.80q: error %v, want one line that names the file and holds %q", c.data, err, c.want)
		}
	}
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("opened a folder")
	}
	if _, err := Open(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an absent file: %v", err)
	}
}

// FuzzOpen: whatever a file holds, opening it and reading all its tensors
// neither panics nor reads outside, and what opens can be described.
func FuzzOpen(f *testing.F) {
	python, err := os.ReadFile("testdata/python.safetensors")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(python)
	f.Add(file(`{"w":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}} `, 2))
	f.Add(file(`{"__metadata__":{"a":"b"}}`, 0))
	f.Add(append(file(`{"__metadata__":{"w:bits":"[2,5]"},"w:bits":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"w:values":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}`, 0), 1, 0, 0, 0, 128, 63))
	f.Add(append(file(`{"__metadata__":{"w:bits":"[9]"},"w:bits":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 0), 255, 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := parse("fuzz", data)
		if err != nil {
			return
		}
		total := 0
		for _, name := range file.Names() {
			shape, ok := file.Shape(name)
			n, err := count(shape)
			if p, ok := file.packed[name]; ok {
				total += p.bits.Offsets[1] - p.bits.Offsets[0]
				if p.values != nil {
					total += p.values.Offsets[1] - p.values.Offsets[0]
				}
				dst := make([]float32, n)
				if err := file.Read(name, dst, shape); err != nil {
					continue // bits and values that do not fit each other
				}
				kept := 0
				for _, v := range dst {
					if math.Float32bits(v) != 0 {
						kept++
					}
				}
				if p.values != nil && kept > p.values.Shape[0] {
					t.Fatalf("tensor %q: %d values of %d", name, kept, p.values.Shape[0])
				}
				continue
			}
			if !ok || err != nil || n > 8*len(data) {
				if n != 0 {
					t.Fatalf("tensor %q: shape %v in a file of %d bytes", name, shape, len(data))
				}
			}
			e := file.entries[name]
			total += n * sizes[e.DType]
			err = file.Read(name, make([]float32, n), shape)
			if readable := e.DType == "F32" || e.DType == "F16" || e.DType == "BF16"; readable != (err == nil) {
				t.Fatalf("tensor %q of %s: %v", name, e.DType, err)
			}
		}
		if total != len(file.values) {
			t.Fatalf("tensors of %d bytes in %d bytes of values", total, len(file.values))
		}
	})
}
