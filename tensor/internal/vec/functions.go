package vec

// Exp is dst = e^x, within 1.29 units in the last place; less than 2^-126 is 0,
// and more than the greatest float is +Inf.
func Exp(dst, x []float32) { apply(use.exp, dst, x) }

// Tanh is dst = tanh(x), within 1.92 units in the last place; a denormal
// result is x.
func Tanh(dst, x []float32) { apply(use.tanh, dst, x) }

// Erf is dst = the error function of x, 2/sqrt(pi) times the integral of
// exp(-t^2) from 0 to x, within 1.85 units in the last place; a denormal
// result is within 2^-149.
func Erf(dst, x []float32) { apply(use.erf, dst, x) }

// Log is dst = the natural logarithm of x, within 0.86 units in the last place,
// denormal x included. 0 gives -Inf, less gives NaN.
func Log(dst, x []float32) { apply(use.log, dst, x) }

func apply(f func(dst, x *float32, n int), dst, x []float32) {
	if n := len(dst); n > 0 {
		f(&dst[0], first(x, n), n)
	}
}
