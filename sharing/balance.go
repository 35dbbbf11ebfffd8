package sharing

import (
	"fmt"
	"math"
	"slices"
)

// Balance makes one update of the losses of the pairs: it gives each a weight
// beside the one that train.pairs or a phase gives it. Modalities own
// parameters, pairs own losses.
type Balance struct {
	// Kind is one of
	//   fixed        all weigh one
	//   dtp          dynamic task prioritisation (Guo et al. 2018): a pair weighs
	//                -(1-kappa)^Gamma log kappa, kappa the moving average of its
	//                in-batch R@1 in the batches before, within [0.1, 0.99]. Ours:
	//                the weights are scaled to sum to the number of pairs, so that
	//                what is learned already does not make the whole gradient small.
	//   gradnorm     (Chen et al. 2018) weights that are learned: they draw the
	//                norms w |grad L| of the pairs' gradients, on the tensors of the
	//                shared trunk's last block that more than one pair reaches,
	//                towards their mean times r^Alpha, r a pair's loss by its first,
	//                relative to the mean of that over the pairs. Weights sum to the
	//                number of pairs. Ours: the step is relative to the mean norm,
	//                so that Rate does not depend on the losses' scale, and a weight
	//                stays at least 0.01.
	//   uncertainty  (Kendall et al. 2018) L/(2 e^s) + s/2 with s learned by plain
	//                gradient descent from 0.
	//   pcgrad       (Yu et al. 2020) what conflicts in a pair's gradient with the
	//                gradients of others is projected out, over all parameters that
	//                more than one pair reaches; in an order that the seed and the
	//                step draw.
	//
	// Gradnorm and pcgrad need the gradient of each pair: they run forward and
	// backward once for each pair, over the samples of its two modalities alone.
	// With three modalities that is about twice the work of a step, and memory for
	// as many gradients as there are pairs. Where something penalises weights or
	// routing, one more pass makes the gradient of that.
	Kind string `json:"kind"`
	// Gamma is dtp's focus; 0 stands for 1.
	Gamma float64 `json:"gamma,omitempty"`
	// Average is how much of dtp's kappa stays in a step; 0 stands for 0.9.
	Average float64 `json:"average,omitempty"`
	// Alpha says how strongly gradnorm holds pairs to one pace; 0 stands for 1.5.
	Alpha float64 `json:"alpha,omitempty"`
	// Rate is the learning rate of gradnorm's weights and of uncertainty's s; 0
	// stands for 0.025.
	Rate float64 `json:"rate,omitempty"`
}

// Apart reports whether the kind needs the gradient of each pair.
func (b *Balance) Apart() bool { return b != nil && (b.Kind == "gradnorm" || b.Kind == "pcgrad") }

// defaults fills in the numbers of the kind that are left out.
func (b *Balance) defaults() {
	if b == nil {
		return
	}
	for _, n := range b.numbers() {
		if *n.value == 0 && slices.Contains(n.kinds, b.Kind) {
			*n.value = n.usual
		}
	}
}

type balanceNumber struct {
	key   string
	kinds []string
	value *float64
	usual float64
	most  float64
}

func (b *Balance) numbers() []balanceNumber {
	return []balanceNumber{
		{"gamma", []string{"dtp"}, &b.Gamma, 1, math.MaxFloat64},
		{"average", []string{"dtp"}, &b.Average, 0.9, 0.999999},
		{"alpha", []string{"gradnorm"}, &b.Alpha, 1.5, math.MaxFloat64},
		{"rate", []string{"gradnorm", "uncertainty"}, &b.Rate, 0.025, 1},
	}
}

func (b *Balance) validate(_ *Config) error {
	if !slices.Contains([]string{"fixed", "dtp", "gradnorm", "uncertainty", "pcgrad"}, b.Kind) {
		return fmt.Errorf("sharing.balance.kind: %q is not one of fixed, dtp, gradnorm, uncertainty, pcgrad", b.Kind)
	}
	for _, n := range b.numbers() {
		v := *n.value
		switch {
		case v != 0 && !slices.Contains(n.kinds, b.Kind):
			return fmt.Errorf("sharing.balance.%s: is of kind %s, not %s", n.key, n.kinds[0], b.Kind)
		case !(v >= 0 && v <= n.most):
			return fmt.Errorf("sharing.balance.%s: expected a number in (0, %g], found %g", n.key, n.most, v)
		}
	}
	return nil
}

// String describes the block in a few words.
func (b *Balance) String() string { return "pairs balanced by " + b.Kind }
