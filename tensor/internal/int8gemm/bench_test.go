package int8gemm

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/onetrunk/onetrunk/internal/par"
)

// BenchmarkMul is a product from floats to floats, as embedding makes it.
func BenchmarkMul(b *testing.B) {
	for _, workers := range []int{1, 2} {
		for _, m := range []int{1600, 50, 10} {
			for _, s := range [][2]int{{2304, 768}, {768, 768}, {3072, 768}, {768, 3072}} {
				n, k := s[0], s[1]
				b.Run(fmt.Sprintf("%d/%dx%dx%d", workers, m, n, k), func(b *testing.B) {
					rng := rand.New(rand.NewPCG(1, 1))
					pool := par.New(workers)
					defer pool.Close()
					x, y := normal(rng, m*k), make([]float32, m*n)
					w := Quantize(normal(rng, n*k), n, k)
					b.ReportAllocs()
					for b.Loop() {
						Mul(pool, m, Rows{Data: x, Stride: k}, w, y, n, nil)
					}
					b.ReportMetric(2*float64(m*n*k)*float64(b.N)/b.Elapsed().Seconds()/1e9, "Gop/s")
				})
			}
		}
	}
}

// BenchmarkQuantize is what of a product's time goes into its activations.
func BenchmarkQuantize(b *testing.B) {
	const m, k = 1600, 768
	pool := par.New(1)
	x := normal(rand.New(rand.NewPCG(1, 1)), m*k)
	var a Activations
	for b.Loop() {
		a.Quantize(pool, m, k, Rows{Data: x, Stride: k})
	}
	b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/m/k, "ns/element")
}

func normal(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}
