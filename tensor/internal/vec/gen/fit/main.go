// Command fit finds the polynomials and fractions of the kernels and prints
// their coefficients, those of the lowest powers first.
package main

import (
	"fmt"
	"math"
)

// fraction is what is to be found: N(x) / D(x), which is near f for lo <= x <=
// hi. D(0) is 1.
type fraction struct {
	name         string
	f            func(x float64) float64
	weight       func(x float64) float64 // of the error
	lo, hi       float64
	above, below int       // the degrees of N and of D
	given        []float64 // the first coefficients of N, if they are given
}

// Half the logarithm of e to the base 2 and the edge, as bell in the generator
// has them: the fractions make good what half is rounded.
var (
	half = float64(float32(-0.72134745))
	edge = float64(float32(13.268738))
)

func cdf(x float64) float64     { return math.Erfc(-x/math.Sqrt2) / 2 }
func density(x float64) float64 { return math.Exp(-x*x/2) / math.Sqrt(2*math.Pi) }
func bell(x float64) float64    { return math.Exp2(half * x * x) }

func fractions() []fraction {
	return []fraction{
		{
			name:   "exp2",
			f:      math.Exp2,
			weight: func(x float64) float64 { return math.Exp2(-x) },
			lo:     -0.5, hi: 0.5, above: 5, given: []float64{1},
		},
		{
			name:   "exp",
			f:      math.Exp,
			weight: func(x float64) float64 { return math.Exp(-x) },
			lo:     -math.Ln2 / 2, hi: math.Ln2 / 2, above: 6, given: []float64{1, 1},
		},
		{ // The relative error counts where the value is small, the absolute one else.
			name:   "gelu",
			f:      func(x float64) float64 { return cdf(-x) / bell(x) },
			weight: func(x float64) float64 { return (x+0.02)*bell(x) + 0.1*(1+x) },
			lo:     0, hi: edge, above: 3, below: 4, given: []float64{0.5},
		},
		{
			name:   "gelu slope",
			f:      func(x float64) float64 { return (cdf(-x) - x*density(x)) / bell(x) },
			weight: func(x float64) float64 { return bell(x) + 0.001/(1+x) },
			lo:     0, hi: edge, above: 4, below: 3, given: []float64{0.5},
		},
		{ // tanh(x) = x + x^3 f(x^2), for x <= 0.7
			name: "tanh",
			f: func(u float64) float64 {
				if u < 1e-4 {
					return -1./3 + 2*u/15
				}
				return (math.Tanh(math.Sqrt(u))/math.Sqrt(u) - 1) / u
			},
			weight: func(u float64) float64 { return math.Pow(u, 1.5) / math.Tanh(math.Sqrt(u)) },
			lo:     0, hi: 0.7 * 0.7, above: 4,
		},
		{ // erf(x) = x + x f(x^2), for x <= 0.85
			name:   "erf near",
			f:      func(u float64) float64 { return math.Erf(math.Sqrt(u))/math.Sqrt(u) - 1 },
			weight: func(u float64) float64 { return math.Sqrt(u) / math.Erf(math.Sqrt(u)) },
			lo:     1e-12, hi: 0.85 * 0.85, above: 5,
		},
		{ // erf(x) = 1 - 2^f(x), for x >= 0.85
			name:   "erf far",
			f:      func(x float64) float64 { return math.Log2(math.Erfc(x)) },
			weight: func(x float64) float64 { return math.Ln2 * math.Erfc(x) / math.Erf(x) },
			lo:     0.85, hi: 3.95, above: 5,
		},
		{ // ln(1 + x) = x - x^2/2 + x^3 f(x)
			name: "log",
			f: func(x float64) float64 {
				if math.Abs(x) < 1e-3 {
					return 1./3 - x/4 + x*x/5 - x*x*x/6
				}
				return (math.Log1p(x) - x + x*x/2) / (x * x * x)
			},
			weight: func(x float64) float64 { return math.Abs(x * x * x / math.Log1p(x)) },
			lo:     math.Sqrt2/2 - 1, hi: math.Sqrt2 - 1, above: 7,
		},
	}
}

func main() {
	for _, f := range fractions() {
		n, d, worst := f.fit()
		fmt.Printf("%s, error %.2g\n\tabove %v\n\tbelow %v\n", f.name, worst, n, d)
	}
}
