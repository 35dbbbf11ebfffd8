package main

import "math"

// leastSquares returns the x of least |a x - b|, by Householder's reflections
// (1958); a [m, n] and b [m] are lost.
func leastSquares(a [][]float64, b []float64) []float64 {
	m, n := len(a), len(a[0])
	v := make([]float64, m)
	reflect := func(k int, norm float64, at func(i int) *float64) {
		var d float64
		for i := k; i < m; i++ {
			d += v[i] * *at(i)
		}
		for i := k; i < m; i++ {
			*at(i) -= 2 * d / norm * v[i]
		}
	}
	for k := range n {
		var square float64
		for i := k; i < m; i++ {
			v[i] = a[i][k]
			square += v[i] * v[i]
		}
		v[k] += math.Copysign(math.Sqrt(square), v[k])
		norm := square - a[k][k]*a[k][k] + v[k]*v[k]
		for j := k; j < n; j++ {
			reflect(k, norm, func(i int) *float64 { return &a[i][j] })
		}
		reflect(k, norm, func(i int) *float64 { return &b[i] })
	}
	x := make([]float64, n)
	for k := n - 1; k >= 0; k-- {
		x[k] = b[k]
		for j := k + 1; j < n; j++ {
			x[k] -= a[k][j] * x[j]
		}
		x[k] /= a[k][k]
	}
	return x
}
