//go:build !amd64 || purego

package int8gemm

// available lists the kernels of this machine.
func available() []kernel { return []kernel{generic} }
