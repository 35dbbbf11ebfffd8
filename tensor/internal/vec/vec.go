// Package vec holds the element-wise and row kernels of the CPU device:
// functions on float32 slices, for one goroutine each. They are generated
// AVX2 assembly, each beside a twin in plain Go that says what it does.
//
// The first argument gives the length; the others must be as long, or the
// function panics. A result may overwrite its sources.
package vec

import "math"

//go:generate sh -c "cd gen && go run . -out ../vec_amd64.s -stubs ../stubs_amd64.go -pkg vec"

// Kernel names the instruction set in use: "avx2" or "go".
func Kernel() string { return use.name }

// Add is dst = a + b.
func Add(dst, a, b []float32) {
	if n := len(dst); n > 0 {
		use.add(&dst[0], &a[:n][0], &b[:n][0], n)
	}
}

// Axpy is y += alpha x; x gives the length.
func Axpy(alpha float32, x, y []float32) {
	if n := len(x); n > 0 {
		use.axpy(alpha, &x[0], &y[:n][0], n)
	}
}

// Scale is x *= alpha.
func Scale(alpha float32, x []float32) {
	if len(x) > 0 {
		use.scale(alpha, &x[0], len(x))
	}
}

// Dot returns the sum of x y.
func Dot(x, y []float32) float32 {
	n := len(x)
	if n == 0 {
		return 0
	}
	return use.dot(&x[0], &y[:n][0], n)
}

// SumSquares returns the sum of x^2, summed in float64.
func SumSquares(x []float32) float64 {
	if len(x) == 0 {
		return 0
	}
	return use.sumSquares(&x[0], len(x))
}

// DotRows is dst[i] = row i of rows . q, for rows [len(dst), len(q)]. Equal
// rows have equal products, wherever they stand.
func DotRows(dst, rows, q []float32) {
	d, n := len(q), len(dst)
	rows = rows[:n*d]
	i := 0
	if d > 0 {
		for ; i+4 <= n; i += 4 { // four rows at a time share q, and are four streams of memory
			use.dot4(&dst[i], &rows[i*d], d, &q[0], d)
		}
	}
	for ; i < n; i++ {
		dst[i] = Dot(q, rows[i*d:(i+1)*d])
	}
}

// SumRows is dst[j] += the sum over i < rows of x[i*stride+j], for j <
// len(dst), in the order of i.
func SumRows(dst, x []float32, rows, stride int) {
	for i := range rows {
		Axpy(1, x[i*stride:i*stride+len(dst)], dst)
	}
}

// Act is an activation function.
type Act uint8

// The activations.
const (
	Identity  Act = iota
	GELU          // x cdf(x) of the standard normal distribution, absolute error 1e-6 for |x| < 8
	QuickGELU     // x / (1 + exp(-1.702 x))
	ReLU          // max(x, 0)
)

// BiasAct is pre = x + bias, y = act(pre). bias may be nil for none; pre may
// be nil when it is not wanted.
func BiasAct(y, pre, x, bias []float32, act Act) {
	n := len(y)
	if n == 0 {
		return
	}
	x = x[:n]
	if bias != nil {
		to := y
		if pre != nil {
			to = pre[:n]
		}
		Add(to, x, bias[:n])
		x = to
	} else if pre != nil {
		copy(pre[:n], x)
	}
	switch act {
	case Identity:
		copy(y, x)
	case GELU:
		use.gelu(&y[0], &x[0], n)
	case QuickGELU:
		use.quickGELU(&y[0], &x[0], n)
	case ReLU:
		for i, v := range x {
			y[i] = max(v, 0)
		}
	}
}

// ActGrad is dx = dy act'(pre).
func ActGrad(dx, dy, pre []float32, act Act) {
	n := len(dx)
	if n == 0 {
		return
	}
	dy, pre = dy[:n], pre[:n]
	switch act {
	case Identity:
		copy(dx, dy)
	case GELU:
		use.geluGrad(&dx[0], &dy[0], &pre[0], n)
	case QuickGELU:
		use.quickGELUGrad(&dx[0], &dy[0], &pre[0], n)
	case ReLU:
		for i, v := range pre {
			if v <= 0 {
				dx[i] = 0
			} else {
				dx[i] = dy[i]
			}
		}
	}
}

// Softmax replaces x by softmax(scale x), for scale > 0, and returns the
// logarithm of the sum of exp(scale x). A row of -Inf becomes zeros, with
// -Inf; NaN anywhere makes all NaN.
func Softmax(x []float32, scale float32) (lse float32) {
	n := len(x)
	if n == 0 {
		return float32(math.Inf(-1))
	}
	top := scale * use.max(&x[0], n)
	if math.IsInf(float64(top), -1) {
		top = 0
	}
	sum := use.expMinus(&x[0], &x[0], scale, top, n)
	if sum == 0 {
		return float32(math.Inf(-1))
	}
	use.scale(1/sum, &x[0], n)
	return top + float32(math.Log(float64(sum)))
}

// ExpMinus is dst = exp(scale x - lse), of relative error 1e-6; less than
// exp(-87) is 0.
func ExpMinus(dst, x []float32, scale, lse float32) {
	if n := len(dst); n > 0 {
		use.expMinus(&dst[0], &x[:n][0], scale, lse, n)
	}
}

// SoftmaxGrad is ds = scale p (dp - p.dp): the gradient of softmax(scale x)
// with value p.
func SoftmaxGrad(ds, p, dp []float32, scale float32) {
	if n := len(ds); n > 0 {
		use.softmaxGrad(&ds[0], &p[:n][0], &dp[:n][0], scale, Dot(p[:n], dp), n)
	}
}

// LayerNorm is y = (x - mean) rstd gamma + beta with the mean of x and rstd =
// 1/sqrt(variance + eps), the variance being the mean of squares.
func LayerNorm(y, x, gamma, beta []float32, eps float32) (mean, rstd float32) {
	n := len(y)
	if n == 0 {
		return 0, 0
	}
	x = x[:n]
	mean = use.sum(&x[0], n) / float32(n)
	variance := use.sumDev(&x[0], mean, n) / float32(n)
	rstd = float32(1 / math.Sqrt(float64(variance)+float64(eps)))
	use.norm(&y[0], &x[0], &gamma[:n][0], &beta[:n][0], mean, rstd, n)
	return mean, rstd
}

// LayerNormGrad is the gradient of LayerNorm: dgamma += dy h and dbeta += dy,
// h = (x - mean) rstd; dx = or, with acc, += rstd (dy gamma - mean(dy gamma)
// - h mean(dy gamma h)).
func LayerNormGrad(dx, dgamma, dbeta, dy, x, gamma []float32, mean, rstd float32, acc bool) {
	n := len(dx)
	if n == 0 {
		return
	}
	s0, s1 := use.normGradSums(&dgamma[:n][0], &dbeta[:n][0], &dy[:n][0], &x[:n][0], &gamma[:n][0], mean, rstd, n)
	f := use.normGrad
	if acc {
		f = use.normGradAdd
	}
	f(&dx[0], &dy[0], &x[0], &gamma[0], mean, rstd, s0/float32(n), s1/float32(n), n)
}

// RMSNorm is y = x rstd gamma with rstd = 1/sqrt(mean(x^2) + eps).
func RMSNorm(y, x, gamma []float32, eps float32) (rstd float32) {
	n := len(y)
	if n == 0 {
		return 0
	}
	rstd = float32(1 / math.Sqrt(SumSquares(x[:n])/float64(n)+float64(eps)))
	for i, v := range x[:n] {
		y[i] = v * rstd * gamma[i]
	}
	return rstd
}

// RMSNormGrad is the gradient of RMSNorm: dgamma += dy h, h = x rstd; dx = or,
// with acc, += rstd (dy gamma - h mean(dy gamma h)).
func RMSNormGrad(dx, dgamma, dy, x, gamma []float32, rstd float32, acc bool) {
	n := len(dx)
	var s1 float32
	for i, v := range x[:n] {
		h := v * rstd
		dgamma[i] += dy[i] * h
		s1 += dy[i] * gamma[i] * h
	}
	if n == 0 {
		return
	}
	f := use.normGrad
	if acc {
		f = use.normGradAdd
	}
	f(&dx[0], &dy[0], &x[0], &gamma[0], 0, rstd, 0, s1/float32(n), n)
}

// AdamWStep holds the numbers of one AdamW step.
type AdamWStep struct {
	LR, Beta1, Beta2, Eps, Decay float32
	// Correct1 and Correct2 are 1 - Beta^step.
	Correct1, Correct2 float32
	// GradScale multiplies the gradient first.
	GradScale float32
}

// AdamW changes parameters p by gradients g and moments m and v, as
// torch.optim.AdamW does: the decay is decoupled (Loshchilov and Hutter
// 2019), eps is added to the corrected root.
func AdamW(p, g, m, v []float32, s AdamWStep) {
	n := len(p)
	if n == 0 {
		return
	}
	use.adamW(&p[0], &g[:n][0], &m[:n][0], &v[:n][0], s.Beta1, 1-s.Beta1, s.Beta2, 1-s.Beta2,
		1-s.LR*s.Decay, s.LR/s.Correct1, float32(1/math.Sqrt(float64(s.Correct2))), s.Eps, s.GradScale, n)
}
