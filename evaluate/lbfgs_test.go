package evaluate

import (
	"math"
	"testing"
)

func TestLBFGS(t *testing.T) {
	for name, c := range map[string]struct {
		f           func(g, x []float64) float64
		start, want []float64
	}{
		"a bowl, of very different widths": {
			func(g, x []float64) float64 {
				v := 1.0
				for i := range x {
					a := math.Pow(10, float64(i))
					g[i] = 2 * a * (x[i] - 1)
					v += a * (x[i] - 1) * (x[i] - 1)
				}
				return v
			},
			[]float64{5, -3, 2, 0},
			[]float64{1, 1, 1, 1},
		},
		"Rosenbrock's valley": {
			func(g, x []float64) float64 {
				a, b := 1-x[0], x[1]-x[0]*x[0]
				g[0], g[1] = -2*a-400*x[0]*b, 200*b
				return a*a + 100*b*b
			},
			[]float64{-1.2, 1},
			[]float64{1, 1},
		},
		"begun at the minimum": {
			func(g, x []float64) float64 { g[0] = 2 * x[0]; return x[0] * x[0] },
			[]float64{0},
			[]float64{0},
		},
		"without a minimum it ends all the same": {
			func(g, x []float64) float64 { g[0] = math.NaN(); return math.NaN() },
			[]float64{3},
			[]float64{3},
		},
	} {
		if err := lbfgs(t.Context(), c.f, c.start); err != nil {
			t.Fatal(err)
		}
		for i, want := range c.want {
			if math.Abs(c.start[i]-want) > 1e-3 {
				t.Errorf("%s: %v, want %v", name, c.start, c.want)
			}
		}
	}
}
