//go:build amd64 && !purego

package gemm

import "golang.org/x/sys/cpu"

var (
	avx2 = kernel{
		name: "avx2", mr: 6, nr: 16, rows: rowsAVX2, columns: columnsAVX2,
		transpose8: transpose8AVX2, copyPanels: copyPanels16AVX2, copyColumns: copyPanels24AVX2,
	}
	avx512 = kernel{
		name: "avx512", mr: 12, nr: 32, tile: tileAVX512,
		transpose8: transpose8AVX2, copyPanels: copyPanels32AVX2,
	}
)

// available lists the kernels of this machine, the best first.
func available() []kernel {
	var ks []kernel
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		ks = append(ks, avx512)
	}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		ks = append(ks, avx2)
	}
	return append(ks, generic)
}

func best() kernel { return available()[0] }

// Peak runs n rounds of 12 independent multiply-adds of the kernel's vectors
// and returns the floating-point operations done.
func Peak(n int) int {
	switch use.name {
	case "avx512":
		peakAVX512(n)
		return n * 12 * 16 * 2
	case "avx2":
		peakAVX2(n)
		return n * 12 * 8 * 2
	}
	return 0
}
