package measure

import "golang.org/x/sys/windows"

// CPUSeconds returns the CPU time that the process has used, in user and system
// mode over all threads; 0 where the system does not say.
func CPUSeconds() float64 {
	var created, exited, kernel, user windows.Filetime
	if windows.GetProcessTimes(windows.CurrentProcess(), &created, &exited, &kernel, &user) != nil {
		return 0
	}
	seconds := func(t windows.Filetime) float64 { // of units of 100 ns; Nanoseconds is for dates
		return float64(uint64(t.HighDateTime)<<32|uint64(t.LowDateTime)) / 1e7
	}
	return seconds(kernel) + seconds(user)
}
