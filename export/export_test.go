package export

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/modalities"
	_ "github.com/onetrunk/onetrunk/modalities/all"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/pretrained"
	"github.com/onetrunk/onetrunk/tensor"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// fixtures holds models of other libraries.
const fixtures = "../pretrained/testdata"

// foreign opens one of the fixtures.
func foreign(t *testing.T, name string) *model.Model {
	t.Helper()
	m, err := pretrained.Open(filepath.Join(fixtures, name))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// ours makes a model of a config whose tensors all have values of their own.
// Its vocabulary is learned.
func ours(t *testing.T, config string) *model.Model {
	t.Helper()
	c, err := model.ParseConfig("config", []byte(config))
	if err != nil {
		t.Fatal(err)
	}
	ps, err := c.OpenProcessors("")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range ps {
		if f, ok := p.(modalities.Fitter); ok {
			if err := f.Fit(func(yield func(modalities.Value) bool) { yield("a photo of a cat and a dog") }); err != nil {
				t.Fatal(err)
			}
		}
	}
	m := model.New(c, ps, tensor.CPU(0), 1)
	rng := rand.New(rand.NewPCG(1, 2))
	for _, p := range m.Bank.Params() {
		x := m.Bank.Read(p)
		for i := range x {
			x[i] += float32(rng.NormFloat64()) * 0.1
		}
		if err := m.Bank.Write(p, x); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// sample makes tokens of a modality that fill n columns of the table's grid, or
// all with 0.
func sample(m *model.Model, modality string, n int, rng *rand.Rand) tokenizers.Tokens {
	l := m.Processors()[modality].Layout()
	t := tokenizers.Tokens{Grid: l.Grid}
	if n > 0 {
		t.Grid[1] = n
	}
	for range t.Len() {
		if l.Vocab > 0 {
			t.IDs = append(t.IDs, rng.Int32N(int32(l.Vocab)))
		}
		for range l.Patch {
			t.Patches = append(t.Patches, float32(rng.NormFloat64()))
		}
	}
	return t
}

// embed returns the embeddings of samples.
func embed(t *testing.T, m *model.Model, modality string, samples []tokenizers.Tokens) []float32 {
	t.Helper()
	z, err := m.Embed(t.Context(), modality, samples)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// furthest returns the greatest difference of two lists.
func furthest(t *testing.T, a, b []float32) float64 {
	t.Helper()
	if len(a) != len(b) || len(a) == 0 {
		t.Fatalf("%d values and %d", len(a), len(b))
	}
	worst := 0.0
	for i := range a {
		worst = max(worst, math.Abs(float64(a[i])-float64(b[i]))) // NaN stays
	}
	return worst
}

// script is that of the fixtures.
var script = filepath.Join(fixtures, "make_models.py")

// python runs a script and reads its answer. The test is skipped unless
// ONETRUNK_PYTHON names an interpreter with the packages that the script needs.
func python(t *testing.T, answer any, args ...string) {
	t.Helper()
	interpreter := os.Getenv("ONETRUNK_PYTHON")
	if interpreter == "" {
		t.Skip("ONETRUNK_PYTHON names no Python with transformers and onnxruntime to compare with")
	}
	cmd := exec.CommandContext(t.Context(), interpreter, args...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, errs.String())
	}
	if err := json.Unmarshal(out, answer); err != nil {
		t.Fatal(err)
	}
}

func TestRun(t *testing.T) {
	for name, m := range map[string]*model.Model{"clip": foreign(t, "clip"), "ours": ours(t, trio)} {
		dir := filepath.Join(t.TempDir(), "run")
		if err := Run(m, dir); err != nil {
			t.Fatal(err)
		}
		again, err := model.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, modality := range m.Modalities() {
			s := []tokenizers.Tokens{sample(m, modality, 0, rand.New(rand.NewPCG(1, 1)))}
			if d := furthest(t, embed(t, m, modality, s), embed(t, again, modality, s)); d != 0 {
				t.Errorf("%s: %s differs by %g", name, modality, d)
			}
		}
		if err := Run(m, dir); err == nil || !strings.Contains(err.Error(), "not empty") {
			t.Errorf("%s: a second run in the same folder: %v", name, err)
		}
	}
}

// picture decodes one of the fixtures' images for a model.
func picture(t *testing.T, m *model.Model, name string) modalities.Value {
	t.Helper()
	f, err := os.Open(filepath.Join(fixtures, "images", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v, err := m.Processors()["image"].Decode(f, name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// decoded is a text as a processor reads it; one that is empty stays so.
func decoded(t *testing.T, p modalities.Processor, text string) modalities.Value {
	t.Helper()
	if text == "" {
		return text
	}
	v, err := p.Decode(strings.NewReader(text), "text")
	if err != nil {
		t.Fatal(err)
	}
	return v
}
