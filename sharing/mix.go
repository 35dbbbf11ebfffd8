package sharing

import (
	"fmt"
	"slices"

	"github.com/onetrunk/onetrunk/autograd"
)

// Mix makes the tensor of a place as a sum of physical tensors with learned
// coefficients. Weights are mixed, never activations: those of the positive in
// another modality would carry its answer into the loss.
type Mix struct {
	// Kind is one of
	//   stitch      each modality has a tensor, and each place of a modality
	//               sums all of them, beginning with 0.9 of its own and the rest
	//               of the others (Misra et al. 2016, in weight space: for
	//               linear maps on one input the same)
	//   bank        Bank tensors serve all modalities of a physical layer, by
	//               the softmax of learned logits, which begin by 2 in favour of
	//               one tensor, the modalities' in turn
	//   partitions  every way to group the modalities, by the softmax of
	//               learned logits for each layer's attention and each layer's
	//               feed-forward network: a search over maps, see Policy
	Kind string `json:"kind"`
	// Roles are the products that are mixed; all four when empty.
	Roles []Role `json:"roles,omitempty"`
	// Bank is the number of tensors of kind bank.
	Bank int `json:"bank,omitempty"`
	// Search says how the logits of kind partitions are found.
	Search *Search `json:"search,omitempty"`
}

// Search is how a run of mix partitions finds a map. The weights are trained on
// one half of the data; after a warm-up, each of their steps is followed by one
// of the logits on the other half.
type Search struct {
	// Budget is the number of parameters that attention and feed-forward
	// networks may take, in expectation; Weight is what each Budget above it adds
	// to the logits' loss.
	Budget int     `json:"budget"`
	Weight float64 `json:"weight"`
	// Warmup is the share of the steps before the logits move.
	Warmup float64 `json:"warmup"`
	// Tau is the temperature of the Gumbel-softmax at the first and the last
	// step, between which it falls by a constant factor.
	Tau [2]float64 `json:"tau"`
	// Rate is the logits' learning rate.
	Rate float64 `json:"rate"`
}

func (s *Search) validate() error {
	for _, v := range []struct {
		key   string
		value float64
		ok    bool
	}{
		{"budget", float64(s.Budget), s.Budget > 0},
		{"weight", s.Weight, s.Weight >= 0},
		{"warmup", s.Warmup, s.Warmup >= 0 && s.Warmup < 1},
		{"tau", s.Tau[0], s.Tau[0] > 0 && s.Tau[0] <= 1000},
		{"tau", s.Tau[1], s.Tau[1] > 0 && s.Tau[1] <= 1000},
		{"rate", s.Rate, s.Rate > 0},
	} {
		if !v.ok {
			return fmt.Errorf("sharing.mix.search.%s: %g is out of its range", v.key, v.value)
		}
	}
	return nil
}

// covers reports whether a role is mixed.
func (m *Mix) covers(r Role) bool {
	return m != nil && r.Product() && (len(m.Roles) == 0 || slices.Contains(m.Roles, r))
}

func (m *Mix) validate(c *Config) error {
	if !slices.Contains([]string{"stitch", "bank", "partitions"}, m.Kind) {
		return fmt.Errorf("sharing.mix.kind: %q is not one of stitch, bank, partitions", m.Kind)
	}
	if (m.Kind == "bank") != (m.Bank > 0) {
		return fmt.Errorf("sharing.mix.bank: expected at least 1 for kind bank and nothing for the others, found %d for kind %q", m.Bank, m.Kind)
	}
	if err := validProducts("sharing.mix.roles", m.Roles); err != nil {
		return err
	}
	if (m.Kind == "partitions") != (m.Search != nil) {
		return fmt.Errorf("sharing.mix.search: belongs to kind partitions, which needs it; the kind is %q", m.Kind)
	}
	if m.Search != nil {
		if c.Delta != nil || c.Mask != nil || c.Router != nil || c.Pull != nil || c.Balance != nil || c.Adapt != nil || len(c.Phases) > 0 {
			return fmt.Errorf("sharing.mix: a search is about the map alone; what else the sharing block holds goes with the map that it finds")
		}
		if err := m.Search.validate(); err != nil {
			return err
		}
	}
	if m.Kind == "partitions" && len(m.Roles) > 0 {
		return fmt.Errorf("sharing.mix.roles: kind partitions is about all products")
	}
	for _, r := range Products {
		private := slices.Contains(c.Private, r) || c.Experts == "modality" && (r == Up || r == Down)
		if m.covers(r) && private {
			return fmt.Errorf("sharing.mix: %q is private already; a place is either mixed or mapped", r)
		}
	}
	if len(c.Map) > 0 {
		return fmt.Errorf("sharing.mix: does not go with sharing.map; a place is either mixed or mapped")
	}
	return nil
}

// String describes the block in a few words.
func (m *Mix) String() string {
	if m.Kind == "bank" {
		return fmt.Sprintf("mixed of a bank of %d", m.Bank)
	}
	return "mixed by " + m.Kind
}

// mixTensors lists the physical tensors that a place is mixed of.
func (w *Weights) mixTensors(layer int, modality string, r Role) []string {
	at := w.physical[r][layer]
	var names []string
	switch w.Config.Mix.Kind {
	case "stitch":
		for _, m := range w.Modalities {
			names = append(names, w.name(at, "@"+m, r))
		}
	case "bank":
		for k := range w.Config.Mix.Bank {
			names = append(names, w.bankName(at, k, r))
		}
	case "partitions":
		for _, t := range partitionTerms(w.Modalities, modality) {
			names = append(names, w.name(at, t.group, r))
		}
	}
	return names
}

// bankName is the name of the tensor k of a bank: trunk/0/attn#1/qkv. The first
// has the name of the tensor that all modalities would share.
func (w *Weights) bankName(layer, k int, r Role) string {
	if k == 0 {
		return w.name(layer, "", r)
	}
	return w.name(layer, fmt.Sprintf("#%d", k), r)
}

// mixName is the parameter of a place's coefficients.
func (w *Weights) mixName(layer int, modality string, r Role) string {
	if w.Config.Mix.Kind == "partitions" {
		return w.policyName(w.physical[r][layer], r)
	}
	return w.name(layer, "@"+modality, r) + "/mix"
}

// declareMix puts the tensors and coefficients of a role into the bank.
func (w *Weights) declareMix(r Role, out, in int, std float64) {
	mix := w.Config.Mix
	for l := range w.Layers {
		for i, m := range w.Modalities {
			for _, name := range w.mixTensors(l, m, r) {
				if !w.Bank.Has(name + "/weight") {
					from := name
					if mix.Kind == "partitions" { // all begin as hard sharing
						from = w.name(w.physical[r][l], "", r)
					}
					w.declare(name, from, out, in, std)
				}
			}
			name := w.mixName(l, m, r)
			if w.Bank.Has(name) {
				continue
			}
			first := make([]float32, len(w.Modalities))
			switch mix.Kind {
			case "stitch":
				for j := range first {
					first[j] = 0.1 / float32(max(len(first)-1, 1))
				}
				first[i] = 0.9
				if len(first) == 1 {
					first[0] = 1
				}
			case "bank":
				first = make([]float32, mix.Bank)
				first[i%mix.Bank] = 2
			case "partitions":
				first = make([]float32, len(Partitions(w.Modalities)))
			}
			w.Bank.Vector(name, len(first), 0)
			if !w.Bank.empty {
				w.Bank.dev.Write(w.Bank.Param(name).Value, first)
			}
		}
	}
}

// mixed makes the weight and bias of a place.
func (p *Pass) mixed(layer int, modality string, r Role) autograd.Part {
	names := p.mixTensors(layer, modality, r)
	coefs := p.Bank.Param(p.mixName(layer, modality, r)).Var()
	terms := make([][]int, len(names))
	for i := range terms {
		terms[i] = []int{i}
	}
	switch p.Config.Mix.Kind {
	case "bank":
		coefs = p.tape.Softmax(coefs)
	case "partitions":
		coefs = p.choices(p.physical[r][layer], r)
		for i, t := range partitionTerms(p.Modalities, modality) {
			terms[i] = t.partitions
		}
	}
	sum := func(of string) *autograd.Var {
		var ts []autograd.MixTerm
		for i, name := range names {
			ts = append(ts, autograd.MixTerm{Coefs: terms[i], X: p.Bank.Param(name + of).Var()})
		}
		return p.tape.Mix(coefs, ts...)
	}
	return autograd.Part{W: sum("/weight"), B: sum("/bias")}
}
