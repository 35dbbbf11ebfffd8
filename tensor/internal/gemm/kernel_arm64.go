//go:build !purego

package gemm

var neon = kernel{
	name: "neon", mr: 8, nr: 12, tile: tileNEON,
	transpose8: transpose8NEON, copyPanels: copyPanelsNEON,
}

// available lists the kernels of this machine, the best first. Every arm64
// machine has NEON.
func available() []kernel { return []kernel{neon, generic} }

func best() kernel { return available()[0] }

// Peak runs n rounds of 24 independent multiply-adds of the kernel's vectors
// and returns the floating-point operations done.
func Peak(n int) int {
	if use.name != neon.name {
		return 0
	}
	peakNEON(n)
	return n * 24 * 4 * 2
}
