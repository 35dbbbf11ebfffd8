package retrieval

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unsafe"
)

// BenchmarkSearch measures a query beside reading the matrix once, in turns,
// and reports the medians and their ratio: x-read is the figure to watch. The
// larger matrix fits into no cache.
func BenchmarkSearch(b *testing.B) {
	const dim = 512
	for _, n := range []int{100_000, 400_000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			ix := full(b, n, dim)
			query := units(rand.New(rand.NewPCG(2, 1)), 1, dim)
			hits := make([]Hit, 0, 10)
			jobs := []func(){
				func() { hits, _ = ix.Search(hits[:0], query, Options{}) },
				func() { read(ix, touch) },
				func() { read(ix, count) },
			}
			times := make([][]time.Duration, len(jobs))
			for b.Loop() {
				for i, job := range jobs {
					start := time.Now()
					job()
					times[i] = append(times[i], time.Since(start))
				}
			}
			ms := make([]float64, len(jobs))
			for i, t := range times {
				slices.Sort(t)
				ms[i] = t[len(t)/2].Seconds() * 1000
			}
			fastest := min(ms[1], ms[2])
			b.ReportMetric(0, "ns/op") // of all three together: says nothing
			b.ReportMetric(ms[0], "ms/query")
			b.ReportMetric(fastest, "ms/read")
			b.ReportMetric(ms[0]/fastest, "x-read")
			b.ReportMetric(float64(4*n*dim)/ms[0]/1e6, "GB/s")
		})
	}
}

// full makes an index of n vectors of one modality.
func full(b *testing.B, n, dim int) *Index {
	b.Helper()
	vectors := units(rand.New(rand.NewPCG(1, 1)), n, dim)
	entries := make([]Entry, n)
	for i := range entries {
		entries[i] = Entry{ID: fmt.Sprint(i), Modality: "image", Path: fmt.Sprint(i, ".png"), Text: fmt.Sprint("the caption of picture ", i)}
	}
	ix := NewIndex(dim, 0)
	if err := ix.Add(vectors, entries); err != nil {
		b.Fatal(err)
	}
	return ix
}

var sink int // keeps what was read from being optimised away

// read has all threads of an index read its vectors once.
func read(ix *Index, f func([]float32) int) {
	c := ix.segments["image"].chunks[0]
	pieces := (len(c.entries) + block - 1) / block
	sums := make([]int, pieces)
	ix.pool.For(pieces, func(_, i int) {
		sums[i] = f(c.vectors[i*block*ix.dim : min((i+1)*block, len(c.entries))*ix.dim])
	})
	for _, n := range sums {
		sink += n
	}
}

// touch adds one value of each cache line, which the processor must fetch
// whole.
func touch(v []float32) int {
	var a, b, c, d float32
	for j := 0; j+64 <= len(v); j += 64 {
		a += v[j]
		b += v[j+16]
		c += v[j+32]
		d += v[j+48]
	}
	return int(a + b + c + d)
}

// count counts a byte, which the standard library does by AVX2.
func count(v []float32) int {
	return bytes.Count(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v)), []byte{1})
}

// BenchmarkOpen opens a folder of 100,000 x 512 whose files are in the
// system's cache.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	if err := full(b, 100_000, 512).Save(dir); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		ix, err := Open(dir, 0)
		if err != nil {
			b.Fatal(err)
		}
		ix.Close()
	}
}
