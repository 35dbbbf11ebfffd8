//go:build !race

package retrieval

import (
	"math/rand/v2"
	"testing"
)

// The race detector makes sync.Pool forget at random; hence the build tag.
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
