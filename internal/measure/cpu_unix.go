//go:build unix

package measure

import "golang.org/x/sys/unix"

// CPUSeconds returns the CPU time that the process has used, in user and system
// mode over all threads; 0 where the system does not say.
func CPUSeconds() float64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
