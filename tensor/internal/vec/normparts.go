package vec

import "math"

// LayerNormStats returns what LayerNorm finds in a row before it writes.
func LayerNormStats(x []float32, eps float32) (mean, rstd float32) {
	n := len(x)
	if n == 0 {
		return 0, 0
	}
	mean = use.sum(&x[0], n) / float32(n)
	variance := use.sumDev(&x[0], mean, n) / float32(n)
	return mean, float32(1 / math.Sqrt(float64(variance)+float64(eps)))
}

// LayerNormApply is the rest of LayerNorm, for any part of a row.
func LayerNormApply(y, x, gamma, beta []float32, mean, rstd float32) {
	if n := len(y); n > 0 {
		use.norm(&y[0], first(x, n), first(gamma, n), first(beta, n), mean, rstd, n)
	}
}

// RMSNormStats returns what RMSNorm finds in a row before it writes.
func RMSNormStats(x []float32, eps float32) (rstd float32) {
	n := len(x)
	if n == 0 {
		return 0
	}
	return float32(1 / math.Sqrt(use.sumSquares(&x[0], n)/float64(n)+float64(eps)))
}

// RMSNormApply is the rest of RMSNorm, for any part of a row.
func RMSNormApply(y, x, gamma []float32, rstd float32) {
	if n := len(y); n > 0 {
		use.rmsNorm(&y[0], first(x, n), first(gamma, n), rstd, n)
	}
}
