package subword

import (
	"encoding/json"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/trained.json")

// goldens are what the Python library gives; testdata/make_goldens.py.
type goldens struct {
	Version string               `json:"version"`
	Texts   []string             `json:"texts"`
	IDs     map[string][][]int32 `json:"ids"`
	Plain   map[string][][]int32 `json:"plain"`
	// CLIP is the tokenizer.json of clip/ without its model.
	CLIP map[string]any `json:"clip_parts"`
}

// fixture reads a tokenizer of testdata by its name in the goldens.
func fixture(t testing.TB, name string) *Tokenizer {
	t.Helper()
	read := func() (*Tokenizer, error) { return Load(filepath.Join("testdata", name+".json")) }
	if name == "clip_folder" {
		read = func() (*Tokenizer, error) { return CLIP("testdata/clip/vocab.json", "testdata/clip/merges.txt") }
	}
	tok, err := read()
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func readGoldens(t testing.TB) goldens {
	t.Helper()
	data, err := os.ReadFile("testdata/ids.json")
	if err != nil {
		t.Fatal(err)
	}
	var g goldens
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

func TestIDsEqualPythons(t *testing.T) {
	g := readGoldens(t)
	for name, want := range g.IDs {
		tok := fixture(t, name)
		for i, text := range g.Texts {
			for range 2 { // the second time from the cache
				if got := tok.Encode(text); !slices.Equal(got, want[i]) {
					t.Errorf("%s: %q: ids %v, tokenizers %s gives %v (%q)", name, text, got, g.Version, want[i], tok.Decode(want[i]))
					break
				}
			}
			if plain := g.Plain[name]; plain != nil {
				if got := tok.append(nil, text); !slices.Equal(got, plain[i]) {
					t.Errorf("%s: %q without special tokens: ids %v, want %v", name, text, got, plain[i])
				}
			}
		}
	}
}

// TestCLIP holds the file that is made of CLIP's two to transformers', and
// reads it back.
func TestCLIP(t *testing.T) {
	tok := fixture(t, "clip_folder")
	var made, model map[string]any
	if err := json.Unmarshal(tok.source, &made); err != nil {
		t.Fatal(err)
	}
	model = made["model"].(map[string]any)
	delete(made, "model")
	if want := readGoldens(t).CLIP; !reflect.DeepEqual(made, want) {
		t.Errorf("the file is %v, transformers' %v", made, want)
	}
	if model["unk_token"] != clipEnd || model["end_of_word_suffix"] != "</w>" {
		t.Errorf("unk_token %v, end_of_word_suffix %v", model["unk_token"], model["end_of_word_suffix"])
	}
	path := filepath.Join(t.TempDir(), "tokenizer.json")
	if err := tok.Save(path); err != nil {
		t.Fatal(err)
	}
	again, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range readGoldens(t).Texts {
		if a, b := tok.Encode(text), again.Encode(text); !slices.Equal(a, b) {
			t.Errorf("%q: ids %v, %v after saving", text, a, b)
		}
	}
}

func TestBadCLIPFilesAreErrors(t *testing.T) {
	for name, c := range map[string]struct{ vocab, merges, want string }{
		"no json":         {`[`, "", "vocab.json: "},
		"no end token":    {`{"<|startoftext|>": 0}`, "", `"<|endoftext|>"`},
		"a lone subword":  {`{"<|startoftext|>": 0, "<|endoftext|>": 1}`, "#version: 0.2\na\n", `merges.txt: line 2: expected two subwords, found "a"`},
		"three subwords":  {`{"<|startoftext|>": 0, "<|endoftext|>": 1}`, "a b c\n", "merges.txt: line 1"},
		"unknown subword": {`{"<|startoftext|>": 0, "<|endoftext|>": 1}`, "a b\n", "merges.txt: model: merges[0]"},
	} {
		dir := t.TempDir()
		vocab, merges := filepath.Join(dir, "vocab.json"), filepath.Join(dir, "merges.txt")
		if err := os.WriteFile(vocab, []byte(c.vocab), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := CLIP(vocab, merges); err == nil {
			t.Error("no merges.txt, and no error")
		}
		if err := os.WriteFile(merges, []byte(c.merges), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := CLIP(vocab, merges); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want it to hold %s", name, err, c.want)
		}
	}
}

// TestDamagedCharsmaps reads tables of noise, which must not be left.
func TestDamagedCharsmaps(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		units := make([]uint32, 1+rng.IntN(300))
		for i := range units {
			// Small offsets and values, and labels that are often right.
			units[i] = uint32(i)&0xff | rng.Uint32()&(1<<31|1<<18-1)&^0xff>>rng.IntN(2)
		}
		c := &charsmap{units: units, replacements: "a\x00bc\x00d"}
		for _, text := range []string{"abc", "e\u0301", "\r\n", "\x00", "日本", "\xff"} {
			c.normalize(text)
		}
	}
}

// TestOldFiles reads models that do not state their type.
func TestOldFiles(t *testing.T) {
	for _, name := range []string{"bert", "clip", "siglip"} {
		tok := fixture(t, name)
		var parts, model map[string]json.RawMessage
		if err := json.Unmarshal(tok.source, &parts); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(parts["model"], &model); err != nil {
			t.Fatal(err)
		}
		delete(model, "type")
		var err error
		if parts["model"], err = json.Marshal(model); err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(parts)
		if err != nil {
			t.Fatal(err)
		}
		old, err := Parse(name, data)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, text := range readGoldens(t).Texts {
			if a, b := tok.Encode(text), old.Encode(text); !slices.Equal(a, b) {
				t.Errorf("%s: %q: ids %v, %v without a type", name, text, a, b)
			}
		}
	}
}

// captions are texts to learn from.
var captions = []string{
	"a small red circle on the left", "a large red square on the right", "two small blue rings",
	"ein kleiner roter Kreis", "маленький красный круг", "小さな赤い円", "دائرة حمراء صغيرة", "a small red circle",
}

func TestTrained(t *testing.T) {
	tok, err := Train(slices.Values(captions), 330)
	if err != nil {
		t.Fatal(err)
	}
	path := "testdata/trained.json"
	if *update {
		if err := tok.Save(path); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(tok.source) {
		t.Errorf("the vocabulary differs from %s, which Python has read; see testdata/make_goldens.py", path)
	}
	if tok.VocabSize() > 330 || tok.VocabSize() < 280 {
		t.Errorf("%d ids, want at most 330 and not many fewer", tok.VocabSize())
	}
	reversed := slices.Clone(captions)
	slices.Reverse(reversed)
	again, err := Train(slices.Values(reversed), 330)
	if err != nil || string(again.source) != string(tok.source) {
		t.Errorf("the order of the texts changes the vocabulary (%v)", err)
	}
	saved := filepath.Join(t.TempDir(), "tokenizer.json")
	if err := tok.Save(saved); err != nil {
		t.Fatal(err)
	}
	opened, err := Load(saved)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range append(captions, "never seen: ÿ 😀 \x01") {
		a, b := tok.Encode(text), opened.Encode(text)
		if !reflect.DeepEqual(a, b) || a[0] != 0 || a[len(a)-1] != 1 {
			t.Errorf("%q: ids %v, %v after saving", text, a, b)
		}
	}
	if n := len(tok.Encode("a small red circle")); n > 8 {
		t.Errorf("a caption that was learned from has %d ids: nothing was merged", n)
	}
}

func TestTrainRefuses(t *testing.T) {
	if _, err := Train(slices.Values(captions), 100); err == nil {
		t.Error("a vocabulary without room for the bytes")
	}
	if _, err := Train(slices.Values([]string{}), 300); err == nil {
		t.Error("a vocabulary of no texts")
	}
}

func TestTruncation(t *testing.T) {
	tok, err := Load("testdata/bert.json")
	if err != nil {
		t.Fatal(err)
	}
	whole := tok.Encode("the quick brown fox jumps")
	ids, cut := tok.EncodeTruncated("the quick brown fox jumps", 5)
	want := append(slices.Clone(whole[:4]), whole[len(whole)-1])
	if !slices.Equal(ids, want) || cut != len(whole)-5 {
		t.Errorf("ids %v with %d cut, want %v and %d", ids, cut, want, len(whole)-5)
	}
	if ids, cut := tok.EncodeTruncated("the", 99); cut != 0 || !slices.Equal(ids, tok.Encode("the")) {
		t.Errorf("a short text: ids %v with %d cut", ids, cut)
	}
}

func TestUnknownComponentsAreNamed(t *testing.T) {
	good, err := os.ReadFile("testdata/byte_level.json")
	if err != nil {
		t.Fatal(err)
	}
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(good, &parts); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ key, value, want string }{
		{"normalizer", `{"type": "Nmt"}`, `normalizer: "Nmt"`},
		{"normalizer", `{"type": "Precompiled", "precompiled_charsmap": null}`, `Precompiled: precompiled_charsmap: 0 bytes`},
		{"normalizer", `{"type": "Precompiled", "precompiled_charsmap": "/////w=="}`, `a trie of 4294967295 bytes in 0`},
		{"normalizer", `{"type": "Precompiled", "precompiled_charsmap": "?"}`, `precompiled_charsmap`},
		{"normalizer", `{"type": "Replace", "pattern": {"Regex": "[a-z]"}, "content": ""}`, "Replace"},
		{"normalizer", `{"type": "Replace", "pattern": {"Regex": "[\\s]"}, "content": ""}`, "Replace"},
		{"normalizer", `{"type": "Replace", "pattern": {"Regex": "[^!]"}, "content": ""}`, "Replace"},
		{"normalizer", `{"type": "Replace", "pattern": {"Regex": "a(?=b)"}, "content": ""}`, "Replace"},
		{"pre_tokenizer", `{"type": "UnicodeScripts"}`, `pre_tokenizer: "UnicodeScripts"`},
		{"pre_tokenizer", `{"type": "Split", "pattern": {"Regex": "x+"}, "behavior": "Isolated", "invert": false}`, "Split"},
		{"model", `{"type": "WordLevel", "vocab": {}}`, `model: "WordLevel"`},
		{"model", `{"vocab": {}}`, `model: no "type"`},
		{"model", `{"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}`, "merges[0]"},
		{"model", `{"type": "BPE", "vocab": {"a": -5}, "merges": []}`, "id -5"},
		{"model", `{"type": "WordPiece", "unk_token": "?", "vocab": {}}`, `"?"`},
		{"model", `{"type": "Unigram", "unk_id": 3, "vocab": [["a", 0.5]]}`, "unk_id"},
		{"post_processor", `{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}]}`, `"x"`},
		{"odd", `1`, `"odd"`},
	} {
		changed := map[string]json.RawMessage{}
		for k, v := range parts {
			changed[k] = v
		}
		changed[c.key] = json.RawMessage(c.value)
		data, err := json.Marshal(changed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse("t.json", data); err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "t.json: ") {
			t.Errorf("%s %s: error %v, want it to hold %s", c.key, c.value, err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"bert", "unigram", "trained", "siglip"} {
		data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if tok, err := Parse("fuzz", data); err == nil {
			tok.Encode("some text, 12 <s> 素早い")
		}
	})
}

func FuzzEncode(f *testing.F) {
	g := readGoldens(f)
	for _, text := range g.Texts {
		f.Add(text)
	}
	var toks []*Tokenizer
	for name := range g.IDs {
		toks = append(toks, fixture(f, name))
	}
	for library, name := range map[string]string{"openclip": "clip", "siglip": "siglip"} {
		tok := fixture(f, name)
		if err := tok.Follow(library); err != nil {
			f.Fatal(err)
		}
		toks = append(toks, tok)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, tok := range toks {
			for _, id := range tok.Encode(text) {
				if id < 0 || int(id) >= tok.VocabSize() {
					t.Fatalf("%q: id %d of %d", text, id, tok.VocabSize())
				}
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	tok, err := Train(slices.Values(captions), 330)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		for _, c := range captions {
			tok.Encode(c)
		}
	}
	b.ReportMetric(float64(len(captions))*float64(b.N)/b.Elapsed().Seconds(), "texts/s")
}
