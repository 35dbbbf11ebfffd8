// Package vec holds the element-wise and row kernels of the CPU device:
// functions on float32 slices, for one goroutine each. They are generated
// AVX2 assembly or NEON assembly, each beside a twin in plain Go that says what
// it does.
//
// The first slice gives the length; the others must be as long, or the
// function panics before it writes. A result may be one of its sources, but
// not overlap it otherwise. Sums are taken in an order that depends on the
// length alone. Nothing allocates.
package vec

import (
	"fmt"
	"math"
	"unsafe"
)

//go:generate sh -c "cd gen && go run . -out ../vec_amd64.s -stubs ../stubs_amd64.go -pkg vec"

// Kernel names the instruction set in use: "avx2", "neon" or "go".
func Kernel() string { return use.name }

// first returns the address of the first element of x, which must have n > 0
// elements or more.
func first(x []float32, n int) *float32 {
	_ = x[n-1]
	return &x[0]
}

// Add is dst = a + b.
func Add(dst, a, b []float32) {
	if n := len(dst); n > 0 {
		use.add(&dst[0], first(a, n), first(b, n), n)
	}
}

// Axpy is y += alpha x; x gives the length.
func Axpy(alpha float32, x, y []float32) {
	if n := len(x); n > 0 {
		use.axpy(alpha, &x[0], first(y, n), n)
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
	return use.dot(&x[0], first(y, n), n)
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
	rows = rows[: n*d : len(rows)]
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
	n := len(dst)
	if rows == 0 || n == 0 {
		return
	}
	_ = x[(rows-1)*stride+n-1]
	for i := range rows {
		use.axpy(1, &x[i*stride], &dst[0], n)
	}
}

// Act is an activation function.
type Act uint8

// The activations.
const (
	Identity  Act = iota
	GELU          // x cdf(x) of the standard normal distribution
	QuickGELU     // x / (1 + exp(-1.702 x))
	ReLU          // max(x, 0)
	GELUTanh      // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) (Hendrycks and Gimpel 2016)
)

// BiasAct is pre = x + bias, y = act(pre). bias may be nil for none; pre may
// be nil when it is not wanted. The absolute error of GELU, QuickGELU and
// GELUTanh is less than 1e-6.
func BiasAct(y, pre, x, bias []float32, act Act) {
	n := len(y)
	if n == 0 {
		return
	}
	from := first(x, n)
	if pre != nil {
		first(pre, n)
	}
	if bias != nil {
		to := &y[0]
		if pre != nil {
			to = &pre[0]
		}
		use.add(to, from, first(bias, n), n)
		from = to
	} else if pre != nil {
		copy(pre[:n], x)
	}
	switch act {
	case Identity:
		copy(y, unsafe.Slice(from, n))
	case GELU:
		use.gelu(&y[0], from, n)
	case QuickGELU:
		use.quickGELU(&y[0], from, n)
	case ReLU:
		use.relu(&y[0], from, n)
	case GELUTanh:
		use.geluTanh(&y[0], from, n)
	default:
		panic(fmt.Sprintf("vec: activation %d", act))
	}
}

// ActGrad is dx = dy act'(pre), with act' of absolute error less than 1e-6.
func ActGrad(dx, dy, pre []float32, act Act) {
	n := len(dx)
	if n == 0 {
		return
	}
	g, x := first(dy, n), first(pre, n)
	switch act {
	case Identity:
		copy(dx, dy)
	case GELU:
		use.geluGrad(&dx[0], g, x, n)
	case QuickGELU:
		use.quickGELUGrad(&dx[0], g, x, n)
	case ReLU:
		use.reluGrad(&dx[0], g, x, n)
	case GELUTanh:
		use.geluTanhGrad(&dx[0], g, x, n)
	default:
		panic(fmt.Sprintf("vec: activation %d", act))
	}
}

// Softmax replaces x by softmax(scale x), for scale > 0, and returns the
// logarithm of the sum of exp(scale x). A row of -Inf becomes zeros, with
// -Inf; NaN or +Inf anywhere makes all NaN.
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

// ExpMinus is dst = exp(scale x - lse), within 2 units in the last place of
// what the rounded exponent gives; less than 2^-126 is 0, and more than the
// greatest float is +Inf. With an lse of -Inf, which Softmax returns for a row
// of -Inf, all are 0.
func ExpMinus(dst, x []float32, scale, lse float32) {
	n := len(dst)
	if n == 0 {
		return
	}
	from := first(x, n)
	if math.IsInf(float64(lse), -1) {
		clear(dst)
		return
	}
	use.expMinus(&dst[0], from, scale, lse, n)
}

// SoftmaxGrad is ds = scale p (dp - p.dp): the gradient of softmax(scale x)
// with value p.
func SoftmaxGrad(ds, p, dp []float32, scale float32) {
	if n := len(ds); n > 0 {
		q, d := first(p, n), first(dp, n)
		use.softmaxGrad(&ds[0], q, d, scale, use.dot(q, d, n), n)
	}
}

// LayerNorm is y = (x - mean) rstd gamma + beta with the mean of x and rstd =
// 1/sqrt(variance + eps), the variance being the mean of squares.
func LayerNorm(y, x, gamma, beta []float32, eps float32) (mean, rstd float32) {
	n := len(y)
	if n == 0 {
		return 0, 0
	}
	_, _, _ = x[n-1], gamma[n-1], beta[n-1]
	mean, rstd = LayerNormStats(x[:n], eps)
	LayerNormApply(y, x, gamma, beta, mean, rstd)
	return mean, rstd
}

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

// LayerNormGrad is the gradient of LayerNorm: dgamma += dy h and dbeta += dy,
// h = (x - mean) rstd; dx = or, with acc, += rstd (dy gamma - mean(dy gamma)
// - h mean(dy gamma h)).
func LayerNormGrad(dx, dgamma, dbeta, dy, x, gamma []float32, mean, rstd float32, acc bool) {
	n := len(dx)
	if n == 0 {
		return
	}
	s0, s1 := use.normGradSums(first(dgamma, n), first(dbeta, n), first(dy, n), first(x, n), first(gamma, n), mean, rstd, n)
	f := use.normGrad
	if acc {
		f = use.normGradAdd
	}
	f(&dx[0], &dy[0], &x[0], &gamma[0], mean, rstd, s0/float32(n), s1/float32(n), n)
}

// RMSNorm is y = x rstd gamma with rstd = 1/sqrt(mean(x^2) + eps) (Zhang and
// Sennrich 2019).
func RMSNorm(y, x, gamma []float32, eps float32) (rstd float32) {
	n := len(y)
	if n == 0 {
		return 0
	}
	_, _ = x[n-1], gamma[n-1]
	rstd = RMSNormStats(x[:n], eps)
	RMSNormApply(y, x, gamma, rstd)
	return rstd
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

// RMSNormGrad is the gradient of RMSNorm: dgamma += dy h, h = x rstd; dx = or,
// with acc, += rstd (dy gamma - h mean(dy gamma h)).
func RMSNormGrad(dx, dgamma, dy, x, gamma []float32, rstd float32, acc bool) {
	n := len(dx)
	if n == 0 {
		return
	}
	s := use.rmsNormGradSums(first(dgamma, n), first(dy, n), first(x, n), first(gamma, n), rstd, n)
	f := use.normGrad
	if acc {
		f = use.normGradAdd
	}
	f(&dx[0], &dy[0], &x[0], &gamma[0], 0, rstd, 0, s/float32(n), n)
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
	use.adamW(&p[0], first(g, n), first(m, n), first(v, n), s.Beta1, 1-s.Beta1, s.Beta2, 1-s.Beta2,
		s.LR*s.Decay, s.LR/s.Correct1, float32(1/math.Sqrt(float64(s.Correct2))), s.Eps, s.GradScale, n)
}
