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
	"math"
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

// sameFiles compares all files of two folders.
func sameFiles(t *testing.T, when string, got, want map[string]string) {
	t.Helper()
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s: %s differs", when, name)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d files, want %d", when, len(got), len(want))
	}
}

// TestEmbedSourceGoesOn stops at every batch in turn and runs again: the files
// are those of a run that was not stopped, the list of bad values included.
func TestEmbedSourceGoesOn(t *testing.T) {
	src, whole := manifest(t, 60, map[int]bool{7: true, 31: true, 32: true, 58: true}), t.TempDir()
	o := EmbedOptions{Batch: 8, PartitionRows: 25, MaxBad: 0.1}
	m := &hashing{fingerprint: "m"}
	if _, err := EmbedSource(t.Context(), m, src, whole, o); err != nil {
		t.Fatal(err)
	}
	want := contents(t, whole)
	for stop := 1; stop <= m.batches; stop++ {
		dir, when := t.TempDir(), fmt.Sprint("stop at batch ", stop)
		ctx, cancel := context.WithCancel(t.Context())
		killed := &hashing{fingerprint: "m", stop: func(b int) {
			if b == stop {
				cancel()
			}
		}}
		if _, err := EmbedSource(ctx, killed, src, dir, o); !errors.Is(err, context.Canceled) {
			t.Fatalf("%s: error %v", when, err)
		}
		for name := range contents(t, dir) {
			if strings.Contains(name, ".tmp-") {
				t.Errorf("%s: %s is left", when, name)
			}
		}
		if _, err := EmbedSource(t.Context(), &hashing{fingerprint: "m"}, src, dir, o); err != nil {
			t.Fatal(err)
		}
		sameFiles(t, when, contents(t, dir), want)
		last := &hashing{fingerprint: "m"}
		if r, err := EmbedSource(t.Context(), last, src, dir, o); err != nil || last.batches > 0 || r.Done != 60 || r.Bad != 4 {
			t.Errorf("%s: a third run embedded %d batches (%+v, %v)", when, last.batches, r, err)
		}
		sameFiles(t, when+", third run", contents(t, dir), want)
	}
}

// TestEmbedSourceRestores takes or damages one file in turn, as a power cut
// may: a rerun embeds its partition again, and no other.
func TestEmbedSourceRestores(t *testing.T) {
	src, dir := manifest(t, 60, map[int]bool{31: true}), t.TempDir()
	o := EmbedOptions{Batch: 100, PartitionRows: 25, MaxBad: 0.1}
	if _, err := EmbedSource(t.Context(), &hashing{fingerprint: "m"}, src, dir, o); err != nil {
		t.Fatal(err)
	}
	want := contents(t, dir)
	for name := range want {
		for what, damage := range map[string]func(path string) error{
			"removed": os.Remove,
			"cut off": func(path string) error { return os.Truncate(path, int64(len(want[name])/2)) },
		} {
			if strings.HasPrefix(name, "embed.json") && what == "cut off" || name == "skipped.tsv" {
				continue // refused; only its messages are lost
			}
			if err := damage(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			m := &hashing{fingerprint: "m"}
			if _, err := EmbedSource(t.Context(), m, src, dir, o); err != nil {
				t.Fatalf("%s %s: %v", name, what, err)
			}
			if most := 2; m.batches > most { // a batch for each modality
				t.Errorf("%s %s: %d batches, want at most %d", name, what, m.batches, most)
			}
			sameFiles(t, name+" "+what, contents(t, dir), want)
		}
	}
}

func TestLibraryRefusesAnothersVectors(t *testing.T) {
	src, dir := manifest(t, 10, nil), t.TempDir()
	if _, err := EmbedSource(t.Context(), &hashing{fingerprint: "m"}, src, dir, EmbedOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLibrary(&hashing{fingerprint: "other"}, dir); err == nil || !strings.Contains(err.Error(), "another model") {
		t.Errorf("another model: %v", err)
	}
	lib, err := OpenLibrary(&hashing{fingerprint: "m"}, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lib.Close()
	z, err := lib.EmbedReader(t.Context(), "words", strings.NewReader("caption 3"), "query")
	if err != nil {
		t.Fatal(err)
	}
	hits, err := lib.Search(z, Options{K: 1, Modality: "words"})
	if err != nil || hits[0].ID != "item3" || hits[0].Score < 0.9999 || hits[0].Text != "caption 3" {
		t.Errorf("the caption finds %+v (%v), want item3", hits, err)
	}
	saved := t.TempDir()
	if err := lib.Save(saved); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLibrary(&hashing{fingerprint: "other"}, saved); err == nil {
		t.Error("a saved library opens for another model")
	}
}

func TestEmbedSourceRefusesBrokenModels(t *testing.T) {
	src := manifest(t, 10, nil)
	if _, err := EmbedSource(t.Context(), &hashing{}, src, t.TempDir(), EmbedOptions{}); err == nil || !strings.Contains(err.Error(), "saved") {
		t.Errorf("a model without a fingerprint: %v", err)
	}
	if _, err := EmbedSource(t.Context(), &notANumber{hashing{fingerprint: "m"}}, src, t.TempDir(), EmbedOptions{}); err == nil || !strings.Contains(err.Error(), "unit length") {
		t.Errorf("a model of NaN: %v", err)
	}
}

// notANumber is a model whose vectors are NaN.
type notANumber struct{ hashing }

func (notANumber) Embed(_ context.Context, _ string, batch []tokenizers.Tokens) ([]float32, error) {
	z := make([]float32, 6*len(batch))
	for i := range z {
		z[i] = float32(math.NaN())
	}
	return z, nil
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
	files := contents(t, dir)
	if files["metadata/metadata_0.parquet"] != "" {
		t.Error("a partition was written though the run failed")
	}
	if strings.Count(files["skipped.tsv"], "damaged") != 2 {
		t.Errorf("the list of a failed run is %q, want two values", files["skipped.tsv"])
	}
	few := manifest(t, 20, map[int]bool{4: true})
	if r, err := EmbedSource(t.Context(), &hashing{fingerprint: "m"}, few, t.TempDir(), EmbedOptions{MaxBad: 0.001}); err != nil || r.Bad != 1 {
		t.Errorf("one bad value of few: %+v, %v; want it skipped", r, err)
	}
	if _, err := EmbedSource(t.Context(), &hashing{fingerprint: "m"}, few, t.TempDir(), EmbedOptions{}); err == nil {
		t.Error("a bad value was skipped though none may be")
	}
}
