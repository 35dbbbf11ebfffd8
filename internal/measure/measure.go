// Package measure holds what the benchmarks that print figures share.
package measure

import (
	"os"
	"slices"
	"strconv"
	"strings"
)

// Median returns the middle of x, or the mean of the two in the middle; 0 of
// none. It leaves x as it is.
func Median(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	x = slices.Sorted(slices.Values(x))
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

// PeakMB returns the greatest resident memory of the process so far, in MB of
// 2^20 bytes; 0 where the system does not say.
func PeakMB() float64 { return status("VmHWM:") }

// ResidentMB returns the resident memory of the process, in MB of 2^20 bytes;
// 0 where the system does not say.
func ResidentMB() float64 { return status("VmRSS:") }

// status returns a figure in MB that Linux keeps of the process.
func status(key string) float64 {
	lines, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(lines)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == key {
			kb, _ := strconv.ParseFloat(f[1], 64)
			return kb / 1024
		}
	}
	return 0
}
