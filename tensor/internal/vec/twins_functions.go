package vec

import "math"

// expGo is dst[i] = e^x[i], 0 where that is less than 2^-126.
func expGo(dst, x *float32, n int) {
	d := slice(dst, n)
	for i, v := range slice(x, n) {
		d[i] = exp(v)
	}
}

// tanhGo is dst[i] = tanh(x[i]).
func tanhGo(dst, x *float32, n int) { mapGo(dst, x, n, math.Tanh) }

// erfGo is dst[i] = erf(x[i]).
func erfGo(dst, x *float32, n int) { mapGo(dst, x, n, math.Erf) }

// logGo is dst[i] = ln(x[i]).
func logGo(dst, x *float32, n int) { mapGo(dst, x, n, math.Log) }

func mapGo(dst, x *float32, n int, f func(float64) float64) {
	d := slice(dst, n)
	for i, v := range slice(x, n) {
		d[i] = float32(f(float64(v)))
	}
}
