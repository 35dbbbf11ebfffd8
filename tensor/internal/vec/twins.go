package vec

import (
	"math"
	"unsafe"
)

func slice(x *float32, n int) []float32 { return unsafe.Slice(x, n) }

// addGo is dst[i] = a[i] + b[i].
func addGo(dst, a, b *float32, n int) {
	d, y := slice(dst, n), slice(b, n)
	for i, v := range slice(a, n) {
		d[i] = v + y[i]
	}
}

// axpyGo is y[i] += alpha * x[i].
func axpyGo(alpha float32, x, y *float32, n int) {
	d := slice(y, n)
	for i, v := range slice(x, n) {
		d[i] += alpha * v
	}
}

// scaleGo is x[i] *= alpha.
func scaleGo(alpha float32, x *float32, n int) {
	d := slice(x, n)
	for i := range d {
		d[i] *= alpha
	}
}

// dotGo returns the sum of x[i] * y[i].
func dotGo(x, y *float32, n int) (s float32) {
	b := slice(y, n)
	for i, v := range slice(x, n) {
		s += v * b[i]
	}
	return s
}

// dot4Go is dst[i] = the sum over j < n of rows[i*stride+j] * q[j], for i < 4.
func dot4Go(dst, rows *float32, stride int, q *float32, n int) {
	d, r := slice(dst, 4), slice(rows, 3*stride+n)
	for i := range d {
		d[i] = 0
		for j, v := range slice(q, n) {
			d[i] += v * r[i*stride+j]
		}
	}
}

// sumSquaresGo returns the sum of x[i]^2 in float64.
func sumSquaresGo(x *float32, n int) (s float64) {
	for _, v := range slice(x, n) {
		s += float64(v) * float64(v)
	}
	return s
}

// sumGo returns the sum of x[i]. One sum of all in float32 would be too coarse
// for the mean of a long row; the assembly has 32.
func sumGo(x *float32, n int) float32 {
	var s float64
	for _, v := range slice(x, n) {
		s += float64(v)
	}
	return float32(s)
}

// sumDevGo returns the sum of (x[i] - mean)^2.
func sumDevGo(x *float32, mean float32, n int) float32 {
	var s float64
	for _, v := range slice(x, n) {
		d := float64(v - mean)
		s += d * d
	}
	return float32(s)
}

// cdf is the standard normal distribution's cumulative function.
func cdf(x float64) float64 { return 0.5 * math.Erfc(-x/math.Sqrt2) }

// geluGo is y[i] = x[i] * cdf(x[i]).
func geluGo(y, x *float32, n int) {
	d := slice(y, n)
	for i, v := range slice(x, n) {
		d[i] = float32(float64(v) * cdf(float64(v)))
	}
}

// geluGradGo is dx[i] = dy[i] * (cdf(x[i]) + x[i] * density(x[i])).
func geluGradGo(dx, dy, x *float32, n int) {
	d, g := slice(dx, n), slice(dy, n)
	for i, v := range slice(x, n) {
		u := float64(v)
		d[i] = g[i] * float32(cdf(u)+u*math.Exp(-u*u/2)/math.Sqrt(2*math.Pi))
	}
}

func logistic(x float64) float64 { return 1 / (1 + math.Exp(-1.702*x)) }

// quickGELUGo is y[i] = x[i] * logistic(1.702 x[i]).
func quickGELUGo(y, x *float32, n int) {
	d := slice(y, n)
	for i, v := range slice(x, n) {
		d[i] = float32(float64(v) * logistic(float64(v)))
	}
}

// quickGELUGradGo is dx[i] = dy[i] * (s + 1.702 x[i] s (1-s)) with the
// logistic s of 1.702 x[i].
func quickGELUGradGo(dx, dy, x *float32, n int) {
	d, g := slice(dx, n), slice(dy, n)
	for i, v := range slice(x, n) {
		u, s := float64(v), logistic(float64(v))
		d[i] = g[i] * float32(s+1.702*u*s*(1-s))
	}
}

// rise returns r = sqrt(2/pi) (x + 0.044715 x^3) and its derivative.
func rise(x float64) (r, slope float64) {
	const root, cube = math.Sqrt2 / math.SqrtPi, 0.044715
	return root * (x + cube*x*x*x), root * (1 + 3*cube*x*x)
}

// geluTanhGo is y[i] = 0.5 x[i] (1 + tanh(r)), r of x[i], which is x[i] / (1 +
// exp(-2r)).
func geluTanhGo(y, x *float32, n int) {
	d := slice(y, n)
	for i, v := range slice(x, n) {
		r, _ := rise(float64(v))
		d[i] = float32(float64(v) / (1 + math.Exp(-2*r)))
	}
}

// geluTanhGradGo is dx[i] = dy[i] * (s + 2 x[i] s (1-s) dr/dx), s = 1 / (1 +
// exp(-2r)).
func geluTanhGradGo(dx, dy, x *float32, n int) {
	d, g := slice(dx, n), slice(dy, n)
	for i, v := range slice(x, n) {
		r, slope := rise(float64(v))
		s := 1 / (1 + math.Exp(-2*r))
		d[i] = g[i] * float32(s+2*float64(v)*slope*s*(1-s))
	}
}

// reluGo is y[i] = max(x[i], 0).
func reluGo(y, x *float32, n int) {
	d := slice(y, n)
	for i, v := range slice(x, n) {
		d[i] = max(v, 0)
	}
}

// reluGradGo is dx[i] = 0 where x[i] <= 0, else dy[i].
func reluGradGo(dx, dy, x *float32, n int) {
	d, g := slice(dx, n), slice(dy, n)
	for i, v := range slice(x, n) {
		if v <= 0 {
			d[i] = 0
		} else {
			d[i] = g[i]
		}
	}
}

// maxGo returns the greatest x[i], -Inf when there is none; NaN is passed
// over.
func maxGo(x *float32, n int) float32 {
	top := float32(math.Inf(-1))
	for _, v := range slice(x, n) {
		if v > top {
			top = v
		}
	}
	return top
}

// exp is e^x, 0 where that is less than 2^-126.
func exp(x float32) float32 {
	y := float32(math.Exp(float64(x)))
	if y < 0x1p-126 {
		return 0
	}
	return y
}

// expMinusGo is dst[i] = exp(scale*x[i] - shift); it returns the sum. The
// product is rounded, so that it is shift where shift is that product.
func expMinusGo(dst, x *float32, scale, shift float32, n int) (s float32) {
	d := slice(dst, n)
	for i, v := range slice(x, n) {
		d[i] = exp(float32(scale*v) - shift)
		s += d[i]
	}
	return s
}

// softmaxGradGo is ds[i] = scale * p[i] * (dp[i] - mean).
func softmaxGradGo(ds, p, dp *float32, scale, mean float32, n int) {
	d, q := slice(ds, n), slice(p, n)
	for i, v := range slice(dp, n) {
		d[i] = scale * q[i] * (v - mean)
	}
}

// normGo is y[i] = (x[i] - mean) * rstd * gamma[i] + beta[i].
func normGo(y, x, gamma, beta *float32, mean, rstd float32, n int) {
	d, g, b := slice(y, n), slice(gamma, n), slice(beta, n)
	for i, v := range slice(x, n) {
		d[i] = (v-mean)*rstd*g[i] + b[i]
	}
}

// normGradSumsGo adds dy[i]*h[i] to dgamma[i] and dy[i] to dbeta[i], where
// h[i] = (x[i] - mean) * rstd, and returns the sums of dy[i]*gamma[i] and
// dy[i]*gamma[i]*h[i].
func normGradSumsGo(dgamma, dbeta, dy, x, gamma *float32, mean, rstd float32, n int) (s0, s1 float32) {
	dg, db, d, g := slice(dgamma, n), slice(dbeta, n), slice(dy, n), slice(gamma, n)
	for i, v := range slice(x, n) {
		h := (v - mean) * rstd
		dg[i] += d[i] * h
		db[i] += d[i]
		s0 += d[i] * g[i]
		s1 += d[i] * g[i] * h
	}
	return s0, s1
}

// rmsNormGo is y[i] = x[i] * rstd * gamma[i].
func rmsNormGo(y, x, gamma *float32, rstd float32, n int) {
	d, g := slice(y, n), slice(gamma, n)
	for i, v := range slice(x, n) {
		d[i] = v * rstd * g[i]
	}
}

// rmsNormGradSumsGo adds dy[i]*h[i] to dgamma[i], where h[i] = x[i] * rstd,
// and returns the sum of dy[i]*gamma[i]*h[i].
func rmsNormGradSumsGo(dgamma, dy, x, gamma *float32, rstd float32, n int) (s float32) {
	dg, d, g := slice(dgamma, n), slice(dy, n), slice(gamma, n)
	for i, v := range slice(x, n) {
		dh := d[i] * (v * rstd)
		dg[i] += dh
		s += dh * g[i]
	}
	return s
}

// normGradGo is dx[i] = rstd * (dy[i]*gamma[i] - c0 - c1*h[i]).
func normGradGo(dx, dy, x, gamma *float32, mean, rstd, c0, c1 float32, n int) {
	d, g, y := slice(dx, n), slice(gamma, n), slice(dy, n)
	for i, v := range slice(x, n) {
		d[i] = rstd * (y[i]*g[i] - c0 - c1*(v-mean)*rstd)
	}
}

// normGradAddGo is normGradGo with +=.
func normGradAddGo(dx, dy, x, gamma *float32, mean, rstd, c0, c1 float32, n int) {
	d, g, y := slice(dx, n), slice(gamma, n), slice(dy, n)
	for i, v := range slice(x, n) {
		d[i] += rstd * (y[i]*g[i] - c0 - c1*(v-mean)*rstd)
	}
}

// adamWGo is, with g = gscale * g[i]:
//
//	m[i] = beta1 * m[i] + rest1 * g
//	v[i] = beta2 * v[i] + rest2 * g^2
//	p[i] = p[i] - decay * p[i] - rate * m[i] / (root * sqrt(v[i]) + eps)
func adamWGo(p, g, m, v *float32, beta1, rest1, beta2, rest2, decay, rate, root, eps, gscale float32, n int) {
	ps, ms, vs := slice(p, n), slice(m, n), slice(v, n)
	for i, x := range slice(g, n) {
		x *= gscale
		ms[i] = beta1*ms[i] + rest1*x
		vs[i] = beta2*vs[i] + rest2*x*x
		ps[i] = ps[i] - decay*ps[i] - rate*ms[i]/(root*float32(math.Sqrt(float64(vs[i])))+eps)
	}
}
