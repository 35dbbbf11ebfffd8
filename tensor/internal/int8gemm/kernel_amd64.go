//go:build amd64 && !purego

package int8gemm

import "golang.org/x/sys/cpu"

var avx2 = kernel{name: "avx2", panel: panelAVX2, absMax: absMaxAVX2, round: roundAVX2}

// available lists the kernels of this machine, the best first.
func available() []kernel {
	if cpu.X86.HasAVX2 {
		return []kernel{avx2, generic}
	}
	return []kernel{generic}
}
