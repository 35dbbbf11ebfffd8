package command

import (
	"fmt"
	"strconv"
	"strings"
)

// Size is a number of bytes on the command line: "800MB", "1.5GiB".
type Size float64

// SizeHelp says how a Size is written.
const SizeHelp = "a number with kB, MB, GB (powers of 1000), KiB, MiB or GiB (of 1024)"

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(text []byte) error {
	in := strings.TrimSpace(string(text))
	for unit, factor := range map[string]float64{
		"kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
	} {
		number, found := strings.CutSuffix(in, unit)
		if !found {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(v > 0) {
			break
		}
		*s = Size(v * factor)
		return nil
	}
	return fmt.Errorf("%q is not a size: expected %s", in, SizeHelp)
}

// MB returns the size in MB of 2^20 bytes.
func (s Size) MB() float64 { return float64(s) / (1 << 20) }
