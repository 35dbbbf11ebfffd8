package train

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
)

// noise returns the draws of N(0, 1) that routers add in a pass of the step to
// come. They are a function of the seed, the step, the pass and who asks, so that
// a run that goes on draws what it would have.
func (r *run) noise(pass int) func(unit string, n int) []float32 {
	step := r.state.Step
	return func(unit string, n int) []float32 {
		h := fnv.New64a()
		fmt.Fprintln(h, "noise", unit, step, pass)
		rng := rand.New(rand.NewPCG(r.Settings.Seed, h.Sum64()))
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		return x
	}
}
