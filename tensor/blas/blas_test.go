package blas

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
	"gonum.org/v1/gonum/blas/gonum"
)

func TestSgemmEqualsGonum(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	impl := New(2)
	random := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		return x
	}
	for _, s := range [][3]int{{1, 1, 1}, {7, 5, 3}, {6, 16, 8}, {33, 47, 65}, {100, 9, 300}, {3, 0, 4}, {3, 4, 0}} {
		for _, tA := range []blas.Transpose{blas.NoTrans, blas.Trans, blas.ConjTrans} {
			for _, tB := range []blas.Transpose{blas.NoTrans, blas.Trans} {
				for _, ab := range [][2]float32{{1, 0}, {1, 1}, {-0.5, 2}, {0, 0.5}, {2, 1}} {
					m, n, k := s[0], s[1], s[2]
					ra, ca, rb, cb := m, k, k, n
					if tA != blas.NoTrans {
						ra, ca = ca, ra
					}
					if tB != blas.NoTrans {
						rb, cb = cb, rb
					}
					lda, ldb, ldc := ca+1, cb+2, n+3
					a, b := random(ra*lda), random(rb*ldb)
					got := random(m * ldc)
					want := append([]float32(nil), got...)
					impl.Sgemm(tA, tB, m, n, k, ab[0], a, lda, b, ldb, ab[1], got, ldc)
					gonum.Implementation{}.Sgemm(tA, tB, m, n, k, ab[0], a, lda, b, ldb, ab[1], want, ldc)
					for i := range want {
						if math.Abs(float64(got[i]-want[i])) > 1e-4 {
							t.Fatalf("%v %c%c alpha %g beta %g: element %d is %g, want %g", s, tA, tB, ab[0], ab[1], i, got[i], want[i])
						}
					}
				}
			}
		}
	}
}

func TestSgemmPanicsAsGonum(t *testing.T) {
	message := func(f func()) (s string) {
		defer func() { s = fmt.Sprint(recover()) }()
		f()
		return ""
	}
	x := make([]float32, 6)
	for name, call := range map[string]func(impl blas.Float32Level3){
		"short c":   func(i blas.Float32Level3) { i.Sgemm('N', 'N', 2, 4, 2, 1, x, 2, x, 4, 0, x, 4) },
		"bad lda":   func(i blas.Float32Level3) { i.Sgemm('N', 'N', 2, 2, 3, 1, x, 2, x, 2, 0, x, 2) },
		"bad trans": func(i blas.Float32Level3) { i.Sgemm('X', 'N', 1, 1, 1, 1, x, 1, x, 1, 0, x, 1) },
		"negative":  func(i blas.Float32Level3) { i.Sgemm('N', 'N', -1, 1, 1, 1, x, 1, x, 1, 0, x, 1) },
	} {
		want := message(func() { call(gonum.Implementation{}) })
		if got := message(func() { call(New(1)) }); got != want || want == "<nil>" {
			t.Errorf("%s: panics with %q, gonum with %q", name, got, want)
		}
	}
}

func TestUse(t *testing.T) {
	defer blas32.Use(gonum.Implementation{})
	Use(1)
	if _, ours := blas32.Implementation().(Implementation); !ours {
		t.Error("blas32 does not call the implementation")
	}
}
