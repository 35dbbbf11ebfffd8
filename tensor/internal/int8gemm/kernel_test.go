package int8gemm

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestKernelsEqualTheirTwins holds the assembly to the plain loops, bit for
// bit, also beside what they write.
func TestKernelsEqualTheirTwins(t *testing.T) {
	with(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(7, 1))
		for m := range 20 {
			for k := 0; k <= 5*unroll; k += unroll {
				lda, ldy := k+3, width+rng.IntN(3)
				a, b := make([]int16, (m+1)*lda), make([]int8, width*k+1)
				for i := range a {
					a[i] = int16(rng.IntN(2*levels(40)+1) - levels(40))
				}
				for i := range b {
					b[i] = int8(rng.IntN(255) - 127)
				}
				sx, sw := normal(rng, m+1), normal(rng, width)
				got := normal(rng, (m+1)*ldy)
				want := slices.Clone(got)
				use.panel(m, k, &a[0], lda, &b[0], &sx[0], &sw[0], &got[0], ldy)
				panelGo(m, k, &a[0], lda, &b[0], &sx[0], &sw[0], &want[0], ldy)
				if !slices.Equal(got, want) {
					t.Fatalf("panel of %d rows, k %d differs", m, k)
				}
			}
		}
		for n := 0; n <= 80; n += 16 {
			x := normal(rng, n+1)
			x[n] = guard       // not to be read
			for i := range n { // the largest at every place
				y := slices.Clone(x)
				for _, v := range []float64{100, -100, 0x1p-140, math.Inf(-1), math.NaN(), math.Copysign(math.NaN(), -1)} {
					y[i] = float32(v)
					if got, want := use.absMax(n, &y[0]), absMaxGo(n, &y[0]); got != want {
						t.Fatalf("absMax of %d with %g at %d is %x, want %x", n, v, i, got, want)
					}
				}
			}
			for i := range n {
				x[i] = float32(rng.IntN(4001)-2000) / 4 // many halves
			}
			got := make([]int16, n+1)
			want := slices.Clone(got)
			use.round(n, &x[0], 2, &got[0])
			roundGo(n, &x[0], 2, &want[0])
			if !slices.Equal(got, want) {
				t.Fatalf("round of %d differs: %v, want %v", n, got, want)
			}
		}
	})
}
