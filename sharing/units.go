package sharing

import (
	"cmp"
	"math"
	"slices"

	"github.com/onetrunk/onetrunk/autograd"
)

// MaskedUnits lists the masks of units, each once.
func (w *Weights) MaskedUnits() []*autograd.Param {
	var masks []*autograd.Param
	if w.Config.Mask == nil || w.Config.Mask.Kind != "units" {
		return nil
	}
	for _, m := range w.Masked() {
		if !slices.Contains(masks, m.Mask) {
			masks = append(masks, m.Mask)
		}
	}
	return masks
}

// Importance returns |d loss / d mask| of each unit of a mask, as the passes since
// Probe kept it, and forgets it; nil when none of them used the mask.
func (w *Weights) Importance(mask *autograd.Param) []float64 {
	probe := w.probes[mask.Name]
	if probe == nil || probe.Grad() == nil {
		return nil
	}
	g := make([]float32, mask.Value.Len())
	w.Bank.dev.Read(g, probe.Grad())
	probe.Clear(w.Bank.dev)
	abs := make([]float64, len(g))
	for i, v := range g {
		abs[i] = math.Abs(float64(v))
	}
	return abs
}

// Switch turns a unit of a mask on or off.
func (w *Weights) Switch(mask *autograd.Param, unit int, on bool) {
	x := w.Bank.Read(mask)
	x[unit] = 0
	if on {
		x[unit] = 1
	}
	w.Bank.dev.Write(mask.Value, x)
}

// Select keeps the units of a mask with the greatest scores, of equal ones the
// first.
func (w *Weights) Select(mask *autograd.Param, score []float64) {
	order := make([]int, len(score))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(score[b], score[a]) })
	x := make([]float32, len(score))
	for _, i := range order[:share(w.Config.Mask.Keep, len(score))] {
		x[i] = 1
	}
	w.Bank.dev.Write(mask.Value, x)
}

// MinMax scales values to [0, 1]; to zeros where they are all equal.
func MinMax(x []float64) []float64 {
	lo, hi := slices.Min(x), slices.Max(x)
	y := make([]float64, len(x))
	for i, v := range x {
		if hi > lo {
			y[i] = (v - lo) / (hi - lo)
		}
	}
	return y
}

// Agreement returns the causal scores of units by their importance and by effect,
// what the loss rises by when a unit is off: MinMax(importance) max(0, effect) /
// max(effect). A unit is high where both are; one that the loss looks at and
// falls without, a spurious one, is zero. Causal feature selection (CFS) prefers
// features whose intervention effect agrees with their importance; its formulas
// are not public, so the product is ours.
func Agreement(importance, effect []float64) []float64 {
	y := MinMax(importance)
	most := slices.Max(effect)
	for i, e := range effect {
		if e <= 0 {
			y[i] = 0
		} else {
			y[i] *= e / most
		}
	}
	return y
}
