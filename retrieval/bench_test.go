package retrieval

import (
	"math/rand/v2"
	"testing"
)

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
	s := ix.segments["image"].chunks[0]
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
