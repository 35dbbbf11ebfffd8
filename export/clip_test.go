package export

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/pretrained"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// duo has CLIP's parts, a trunk that the modalities share, and layers that do.
const duo = `{
	"trunk": {"width": 32, "layers": 3, "heads": 4, "hidden": 48, "embed": 16},
	"modalities": {
		"image": {"pool": "class", "stem_norm": true, "input": {"size": 32, "patch": 8, "resize": 36, "fit": "crop_floor", "alpha": "drop"}},
		"text": {"pool": "last", "causal": true, "input": {"vocab": 280, "length": 20}}
	},
	"sharing": {"layers": {"scheme": "cycle", "unique": 2, "roles": "all"}}
}`

// bridged is duo but for a trunk of the images' own, of another embedding.
var bridged = strings.Replace(duo, `"stem_norm"`, `"trunk": {"width": 24, "layers": 2, "heads": 3, "hidden": 40, "embed": 20, "activation": "gelu_tanh", "eps": 1e-6}, "stem_norm"`, 1)

// clips are models that fit into a CLIPModel.
func clips(t *testing.T) map[string]*model.Model {
	return map[string]*model.Model{
		"clip": foreign(t, "clip"), "clip-bf16": foreign(t, "clip-bf16"), "duo": ours(t, duo), "bridged": ours(t, bridged),
	}
}

func TestCLIPOpensAgain(t *testing.T) {
	for name, m := range clips(t) {
		dir := t.TempDir()
		if err := CLIP(m, dir); err != nil {
			t.Fatal(err)
		}
		again, err := pretrained.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(1, 1))
		for _, modality := range m.Modalities() {
			s := []tokenizers.Tokens{sample(m, modality, 0, rng)}
			if d := furthest(t, embed(t, m, modality, s), embed(t, again, modality, s)); !(d <= 1e-6) {
				t.Errorf("%s: %s differs by %g", name, modality, d)
			}
		}
		if a, b := m.Logit("image", "text", 1), again.Logit("image", "text", 1); a != b {
			t.Errorf("%s: the logit of 1 is %g, then %g", name, a, b)
		}
		// What the tokenizers and the images' processors make is the same.
		a, b := m.Processors(), again.Processors()
		for _, text := range []string{"", "a photo", "  A\t photo   of nai\u0308ve cats\n", strings.Repeat("dog ", 99)} {
			x, errX := a["text"].Tokenize(decoded(t, a["text"], text))
			y, errY := b["text"].Tokenize(text)
			if errX != nil || errY != nil || !slices.Equal(x.IDs, y.IDs) {
				t.Errorf("%s: %q is %v (%v), then %v (%v)", name, text, x.IDs, errX, y.IDs, errY)
			}
		}
		img := picture(t, m, "rgb.png")
		x, errX := a["image"].Tokenize(img)
		y, errY := b["image"].Tokenize(img)
		if errX != nil || errY != nil || furthest(t, x.Patches, y.Patches) != 0 {
			t.Errorf("%s: the processors make other patches of an image (%v, %v)", name, errX, errY)
		}
	}
}

func TestCLIPRefuses(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{`"pool": "class", "stem_norm": true`, `"stem_norm": true`, "modalities.image.pool: mean"},
		{`"stem_norm": true, `, ``, "modalities.image.stem_norm: false"},
		{`"causal": true, `, ``, "modalities.text.causal: false"},
		{`"embed": 16`, `"embed": 16, "norm": "rms"`, `trunk.norm: "rms"`},
		{`"embed": 16`, `"embed": 16, "norm_place": "post"`, `trunk.norm_place: "post"`},
		{`"pool": "last"`, `"pool": "last", "projection": "bias"`, "modalities.text.projection: bias"},
		{`"pool": "last"`, `"pool": "last", "head_norm": "rows"`, "modalities.text.head_norm: rows"},
		{`"resize": 36, "fit": "crop_floor"`, `"fit": "keep"`, "modalities.image.input.fit: keep"},
		{`"length": 20`, `"length": 20, "pad": 1`, "modalities.text.input.pad: 1"},
		{`"length": 20`, `"length": 20, "stop": 7`, "modalities.text.input.stop: 7"},
		{`"sharing"`, `"temperature": {"bias": true}, "sharing"`, "temperature.bias"},
		{`"sharing": {`, `"sharing": {"router": {"experts": 2, "gate": "shared"}, `, "sharing.router"},
		{`"text"`, `"audio": {}, "text"`, "[audio image text]"},
	} {
		config := strings.Replace(duo, c.from, c.to, 1)
		if config == duo {
			t.Fatalf("%q is not in the config", c.from)
		}
		dir := filepath.Join(t.TempDir(), "out")
		if err := CLIP(ours(t, config), dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.to, err, c.want)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: the folder was made", c.to)
		}
	}
}

// Transformers computes the same of the files.
func TestCLIPEqualsTransformers(t *testing.T) {
	var inputs struct{ Images, Texts []string }
	data, err := os.ReadFile(filepath.Join(fixtures, "expected.json"))
	if err == nil {
		err = json.Unmarshal(data, &inputs)
	}
	if err != nil {
		t.Fatal(err)
	}
	models := clips(t)
	models["squash"] = ours(t, strings.Replace(duo, `"resize": 36, "fit": "crop_floor"`, `"fit": "squash"`, 1))
	for name, m := range models {
		dir := t.TempDir()
		if err := CLIP(m, dir); err != nil {
			t.Fatal(err)
		}
		var answer struct {
			Images, Texts [][]float32
			IDs           [][]int32
			Scale         float64 `json:"logit_scale"`
		}
		if strings.HasPrefix(name, "clip") {
			python(t, &answer, script, "--check-hf", dir)
		} else { // that script takes every vocabulary for CLIP's
			python(t, &answer, "testdata/embed_clip.py", dir)
		}
		var images, texts []tokenizers.Tokens
		for _, file := range inputs.Images {
			x, err := m.Processors()["image"].Tokenize(picture(t, m, file))
			if err != nil {
				t.Fatal(err)
			}
			images = append(images, x)
		}
		var theirs [][]float32
		for i, text := range inputs.Texts {
			v, err := m.Processors()["text"].Decode(strings.NewReader(text), "")
			if err != nil {
				continue // an empty text
			}
			x, err := m.Processors()["text"].Tokenize(v)
			if err != nil {
				t.Fatal(err)
			}
			// They do not cut behind an end token within, where they pool too.
			if n := len(x.IDs); len(answer.IDs[i]) < n || !slices.Equal(x.IDs, answer.IDs[i][:n]) {
				t.Errorf("%s: %q is %v, expected %v", name, text, x.IDs, answer.IDs[i])
				continue
			}
			texts, theirs = append(texts, x), append(theirs, answer.Texts[i])
		}
		for what, c := range map[string]struct {
			ours   []float32
			theirs [][]float32
		}{"images": {embed(t, m, "image", images), answer.Images}, "texts": {embed(t, m, "text", texts), theirs}} {
			least := leastCosine(t, c.ours, c.theirs)
			t.Logf("%s: %d %s, least cosine %.8f", name, len(c.theirs), what, least)
			if !(least > 0.99999) {
				t.Errorf("%s: %s have a cosine of %g", name, what, least)
			}
		}
		if s := math.Log(m.Logit("image", "text", 1)); math.Abs(s-answer.Scale) > 1e-6 {
			t.Errorf("%s: logit_scale %g, expected %g", name, answer.Scale, s)
		}
	}
}

// leastCosine compares rows of unit length.
func leastCosine(t *testing.T, ours []float32, theirs [][]float32) float64 {
	t.Helper()
	if len(theirs) == 0 || len(ours) != len(theirs)*len(theirs[0]) {
		t.Fatalf("%d values and %d rows", len(ours), len(theirs))
	}
	least := 1.0
	for i, row := range theirs {
		c := 0.0
		for j, v := range row {
			c += float64(v) * float64(ours[i*len(row)+j])
		}
		least = min(least, c) // NaN stays
	}
	return least
}
