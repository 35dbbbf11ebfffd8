package retrieval

import (
	"fmt"
	"math"
	"math/rand/v2"
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
