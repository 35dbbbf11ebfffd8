//go:build (!amd64 && !arm64) || purego

package gemm

// available lists the kernels of this machine.
func available() []kernel { return []kernel{generic} }

func best() kernel { return generic }

// Peak measures nothing where there is no assembly.
func Peak(int) int { return 0 }
