package evaluate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/datasets"
	_ "github.com/onetrunk/onetrunk/datasets/demo"
	"github.com/onetrunk/onetrunk/internal/wavfile"
	"github.com/onetrunk/onetrunk/modalities"
	_ "github.com/onetrunk/onetrunk/modalities/all"
	"github.com/onetrunk/onetrunk/modalities/audio"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/tensor"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// compass is a model of tests: a file or a text holds a number of degrees and
// its vector points there. What holds none points where says tells, or cannot
// be read.
type compass struct {
	reads []string
	says  map[string]float64
}

func (c *compass) Dim() int             { return 2 }
func (c *compass) Modalities() []string { return c.reads }

func (c *compass) Processor(name string) (modalities.Processor, error) {
	if !slices.Contains(c.reads, name) {
		return nil, fmt.Errorf("the model reads %v, not %q", c.reads, name)
	}
	return needle{c.says}, nil
}

func (c *compass) Check(string, tokenizers.Tokens) error { return nil }

func (c *compass) Embed(ctx context.Context, _ string, batch []tokenizers.Tokens) ([]float32, error) {
	var z []float32
	for _, t := range batch {
		z = append(z, at(float64(t.IDs[0]))...)
	}
	return z, ctx.Err()
}

// at returns the unit vectors at some degrees.
func at(degrees ...float64) (z []float32) {
	for _, d := range degrees {
		s, c := math.Sincos(d * math.Pi / 180)
		z = append(z, float32(c), float32(s))
	}
	return z
}

// needle is the processor of compass; its one token is the degrees.
type needle struct{ says map[string]float64 }

func (n needle) Decode(r io.Reader, name string) (modalities.Value, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if d, ok := n.says[string(data)]; ok {
		return d, nil
	}
	var d float64
	if _, err := fmt.Sscanf(string(data), "%g", &d); err != nil {
		return nil, fmt.Errorf("%s: no degrees", name)
	}
	return d, nil
}

func (needle) Tokenize(v modalities.Value) (tokenizers.Tokens, error) {
	return tokenizers.Tokens{IDs: []int32{int32(v.(float64))}, Grid: [2]int{1, 1}}, nil
}

func (needle) Augments() bool                                            { return false }
func (needle) Augment(v modalities.Value, _ *rand.Rand) modalities.Value { return v }
func (needle) Layout() tokenizers.Layout                                 { return tokenizers.Layout{Vocab: 360, Grid: [2]int{1, 1}} }
func (needle) Config() json.RawMessage                                   { return nil }

// folder writes files of these contents under a new folder, which it returns.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// openFolder is OpenClasses of such a folder.
func openFolder(t *testing.T, files map[string]string, modality string) *Classes {
	t.Helper()
	c, err := OpenClasses(folder(t, files), modality)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEmbedSkipsWhatCannotBeRead(t *testing.T) {
	files := map[string]string{"a/bad.png": "?", "b/bad.png": "?"}
	for i := range 150 {
		files[fmt.Sprintf("%c/%03d.png", 'a'+i%2, i)] = fmt.Sprint(i)
	}
	c := openFolder(t, files, "")
	m := &compass{reads: []string{"image"}}
	var done []int
	v, err := Embed(t.Context(), m, c, 0.02, func(n, total int) {
		if total != 152 {
			t.Errorf("a total of %d, want 152", total)
		}
		done = append(done, n)
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Bad) != 2 || v.Bad[0].Item != "a/bad.png" || v.Bad[1].Item != "b/bad.png" || !strings.Contains(v.Bad[0].Err.Error(), "no degrees") {
		t.Errorf("bad %+v", v.Bad)
	}
	if !slices.IsSorted(done) || len(done) != 3 || done[2] != 152 {
		t.Errorf("progress %v", done)
	}
	for i := range 150 { // 75 of a, then 75 of b
		want := i / 75
		degrees := 2*(i%75) + want
		if v.Labels[i] != want || !slices.Equal(v.Z[2*i:2*i+2], at(float64(degrees))) {
			t.Fatalf("file %d: class %d at %v, want class %d at %d degrees", i, v.Labels[i], v.Z[2*i:2*i+2], want, degrees)
		}
	}
	if _, err := Embed(t.Context(), m, c, 0.001, nil); err == nil || !strings.Contains(err.Error(), "2 files could not be read, at most 1 of its 152 may (--max-bad)") {
		t.Errorf("two bad files where one may be: %v", err)
	}
	if _, err := Embed(t.Context(), m, c, 0, nil); err == nil || !strings.Contains(err.Error(), "a/bad.png") {
		t.Errorf("a bad file where none may be: %v", err)
	}
	if _, err := Embed(t.Context(), &compass{reads: []string{"audio"}}, c, 0, nil); err == nil || !strings.Contains(err.Error(), `not "image"`) {
		t.Errorf("a model that does not read images: %v", err)
	}
	none := openFolder(t, map[string]string{"a/1.png": "?", "b/1.png": "?"}, "")
	if _, err := Embed(t.Context(), m, none, 1, nil); err == nil || !strings.Contains(err.Error(), "none of its 2 files") {
		t.Errorf("nothing can be read: %v", err)
	}
}

func TestTheContextIsHeeded(t *testing.T) {
	c := openFolder(t, map[string]string{"a/1.png": "1", "b/1.png": "2", "a/2.png": "1", "b/2.png": "2"}, "")
	m := &compass{reads: []string{"image", "text"}, says: map[string]float64{"a": 0, "b": 9}}
	v, err := Embed(t.Context(), m, c, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, f := range map[string]func() error{
		"Embed":        func() error { _, err := Embed(ctx, m, c, 0, nil); return err },
		"ClassVectors": func() error { _, err := ClassVectors(ctx, m, c.Classes(), []string{"{}"}, nil); return err },
		"ZeroShot":     func() error { _, err := ZeroShot(ctx, v, at(0, 9)); return err },
		"KNN":          func() error { _, err := KNN(ctx, v, v, 1); return err },
		"Probe":        func() error { _, err := Probe(ctx, v, v, 0, nil); return err },
	} {
		if err := f(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestClassesMustBeKnown(t *testing.T) {
	m := &compass{reads: []string{"image"}}
	embed := func(files map[string]string) *Vectors {
		v, err := Embed(t.Context(), m, openFolder(t, files, ""), 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	train := embed(map[string]string{"a/1.png": "0", "b/1.png": "90", "c/1.png": "180"})
	// Test has fewer classes, whose indices differ.
	r, err := KNN(t.Context(), train, embed(map[string]string{"b/2.png": "91", "c/2.png": "92"}), 1)
	if err != nil || r[0].Top1 != 0.5 || !slices.Equal(r[0].Confusions, []Confusion{{"c", "b", 1}}) {
		t.Errorf("%+v (%v), want b right and c taken for b", r, err)
	}
	other := embed(map[string]string{"b/2.png": "91", "x/2.png": "92", "y/1.png": "0", "z/1.png": "0", "w/1.png": "0"})
	if _, err := KNN(t.Context(), train, other, 1); err == nil || !strings.Contains(err.Error(), "lacks: w, x, y and 1 more") {
		t.Errorf("classes that train lacks: %v", err)
	}
	if _, err := Probe(t.Context(), train, train, 0, nil); err == nil || !strings.Contains(err.Error(), "no class has two") {
		t.Errorf("nothing to hold out: %v", err)
	}
	if _, err := KNN(t.Context(), train, train, 0); err == nil {
		t.Error("no neighbours at all are no error")
	}
}

// grounds writes the first scenes of a split of the built-in world, as
// pictures or sounds, into folders by their ground.
func grounds(t *testing.T, split, modality string, n int) *Classes {
	t.Helper()
	src, err := datasets.Open("demo:#" + split)
	if err != nil {
		t.Fatal(err)
	}
	folderOf := map[string]string{
		"dark": "dark", "black": "dark", "dim": "dark", "light": "light_grey", "white": "light_grey", "bright": "light_grey",
		"striped": "striped", "banded": "striped", "lined": "striped",
	}
	files := map[string]string{}
	for i := range n {
		of, name, content := "", fmt.Sprint(i), []byte(nil)
		for _, c := range src.Item(i).Rows[0].Cells {
			if c.Modality == "text" {
				for _, w := range strings.FieldsFunc(c.Ref, func(r rune) bool { return r == ' ' || r == ',' }) {
					if folderOf[w] != "" {
						of = folderOf[w]
					}
				}
			}
			if c.Modality != modality {
				continue
			}
			v, err := src.Load(c, nil)
			if err != nil {
				t.Fatal(err)
			}
			switch v := v.(type) {
			case image.Image:
				var b bytes.Buffer
				if err := png.Encode(&b, v); err != nil {
					t.Fatal(err)
				}
				name, content = name+".png", b.Bytes()
			case audio.Clip:
				if content, err = wavfile.Encode(v.Samples, v.Rate); err != nil {
					t.Fatal(err)
				}
				name += ".wav"
			}
		}
		files[of+"/"+name] = string(content)
	}
	return openFolder(t, files, "")
}

// A new model is no judge, but its vectors tell a dark picture from a light
// one; and the same call gives the same figures.
func TestRealModel(t *testing.T) {
	cfg, err := model.ParseConfig("tiny", []byte(`{
		"trunk": {"width": 32, "layers": 2, "heads": 2, "hidden": 64, "embed": 16},
		"modalities": {
			"image": {"input": {"size": 32, "patch": 8}},
			"audio": {"input": {"rate": 8000, "mels": 32, "seconds": 2, "patch": [32, 8]}},
			"text": {"input": {"vocab": 300, "length": 32}}
		}
	}`))
	if err != nil {
		t.Fatal(err)
	}
	ps, err := cfg.OpenProcessors("")
	if err != nil {
		t.Fatal(err)
	}
	words := []modalities.Value{"a photo of a dark ground", "a picture of a light grey ground", "the sound of striped ground"}
	if err := ps["text"].(modalities.Fitter).Fit(slices.Values(words)); err != nil {
		t.Fatal(err)
	}
	m := model.New(cfg, ps, tensor.CPU(2), 1)
	for _, modality := range []string{"image", "audio"} {
		train, test := grounds(t, "test", modality, 90), grounds(t, "val", modality, 60)
		if train.Modality() != modality || train.Classes()[1] != (Class{"light_grey", "light grey"}) {
			t.Fatalf("%s: %v", train.Modality(), train.Classes())
		}
		run := func() string {
			t.Helper()
			a, err := Embed(t.Context(), m, train, 0, nil)
			if err != nil {
				t.Fatal(err)
			}
			b, err := Embed(t.Context(), m, test, 0, nil)
			if err != nil {
				t.Fatal(err)
			}
			names, err := ClassVectors(t.Context(), m, test.Classes(), Templates(modality), nil)
			if err != nil {
				t.Fatal(err)
			}
			zero, err := ZeroShot(t.Context(), b, names)
			if err != nil || zero.N != 60 || zero.Top5 != 1 || zero.Top1 > 0.75 {
				t.Errorf("%s: zero-shot of an untrained model %+v (%v)", modality, zero, err)
			}
			near, err := KNN(t.Context(), a, b, 1, 5, 20)
			if err != nil {
				t.Fatal(err)
			}
			probed, err := Probe(t.Context(), a, b, 0, nil)
			if err != nil {
				t.Fatal(err)
			}
			if modality == "image" && (near[1].Top1 < 0.8 || probed.Top1 < 0.9) {
				t.Errorf("5 neighbours are right of %.2f, a probe of %.2f; the grounds are plain to see", near[1].Top1, probed.Top1)
			}
			all, err := json.Marshal([]any{zero, near, probed})
			if err != nil {
				t.Fatal(err)
			}
			return string(all)
		}
		if first, again := run(), run(); first != again {
			t.Errorf("%s: the same evaluation gives\n%s and then\n%s", modality, first, again)
		}
	}
}
