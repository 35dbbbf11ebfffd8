//go:build !purego

package vec

import (
	"math"
	"testing"
)

// TestActivationsAreAccurateInTheirTails fails when the assembly's small
// values are not small by the right factor, which the bound of the absolute
// error does not see: the relative error of x < 0 and of x near 0 is less than
// 1e-5 for GELU and 2e-6 for QuickGELU.
func TestActivationsAreAccurateInTheirTails(t *testing.T) {
	if use.name == plain.name {
		t.Skip("no assembly on this machine")
	}
	var x []float32
	for v := float32(-13); v < -1e-30; v *= 0.999 {
		x = append(x, v, min(-v, 1))
	}
	y := make([]float32, len(x))
	for act, bound := range map[Act]float64{GELU: 1e-5, QuickGELU: 2e-6} {
		BiasAct(y, nil, x, nil, act)
		for i, v := range x {
			if want, _ := exact[act](float64(v)); !(math.Abs(float64(y[i])/want-1) < bound) {
				t.Fatalf("activation %d of %g is %g, want %g", act, v, y[i], want)
			}
		}
	}
}
