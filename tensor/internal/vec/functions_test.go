package vec

import (
	"math"
	"math/rand/v2"
	"testing"
)

// functions are those of functions.go, with the bound of their error in units
// in the last place, and what becomes of values at the ends of float32.
var functions = []struct {
	name  string
	f     func(dst, x []float32)
	exact func(x float64) float64
	units float64
	ends  map[float32]float32
}{
	{"Exp", Exp, math.Exp, 1.29, map[float32]float32{
		0: 1, 1e-45: 1, -1e-45: 1, inf: inf, -inf: 0,
		math.MaxFloat32: inf, -math.MaxFloat32: 0, 88.72284: inf, -87.33655: 0, -104: 0,
	}},
	{"Tanh", Tanh, math.Tanh, 1.92, map[float32]float32{
		1e-45: 1e-45, -1e-39: -1e-39, inf: 1, -inf: -1, math.MaxFloat32: 1, -math.MaxFloat32: -1, 9.02: 1,
	}},
	{"Erf", Erf, math.Erf, 1.85, map[float32]float32{
		1e-45: 1e-45, inf: 1, -inf: -1, math.MaxFloat32: 1, -math.MaxFloat32: -1, 3.93: 1, -3.93: -1,
	}},
	{"Log", Log, math.Log, 0.86, map[float32]float32{
		0: -inf, 1: 0, inf: inf, -inf: nan, -1e-45: nan, -1: nan, -math.MaxFloat32: nan,
	}},
}

// TestFunctionsAreAccurate runs through all exponents, of either sign, and
// fails when a normal result is further off than the comment of its function
// says, or a denormal one by more than 2^-149, 0 for Exp.
func TestFunctionsAreAccurate(t *testing.T) {
	mantissas := 1000
	if testing.Short() {
		mantissas = 300
	}
	each(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		x, y := make([]float32, 2*mantissas), make([]float32, 2*mantissas)
		for _, c := range functions {
			worst, at := 0.0, float32(0)
			for exponent := range uint32(255) {
				for i := range mantissas {
					bits := exponent<<23 | rng.Uint32N(1<<23)
					if i < 4 { // the ends of the binade
						bits = exponent<<23 + []uint32{0, 1, 1<<23 - 1, 1<<23 - 2}[i]
					}
					x[2*i] = math.Float32frombits(bits)
					x[2*i+1] = -x[2*i]
				}
				c.f(y, x)
				for i, v := range x {
					want := c.exact(float64(v))
					switch size := math.Abs(want); {
					case want != want || size == 0 || size > math.MaxFloat32:
						if !near(y[i], float32(want), 0) {
							t.Fatalf("%s(%g) is %g, want %g", c.name, v, y[i], want)
						}
					case size < 0x1p-126:
						if !(math.Abs(float64(y[i])-want) <= 0x1p-149) && (c.name != "Exp" || y[i] != 0) {
							t.Fatalf("%s(%g) is %g, want %g", c.name, v, y[i], want)
						}
					default:
						unit := math.Exp2(math.Floor(math.Log2(size)) - 23)
						if off := math.Abs(float64(y[i])-want) / unit; !(off <= worst) {
							worst, at = off, v
						}
					}
				}
			}
			t.Logf("%s: %.3f units, at %g", c.name, worst, at)
			if !(worst <= c.units) {
				t.Errorf("%s(%g) is off by %.3f units in the last place", c.name, at, worst)
			}
		}
	})
}

// TestFunctionsAtTheEnds fails when a function of 0, of an infinity, of a NaN
// or beyond its range is wrong.
func TestFunctionsAtTheEnds(t *testing.T) {
	each(t, func(t *testing.T) {
		for _, c := range functions {
			y := make([]float32, 1)
			for x, want := range c.ends {
				if c.f(y, []float32{x}); !near(y[0], want, 0) {
					t.Errorf("%s(%g) is %g, want %g", c.name, x, y[0], want)
				}
			}
			for _, bits := range []uint32{0x7fc00000, 0xffc00000, 0x7fc00001, 0xffffffff, 0x7f800001} {
				if c.f(y, []float32{math.Float32frombits(bits)}); y[0] == y[0] {
					t.Errorf("%s(NaN %x) is %g", c.name, bits, y[0])
				}
			}
			zero := float32(math.Copysign(0, -1))
			if c.f(y, []float32{zero}); (c.name == "Tanh" || c.name == "Erf") && math.Float32bits(y[0]) != math.Float32bits(zero) {
				t.Errorf("%s(-0) is %g", c.name, y[0])
			}
		}
	})
}
