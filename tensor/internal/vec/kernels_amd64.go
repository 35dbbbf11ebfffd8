//go:build amd64 && !purego

package vec

import "golang.org/x/sys/cpu"

var avx2 = kernels{
	name: "avx2", add: addAVX2, axpy: axpyAVX2, scale: scaleAVX2, dot: dotAVX2, dot4: dot4AVX2,
	sumSquares: sumSquaresAVX2, sum: sumAVX2, sumDev: sumDevAVX2,
	gelu: geluAVX2, geluGrad: geluGradAVX2, quickGELU: quickGELUAVX2, quickGELUGrad: quickGELUGradAVX2,
	relu: reluAVX2, reluGrad: reluGradAVX2,
	max: maxAVX2, expMinus: expMinusAVX2, softmaxGrad: softmaxGradAVX2,
	norm: normAVX2, normGradSums: normGradSumsAVX2, rmsNorm: rmsNormAVX2, rmsNormGradSums: rmsNormGradSumsAVX2,
	normGrad: normGradAVX2, normGradAdd: normGradAddAVX2,
	adamW: adamWAVX2, geluTanh: geluTanhAVX2, geluTanhGrad: geluTanhGradAVX2,
	exp: expAVX2, tanh: tanhAVX2, erf: erfAVX2, log: logAVX2,
}

// available lists the implementations of this machine, the best first.
func available() []kernels {
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		return []kernels{avx2, plain}
	}
	return []kernels{plain}
}
