package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// ticks is the number of units a second in which Linux gives processor time
// to programs (USER_HZ).
const ticks = 100

// machineCPU returns the seconds of processor time that the machine has
// worked, over all its processors; 0 where the system does not say.
func machineCPU() float64 {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(data), "\n")
	sum := 0.0
	// cpu, user, nice, system, idle, iowait, irq, softirq, steal; what follows
	// is part of the first two.
	for i, f := range strings.Fields(first) {
		if i >= 1 && i <= 8 && i != 4 && i != 5 {
			n, _ := strconv.ParseFloat(f, 64)
			sum += n
		}
	}
	return sum / ticks
}

// processCPU returns the seconds of processor time that a process has worked.
func processCPU(pid int) float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name of the program stands in brackets and may hold anything.
	f := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	return (user + system) / ticks
}

// others returns the share of the machine that was neither idle nor used by
// the side, from seconds of processor time and of the clock.
func others(machine, side, seconds float64) float64 {
	return max(0, machine-side) / (seconds * float64(runtime.NumCPU()))
}

// machine describes the machine.
func machine() string {
	name := runtime.GOARCH
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				name = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%s, %d processors", name, runtime.NumCPU())
}
