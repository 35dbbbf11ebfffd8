package retrieval

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// hashing is an Embedder of tests: a value's vector is drawn by the hash of
// its bytes. Its modalities are a file ("blob") and an inline one ("words").
type hashing struct {
	fingerprint string
	batches     int
	stop        func(batch int) // called before each batch
}

func (h *hashing) Dim() int                                         { return 6 }
func (h *hashing) Modalities() []string                             { return []string{"blob", "words"} }
func (h *hashing) Processor(m string) (modalities.Processor, error) { return bytesOf{m}, nil }
func (h *hashing) Check(string, tokenizers.Tokens) error            { return nil }
func (h *hashing) Fingerprint() string                              { return h.fingerprint }
func (h *hashing) Embed(ctx context.Context, m string, batch []tokenizers.Tokens) ([]float32, error) {
	h.batches++
	if h.stop != nil {
		h.stop(h.batches)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var z []float32
	for _, t := range batch {
		f := fnv.New64a()
		fmt.Fprint(f, m, t.IDs)
		z = append(z, units(rand.New(rand.NewPCG(f.Sum64(), 1)), 1, 6)...)
	}
	return z, nil
}

// bytesOf is a processor whose tokens are a value's bytes.
type bytesOf struct{ name string }

func (b bytesOf) Name() string                                               { return b.name }
func (b bytesOf) Inline() bool                                               { return b.name == "words" }
func (b bytesOf) Recognise(name string, _ []byte) bool                       { return strings.HasSuffix(name, "."+b.name) }
func (b bytesOf) Open(json.RawMessage, string) (modalities.Processor, error) { return b, nil }
func (b bytesOf) Augments() bool                                             { return false }
func (b bytesOf) Augment(v modalities.Value, _ *rand.Rand) modalities.Value  { return v }
func (b bytesOf) Layout() tokenizers.Layout {
	return tokenizers.Layout{Vocab: 256, Grid: [2]int{1, 99}}
}
func (b bytesOf) Config() json.RawMessage { return nil }

func (b bytesOf) Decode(r io.Reader, name string) (modalities.Value, error) {
	data, err := io.ReadAll(r)
	if err == nil && strings.HasPrefix(string(data), "bad") {
		err = fmt.Errorf("%s: damaged", name)
	}
	return data, err
}

func (b bytesOf) Tokenize(v modalities.Value) (tokenizers.Tokens, error) {
	var t tokenizers.Tokens
	for _, c := range v.([]byte) {
		t.IDs = append(t.IDs, int32(c))
	}
	t.Grid = [2]int{1, len(t.IDs)}
	return t, nil
}

func init() {
	modalities.Register(bytesOf{"blob"})
	modalities.Register(bytesOf{"words"})
}

// manifest makes a source of n rows in a folder: every third row has no file,
// every fifth shares one, and those that bad names are damaged.
func manifest(t *testing.T, n int, bad map[int]bool) datasets.Source {
	t.Helper()
	dir := t.TempDir()
	var m strings.Builder
	m.WriteString("id\tblob\twords\n")
	for i := range n {
		file := fmt.Sprintf("%d.blob", i-i%5)
		if i%3 == 2 {
			file = ""
		}
		content := fmt.Sprint("content ", i)
		if bad[i] {
			file, content = fmt.Sprintf("bad%d.blob", i), "bad"
		}
		if file != "" {
			if _, err := os.Stat(filepath.Join(dir, file)); errors.Is(err, fs.ErrNotExist) {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		fmt.Fprintf(&m, "item%d\t%s\tcaption %d\n", i, file, i%40)
	}
	path := filepath.Join(dir, "manifest.tsv")
	if err := os.WriteFile(path, []byte(m.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	src, err := datasets.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// contents reads all files of a folder.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		all[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestEmbedSourceKeepsTheOrder(t *testing.T) {
	src, dir := manifest(t, 100, nil), t.TempDir()
	m := &hashing{fingerprint: "m"}
	r, err := EmbedSource(t.Context(), m, src, dir, EmbedOptions{Batch: 7, PartitionRows: 30})
	if err != nil {
		t.Fatal(err)
	}
	if r.Vectors["words"] != 100 || r.Vectors["blob"] != 67 || r.Bad != 0 {
		t.Errorf("report %+v, want 100 texts and 67 blobs", r)
	}
	row := 0
	for part := range 4 {
		z, dim, _, err := openNPY(vectorsPath(dir, "words", fmt.Sprint(part)))
		if err != nil {
			t.Fatal(err)
		}
		for i := range len(z) / dim {
			want, _ := m.Embed(t.Context(), "words", []tokenizers.Tokens{mustTokenize(fmt.Sprint("caption ", row%40))})
			for j := range want {
				if z[i*dim+j] != want[j] {
					t.Fatalf("partition %d, row %d is not the vector of caption %d", part, i, row%40)
				}
			}
			row++
		}
	}
	ix, err := Open(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	if ix.Len("words") != 100 || ix.Len("blob") != 67 {
		t.Errorf("the index has %d texts and %d blobs", ix.Len("words"), ix.Len("blob"))
	}
}

func mustTokenize(s string) tokenizers.Tokens {
	t, err := bytesOf{"words"}.Tokenize([]byte(s))
	if err != nil {
		panic(err)
	}
	return t
}

// TestEmbedSourceGoesOn stops at every batch in turn and runs again.
func TestEmbedSourceGoesOn(t *testing.T) {
	src, whole := manifest(t, 60, nil), t.TempDir()
	o := EmbedOptions{Batch: 8, PartitionRows: 25}
	m := &hashing{fingerprint: "m"}
	if _, err := EmbedSource(t.Context(), m, src, whole, o); err != nil {
		t.Fatal(err)
	}
	want := contents(t, whole)
	for stop := 1; stop <= m.batches; stop++ {
		dir := t.TempDir()
		ctx, cancel := context.WithCancel(t.Context())
		killed := &hashing{fingerprint: "m", stop: func(b int) {
			if b == stop {
				cancel()
			}
		}}
		if _, err := EmbedSource(ctx, killed, src, dir, o); !errors.Is(err, context.Canceled) {
			t.Fatalf("stop at batch %d: error %v", stop, err)
		}
		again := &hashing{fingerprint: "m"}
		if _, err := EmbedSource(t.Context(), again, src, dir, o); err != nil {
			t.Fatal(err)
		}
		got := contents(t, dir)
		for name := range want {
			if got[name] != want[name] {
				t.Errorf("stop at batch %d: %s differs", stop, name)
			}
		}
		if len(got) != len(want) {
			t.Errorf("stop at batch %d: %d files, want %d", stop, len(got), len(want))
		}
		last := &hashing{fingerprint: "m"}
		if r, err := EmbedSource(t.Context(), last, src, dir, o); err != nil || last.batches > 0 || r.Done != 60 {
			t.Errorf("a third run embedded %d batches (%+v, %v)", last.batches, r, err)
		}
	}
}

func TestEmbedSourceRefusesAnothersFolder(t *testing.T) {
	src, dir := manifest(t, 10, nil), t.TempDir()
	if _, err := EmbedSource(t.Context(), &hashing{fingerprint: "m"}, src, dir, EmbedOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := EmbedSource(t.Context(), &hashing{fingerprint: "other"}, src, dir, EmbedOptions{}); err == nil || !strings.Contains(err.Error(), "another model") {
		t.Errorf("another model: %v", err)
	}
	if _, err := EmbedSource(t.Context(), &hashing{fingerprint: "m"}, manifest(t, 11, nil), dir, EmbedOptions{}); err == nil || !strings.Contains(err.Error(), "another source") {
		t.Errorf("another source: %v", err)
	}
}

func TestEmbedSourceSkipsAndLists(t *testing.T) {
	src, dir := manifest(t, 200, map[int]bool{4: true, 120: true}), t.TempDir()
	r, err := EmbedSource(t.Context(), &hashing{fingerprint: "m"}, src, dir, EmbedOptions{MaxBad: 0.01})
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile(filepath.Join(dir, "skipped.tsv"))
	if err != nil || r.Bad != 2 || bytes.Count(list, []byte("damaged")) != 2 || !bytes.Contains(list, []byte("bad120.blob")) {
		t.Errorf("%d bad values, list %q (%v)", r.Bad, list, err)
	}
	table, err := readTable(metadataPath(dir, "0"))
	if err != nil {
		t.Fatal(err)
	}
	if blob, words := table.cells["blob"].row[4], table.cells["words"].row[4]; blob != -1 || words != 4 {
		t.Errorf("row 4 points at blob %d and words %d", blob, words)
	}
	dir = t.TempDir()
	if _, err := EmbedSource(t.Context(), &hashing{fingerprint: "m"}, src, dir, EmbedOptions{MaxBad: 0.001}); err == nil || !strings.Contains(err.Error(), "--max-bad") {
		t.Errorf("too many bad values: %v", err)
	}
	if files := contents(t, dir); files["metadata/metadata_0.parquet"] != "" {
		t.Error("a partition was written though the run failed")
	}
}
