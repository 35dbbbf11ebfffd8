package main

import "math"

const points, rounds = 400, 600

// fit returns the coefficients of N and D as float32 have them, and the
// greatest weighted error. One coefficient after another is rounded, and those
// that follow are found anew.
func (f fraction) fit() (above, below []float32, worst float64) {
	n, d := make([]float64, f.above+1), make([]float64, f.below+1)
	for i := range n {
		n[i] = math.NaN() // free
	}
	for i := range d {
		d[i] = math.NaN()
	}
	copy(n, f.given)
	d[0] = 1
	for i := range d {
		_, free, _ := f.minimax(n, d)
		d[i] = float64(float32(free[i]))
	}
	for i := range n {
		free, _, _ := f.minimax(n, d)
		n[i] = float64(float32(free[i]))
	}
	_, _, worst = f.minimax(n, d)
	for _, c := range n {
		above = append(above, float32(c))
	}
	for _, c := range d {
		below = append(below, float32(c))
	}
	return above, below, worst
}

// minimax finds the coefficients that are NaN such that the greatest weighted
// error is least, over points of the range: by least squares of N - f D
// divided by the D of the round before (Sanathanan and Koerner 1963), where
// points with greater errors count more from round to round (Lawson 1961).
func (f fraction) minimax(n, d []float64) (bestN, bestD []float64, least float64) {
	free := 0
	for _, c := range append(append([]float64(nil), n...), d...) {
		if math.IsNaN(c) {
			free++
		}
	}
	x, count, below, errors := make([]float64, points), make([]float64, points), make([]float64, points), make([]float64, points)
	for i := range x { // denser at the ends
		x[i] = (f.lo+f.hi)/2 - (f.hi-f.lo)/2*math.Cos(math.Pi*(float64(i)+0.5)/points)
		count[i], below[i] = 1, 1
	}
	least = math.Inf(1)
	for range rounds {
		foundN, foundD := append([]float64(nil), n...), append([]float64(nil), d...)
		if free > 0 {
			f.solve(x, count, below, foundN, foundD)
		}
		var top, sum float64
		for i, x := range x {
			below[i] = value(foundD, x)
			errors[i] = math.Abs((value(foundN, x)/below[i] - f.f(x)) * f.weight(x))
			if below[i] <= 0 {
				panic("fit: " + f.name + ": D has a zero in the range")
			}
			top = max(top, errors[i])
		}
		if top < least {
			bestN, bestD, least = foundN, foundD, top
		}
		if free == 0 {
			break
		}
		for i := range count {
			count[i] *= errors[i]/top + 1e-6
			sum += count[i]
		}
		for i := range count {
			count[i] *= points / sum
		}
	}
	return bestN, bestD, least
}

// solve replaces what is NaN in n and d by the solution of the weighted least
// squares. The powers are of x / hi, which have about the same size.
func (f fraction) solve(x, count, below, n, d []float64) {
	a, b := make([][]float64, len(x)), make([]float64, len(x))
	var at []*float64 // the coefficients that are free, in the order of the columns
	var scale []float64
	for i, x := range x {
		w := f.weight(x) * math.Sqrt(count[i]) / below[i]
		column := func(c *float64, power int, factor float64) {
			if s := math.Pow(math.Max(math.Abs(f.lo), f.hi), float64(power)); math.IsNaN(*c) {
				a[i] = append(a[i], w*factor*math.Pow(x, float64(power))/s)
				if i == 0 {
					at, scale = append(at, c), append(scale, s)
				}
			} else {
				b[i] -= w * factor * *c * math.Pow(x, float64(power))
			}
		}
		for k := range n {
			column(&n[k], k, 1)
		}
		for k := range d {
			column(&d[k], k, -f.f(x))
		}
	}
	for j, c := range leastSquares(a, b) {
		*at[j] = c / scale[j]
	}
}

// value is c[0] + c[1] x + ...
func value(c []float64, x float64) (y float64) {
	for i := len(c) - 1; i >= 0; i-- {
		y = y*x + c[i]
	}
	return y
}
