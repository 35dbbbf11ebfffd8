package model

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/tensor"
)

// masked makes a model whose products are masked, of signals and words that share
// all of them.
func masked(t *testing.T) *Model {
	t.Helper()
	c, err := ParseConfig("masked", []byte(`{
		"trunk": {"width": 16, "layers": 4, "heads": 2, "hidden": 32, "embed": 6},
		"modalities": {"signal": {"pool": "class"}, "word": {"pool": "last", "causal": true}},
		"sharing": {"layers": {"scheme": "cycle", "unique": 2, "roles": "all"}, "mask": {"kind": "random", "keep": 0.2}}
	}`))
	if err != nil {
		t.Fatal(err)
	}
	ps, err := c.OpenProcessors("")
	if err != nil {
		t.Fatal(err)
	}
	return New(c, ps, tensor.CPU(2), 1)
}

// TestMaskedCheckpoint: zeros and masks take bits, the report says what the file
// has, and what is opened is what was saved, each tensor once.
func TestMaskedCheckpoint(t *testing.T) {
	m, run := masked(t), t.TempDir()
	if err := m.SaveConfig(run); err != nil {
		t.Fatal(err)
	}
	dir := CheckpointDir(run, 1)
	if err := m.Save(dir); err != nil {
		t.Fatal(err)
	}
	if err := Mark(dir, "latest"); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(dir, weightsFile))
	if err != nil {
		t.Fatal(err)
	}
	r := m.Inspect()
	if int64(len(file)) != r.Bytes {
		t.Errorf("the report says %d bytes, the file has %d", r.Bytes, len(file))
	}
	// The closed form: a bit for each entry of a mask, a bit for each entry of a
	// masked weight and four bytes for those that are used, four bytes for each
	// value of the rest.
	want := 0
	for _, p := range m.Bank.Params() {
		used := 0
		for _, v := range m.Bank.Read(p) {
			if v != 0 {
				used++
			}
		}
		switch n := p.Value.Len(); {
		case strings.HasSuffix(p.Name, "/mask"):
			want += n / 8
			if used != (n+2)/5 {
				t.Errorf("%s lets %d of %d through, want a fifth", p.Name, used, n)
			}
		case p.Masked:
			want += n/8 + 4*used
		default:
			want += 4 * n
		}
	}
	if got := len(file) - 8 - int(binary.LittleEndian.Uint64(file)); got != want {
		t.Errorf("the values take %d bytes, want %d", got, want)
	}
	if whole := 4 * r.Parameters.Unique; len(file) >= whole {
		t.Errorf("the file has %d bytes, values whole would have %d", len(file), whole)
	}
	embed := func(m *Model) []float32 {
		z, err := m.Embed(t.Context(), "signal", signals(3))
		if err != nil {
			t.Fatal(err)
		}
		return z
	}
	o, err := Open(run)
	if err != nil {
		t.Fatal(err)
	}
	loaded := masked(t)
	for _, p := range loaded.Bank.Params() {
		loaded.Device.Fill(p.Value, 0.5)
	}
	if err := loaded.Load(filepath.Join(dir, weightsFile)); err != nil {
		t.Fatal(err)
	}
	for how, other := range map[string]*Model{"opened": o, "loaded": loaded} {
		if !slices.Equal(embed(m), embed(other)) || other.Fingerprint() != m.Fingerprint() {
			t.Errorf("the %s model embeds another thing", how)
		}
	}
	// An alias stays one: layers 1 and 3 change together.
	name := loaded.Weights.Tensor(3, "signal", "qkv")
	before := embed(loaded)
	loaded.Device.Scale(loaded.Bank.Param(name+"/weight").Value, 2)
	after := embed(loaded)
	if name != loaded.Weights.Tensor(1, "word", "qkv") || slices.Equal(before, after) {
		t.Errorf("layer 3 uses %s", name)
	}
	loaded.Weights.Fold()
	if !slices.Equal(embed(loaded), after) {
		t.Error("what is folded is not what it was made of")
	}
}
