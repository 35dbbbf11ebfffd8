package datasets

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// fake is a modality whose values are texts and whose tokens are their bytes.
type fake struct {
	name   string
	inline bool
}

func init() {
	for _, m := range []fake{{"image", false}, {"audio", false}, {"trace", false}, {"text", true}} {
		modalities.Register(m)
	}
}

func (f fake) Name() string                         { return f.name }
func (f fake) Inline() bool                         { return f.inline }
func (f fake) Recognise(name string, _ []byte) bool { return strings.HasSuffix(name, "."+f.name) }
func (f fake) Open(json.RawMessage, string) (modalities.Processor, error) {
	return &fakeProcessor{name: f.name}, nil
}

// fakeProcessor refuses values that begin with "corrupt" and makes no tokens
// of ".". Augmenting appends a random byte.
type fakeProcessor struct {
	name     string
	augments bool
	decoded  atomic.Int64
}

func (p *fakeProcessor) Decode(r io.Reader, name string) (modalities.Value, error) {
	p.decoded.Add(1)
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(string(data), "corrupt") {
		return nil, fmt.Errorf("%s: not a %s", name, p.name)
	}
	return string(data), nil
}

func (p *fakeProcessor) Augment(v modalities.Value, rng *rand.Rand) modalities.Value {
	return v.(string) + string(rune('a'+rng.IntN(26)))
}

func (p *fakeProcessor) Augments() bool { return p.augments }

func (p *fakeProcessor) Tokenize(v modalities.Value) (tokenizers.Tokens, error) {
	var t tokenizers.Tokens
	for _, b := range []byte(strings.TrimPrefix(v.(string), ".")) {
		t.IDs = append(t.IDs, int32(b))
	}
	t.Grid = [2]int{1, len(t.IDs)}
	return t, nil
}

func (p *fakeProcessor) Layout() tokenizers.Layout { return tokenizers.Layout{Vocab: 256} }
func (p *fakeProcessor) Config() json.RawMessage   { return nil }

func processors(names ...string) map[string]modalities.Processor {
	p := map[string]modalities.Processor{}
	for _, n := range names {
		p[n] = &fakeProcessor{name: n}
	}
	return p
}

// write makes files under a new folder, by path, and returns the folder.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// openText opens a manifest of this text; the names in it that end in .png or
// .wav are made as files that hold their own name.
func openText(t *testing.T, name, text string) Source {
	t.Helper()
	files := map[string]string{name: text}
	for _, w := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune("\t\n,\"", r) }) {
		if ext := filepath.Ext(w); ext == ".png" || ext == ".wav" {
			files[w] = w
		}
	}
	src, err := Open(filepath.Join(write(t, files), name))
	if err != nil {
		t.Fatal(err)
	}
	return src
}
