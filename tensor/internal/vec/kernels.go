package vec

// kernels is one implementation of what the functions of this package are
// made of. Pointers are to n > 0 elements; a result may be a source. The plain twins in twins.go say what each does.
type kernels struct {
	name            string
	add             func(dst, a, b *float32, n int)
	axpy            func(alpha float32, x, y *float32, n int)
	scale           func(alpha float32, x *float32, n int)
	dot             func(x, y *float32, n int) float32
	dot4            func(dst, rows *float32, stride int, q *float32, n int)
	sumSquares      func(x *float32, n int) float64
	sum             func(x *float32, n int) float32
	sumDev          func(x *float32, mean float32, n int) float32
	gelu            func(y, x *float32, n int)
	geluGrad        func(dx, dy, x *float32, n int)
	quickGELU       func(y, x *float32, n int)
	quickGELUGrad   func(dx, dy, x *float32, n int)
	relu            func(y, x *float32, n int)
	reluGrad        func(dx, dy, x *float32, n int)
	max             func(x *float32, n int) float32
	expMinus        func(dst, x *float32, scale, shift float32, n int) float32
	softmaxGrad     func(ds, p, dp *float32, scale, mean float32, n int)
	norm            func(y, x, gamma, beta *float32, mean, rstd float32, n int)
	normGradSums    func(dgamma, dbeta, dy, x, gamma *float32, mean, rstd float32, n int) (s0, s1 float32)
	rmsNorm         func(y, x, gamma *float32, rstd float32, n int)
	rmsNormGradSums func(dgamma, dy, x, gamma *float32, rstd float32, n int) float32
	normGrad        func(dx, dy, x, gamma *float32, mean, rstd, c0, c1 float32, n int)
	normGradAdd     func(dx, dy, x, gamma *float32, mean, rstd, c0, c1 float32, n int)
	adamW           func(p, g, m, v *float32, beta1, rest1, beta2, rest2, decay, rate, root, eps, gscale float32, n int)
	geluTanh        func(y, x *float32, n int)
	geluTanhGrad    func(dx, dy, x *float32, n int)
	exp             func(dst, x *float32, n int)
	tanh            func(dst, x *float32, n int)
	erf             func(dst, x *float32, n int)
	log             func(dst, x *float32, n int)
}

var plain = kernels{
	name: "go", add: addGo, axpy: axpyGo, scale: scaleGo, dot: dotGo, dot4: dot4Go,
	sumSquares: sumSquaresGo, sum: sumGo, sumDev: sumDevGo,
	gelu: geluGo, geluGrad: geluGradGo, quickGELU: quickGELUGo, quickGELUGrad: quickGELUGradGo,
	relu: reluGo, reluGrad: reluGradGo,
	max: maxGo, expMinus: expMinusGo, softmaxGrad: softmaxGradGo,
	norm: normGo, normGradSums: normGradSumsGo, rmsNorm: rmsNormGo, rmsNormGradSums: rmsNormGradSumsGo,
	normGrad: normGradGo, normGradAdd: normGradAddGo,
	adamW: adamWGo, geluTanh: geluTanhGo, geluTanhGrad: geluTanhGradGo,
	exp: expGo, tanh: tanhGo, erf: erfGo, log: logGo,
}

// use is the implementation of this machine.
var use = available()[0]
