package vec

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestExpIsAccurate fails when exp is more than 2 units in the last place off
// where its result is a normal number, or wrong at the ends.
func TestExpIsAccurate(t *testing.T) {
	each(t, func(t *testing.T) {
		var x []float32
		for bits := math.Float32bits(1e-9); bits < math.Float32bits(88.72283); bits += 3001 {
			v := math.Float32frombits(bits)
			x = append(x, v)
			if v < 87.33654 {
				x = append(x, -v)
			}
		}
		y := make([]float32, len(x))
		ExpMinus(y, x, 1, 0)
		for i, v := range x {
			want := math.Exp(float64(v))
			unit := float64(math.Nextafter32(float32(want), inf) - float32(want))
			if math.Abs(float64(y[i])-want) > 2*unit {
				t.Fatalf("exp(%g) = %g, want %g", v, y[i], want)
			}
		}
		const top, bottom = 88.72283, -87.33654
		for _, c := range []struct{ x, low, high float32 }{
			{0, 1, 1},
			{float32(math.Copysign(0, -1)), 1, 1},
			{1e-42, 1, 1},
			{top, 3.4e38, math.MaxFloat32},
			{math.Nextafter32(top, inf), inf, inf},
			{1e6, inf, inf},
			{math.MaxFloat32, inf, inf},
			{inf, inf, inf},
			{bottom, 0x1p-126, 1.1756e-38},
			{math.Nextafter32(bottom, -inf), 0, 0},
			{-104, 0, 0},
			{-1e6, 0, 0},
			{-math.MaxFloat32, 0, 0},
			{-inf, 0, 0},
		} {
			if ExpMinus(y[:1], []float32{c.x}, 1, 0); !(y[0] >= c.low && y[0] <= c.high) {
				t.Errorf("exp(%g) = %g, want %g to %g", c.x, y[0], c.low, c.high)
			}
		}
		if ExpMinus(y[:1], []float32{nan}, 1, 0); y[0] == y[0] {
			t.Errorf("exp(NaN) = %g", y[0])
		}
	})
}

// TestActivationsAreAccurate fails when a value or a derivative is more than
// 1e-6 off the exact one.
func TestActivationsAreAccurate(t *testing.T) {
	x := []float32{-math.MaxFloat32 / 2, -1e20, -1000, -200, -100, 0, 1e-42, 1e-20, 100, 200, 1000, 1e20, math.MaxFloat32 / 2}
	for v := -20.0; v < 20; v += 0.00137 {
		x = append(x, float32(v))
	}
	ones := make([]float32, len(x))
	for i := range ones {
		ones[i] = 1
	}
	each(t, func(t *testing.T) {
		y, d := make([]float32, len(x)), make([]float32, len(x))
		for act, f := range exact {
			BiasAct(y, nil, x, nil, act)
			ActGrad(d, ones, x, act)
			for i, v := range x {
				want, slope := f(float64(v))
				if e := math.Abs(float64(y[i]) - want); !(e <= 1e-6) {
					t.Fatalf("activation %d of %g is %g, want %g", act, v, y[i], want)
				}
				if e := math.Abs(float64(d[i]) - slope); !(e <= 1e-6) {
					t.Fatalf("activation %d has slope %g at %g, want %g", act, d[i], v, slope)
				}
			}
		}
	})
}

func TestSoftmaxLimits(t *testing.T) {
	each(t, func(t *testing.T) {
		for _, c := range []struct {
			x     []float32
			scale float32
			want  []float32
			lse   float64
		}{
			{nil, 1, nil, math.Inf(-1)},
			{[]float32{-inf, -inf, -inf}, 1, []float32{0, 0, 0}, math.Inf(-1)},
			{[]float32{-inf, 2, 2}, 1, []float32{0, 0.5, 0.5}, 2 + math.Ln2},
			{[]float32{3e38, 1, 3e38}, 0.5, []float32{0.5, 0, 0.5}, 1.5e38},
			// The rounding of 0.7 x is far more than 1 here.
			{[]float32{3e38, 1, 2.9e38}, 0.7, []float32{1, 0, 0}, 2.1e38},
			{[]float32{-3e9, -3e9}, 0.3, []float32{0.5, 0.5}, -9e8},
			{[]float32{-200, -200}, 1, []float32{0.5, 0.5}, -200 + math.Ln2},
			{[]float32{0, -200}, 1, []float32{1, 0}, 0},
		} {
			x := append([]float32(nil), c.x...)
			lse := Softmax(x, c.scale)
			if !near(lse, float32(c.lse), 3e-7) {
				t.Errorf("softmax of %v times %g: lse %g, want %g", c.x, c.scale, lse, c.lse)
			}
			for i := range x {
				if x[i] != c.want[i] {
					t.Errorf("softmax of %v times %g is %v, want %v", c.x, c.scale, x, c.want)
					break
				}
			}
			if lse == -inf { // the backward pass sees zeros as well
				p := append([]float32(nil), c.x...)
				ExpMinus(p, p, c.scale, lse)
				for _, v := range p {
					if v != 0 {
						t.Errorf("ExpMinus of %v with its lse is %v", c.x, p)
						break
					}
				}
			}
		}
		x := []float32{1, inf, 3}
		if lse := Softmax(x, 1); lse == lse || x[0] == x[0] || x[1] == x[1] {
			t.Errorf("softmax with +Inf gives %v, lse %g", x, lse)
		}
	})
}

// TestRowsAgainstFloat64 holds softmax and the norms to sums in float64, on
// rows whose mean is far from 0 as well.
func TestRowsAgainstFloat64(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	each(t, func(t *testing.T) {
		for _, n := range []int{1, 5, 64, 1000, 4096} {
			for _, offset := range []float64{0, 100} {
				x, y, gamma, beta := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
				for i := range x {
					x[i] = float32(rng.NormFloat64()*3 + offset)
					gamma[i], beta[i] = float32(rng.NormFloat64()), float32(rng.NormFloat64())
				}
				const eps = 1e-5
				check := func(name string, tol float64, want []float64) {
					t.Helper()
					for i := range want {
						if e := math.Abs(float64(y[i]) - want[i]); e > tol*(1+math.Abs(want[i])) {
							t.Fatalf("%s of %d around %g: element %d is %g, want %g", name, n, offset, i, y[i], want[i])
						}
					}
				}
				LayerNorm(y, x, gamma, beta, eps)
				// The mean is rounded to about offset * 2^-24.
				check("LayerNorm", 1e-5, layerNorm64(wide(x), wide(gamma), wide(beta), eps))
				RMSNorm(y, x, gamma, eps)
				check("RMSNorm", 1e-6, rmsNorm64(wide(x), wide(gamma), eps))
				copy(y, x)
				lse := Softmax(y, 0.3)
				want, wantLSE := softmax64(wide(x), 0.3)
				check("Softmax", 3e-6, want)
				if !near(lse, float32(wantLSE), 1e-6) {
					t.Errorf("Softmax of %d around %g: lse %g, want %g", n, offset, lse, wantLSE)
				}
				ExpMinus(y, x, 0.3, lse)
				check("ExpMinus", 3e-6, want)
			}
		}
	})
}
