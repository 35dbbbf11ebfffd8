package checkpoint

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// zeros returns n values of which some are zero.
func zeros(seed uint64, n int, share float64, value func(rng *rand.Rand) float32) []float32 {
	rng := rand.New(rand.NewPCG(seed, 1))
	x := make([]float32, n)
	for i := range x {
		if rng.Float64() >= share {
			x[i] = value(rng)
		}
	}
	return x
}

func normal(rng *rand.Rand) float32 { return float32(rng.NormFloat64()) }
func one(*rand.Rand) float32        { return 1 }

// TestSparseRoundTrip holds what is read to what was written, bit by bit, and the
// file to the size that Size gives.
func TestSparseRoundTrip(t *testing.T) {
	odd := zeros(4, 1000, 0.9, normal)
	odd[3], odd[4], odd[5] = float32(math.Copysign(0, -1)), float32(math.NaN()), 1e-45
	for _, c := range []struct {
		name   string
		tensor Tensor
		packed bool
		most   int // bytes of the file
	}{
		{"half zeros", Tensor{"w", []int{50, 41}, zeros(1, 2050, 0.5, normal), true}, true, 2050*2 + 257 + 650},
		{"a mask", Tensor{"m", []int{64, 33}, zeros(2, 64*33, 0.3, one), true}, true, 264 + 300},
		{"all zeros", Tensor{"a", []int{333}, make([]float32, 333), true}, true, 42 + 300},
		{"all ones", Tensor{"o", []int{999}, zeros(2, 999, 0, one), true}, true, 125 + 300},
		{"odd values", Tensor{"odd", []int{10, 100}, odd, true}, true, 1200},
		{"no zeros", Tensor{"w", []int{50, 40}, zeros(1, 2000, 0, normal), true}, false, 8200},
		{"few values", Tensor{"w", []int{8}, make([]float32, 8), true}, false, 300},
		{"nothing", Tensor{"e", []int{0, 3}, nil, true}, false, 200},
		{"not asked for", Tensor{"w", []int{50, 40}, make([]float32, 2000), false}, false, 8200},
	} {
		path := filepath.Join(t.TempDir(), "m")
		beside := Tensor{"x", []int{3}, []float32{1, 2, 3}, false}
		all := []Tensor{c.tensor, beside}
		meta := map[string]string{"format": "onetrunk"}
		if err := Write(path, all, meta); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		defer f.Close()
		if _, packed := f.packed[c.tensor.Name]; packed != c.packed {
			t.Errorf("%s: stored as bits: %t, want %t", c.name, packed, c.packed)
		}
		if names := f.Names(); !slices.Equal(names, []string{c.tensor.Name, "x"}) {
			t.Errorf("%s: names %v", c.name, names)
		}
		if m := f.Meta(); len(m) != 1 {
			t.Errorf("%s: metadata %v", c.name, m)
		}
		if shape, ok := f.Shape(c.tensor.Name); !ok || !slices.Equal(shape, c.tensor.Shape) {
			t.Errorf("%s: shape %v", c.name, shape)
		}
		for _, want := range all {
			got := make([]float32, len(want.Data))
			if err := f.Read(want.Name, got, want.Shape); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			if !slices.Equal(raw(got), raw(want.Data)) {
				t.Errorf("%s: the values of %s changed", c.name, want.Name)
			}
		}
		if _, ok, err := f.Floats(c.tensor.Name, c.tensor.Shape); err != nil || c.packed && ok {
			t.Errorf("%s: bits as floats in memory: %t, %v", c.name, ok, err)
		}
		if _, ok, _ := f.Floats("x", []int{3}); !ok {
			t.Errorf("%s: what stands beside it is not where floats may be", c.name)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		beside.Data = nil // not looked at
		size, err := Size([]Tensor{c.tensor, beside}, nil, meta)
		if err != nil || size != info.Size() {
			t.Errorf("%s: size %d (%v), the file has %d", c.name, size, err, info.Size())
		}
		dense := c.tensor
		dense.Sparse = false
		if whole, _ := Size([]Tensor{dense, beside}, nil, meta); c.packed && size >= whole || !c.packed && size != whole {
			t.Errorf("%s: %d bytes, %d when stored whole", c.name, size, whole)
		}
		if info.Size() > int64(c.most) {
			t.Errorf("%s: %d bytes, want at most %d", c.name, info.Size(), c.most)
		}
	}
}

func TestSparseRefuses(t *testing.T) {
	bits := `"w:bits":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}`
	values := `,"w:values":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}`
	meta := func(shape string) string { return `{"__metadata__":{"w:bits":"` + shape + `"},` }
	for _, c := range []struct {
		data []byte
		want string
	}{
		{file(meta("[17]")+bits+"}", 2), `tensor "w": its bits are U8 [2], shape [17] needs U8 [3]`},
		{file(meta("[-1]")+bits+"}", 2), `tensor "w": shape [-1] is not possible`},
		{file(meta("[3")+bits+"}", 2), `tensor "w": its shape under __metadata__ is "[3"`},
		{file(meta("null")+bits+"}", 2), `tensor "w": its shape`},
		{file(meta("[4,4]")+`"w:bits":{"dtype":"I8","shape":[2],"data_offsets":[0,2]}}`, 2), `tensor "w": its bits are I8`},
		{file(meta("[4,4]")+bits+`,"w":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}`, 6), `tensor "w" is given twice, whole and as bits`},
		{file(meta("[4,4]")+bits+`,"w:values":{"dtype":"F32","shape":[1,1],"data_offsets":[2,6]}}`, 6), `tensor "w": its values are F32 [1 1]`},
		{file(meta("[4,4]")+bits+`,"w:values":{"dtype":"F16","shape":[2],"data_offsets":[2,6]}}`, 6), `tensor "w": its values are F16`},
		{file(meta("[4,4]")+bits+values+"}", 6), `tensor "w": 0 bits are set, for 1 values`},
		{append(file(meta("[9]")+bits+"}", 0), 0, 2), `tensor "w": bits are set behind its 9 values`},
	} {
		f, err := parse("m", c.data)
		if err == nil {
			shape, _ := f.Shape("w")
			n, _ := count(shape)
			err = f.Read("w", make([]float32, n), shape)
		}
		if err == nil || !strings.HasPrefix(err.Error(), "m: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want it to name the file and hold %q", err, c.want)
		}
	}
	// Metadata of others that looks like ours is theirs.
	f, err := parse("m", file(`{"__metadata__":{"w:bits":"8"}}`, 0))
	if err != nil || f.Meta()["w:bits"] != "8" {
		t.Errorf("metadata without a tensor: %v", err)
	}
	path := filepath.Join(t.TempDir(), "m")
	for _, c := range []struct {
		tensors []Tensor
		meta    map[string]string
		want    string
	}{
		{nil, map[string]string{"w:bits": "[1]"}, "would describe a tensor"},
		{[]Tensor{{"w", []int{9}, make([]float32, 8), true}}, nil, `tensor "w": shape [9] needs 9 values, found 8`},
		{[]Tensor{{"w", []int{999}, make([]float32, 999), true}, {"w:bits", []int{1}, []float32{1}, false}}, nil, `two tensors are named "w:bits"`},
	} {
		if err := Write(path, c.tensors, c.meta); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want it to hold %q", err, c.want)
		}
	}
}
