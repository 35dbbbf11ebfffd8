package checkpoint

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestBytesRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.safetensors")
	floats := []Tensor{{Name: "z", Shape: []int{2}, Data: []float32{1, 2}}}
	ints := []Bytes{{"b", "I8", []int{3, 1}, []byte{255, 0, 127}}, {"a", "U8", []int{5}, []byte{1, 2, 3, 4, 5}}}
	if err := WriteBytes(path, floats, ints, nil); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, want := range ints {
		got, err := f.Bytes(want.Name, want.DType, want.Shape)
		if err != nil || !slices.Equal(got, want.Data) {
			t.Errorf("%s: %v (%v), wrote %v", want.Name, got, err, want.Data)
		}
	}
	if x, ok, err := f.Floats("z", []int{2}); !ok || err != nil || x[1] != 2 {
		t.Errorf("float32 beside bytes: %v, in place %t (%v)", x, ok, err)
	}
	for want, read := range map[string]func() error{
		"is U8, expected I8":   func() error { _, err := f.Bytes("a", "I8", []int{5}); return err },
		"has shape [5]":        func() error { _, err := f.Bytes("a", "U8", []int{4}); return err },
		`no tensor "c"`:        func() error { _, err := f.Bytes("c", "U8", []int{4}); return err },
		"expected F32":         func() error { return f.Read("a", make([]float32, 5), []int{5}) },
		"needs 4 values":       func() error { return WriteBytes(path, nil, []Bytes{{"a", "U8", []int{4}, []byte{1}}}, nil) },
		"expected U8 or I8":    func() error { return WriteBytes(path, nil, []Bytes{{"a", "U16", []int{1}, []byte{1}}}, nil) },
		"two tensors are name": func() error { return WriteBytes(path, floats, []Bytes{{"z", "U8", []int{1}, []byte{1}}}, nil) },
	} {
		if err := read(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to hold %q", err, want)
		}
	}
}
