package retrieval

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/onetrunk/onetrunk/tensor"
)

// units makes n unit vectors of dim values.
func units(rng *rand.Rand, n, dim int) []float32 {
	x := make([]float32, n*dim)
	for i := range n {
		v := x[i*dim : (i+1)*dim]
		var norm float64
		for j := range v {
			v[j] = float32(rng.NormFloat64())
			norm += float64(v[j]) * float64(v[j])
		}
		for j := range v {
			v[j] /= float32(math.Sqrt(norm))
		}
	}
	return x
}

// mixed makes an index of n vectors of three modalities.
func mixed(t testing.TB, rng *rand.Rand, n, dim, threads int) (*Index, []float32, []Entry) {
	vectors := units(rng, n, dim)
	entries := make([]Entry, n)
	for i := range entries {
		m := []string{"audio", "image", "text"}[rng.IntN(3)]
		entries[i] = Entry{ID: fmt.Sprint("item", i), Modality: m, Path: fmt.Sprint("path", i), Text: fmt.Sprint("caption ", i), Lang: []string{"en", "de"}[rng.IntN(2)]}
	}
	ix := NewIndex(dim, threads)
	if err := ix.Add(vectors, entries); err != nil {
		t.Fatal(err)
	}
	return ix, vectors, entries
}

func TestSearchEqualsSorting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		n := rapid.IntRange(1, 3*block).Draw(t, "n")
		dim := rapid.IntRange(1, 40).Draw(t, "dim")
		k := rapid.IntRange(1, 30).Draw(t, "k")
		modality := rapid.SampledFrom([]string{"", "audio", "image"}).Draw(t, "modality")
		german := rapid.Bool().Draw(t, "german")
		vectors := units(rng, n, dim)
		entries := make([]Entry, n)
		for i := range entries {
			if i > 0 && rng.IntN(3) == 0 { // scores that are equal
				copy(vectors[i*dim:(i+1)*dim], vectors[rng.IntN(i)*dim:])
			}
			entries[i] = Entry{ID: fmt.Sprint(i), Modality: []string{"audio", "image"}[rng.IntN(2)], Lang: []string{"en", "de"}[rng.IntN(2)]}
		}
		ix := NewIndex(dim, 2)
		if err := ix.Add(vectors, entries); err != nil {
			t.Fatal(err)
		}
		query := units(rng, 1, dim)
		o := Options{K: k, Modality: modality}
		if german {
			o.Filter = func(e *Entry) bool { return e.Lang == "de" }
		}
		got, err := ix.Search(nil, query, o)
		if err != nil {
			if modality != "" && ix.Len(modality) == 0 {
				return
			}
			t.Fatal(err)
		}
		var want []Hit
		for _, m := range []string{"audio", "image"} { // segments stand in this order
			for i, e := range entries {
				if e.Modality != m || (modality != "" && modality != m) || (german && e.Lang != "de") {
					continue
				}
				var s [1]float32
				tensor.DotRows(s[:], vectors[i*dim:(i+1)*dim], query)
				want = append(want, Hit{e, s[0]})
			}
		}
		slices.SortStableFunc(want, func(a, b Hit) int {
			switch {
			case a.Score > b.Score:
				return -1
			case a.Score < b.Score:
				return 1
			}
			return 0
		})
		want = want[:min(k, len(want))]
		if len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

func TestSearchAllocatesNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	ix, _, _ := mixed(t, rng, 5000, 64, 2)
	query := units(rng, 1, 64)
	hits := make([]Hit, 0, 10)
	if n := testing.AllocsPerRun(50, func() {
		var err error
		if hits, err = ix.Search(hits[:0], query, Options{K: 10}); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%g allocations a query", n)
	}
}

func TestSearchFromManyGoroutines(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 1))
	ix, _, _ := mixed(t, rng, 3000, 32, 2)
	queries := units(rng, 8, 32)
	var want [8][]Hit
	for i := range want {
		want[i], _ = ix.Search(nil, queries[i*32:(i+1)*32], Options{})
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for range 20 {
				got, err := ix.Search(nil, queries[g*32:(g+1)*32], Options{})
				if err != nil || !reflect.DeepEqual(got, want[g]) {
					t.Errorf("query %d: %v, %v", g, got, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestSaveAndOpen(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	ix, _, _ := mixed(t, rng, 300, 16, 1)
	dir := t.TempDir()
	if err := ix.Save(dir); err != nil {
		t.Fatal(err)
	}
	again, err := Open(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	query := units(rng, 1, 16)
	want, _ := ix.Search(nil, query, Options{K: 300})
	got, err := again.Search(nil, query, Options{K: 300})
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("a saved index answers differently (%v)", err)
	}
}

func TestMistakes(t *testing.T) {
	ix := NewIndex(3, 1)
	if err := ix.Add([]float32{1, 0, 0, 0.5, 0, 0}, []Entry{{Modality: "a"}, {Modality: "a"}}); err == nil || ix.Len("") != 0 {
		t.Error("a vector of another length was added")
	}
	if err := ix.Add([]float32{float32(math.NaN()), 0, 0}, []Entry{{Modality: "a"}}); err == nil {
		t.Error("NaN was added")
	}
	if err := ix.Add([]float32{1, 0, 0}, []Entry{{Modality: "a"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := ix.Search(nil, []float32{1, 0}, Options{}); err == nil {
		t.Error("a query of another length was taken")
	}
	if _, err := ix.Search(nil, []float32{1, 0, 0}, Options{Modality: "b"}); err == nil || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("an unknown modality: %v", err)
	}
}

// TestDamagedFolders opens folders in which a file is cut off, missing,
// another one's or nonsense.
func TestDamagedFolders(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 1))
	ix, _, _ := mixed(t, rng, 60, 8, 1)

	for name, c := range map[string]struct {
		damage func(dir string) error
		want   string
	}{
		"empty":           {func(dir string) error { return os.RemoveAll(filepath.Join(dir, "metadata")) }, "no embeddings"},
		"missing vectors": {func(dir string) error { return os.Remove(vectorsPath(dir, "image", "0")) }, "image_emb_0.npy"},
		"cut off":         {func(dir string) error { return os.Truncate(vectorsPath(dir, "text", "0"), 200) }, "text_emb_0.npy"},
		"cut header":      {func(dir string) error { return os.Truncate(vectorsPath(dir, "text", "0"), 20) }, "text_emb_0.npy"},
		"no parquet":      {func(dir string) error { return os.WriteFile(metadataPath(dir, "0"), []byte("PAR1junkPAR1"), 0o644) }, "metadata_0.parquet"},
		"fewer vectors":   {func(dir string) error { return writeNPY(vectorsPath(dir, "audio", "0"), units(rng, 3, 8), 8) }, "audio_emb_0.npy"},
		"more vectors":    {func(dir string) error { return writeNPY(vectorsPath(dir, "audio", "0"), units(rng, 60, 8), 8) }, "audio_emb_0.npy"},
		"other dimension": {func(dir string) error {
			return writeNPY(vectorsPath(dir, "text", "0"), units(rng, ix.Len("text"), 4), 4)
		}, "text_emb_0.npy"},
	} {
		dir := t.TempDir()
		if err := ix.Save(dir); err != nil {
			t.Fatal(err)
		}
		if err := c.damage(dir); err != nil {
			t.Fatal(err)
		}
		_, err := Open(dir, 1)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one line that names %s", name, err, c.want)
		}
	}
}

// BenchmarkSearch measures a query of 100,000 x 512 beside reading the matrix
// once; the ratio is the figure to watch.
func BenchmarkSearch(b *testing.B) {
	const n, dim = 100000, 512
	rng := rand.New(rand.NewPCG(1, 1))
	vectors := units(rng, n, dim)
	entries := make([]Entry, n)
	for i := range entries {
		entries[i].Modality = "image"
	}
	ix := NewIndex(dim, 0)
	if err := ix.Add(vectors, entries); err != nil {
		b.Fatal(err)
	}
	query := units(rng, 1, dim)
	hits := make([]Hit, 0, 10)
	b.Run("query", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(4 * n * dim)
		for b.Loop() {
			hits, _ = ix.Search(hits[:0], query, Options{})
		}
	})
	b.Run("read", func(b *testing.B) {
		b.SetBytes(4 * n * dim)
		for b.Loop() {
			readOnce(ix)
		}
	})
}

// readOnce reads all vectors from memory with all threads: the sum of one
// value of each cache line, which the processor must fetch whole.
func readOnce(ix *Index) (total float32) {
	s := ix.segments["image"]
	const rows = 4 * block
	pieces := (len(s.entries) + rows - 1) / rows
	sums := make([]float32, pieces)
	ix.pool.For(pieces, func(_, i int) {
		var a, b, c, d float32
		v := s.vectors[i*rows*ix.dim : min((i+1)*rows, len(s.entries))*ix.dim]
		for j := 0; j+64 <= len(v); j += 64 {
			a += v[j]
			b += v[j+16]
			c += v[j+32]
			d += v[j+48]
		}
		sums[i] = a + b + c + d
	})
	for _, v := range sums {
		total += v
	}
	return total
}
