package vec

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"
)

// lengths leave every rest of a vector, and every number of vectors before it
// that kernels have.
var lengths = []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 22, 23, 24, 25, 31, 32, 33, 50, 64, 77, 100, 197, 1000}

var (
	nan = float32(math.NaN())
	inf = float32(math.Inf(1))
)

// with runs f with implementation k in use.
func with(k kernels, f func()) {
	old := use
	defer func() { use = old }()
	use = k
	f()
}

// each runs f with every implementation.
func each(t *testing.T, f func(t *testing.T)) {
	for _, k := range available() {
		t.Run(k.name, func(t *testing.T) { with(k, func() { f(t) }) })
	}
}

// TestKernelsEqualTheirTwins fails when an implementation gives other values
// than the plain loops do, at any length, for ordinary and for special values.
func TestKernelsEqualTheirTwins(t *testing.T) {
	specials := []float32{1, nan, inf, -inf, 1e-42, -1e-42, 0, 200, -200}
	for _, c := range calls {
		t.Run(c.name, func(t *testing.T) {
			for _, special := range specials {
				if strings.HasPrefix(c.name, "ActGrad") && math.Abs(float64(special)) == 200 {
					continue // the error grows with dy: TestActivationsAreAccurate goes there
				}
				for _, n := range lengths {
					run := func(k kernels) (a arguments, s0, s1 float32) {
						a = newArguments(1, c.args, n, special, c.name == "AdamW")
						with(k, func() { s0, s1 = c.run(a.parts) })
						return a, s0, s1
					}
					want, w0, w1 := run(plain)
					for _, k := range available() {
						got, g0, g1 := run(k)
						at := fmt.Sprintf("%s, %d elements, some %g", k.name, n, special)
						if !near(g0, w0, c.tol) || !near(g1, w1, c.tol) {
							t.Fatalf("%s: returns %g, %g, want %g, %g", at, g0, g1, w0, w1)
						}
						if !got.guarded() {
							t.Fatalf("%s: something outside the slices was written", at)
						}
						for i := range want.parts {
							for j, w := range want.parts[i] {
								if g := got.parts[i][j]; !near(g, w, c.tol) {
									t.Fatalf("%s: argument %d, element %d is %g, want %g", at, i, j, g, w)
								}
							}
						}
					}
				}
			}
		})
	}
}

// TestDenormalsAreKept fails when a kernel takes small numbers for zero:
// against their twins the tolerance would hide it.
func TestDenormalsAreKept(t *testing.T) {
	each(t, func(t *testing.T) {
		for _, n := range lengths {
			x, y := make([]float32, n), make([]float32, n)
			for i := range x {
				x[i], y[i] = 3e-42, 1e-42
			}
			Add(x, x, y)
			Scale(0.5, x)
			Axpy(1, x, y)
			for i := range y {
				if a, b := float32(3e-42), float32(1e-42); y[i] != b+(a+b)*0.5 {
					t.Fatalf("element %d of %d is %g, want %g", i, n, y[i], b+(a+b)*0.5)
				}
			}
		}
	})
}

// TestReductionsKeepSpecialValues fails when a sum passes over a NaN or an
// infinity, wherever it stands.
func TestReductionsKeepSpecialValues(t *testing.T) {
	each(t, func(t *testing.T) {
		for n := 1; n < 70; n++ {
			ones, y := make([]float32, n), make([]float32, n)
			for i := range ones {
				ones[i] = 1
			}
			for bad := range n {
				x := make([]float32, n)
				x[bad] = nan
				if a, b := SumSquares(x), Dot(x, ones); a == a || b == b {
					t.Fatalf("NaN at %d of %d: SumSquares %g, Dot %g", bad, n, a, b)
				}
				if mean, rstd := LayerNorm(y, x, ones, ones, 1e-5); mean == mean || rstd == rstd || y[0] == y[0] {
					t.Fatalf("NaN at %d of %d: LayerNorm gives %g, %g", bad, n, mean, rstd)
				}
				if rstd := RMSNorm(y, x, ones, 1e-5); rstd == rstd || y[0] == y[0] {
					t.Fatalf("NaN at %d of %d: RMSNorm gives %g", bad, n, rstd)
				}
				copy(y, x)
				if lse := Softmax(y, 1); lse == lse || y[0] == y[0] || y[n-1] == y[n-1] {
					t.Fatalf("NaN at %d of %d: Softmax gives %g", bad, n, lse)
				}
				x[bad] = -inf
				if a, b := SumSquares(x), Dot(x, ones); !math.IsInf(a, 1) || b != -inf {
					t.Fatalf("-Inf at %d of %d: SumSquares %g, Dot %g", bad, n, a, b)
				}
			}
		}
	})
}

// TestDotRows fails when a row's product depends on its place, or is wrong,
// or something beyond dst is written.
func TestDotRows(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	each(t, func(t *testing.T) {
		for _, d := range lengths {
			for rows := range 10 {
				a := newArguments(rng.Uint64(), 1, rows, 1, false)
				x, q := newArguments(rng.Uint64(), 1, rows*d, 1, false).parts[0], newArguments(rng.Uint64(), 1, d, 1, false).parts[0]
				dst := a.parts[0]
				DotRows(dst, x, q)
				if !a.guarded() {
					t.Fatalf("[%d, %d]: something beyond dst was written", rows, d)
				}
				for i := range rows {
					row := x[i*d : (i+1)*d]
					if alone := Dot(row, q); dst[i] != alone {
						t.Fatalf("[%d, %d]: row %d gives %g, alone %g", rows, d, i, dst[i], alone)
					}
					var want, size float64
					for j, v := range row {
						want += float64(v) * float64(q[j])
						size += math.Abs(float64(v) * float64(q[j]))
					}
					if math.Abs(float64(dst[i])-want) > 1e-6*size {
						t.Fatalf("[%d, %d]: row %d gives %g, want %g", rows, d, i, dst[i], want)
					}
				}
			}
		}
	})
}

// TestSumRows fails when rows that are apart are summed wrongly, or the order
// of the sum is another.
func TestSumRows(t *testing.T) {
	each(t, func(t *testing.T) {
		for _, n := range lengths {
			for _, rows := range []int{0, 1, 5} {
				const gap = 3
				a := newArguments(4, 1, n, 1, false)
				x := newArguments(5, 1, rows*(n+gap), 1, false).parts[0]
				want := append([]float32(nil), a.parts[0]...)
				for i := range rows {
					for j := range want {
						want[j] += x[i*(n+gap)+j]
					}
				}
				SumRows(a.parts[0], x, rows, n+gap)
				for j, w := range want {
					if a.parts[0][j] != w {
						t.Fatalf("%d rows of %d: column %d is %g, want %g", rows, n, j, a.parts[0][j], w)
					}
				}
				if !a.guarded() {
					t.Fatalf("%d rows of %d: something beyond dst was written", rows, n)
				}
			}
		}
	})
}

// TestKernelsNeedNoMoreThanAVX2 fails when a kernel that runs short of
// registers has been given those of AVX-512.
func TestKernelsNeedNoMoreThanAVX2(t *testing.T) {
	text, err := os.ReadFile("vec_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	if found := regexp.MustCompile(`\b[XY](1[6-9]|2\d|3[01])\b|\bZ\d+\b|\bK[0-7]\b`).Find(text); found != nil {
		t.Errorf("a kernel uses %s", found)
	}
}

// TestKernelsLeaveTheUpperHalvesClear fails when a routine returns without
// VZEROUPPER: all SSE code that runs later would be many times slower.
func TestKernelsLeaveTheUpperHalvesClear(t *testing.T) {
	text, err := os.ReadFile("vec_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	last, returns := "", 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "RET" {
			returns++
			if last != "VZEROUPPER" {
				t.Errorf("return %d of the file follows %q", returns, last)
			}
		}
		if line != "" {
			last = line
		}
	}
	if routines := strings.Count(string(text), "TEXT ·"); returns < routines || routines == 0 {
		t.Errorf("%d returns of %d routines", returns, routines)
	}
}
