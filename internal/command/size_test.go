package command

import "testing"

func TestSize(t *testing.T) {
	for in, want := range map[string]Size{"800MB": 8e8, "1.5GiB": 3 << 29, " 20 kB": 2e4, "4KiB": 4096} {
		var s Size
		if err := s.UnmarshalText([]byte(in)); err != nil || s != want {
			t.Errorf("%q: %g, %v; want %g", in, s, err, want)
		}
	}
	for _, in := range []string{"", "800", "MB", "-1MB", "0GB", "1TB", "x MB", "NaNMB"} {
		var s Size
		if err := s.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q was taken for %g bytes", in, s)
		}
	}
}
