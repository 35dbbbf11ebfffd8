package vec

import "math"

// Max returns the greatest element, -Inf of none. NaN is passed over.
func Max(x []float32) float32 {
	if len(x) == 0 {
		return float32(math.Inf(-1))
	}
	return use.max(&x[0], len(x))
}

// ExpSum is dst = exp(scale x - shift) and returns the sum: a softmax's
// numerators and its denominator.
func ExpSum(dst, x []float32, scale, shift float32) float32 {
	n := len(dst)
	if n == 0 {
		return 0
	}
	return use.expMinus(&dst[0], first(x, n), scale, shift, n)
}

// SoftmaxGradAt is SoftmaxGrad with p.dp given.
func SoftmaxGradAt(ds, p, dp []float32, scale, dot float32) {
	if n := len(ds); n > 0 {
		use.softmaxGrad(&ds[0], first(p, n), first(dp, n), scale, dot, n)
	}
}
