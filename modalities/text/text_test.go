package text

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/tokenizers/subword"
)

func open(t testing.TB, config, dir string) modalities.Fitter {
	t.Helper()
	p, err := modality{}.Open(json.RawMessage(config), dir)
	if err != nil {
		t.Fatal(err)
	}
	return p.(modalities.Fitter)
}

var captions = []modalities.Value{"a red ring", "a blue ring", "two red bars", "зелёный круг"}

func TestDecode(t *testing.T) {
	p := open(t, "", "")
	for in, want := range map[string]string{
		"  a  red\n\tring ":       "a red ring",
		"\ufeffwith a mark":       "with a mark",
		"cafe\u0301":              "café",
		"nbsp\u00a0between":       "nbsp between",
		strings.Repeat("a ", 500): strings.TrimSpace(strings.Repeat("a ", 500)),
	} {
		if got, err := p.Decode(strings.NewReader(in), "row 1"); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"":                              "empty",
		" \n ":                          "empty",
		"abc\xffdef":                    "byte 3",
		strings.Repeat("a", maxBytes+1): "more than",
	} {
		if _, err := p.Decode(strings.NewReader(in), "row 7"); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "row 7: ") {
			t.Errorf("%.10q: error %v, want it to hold %q", in, err, want)
		}
	}
}

func TestVocabularyIsLearnedSavedAndOpened(t *testing.T) {
	p := open(t, `{"vocab": 300, "length": 8}`, "")
	if p.Fitted() {
		t.Error("fitted before Fit")
	}
	if _, err := p.Tokenize("a red ring"); err == nil {
		t.Error("tokenized without a vocabulary")
	}
	if l := p.Layout(); l.Vocab != 300 || l.Grid != [2]int{1, 8} {
		t.Errorf("layout %+v before Fit", l)
	}
	if err := p.Fit(slices.Values(captions)); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := p.Save(dir); err != nil {
		t.Fatal(err)
	}
	again := open(t, string(p.Config()), dir)
	for _, c := range []string{"a red ring", "文", "a much longer text than eight ids can hold, by far"} {
		a, err := p.Tokenize(c)
		if err != nil {
			t.Fatal(err)
		}
		b, err := again.Tokenize(c)
		if err != nil || !slices.Equal(a.IDs, b.IDs) {
			t.Errorf("%q: ids %v, after opening %v (%v)", c, a.IDs, b.IDs, err)
		}
		if a.Len() != len(a.IDs) || a.Len() > 8 || a.IDs[a.Len()-1] != 1 {
			t.Errorf("%q: %d ids %v, want at most 8 that close with the end token", c, a.Len(), a.IDs)
		}
		if (a.Cut > 0) != (len(c) > 40) {
			t.Errorf("%q: %d ids were cut", c, a.Cut)
		}
	}
	given := open(t, `{"tokenizer": "`+filepath.Join(dir, file)+`", "length": 8}`, "")
	if !given.Fitted() || given.Layout().Vocab != p.Layout().Vocab {
		t.Error("a tokenizer.json that the config names is not used")
	}
}

func TestRawTexts(t *testing.T) {
	p := open(t, `{"raw": true}`, "")
	for _, in := range []string{"", " ", "  a  red\n\tring ", "\ufeffcafe\u0301\u00a0"} {
		if got, err := p.Decode(strings.NewReader(in), "row 1"); err != nil || got != in {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	if _, err := p.Decode(strings.NewReader("abc\xff"), "row 7"); err == nil || !strings.Contains(err.Error(), "byte 3") {
		t.Errorf("error %v, want it to name byte 3", err)
	}
}

// A model that follows a library's own tokenizer does so from its run folder.
func TestLibraryIsKept(t *testing.T) {
	const text = "“ΑΣ”, &amp; <b>x</b> ﬁ </s> y"
	for _, c := range []struct {
		config  string
		differs bool // from the file alone
	}{
		{`{` + clip + `, "library": "openclip"}`, true},
		{`{` + clip + `}`, false},
		{`{"tokenizer": "../../pretrained/testdata/siglip/spiece.model", "raw": true, "library": "siglip"}`, true},
	} {
		p := open(t, c.config, "")
		dir := t.TempDir()
		if err := p.Save(dir); err != nil {
			t.Fatal(err)
		}
		want, err := p.Tokenize(text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := open(t, string(p.Config()), dir).Tokenize(text)
		if err != nil || !slices.Equal(got.IDs, want.IDs) {
			t.Errorf("%s: ids %v, after opening %v (%v)", c.config, want.IDs, got.IDs, err)
		}
		plain, err := subword.Load(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if slices.Equal(plain.Encode(text), want.IDs) == c.differs {
			t.Errorf("%s: ids %v, by the file alone %v", c.config, want.IDs, plain.Encode(text))
		}
	}
	for config, want := range map[string]string{
		`{"library": "ftfy"}`:                 `library: "ftfy" is not one of openclip, siglip`,
		`{` + clip + `, "library": "siglip"}`: "vocab.json: siglip: expected a Unigram",
	} {
		if _, err := (modality{}).Open(json.RawMessage(config), ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want it to hold %q", config, err, want)
		}
	}
}

// clip is CLIP's two files, from the tests of the tokenizer.
const clip = `"tokenizer": "../../tokenizers/subword/testdata/clip/vocab.json", "raw": true`

func TestPadAndStop(t *testing.T) {
	for _, c := range []struct {
		config, text string
		want         []int32 // nil: as without pad and stop
		cut          int
	}{
		{`"length": 6`, "a b", nil, 0},
		{`"length": 6`, "", []int32{0, 1}, 0},
		{`"length": 6, "pad": 0`, "", []int32{0, 1, 0, 0, 0, 0}, 0},
		{`"length": 6, "stop": 1`, "a b", nil, 0},
		{`"length": 6, "stop": 1`, "<|endoftext|> a b", []int32{0, 1}, 0},
		{`"length": 4, "stop": 1`, "<|endoftext|> a b c d e f g", []int32{0, 1}, 0},
		{`"length": 4, "stop": 1`, "a b c d e f g", nil, 5},
		{`"length": 4, "stop": 1, "pad": 7`, "<|endoftext|> a b c d e f g", []int32{0, 1, 7, 7}, 0},
	} {
		length, _, _ := strings.Cut(c.config, ", ")
		plain, err := open(t, `{`+clip+`, `+length+`}`, "").Tokenize(c.text)
		if err != nil {
			t.Fatal(err)
		}
		if c.want == nil {
			c.want = plain.IDs
		}
		got, err := open(t, `{`+clip+`, `+c.config+`}`, "").Tokenize(c.text)
		if err != nil || !slices.Equal(got.IDs, c.want) || got.Len() != len(c.want) || got.Cut != c.cut {
			t.Errorf("%s: %q: %d ids %v with %d cut (%v), want %v with %d", c.config, c.text, got.Len(), got.IDs, got.Cut, err, c.want, c.cut)
		}
	}
}

// TestTablesWithRowsToSpare opens a tokenizer with fewer ids than the model has
// rows, saves it and opens it again.
func TestTablesWithRowsToSpare(t *testing.T) {
	p := open(t, `{`+clip+`, "entries": 2000, "pad": 1999}`, "")
	dir := t.TempDir()
	if err := p.Save(dir); err != nil {
		t.Fatal(err)
	}
	again := open(t, string(p.Config()), dir)
	if a, b := p.Layout().Vocab, again.Layout().Vocab; a != 2000 || b != 2000 {
		t.Errorf("vocabularies of %d and %d, want 2000", a, b)
	}
	a, err := p.Tokenize("a red ring")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := again.Tokenize("a red ring"); err != nil || !slices.Equal(a.IDs, b.IDs) {
		t.Errorf("ids %v, after opening %v (%v)", a.IDs, b.IDs, err)
	}
	for _, config := range []string{`{` + clip + `, "entries": 100}`, `{"tokenizer": "nowhere/vocab.json", "entries": 100}`} {
		if _, err := open(t, config, "").Tokenize("a"); err == nil || !strings.Contains(err.Error(), "vocab.json") {
			t.Errorf("%s: error %v, want it to name vocab.json", config, err)
		}
	}
	// A vocabulary that was learned has as many as the config says.
	if _, err := open(t, `{"entries": 2000}`, dir).Tokenize("a"); err == nil || !strings.Contains(err.Error(), "the config says 2000") {
		t.Errorf("error %v, want it to name 2000 entries", err)
	}
}

func TestDropWords(t *testing.T) {
	p := open(t, `{"augment": {"drop_words": 0.5}}`, "")
	rng := rand.New(rand.NewPCG(1, 1))
	kept := 0
	for range 200 {
		words := strings.Fields(p.Augment("one two three four", rng).(string))
		if len(words) == 0 {
			t.Fatal("all words were dropped")
		}
		kept += len(words)
	}
	if kept < 320 || kept > 520 {
		t.Errorf("%d of 800 words were kept, want about half", kept)
	}
}

func TestConfigErrors(t *testing.T) {
	for config, want := range map[string]string{
		`{"vocab": 3}`:                      "vocab",
		`{"length": 1}`:                     "length",
		`{"lenght": 9}`:                     `did you mean "length"`,
		`{"augment": {"drop_words": 1}}`:    "augment.drop_words",
		`{"tokenizer": "nowhere/tok.json"}`: "nowhere/tok.json",
		`{"entries": -1}`:                   "entries",
		`{"pad": -1}`:                       "pad",
		`{"stop": 4096}`:                    "stop: expected an id in [0, 4096)",
	} {
		if _, err := (modality{}).Open(json.RawMessage(config), ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want it to hold %q", config, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("a red ring")
	f.Add("\ufeff\xff\u0301")
	p := open(f, "", "")
	f.Fuzz(func(t *testing.T, in string) {
		v, err := p.Decode(strings.NewReader(in), "f")
		if err != nil {
			return
		}
		if again, err := p.Decode(strings.NewReader(v.(string)), "f"); err != nil || again != v {
			t.Errorf("%q decodes to %q and that to %q (%v)", in, v, again, err)
		}
	})
}

// TestVocabularyIsReadWhenItIsNeeded opens a run folder whose vocabulary
// cannot be read: what does not need it works, what does names it.
func TestVocabularyIsReadWhenItIsNeeded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, file)
	if err := os.WriteFile(path, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := open(t, `{"entries": 300, "length": 8}`, dir)
	if !p.Fitted() || p.Layout().Vocab != 300 {
		t.Errorf("fitted %t, a vocabulary of %d, want true and 300", p.Fitted(), p.Layout().Vocab)
	}
	if _, err := p.Tokenize("a"); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, want it to name %s", err, path)
	}
}
