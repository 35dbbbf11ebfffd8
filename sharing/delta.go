package sharing

import (
	"fmt"
	"math"
	"slices"

	"github.com/onetrunk/onetrunk/autograd"
)

// Delta is what is added to a shared tensor at each of the places that it
// serves.
type Delta struct {
	// Kind is one of
	//   lora  W + B A, of rank Rank, B beginning at zero (Hu et al. 2022): with
	//         cross-layer sharing By layer this is the relaxed recursive
	//         transformer (Bae et al. 2025)
	//   taps  W + 1[s >= 0.1] D, D beginning at zero and s at 0.15, with a
	//         straight-through gradient and the penalty Lambda mean|s|
	//         (Wallingford et al. 2022). D and s are of one (layer, modality,
	//         role). The paper's W is pretrained and frozen: freeze it by a phase.
	//   apg   x U S(z) V is added to the product, with S(z) [Rank, Rank] made of
	//         what stands in Of (Yan et al. 2022)
	Kind string `json:"kind"`
	// By says which places have a lora of their own: each "layer" that runs, each
	// "modality" (of a physical layer), or "both".
	By string `json:"by,omitempty"`
	// Rank of lora and apg; a rank of 0 adds nothing.
	Rank int `json:"rank,omitempty"`
	// Bias adds to the bias too, at each of lora's places.
	Bias bool `json:"bias,omitempty"`
	// Lambda weighs taps' penalty.
	Lambda float64 `json:"lambda,omitempty"`
	// Of is what apg's S depends on: the mean of a sample's own "tokens" as they
	// enter the block, or a learned row of the "modality".
	Of string `json:"of,omitempty"`
	// Inner is the inner size of apg's over-parameterised U = U1 U2 and V = V1
	// V2, which are products once trained; 0 has plain U and V.
	Inner int `json:"inner,omitempty"`
	// Roles are the products with a delta; all four when empty.
	Roles []Role `json:"roles,omitempty"`
}

// covers reports whether a role has a delta.
func (d *Delta) covers(r Role) bool {
	return d != nil && r.Product() && !(d.Kind != "taps" && d.Rank == 0) && (len(d.Roles) == 0 || slices.Contains(d.Roles, r))
}

// static reports whether the delta is a matrix, the same for all samples.
func (d *Delta) static() bool { return d != nil && d.Kind != "apg" }

func (d *Delta) validate(c *Config) error {
	switch d.Kind {
	case "lora":
		if !slices.Contains([]string{"layer", "modality", "both"}, d.By) {
			return fmt.Errorf("sharing.delta.by: %q is not one of layer, modality, both", d.By)
		}
	case "taps":
		if !(d.Lambda >= 0) {
			return fmt.Errorf("sharing.delta.lambda: expected at least 0, found %g", d.Lambda)
		}
	case "apg":
		if d.Of != "tokens" && d.Of != "modality" {
			return fmt.Errorf("sharing.delta.of: %q is not one of tokens, modality", d.Of)
		}
		if d.Inner < 0 {
			return fmt.Errorf("sharing.delta.inner: expected at least 0, found %d", d.Inner)
		}
	default:
		return fmt.Errorf("sharing.delta.kind: %q is not one of lora, taps, apg", d.Kind)
	}
	if d.Rank < 0 {
		return fmt.Errorf("sharing.delta.rank: expected at least 0, found %d", d.Rank)
	}
	for _, k := range []struct {
		key, kind string
		set       bool
	}{
		{"by", "lora", d.By != ""},
		{"bias", "lora", d.Bias},
		{"lambda", "taps", d.Lambda != 0},
		{"of", "apg", d.Of != ""},
		{"inner", "apg", d.Inner != 0},
	} {
		if k.set && k.kind != d.Kind {
			return fmt.Errorf("sharing.delta.%s: is of kind %s, not %s", k.key, k.kind, d.Kind)
		}
	}
	if d.Kind == "taps" && d.Rank != 0 {
		return fmt.Errorf("sharing.delta.rank: taps has none")
	}
	return validProducts("sharing.delta.roles", d.Roles)
}

// String describes the block in a few words.
func (d *Delta) String() string {
	switch d.Kind {
	case "lora":
		return fmt.Sprintf("LoRA of rank %d by %s", d.Rank, d.By)
	case "apg":
		return fmt.Sprintf("APG of rank %d by %s", d.Rank, d.Of)
	}
	return fmt.Sprintf("TAPS at lambda %g", d.Lambda)
}

// deltaName is what the names of a place's delta begin with.
func (w *Weights) deltaName(layer int, modality string, r Role) string {
	d := w.Config.Delta
	at, group := w.physical[r][layer], ""
	switch {
	case d.Kind == "lora" && d.By == "layer":
		at = layer
	case d.Kind == "lora" && d.By == "modality":
		group = "@" + modality
	case d.Kind == "lora" || d.Kind == "taps":
		at, group = layer, "@"+modality
	}
	return w.name(at, group, r) + "/" + d.Kind
}

// deltaTensors lists the parameters of a place's delta.
func (w *Weights) deltaTensors(layer int, modality string, r Role) []string {
	n := w.deltaName(layer, modality, r)
	switch w.Config.Delta.Kind {
	case "lora":
		return []string{n + "/a", n + "/b", n + "/bias"} // of which the bank has some
	case "taps":
		return []string{n + "/delta", n + "/score"}
	}
	return append([]string{w.contextName(layer)}, n+"/u", n+"/u1", n+"/u2", n+"/s/weight", n+"/s/bias", n+"/v", n+"/v1", n+"/v2")
}

// declareDelta puts the deltas of a role [out, in] into the bank.
func (w *Weights) declareDelta(r Role, out, in int) {
	d, b := w.Config.Delta, w.Bank
	for l := range w.Layers {
		for _, m := range w.Modalities {
			n := w.deltaName(l, m, r)
			switch {
			case d.Kind == "lora" && !b.Has(n+"/a"):
				b.Matrix(n+"/a", in, d.Rank, 1/math.Sqrt(float64(in)))
				b.Matrix(n+"/b", out, d.Rank, 0)
				if d.Bias {
					b.Vector(n+"/bias", out, 0)
				}
			case d.Kind == "taps" && !b.Has(n+"/delta"):
				b.Matrix(n+"/delta", out, in, 0)
				b.Vector(n+"/score", 1, 0.15)
			case d.Kind == "apg" && !b.Has(n+"/s/weight"):
				w.declareAPG(n, r, out, in)
			}
		}
	}
}

// threshold is the score from which a taps delta counts.
const threshold = 0.1

// withDelta returns a weight and bias with the static delta of a place.
func (p *Pass) withDelta(part autograd.Part, layer int, modality string, r Role) autograd.Part {
	n := p.deltaName(layer, modality, r)
	of := func(name string) *autograd.Var { return p.Bank.Param(n + name).Var() }
	if p.Config.Delta.Kind == "lora" {
		b := of("/b")
		part.W = p.tape.Linear(b, []autograd.Part{{Rows: b.Rows(), W: of("/a")}}, autograd.LinearOptions{Residual: part.W})
		if p.Config.Delta.Bias {
			part.B = p.tape.Sum([]float32{1, 1}, part.B, of("/bias"))
		}
		return part
	}
	on := p.tape.Above(of("/score"), threshold)
	part.W = p.tape.Sum([]float32{1, 1}, part.W, p.tape.Mix(on, autograd.MixTerm{Coefs: []int{0}, X: of("/delta")}))
	return part
}

// Penalise adds what the weights cost to the loss of rows x, which it returns.
func (p *Pass) Penalise(x *autograd.Var) *autograd.Var {
	d := p.Config.Delta
	if !p.tape.Trains() || d == nil || d.Kind != "taps" || d.Lambda == 0 {
		return x
	}
	var scores []*autograd.Var
	for l := range p.Layers {
		for _, m := range p.Modalities {
			for _, r := range Products {
				if d.covers(r) {
					scores = append(scores, p.tape.MeanAbs(p.Bank.Param(p.deltaName(l, m, r)+"/score").Var()))
				}
			}
		}
	}
	mean := make([]float32, len(scores))
	for i := range mean {
		mean[i] = 1 / float32(len(scores))
	}
	return p.tape.Penalise(x, p.tape.Sum(mean, scores...), float32(d.Lambda))
}
