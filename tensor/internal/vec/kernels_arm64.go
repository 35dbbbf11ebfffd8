//go:build !purego

package vec

// available lists the implementations of this machine, the best first. Every
// arm64 machine has NEON.
func available() []kernels {
	neon := plain
	neon.name = "neon"
	neon.add, neon.axpy, neon.scale = addNEON, axpyNEON, scaleNEON
	neon.dot, neon.dot4 = dotNEON, dot4NEON
	neon.sum, neon.sumDev, neon.sumSquares = sumNEON, sumDevNEON, sumSquaresNEON
	neon.max, neon.expMinus, neon.softmaxGrad = maxNEON, expMinusNEON, softmaxGradNEON
	neon.norm, neon.normGradSums = normNEON, normGradSumsNEON
	neon.rmsNorm, neon.rmsNormGradSums = rmsNormNEON, rmsNormGradSumsNEON
	neon.normGrad, neon.normGradAdd = normGradNEON, normGradAddNEON
	neon.gelu, neon.geluGrad = geluNEON, geluGradNEON
	neon.quickGELU, neon.quickGELUGrad = quickGELUNEON, quickGELUGradNEON
	neon.relu, neon.reluGrad = reluNEON, reluGradNEON
	neon.adamW = adamWNEON
	return []kernels{neon, plain}
}
