package measure

import (
	"slices"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		x    []float64
		want float64
	}{
		{nil, 0},
		{[]float64{7}, 7},
		{[]float64{9, 1, 2}, 2},
		{[]float64{9, 1, 2, 4}, 3},
	} {
		before := slices.Clone(c.x)
		if got := Median(c.x); got != c.want || !slices.Equal(c.x, before) {
			t.Errorf("median of %v: %g, want %g; left as %v", before, got, c.want, c.x)
		}
	}
}

func TestCPUSecondsGrow(t *testing.T) {
	before, began := CPUSeconds(), time.Now()
	if before == 0 {
		t.Skip("the system does not say")
	}
	for x := 1.0; time.Since(began) < 50*time.Millisecond; x++ {
		_ = x * x
	}
	if used := CPUSeconds() - before; used < 0.005 || used > 5 {
		t.Errorf("%g seconds used in 0.05", used)
	}
}
