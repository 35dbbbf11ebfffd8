package vec

import (
	"math/rand/v2"
	"testing"
)

// BenchmarkRows runs every row function over matrices [4096, 1024], which the
// caches do not hold; MB/s counts what copy would: a read and a write of each
// element. BenchmarkDotRows is exact search.
func BenchmarkRows(b *testing.B) {
	const rows, cols = 4096, 1024
	rng := rand.New(rand.NewPCG(1, 1))
	var flat [6][]float32
	for i := range flat {
		flat[i] = make([]float32, rows*cols)
		for j := range flat[i] {
			flat[i][j] = rng.Float32()
		}
	}
	bench := func(name string, run func(a [][]float32)) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(8 * rows * cols)
			a := make([][]float32, len(flat))
			for b.Loop() {
				for i := 0; i < rows*cols; i += cols {
					for j := range a {
						a[j] = flat[j][i : i+cols]
					}
					run(a)
				}
			}
		})
	}
	bench("copy", func(a [][]float32) { copy(a[0], a[1]) })
	for _, c := range calls {
		bench(c.name, func(a [][]float32) { c.run(a) })
	}
}

func BenchmarkDotRows(b *testing.B) {
	const rows, d = 100000, 512
	x, q, dst := make([]float32, rows*d), make([]float32, d), make([]float32, rows)
	for i := range x {
		x[i] = float32(i % 17)
	}
	copy(q, x)
	b.Run("read", func(b *testing.B) {
		b.SetBytes(4 * rows * d)
		for b.Loop() {
			Dot(x, x) // from memory once
		}
	})
	b.Run("DotRows", func(b *testing.B) {
		b.SetBytes(4 * rows * d)
		for b.Loop() {
			DotRows(dst, x, q)
		}
	})
}
