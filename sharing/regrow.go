package sharing

import (
	"math"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/tensor"
)

// settled is the share of the steps after which dynamic masks stay as they are.
const settled = 0.75

// Changes returns the share of their entries that dynamic masks change after step
// n of steps, 0 when it is not time: every Every steps over the first three
// quarters, falling from Fraction to 0 along half a cosine (Evci et al. 2020,
// section 3).
func (m *Mask) Changes(n, steps int) float64 {
	end := settled * float64(steps)
	if m == nil || m.Kind != "dynamic" || m.Keep == 1 || n%m.Every != 0 || float64(n) > end {
		return 0
	}
	return m.Fraction / 2 * (1 + math.Cos(math.Pi*float64(n)/end))
}

// Regrow changes every dynamic mask of which the passes since Probe kept the
// gradient (Evci et al. 2020, algorithm 1): it drops the share of its entries
// whose weights are the smallest by magnitude, and takes as many of those that
// are then left out, at which the gradient is the greatest. So an entry that was
// dropped may come back at once, as in the authors' code; it keeps its value.
//
// The weight is one for all modalities, which the paper has not: an entry that
// another modality uses already is taken as it stands; one that none does is zero
// with moments of zero, see Prune, and so begins at zero.
//
// A mask whose weight is not trained, or whose modality was in no pass, stays.
func (w *Weights) Regrow(share float64, moments func(p *autograd.Param) []*tensor.Tensor) {
	dev := w.Bank.dev
	for _, m := range w.Masked() {
		probe := w.probes[m.Mask.Name]
		if probe == nil || probe.Grad() == nil || !m.Param.Trained() {
			continue
		}
		mask := m.Mask.Value
		used := int(math.Round(dev.SumAbs(mask)))
		n := int(share * float64(used))
		rest, grown := dev.New(mask.Rows, mask.Cols), dev.New(mask.Rows, mask.Cols)
		one := func(t *tensor.Tensor) []*tensor.Tensor { return []*tensor.Tensor{t} }
		dev.Greatest(one(mask), one(m.Param.Value), one(mask), used-n)
		dev.Fill(rest, 1)
		dev.Axpy(rest, -1, mask)
		dev.Greatest(one(grown), one(probe.Grad()), one(rest), n)
		dev.Axpy(mask, 1, grown)
		dev.Free(rest)
		dev.Free(grown)
	}
	w.Prune(moments)
}
