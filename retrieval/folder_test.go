package retrieval

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

func TestSaveAndOpen(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	ix, _, _ := mixed(t, rng, 300, 16, 1)
	ix.Model = "weights"
	dir := t.TempDir()
	if err := ix.Save(dir); err != nil {
		t.Fatal(err)
	}
	again, err := Open(dir, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.Model != "weights" || again.Dim() != 16 || !slices.Equal(again.Modalities(), []string{"audio", "image", "text"}) {
		t.Errorf("opened as %q, dim %d, %v", again.Model, again.Dim(), again.Modalities())
	}
	query := units(rng, 1, 16)
	same := func(what string) {
		t.Helper()
		want, _ := ix.Search(nil, query, Options{K: 400})
		got, err := again.Search(nil, query, Options{K: 400})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: a saved index answers differently (%v)", what, err)
		}
	}
	same("opened")

	// What is added afterwards stands beside the file, and is saved with it.
	more, entries := units(rng, 2, 16), []Entry{{ID: "new", Modality: "image"}, {ID: "newer", Modality: "sonar"}}
	for _, x := range []*Index{ix, again} {
		if err := x.Add(more, entries); err != nil {
			t.Fatal(err)
		}
	}
	same("added to")
	if err := again.Save(dir); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("saving over embeddings: %v", err)
	}
	dir = t.TempDir()
	if err := again.Save(dir); err != nil {
		t.Fatal(err)
	}
	again.Close()
	if again, err = Open(dir, 1); err != nil {
		t.Fatal(err)
	}
	same("saved again")
}

// writeUnits writes n vectors of dim values.
func writeUnits(path string, n, dim int) error {
	z := units(rand.New(rand.NewPCG(9, 9)), n, dim)
	return writeNPY(path, dim, slices.Collect(slices.Chunk(z, dim)))
}

// TestDamagedFolders opens folders in which a file is cut off, missing,
// another one's or nonsense.
func TestDamagedFolders(t *testing.T) {
	ix, _, _ := mixed(t, rand.New(rand.NewPCG(4, 1)), 60, 8, 1)
	whole := t.TempDir()
	if err := ix.Save(whole); err != nil {
		t.Fatal(err)
	}
	text := func(dir string) string { return vectorsPath(dir, "text", "0") }
	// patch changes bytes of a file, from its end when at < 0.
	patch := func(path string, at int, with string) error {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if at < 0 {
			at += len(data)
		}
		copy(data[at:], with)
		return os.WriteFile(path, data, 0o644)
	}
	// edit changes the metadata.
	edit := func(f func(t *table)) func(string) error {
		return func(dir string) error {
			t, err := readTable(metadataPath(dir, "0"))
			if err != nil {
				return err
			}
			f(t)
			return t.write(metadataPath(dir, "0"))
		}
	}
	first := func(t *table, modality string) *int64 {
		rows := t.cells[modality].row
		return &rows[slices.IndexFunc(rows, func(at int64) bool { return at >= 0 })]
	}
	for name, c := range map[string]struct {
		damage func(dir string) error
		want   string
	}{
		"empty":           {func(dir string) error { return os.RemoveAll(filepath.Join(dir, "metadata")) }, "no embeddings"},
		"missing vectors": {func(dir string) error { return os.Remove(vectorsPath(dir, "image", "0")) }, "image_emb_0.npy"},
		"a folder":        {func(dir string) error { os.Remove(text(dir)); return os.Mkdir(text(dir), 0o755) }, "text_emb_0.npy: not a regular file"},
		"cut off":         {func(dir string) error { return os.Truncate(text(dir), 200) }, "text_emb_0.npy: 72 bytes of values"},
		"cut header":      {func(dir string) error { return os.Truncate(text(dir), 20) }, "text_emb_0.npy: cut off"},
		"empty vectors":   {func(dir string) error { return os.Truncate(text(dir), 0) }, "text_emb_0.npy: not a .npy"},
		"doubles":         {func(dir string) error { return patch(text(dir), 10, "{'descr': '<f8'") }, "text_emb_0.npy: expected float32"},
		"NaN":             {func(dir string) error { return patch(text(dir), -4, "\xff\xff\xff\xff") }, "text_emb_0.npy: vector"},
		"fewer vectors":   {func(dir string) error { return writeUnits(vectorsPath(dir, "audio", "0"), 3, 8) }, "audio_emb_0.npy"},
		"more vectors":    {func(dir string) error { return writeUnits(vectorsPath(dir, "audio", "0"), 60, 8) }, "has no row in"},
		"other dimension": {func(dir string) error { return writeUnits(text(dir), ix.Len("text"), 4) }, "vectors of 4 values, expected 8"},
		"no parquet":      {func(dir string) error { return os.WriteFile(metadataPath(dir, "0"), []byte("PAR1junkPAR1"), 0o644) }, "metadata_0.parquet"},
		"cut parquet":     {func(dir string) error { return os.Truncate(metadataPath(dir, "0"), 1000) }, "metadata_0.parquet"},
		"huge footer":     {func(dir string) error { return patch(metadataPath(dir, "0"), -8, "\xff\xff\xff\x7f") }, "not a whole parquet file"},
		"empty parquet":   {func(dir string) error { return os.Truncate(metadataPath(dir, "0"), 0) }, "metadata_0.parquet"},
		"no ids":          {func(dir string) error { return otherColumns(dir) }, `metadata_0.parquet: no column "id"`},
		"row too large":   {edit(func(t *table) { *first(t, "text") = 1000 }), "points at vector 1000"},
		"row negative":    {edit(func(t *table) { *first(t, "text") = -2 }), "points at vector -2"},
		"row twice":       {edit(func(t *table) { *first(t, "text") = 1 }), "second that points at vector 1"},
		"row missing":     {edit(func(t *table) { *first(t, "text") = -1 }), "vector 0 has no row"},
		"no vectors":      {edit(func(t *table) { clear(t.cells) }), "none of the 60 rows has a vector"},
		"other job":       {func(dir string) error { return os.WriteFile(statePath(dir), []byte(`{"modle": "x"}`), 0o644) }, "embed.json"},
		"not finished": {func(dir string) error {
			return state{Model: "m", Source: "s", Rows: 90, PartitionRows: 60}.write(dir)
		}, "60 of 90 rows"},
	} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
			t.Fatal(err)
		}
		if err := c.damage(dir); err != nil {
			t.Fatal(err)
		}
		_, err := Open(dir, 1)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one line with %q", name, err, c.want)
		}
	}
}

// otherColumns writes metadata of another kind.
func otherColumns(dir string) error {
	type other struct {
		URL     string `parquet:"url"`
		Caption string `parquet:"caption"`
	}
	return parquet.WriteFile(metadataPath(dir, "0"), []other{{"u", "c"}})
}

// Other writers' columns are optional, dictionary-encoded, compressed, and
// more than ours.
func TestMetadataOfOthers(t *testing.T) {
	type other struct {
		ID      string  `parquet:"id,dict"`
		Caption *string `parquet:"caption,optional,zstd"`
		Path    string  `parquet:"image_path,snappy"`
		Row     *int64  `parquet:"image_row,optional"`
		Width   int32   `parquet:"width"`
		Tags    []string
	}
	caption, row := "a ring", int64(0)
	path := filepath.Join(t.TempDir(), "m.parquet")
	err := parquet.WriteFile(path, []other{{ID: "a", Path: "a.png", Tags: []string{"x", "y"}}, {"b", &caption, "b.png", &row, 3, nil}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := readTable(path)
	if err != nil {
		t.Fatal(err)
	}
	want := newTable(2, []string{"image"})
	copy(want.id, []string{"a", "b"})
	want.caption[1] = caption
	want.cells["image"] = &cells{path: []string{"a.png", "b.png"}, row: []int64{-1, 0}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	type wrong struct {
		ID      string `parquet:"id"`
		Caption string `parquet:"caption"`
		Row     string `parquet:"image_row"`
	}
	if err := parquet.WriteFile(path, []wrong{{"a", "b", "c"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := readTable(path); err == nil || !strings.Contains(err.Error(), `column "image_row": expected 64-bit whole numbers`) {
		t.Errorf("row numbers that are strings: %v", err)
	}
}

// A table of more rows than the reader takes at a time comes back whole.
func TestTableRoundTrip(t *testing.T) {
	for _, n := range []int{1, 255, 256, 257, 3000} {
		want := newTable(n, []string{"image", "x-ray"})
		for i := range n {
			want.id[i], want.split[i], want.lang[i], want.caption[i] = fmt.Sprint(i), "test", "en", strings.Repeat("ö", i%7)
			want.cells["image"].path[i], want.cells["image"].row[i] = fmt.Sprint(i, ".png"), int64(i)
		}
		path := filepath.Join(t.TempDir(), "m.parquet")
		if err := want.write(path); err != nil {
			t.Fatal(err)
		}
		got, err := readTable(path)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%d rows came back as %d, %v (%v)", n, got.n, slices.Collect(maps.Keys(got.cells)), err)
		}
	}
}

// The header is the one that NumPy writes, so that its values start at a
// multiple of 64 bytes.
func TestNPYBytes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.npy")
	if err := writeNPY(path, 2, [][]float32{{1, -2}, {0.5, 0}, {3, 4}}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	header := "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }"
	want := "\x93NUMPY\x01\x00\x76\x00" + header + strings.Repeat(" ", 128-10-len(header)-1) + "\n" +
		"\x00\x00\x80\x3f\x00\x00\x00\xc0\x00\x00\x00\x3f\x00\x00\x00\x00\x00\x00\x40\x40\x00\x00\x80\x40"
	if string(data) != want {
		t.Errorf("got %q, want %q", data, want)
	}
}

// The bytes of a file are values wherever they stand in memory.
func TestFloatsAnywhere(t *testing.T) {
	data := []byte("....\x00\x00\x80\x3f\x00\x00\x00\xc0")
	for at := range 4 {
		moved := make([]byte, len(data)+4)[at:]
		copy(moved, data[4:])
		if x := floats(moved[:8]); !slices.Equal(x, []float32{1, -2}) {
			t.Errorf("at %d: %v", at, x)
		}
	}
}

func FuzzNPY(f *testing.F) {
	path := filepath.Join(f.TempDir(), "x.npy")
	if err := writeUnits(path, 3, 4); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:70])
	f.Add([]byte(strings.Replace(string(data), "(3, 4)", fmt.Sprintf("(%d, 1)", math.MaxInt), 1)))
	f.Fuzz(func(t *testing.T, data []byte) {
		z, dim, err := parseNPY(data)
		if err == nil && (dim < 1 || len(z)%dim != 0 || 4*len(z) > len(data)) {
			t.Errorf("%d values of %d in %d bytes", len(z), dim, len(data))
		}
	})
}

func FuzzMetadata(f *testing.F) {
	path := filepath.Join(f.TempDir(), "m.parquet")
	t := newTable(3, []string{"image"})
	copy(t.id, []string{"a", "b", "c"})
	if err := t.write(path); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:len(data)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parseTable(data)
		if err != nil {
			return
		}
		for _, c := range got.cells {
			if len(got.id) != got.n || len(got.caption) != got.n || len(c.row) != got.n || len(c.path) != got.n {
				t.Errorf("columns of other lengths than %d", got.n)
			}
		}
	})
}
