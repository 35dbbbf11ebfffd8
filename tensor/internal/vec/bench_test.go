package vec

import (
	"testing"
	"time"
)

// BenchmarkRows runs every row function, with every implementation, on rows
// of 1024 that are in the first cache: what a kernel costs when memory does
// not. benchkernels measures matrices that are not in cache.
func BenchmarkRows(b *testing.B) {
	const n = 1024
	for _, c := range calls {
		for _, k := range available() {
			b.Run(c.name+"/"+k.name, func(b *testing.B) {
				a := newArguments(1, c.args, n, 1, true).parts
				with(k, func() {
					for b.Loop() {
						c.run(a)
					}
				})
				b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/n, "ns/element")
			})
		}
	}
}

// BenchmarkDotRows is exact search. It takes turns with a sum, which only
// reads the matrix, so that both see the same machine: "reads" is the time of
// one by the time of the other.
func BenchmarkDotRows(b *testing.B) {
	const rows, d = 100000, 512
	x, q, dst := make([]float32, rows*d), make([]float32, d), make([]float32, rows)
	for i := range x {
		x[i] = float32(i % 17)
	}
	copy(q, x)
	var read, product time.Duration
	for b.Loop() {
		began := time.Now()
		use.sum(&x[0], len(x))
		read += time.Since(began)
		began = time.Now()
		DotRows(dst, x, q)
		product += time.Since(began)
	}
	b.ReportMetric(product.Seconds()*1e3/float64(b.N), "ms/product")
	b.ReportMetric(product.Seconds()/read.Seconds(), "reads")
}
