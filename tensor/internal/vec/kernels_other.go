//go:build (!amd64 && !arm64) || purego

package vec

// available lists the implementations of this machine.
func available() []kernels { return []kernels{plain} }
