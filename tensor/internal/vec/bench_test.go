package vec

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkRows runs every row function, with every implementation, on rows
// of 1024 that are in the first cache: what a kernel costs when memory does
// not. benchkernels measures matrices that are not in cache.
func BenchmarkRows(b *testing.B) {
	for _, c := range calls {
		for _, k := range available() {
			b.Run(c.name+"/"+k.name, func(b *testing.B) {
				with(k, func() { benchmarkRow(b, c.args, 1024, c.run) })
			})
		}
	}
}

// BenchmarkShortRows is what a call and a part of a vector cost: rows of as
// many elements as attention has keys.
func BenchmarkShortRows(b *testing.B) {
	for _, c := range calls {
		switch c.name {
		case "Softmax", "ExpMinus", "SoftmaxGrad", "BiasAct GELU":
			for _, n := range []int{32, 50, 65, 77, 145, 197} {
				b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) { benchmarkRow(b, c.args, n, c.run) })
			}
		}
	}
}

// benchmarkRow reports the best of short runs: others may use the machine.
func benchmarkRow(b *testing.B, args, n int, run func(a [][]float32) (float32, float32)) {
	a := newArguments(1, args, n, 1, true).parts
	calls, best := 1+10000/n, time.Hour
	for b.Loop() {
		began := time.Now()
		for range calls {
			run(a)
		}
		best = min(best, time.Since(began))
	}
	b.ReportMetric(0, "ns/op") // of all the calls: left out
	b.ReportMetric(best.Seconds()*1e9/float64(calls*n), "ns/element")
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
