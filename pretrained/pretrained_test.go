package pretrained

import (
	"encoding/json"
	"fmt"
	"image"
	_ "image/png"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/checkpoint"
	"github.com/onetrunk/onetrunk/modalities"
	_ "github.com/onetrunk/onetrunk/modalities/all"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/tokenizers"
	"github.com/onetrunk/onetrunk/tokenizers/logmel"
	"github.com/onetrunk/onetrunk/tokenizers/subword"
)

// expected is testdata/expected.json, which testdata/make_models.py documents.
type expected struct {
	Images []string
	Sounds []string
	Texts  []string
	Models map[string]struct {
		Same       string
		Pixels     string
		LogitScale *float64  `json:"logit_scale"`
		LogitBias  *float64  `json:"logit_bias"`
		IDs        [][]int32 `json:"ids"`
		FileIDs    [][]int32 `json:"file_ids"`
		EqualIDs   [][]int32 `json:"equal_ids"`
	}
}

// fixture is what the libraries compute.
type fixture struct {
	expected
	arrays *checkpoint.File
}

func readFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{}
	data, err := os.ReadFile("testdata/expected.json")
	if err == nil {
		err = json.Unmarshal(data, &f.expected)
	}
	if err != nil {
		t.Fatal(err)
	}
	if f.arrays, err = checkpoint.Open("testdata/expected.safetensors"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.arrays.Close() })
	return f
}

// array returns values of the fixture and their shape; nil where there are
// none.
func (f *fixture) array(t *testing.T, name string) (x []float32, shape []int) {
	t.Helper()
	shape, ok := f.arrays.Shape(name)
	if !ok {
		return nil, nil
	}
	x = make([]float32, size(shape))
	if err := f.arrays.Read(name, x, shape); err != nil {
		t.Fatal(err)
	}
	return x, shape
}

// near reports samples whose embeddings have a smaller cosine than least to
// the library's.
func near(t *testing.T, what string, got, want []float32, dim int, least float64, name func(i int) string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	worst := 1.0
	for i := 0; i < len(got); i += dim {
		var cos float64
		for j := i; j < i+dim; j++ {
			cos += float64(got[j]) * float64(want[j])
		}
		worst = min(worst, cos)
		if cos < least {
			t.Errorf("%s: %s has a cosine of %.7f, want %g", what, name(i/dim), cos, least)
		}
	}
	t.Logf("%s: least cosine %.7f", what, worst)
}

func index(i int) string { return fmt.Sprint(i) }

// The cosines that are wanted of embeddings from files, and from equal inputs.
const (
	fromFiles = 0.9999
	fromEqual = 0.99999
)

// TestModels holds every layout to its library: ids, pixels, spectrograms and
// embeddings.
func TestModels(t *testing.T) {
	f := readFixture(t)
	for _, folder := range slices.Sorted(maps.Keys(f.Models)) {
		t.Run(folder, func(t *testing.T) {
			m, err := Open(filepath.Join("testdata", folder))
			if err != nil {
				t.Fatal(err)
			}
			of := f.Models[folder]
			numbers := folder
			if of.Same != "" {
				numbers = of.Same
				of = f.Models[numbers]
			}
			for _, modality := range m.Modalities() {
				p, err := m.Processor(modality)
				if err != nil {
					t.Fatal(err)
				}
				switch modality {
				case "image":
					f.images(t, m, p, numbers, of.Pixels)
				case "text":
					if folder == "openclip-json" { // it has no tokenizer
						if _, err := m.EmbedValue(t.Context(), "text", "a"); err == nil || !strings.Contains(err.Error(), "tokenizer.json") {
							t.Errorf("without a tokenizer: %v", err)
						}
						continue
					}
					f.texts(t, m, p, numbers, of.IDs, of.EqualIDs)
				case "audio":
					f.sounds(t, m, p, numbers)
				}
			}
			if of.LogitScale != nil {
				want := math.Exp(*of.LogitScale) / 2
				if of.LogitBias != nil {
					want += *of.LogitBias
				}
				if got := m.Logit("image", "text", 0.5); math.Abs(got-want) > 1e-4 {
					t.Errorf("a similarity of 0.5 becomes %g, want %g", got, want)
				}
			}
		})
	}
}

// TestFileIDs holds the tokenizer.json of a library that has a tokenizer of its
// own to the ids of the tokenizers library. Text reaches a model that way where
// a folder has no spiece.model, and what is exported is such a file.
func TestFileIDs(t *testing.T) {
	f := readFixture(t)
	for _, folder := range []string{"openclip", "siglip"} {
		tok, err := subword.Load(filepath.Join("testdata", folder, "tokenizer.json"))
		if err != nil {
			t.Fatal(err)
		}
		want := f.Models[folder].FileIDs
		if len(want) != len(f.Texts) {
			t.Fatalf("%s: file_ids of %d texts, want %d", folder, len(want), len(f.Texts))
		}
		for i, text := range f.Texts {
			got, _ := tok.EncodeTruncated(text, len(want[i]))
			for len(got) < len(want[i]) { // siglip's are filled up
				got = append(got, 1)
			}
			if !slices.Equal(got, want[i]) {
				t.Errorf("%s: %d %q: ids %v, want %v", folder, i, text, got, want[i])
			}
		}
	}
}

// decode reads a file of the fixtures.
func decode(t *testing.T, p modalities.Processor, path string) modalities.Value {
	t.Helper()
	r, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	v, err := p.Decode(r, path)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func embed(t *testing.T, m *model.Model, modality string, batch []tokenizers.Tokens) []float32 {
	t.Helper()
	z, err := m.Embed(t.Context(), modality, batch)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func (f *fixture) images(t *testing.T, m *model.Model, p modalities.Processor, folder, pixels string) {
	t.Helper()
	var settings struct {
		Size, Patch int
		Mean, Std   [3]float64
	}
	if err := json.Unmarshal(p.Config(), &settings); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(filepath.Join("testdata", "pixels", pixels+".png"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	want, _, err := image.Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	var batch []tokenizers.Tokens
	side, patch := settings.Size, settings.Patch
	for i, name := range f.Images {
		tokens, err := p.Tokenize(decode(t, p, filepath.Join("testdata", "images", name)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		batch = append(batch, tokens)
		worst := 0.0
		for at, v := range tokens.Patches {
			token, c, in := at/(3*patch*patch), at/(patch*patch)%3, at%(patch*patch)
			x, y := token%(side/patch)*patch+in%patch, token/(side/patch)*patch+in/patch
			r, g, b, _ := want.At(x, i*side+y).RGBA()
			level := 255 * (float64(v)*settings.Std[c] + settings.Mean[c])
			worst = max(worst, math.Abs(level-float64([]uint32{r, g, b}[c]>>8)))
		}
		if worst > 0.01 { // there is rounding in the normalisation
			t.Errorf("%s: a pixel is %.1f levels off", name, worst)
		}
	}
	z, _ := f.array(t, folder+"/images")
	near(t, "images", embed(t, m, "image", batch), z, m.Dim(), fromFiles, func(i int) string { return f.Images[i] })

	x, shape := f.array(t, "equal/pixel_values")
	batch = nil
	for i := range shape[0] {
		n := size(shape[1:])
		batch = append(batch, tokenizers.Patchify(x[i*n:(i+1)*n], 3, shape[2], shape[3], patch))
	}
	z, _ = f.array(t, folder+"/equal_images")
	near(t, "equal images", embed(t, m, "image", batch), z, m.Dim(), fromEqual, index)
}

func (f *fixture) texts(t *testing.T, m *model.Model, p modalities.Processor, folder string, ids, equal [][]int32) {
	t.Helper()
	var settings struct {
		Stop *int32
	}
	if err := json.Unmarshal(p.Config(), &settings); err != nil {
		t.Fatal(err)
	}
	// A causal tower pools at the first end token: what follows is left out.
	stopped := func(ids []int32) []int32 {
		if settings.Stop != nil {
			if i := slices.Index(ids, *settings.Stop); i >= 0 {
				return ids[:i+1]
			}
		}
		return ids
	}
	var batch []tokenizers.Tokens
	for i, text := range f.Texts {
		v, err := p.Decode(strings.NewReader(text), "text")
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		tokens, err := p.Tokenize(v)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if want := stopped(ids[i]); !slices.Equal(tokens.IDs, want) {
			t.Errorf("%d %q: ids %v, want %v", i, text, tokens.IDs, want)
		}
		batch = append(batch, tokens)
	}
	z, _ := f.array(t, folder+"/texts")
	near(t, "texts", embed(t, m, "text", batch), z, m.Dim(), fromFiles, func(i int) string { return fmt.Sprintf("%q", f.Texts[i]) })

	batch = nil
	for _, ids := range equal {
		ids = stopped(ids)
		batch = append(batch, tokenizers.Tokens{IDs: ids, Grid: [2]int{1, len(ids)}})
	}
	z, _ = f.array(t, folder+"/equal_texts")
	near(t, "equal texts", embed(t, m, "text", batch), z, m.Dim(), fromEqual, index)
}

func (f *fixture) sounds(t *testing.T, m *model.Model, p modalities.Processor, folder string) {
	t.Helper()
	var batch []tokenizers.Tokens
	for _, name := range f.Sounds {
		tokens, err := p.Tokenize(decode(t, p, filepath.Join("testdata", "sounds", name)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		batch = append(batch, tokens)
	}
	z, shape := f.array(t, folder+"/sounds")
	near(t, "sounds", embed(t, m, "audio", batch), z, shape[1], fromFiles, func(i int) string { return f.Sounds[i] })

	var settings struct {
		Mels, Edge    int
		Patch, Stride [2]int
	}
	if err := json.Unmarshal(p.Config(), &settings); err != nil {
		t.Fatal(err)
	}
	f.logmel(t, folder, batch, settings.Patch, settings.Stride, settings.Edge)
	cut := logmel.Patches{Rows: settings.Patch[0], Cols: settings.Patch[1], Down: settings.Stride[0], Across: settings.Stride[1], Edge: settings.Edge}
	frames := 3000
	if folder == "ast" {
		frames = 100
	}
	batch = nil
	for b := range 3 {
		x := make([]float32, settings.Mels*frames)
		for m := range settings.Mels {
			for i := range frames {
				x[m*frames+i] = float32(math.Sin(0.01*float64(m+1)*float64(i+1)+float64(b)) / 2)
			}
		}
		batch = append(batch, cut.Cut(x, settings.Mels, frames, 0))
	}
	z, _ = f.array(t, folder+"/equal_sounds")
	near(t, "equal sounds", embed(t, m, "audio", batch), z, m.Dim(), fromEqual, index)
}

// logmel holds the values in the patches of sounds to the extractor's, of which
// the fixture has every fourth band.
func (f *fixture) logmel(t *testing.T, folder string, batch []tokenizers.Tokens, patch, stride [2]int, edge int) {
	t.Helper()
	want, shape := f.array(t, folder+"/logmel") // Whisper's by band, then frame; AST's by frame
	worst := 0.0
	for at, v := range want {
		sound, i, j := at/(shape[1]*shape[2]), at/shape[2]%shape[1], at%shape[2]
		band, frame := 4*i, j
		if folder == "ast" {
			band, frame = 4*j, i
		}
		tokens := batch[sound]
		frame += edge
		row, col := min(band/stride[0], tokens.Grid[0]-1), min(frame/stride[1], tokens.Grid[1]-1)
		m, n := band-row*stride[0], frame-col*stride[1]
		if m >= patch[0] || n >= patch[1] {
			continue // beyond the last patch
		}
		got := tokens.Patches[(row*tokens.Grid[1]+col)*patch[0]*patch[1]+m*patch[1]+n]
		worst = max(worst, math.Abs(float64(got-v)))
	}
	t.Logf("log-mel: greatest difference %.1e", worst)
	if worst > 1e-4 {
		t.Errorf("log-mel: a difference of %g", worst)
	}
}

// One tower alone opens without the other's tensors in memory, and gives the
// same.
func TestOneTower(t *testing.T) {
	both, err := Open("testdata/siglip")
	if err != nil {
		t.Fatal(err)
	}
	one, err := Open("testdata/siglip", "text")
	if err != nil {
		t.Fatal(err)
	}
	a, err := both.EmbedValue(t.Context(), "text", "a photo of a cat")
	if err != nil {
		t.Fatal(err)
	}
	b, err := one.EmbedValue(t.Context(), "text", "a photo of a cat")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(a, b) || !slices.Equal(one.Modalities(), []string{"text"}) {
		t.Errorf("the text tower of %v gives another embedding", one.Modalities())
	}
	if _, err := Open("testdata/vit", "text"); err == nil || !strings.Contains(err.Error(), `reads [image], not "text"`) {
		t.Errorf("a text tower of a ViT: %v", err)
	}
}

// change copies a folder and changes one of its JSON files, or its tensors.
func change(t *testing.T, folder, file string, edit func(keys map[string]any), tensors func(ts []checkpoint.Tensor) []checkpoint.Tensor) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), folder)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", folder))); err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		keys := map[string]any{}
		if _, err := readJSON(dir, file, &keys); err != nil {
			t.Fatal(err)
		}
		edit(keys)
		data, err := json.Marshal(keys)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if tensors != nil {
		path := filepath.Join(dir, "model.safetensors")
		f, err := checkpoint.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		var ts []checkpoint.Tensor
		for _, name := range f.Names() {
			shape, _ := f.Shape(name)
			x := make([]float32, size(shape))
			if err := f.Read(name, x, shape); err != nil {
				t.Fatal(err)
			}
			ts = append(ts, checkpoint.Tensor{Name: name, Shape: shape, Data: x})
		}
		f.Close()
		if err := checkpoint.Write(path, tensors(ts), nil); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestRefuses(t *testing.T) {
	set := func(key string, v any) func(map[string]any) { return func(keys map[string]any) { keys[key] = v } }
	for _, c := range []struct {
		dir  string
		want []string
	}{
		{"testdata/clap", []string{"HTSAT"}},
		{change(t, "vit", "config.json", set("model_type", "swin"), nil), []string{`model_type "swin"`, "one of clip"}},
		{change(t, "vit", "config.json", set("hidden_act", "silu"), nil), []string{`hidden_act "silu"`}},
		{change(t, "vit", "config.json", set("patch_size", 16), nil), []string{"embeddings.patch_embeddings.projection.weight is [24 3 8 8], expected [24 3 16 16]"}},
		{change(t, "vit", "preprocessor_config.json", set("resample", 0), nil), []string{"resample 0"}},
		{change(t, "timm", "config.json", set("architecture", "swin_tiny"), nil), []string{"swin_tiny"}},
		{change(t, "timm", "config.json", set("global_pool", "map"), nil), []string{`global_pool "map"`}},
		{change(t, "vit", "", nil, func(ts []checkpoint.Tensor) []checkpoint.Tensor {
			ts[3].Name = "something.else"
			return ts
		}), []string{"missing tensors: ", "extra tensors: something.else ["}},
	} {
		_, err := Open(c.dir)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), c.dir) {
				t.Errorf("%s: error %v, want it to hold %q", c.dir, err, want)
			}
		}
	}
	empty := t.TempDir()
	if _, err := Open(empty); err == nil || !strings.Contains(err.Error(), empty) {
		t.Errorf("an empty folder: %v", err)
	}
}
