package sharing

import (
	"fmt"
	"math"
	"slices"
)

// Expert is a feed-forward network of a routed layer.
type Expert struct {
	// Name is what reports call it: "0", of a modality's own "audio", "audio#1",
	// of those that always run "always", "always#1".
	Name string
	// Of is the modality whose own it is, "" of a common one.
	Of string

	group string // in the names of tensors
}

// numbered tells experts of a kind apart; the first needs no number.
func numbered(k int) string {
	if k == 0 {
		return ""
	}
	return fmt.Sprintf("#%d", k)
}

// Routed reports whether a layer that runs has experts with a gate.
func (m *Map) Routed(layer int) bool { return m.router != nil && m.routed(m.physical[Up][layer]) }

// routed is Routed of a physical layer.
func (m *Map) routed(at int) bool {
	return m.router != nil && (len(m.router.Layers) == 0 || slices.Contains(m.router.Layers, at))
}

// Experts lists the experts of a routed layer that gates choose among: the common
// ones, then each modality's. The first common one and the first of a modality
// have the names, and so the first values, of the tensors that a map would share
// or give to the modality.
func (m *Map) Experts() []Expert {
	var es []Expert
	for k := range m.router.Experts {
		es = append(es, Expert{Name: fmt.Sprint(k), group: numbered(k)})
	}
	for _, name := range m.Modalities {
		for k := range m.router.Private {
			es = append(es, Expert{Name: name + numbered(k), Of: name, group: numbered(k) + "@" + name})
		}
	}
	return es
}

// Always lists the experts of a routed layer that every token runs through.
func (m *Map) Always() []Expert {
	var es []Expert
	for k := range m.router.Always {
		es = append(es, Expert{Name: "always" + numbered(k), group: "#always" + numbered(k)})
	}
	return es
}

// Visible lists the experts that a modality's gate chooses among, by their place
// in Experts: column j of its gate is that of the expert Visible[j].
func (m *Map) Visible(modality string) []int {
	var seen []int
	for i, e := range m.Experts() {
		if e.Of == "" || e.Of == modality || m.router.Sees == "all" {
			seen = append(seen, i)
		}
	}
	return seen
}

// Running returns how many of the experts that a modality sees run for a token.
// A residual adds its own, which may be among the gate's choice.
func (m *Map) Running() (run, of int) {
	of = m.router.sees(len(m.Modalities))
	run = m.router.Top
	if run == 0 {
		run = of
	}
	if m.router.Residual {
		run += m.router.Private
	}
	return min(run, of), of
}

// ExpertTensor returns the name of an expert's tensor in a routed layer.
func (m *Map) ExpertTensor(layer int, e Expert, r Role) string {
	return m.name(m.physical[Up][layer], e.group, r)
}

// GateTensor returns the name of the gate that serves a modality in a routed
// layer; "" where it sees one expert and needs none.
func (m *Map) GateTensor(layer int, modality string) string {
	if m.router.sees(len(m.Modalities)) == 1 {
		return ""
	}
	group := ""
	if m.router.Gate == "modality" {
		group = "@" + modality
	}
	return m.name(m.physical[Up][layer], group, Gate)
}

// ResidualTensor returns the name of the weights of a modality's residual in a
// routed layer; "" where it has none that are learned.
func (m *Map) ResidualTensor(layer int, modality string) string {
	if !m.router.Residual || m.router.Private == 1 {
		return ""
	}
	return m.name(m.physical[Up][layer], "@"+modality, Residual)
}

// routedEntries lists what serves a modality in the feed-forward slot of a routed
// layer.
func (m *Map) routedEntries(layer int, modality string) []Entry {
	var es []Entry
	all := m.Experts()
	run, of := m.Running()
	for _, r := range []Role{Up, Down} {
		for _, e := range m.Always() {
			es = append(es, Entry{Layer: layer, Modality: modality, Role: r, Tensor: m.ExpertTensor(layer, e, r), Expert: e.Name, Share: 1})
		}
		for _, i := range m.Visible(modality) {
			es = append(es, Entry{Layer: layer, Modality: modality, Role: r, Tensor: m.ExpertTensor(layer, all[i], r), Expert: all[i].Name, Share: float64(run) / float64(of)})
		}
	}
	if name := m.GateTensor(layer, modality); name != "" {
		es = append(es, Entry{Layer: layer, Modality: modality, Role: Gate, Tensor: name})
	}
	if name := m.ResidualTensor(layer, modality); name != "" {
		es = append(es, Entry{Layer: layer, Modality: modality, Role: Residual, Tensor: name})
	}
	return es
}

// Routing says where the rows of a modality went in a routed layer.
type Routing struct {
	Layer    int
	Modality string
	// Rows is their number, and Chosen, by expert as in Experts, how often each
	// was chosen; where all run, the sum of the gate's p.
	Rows   int
	Chosen []float64
	// Dropped is the number of choices that the capacity leaves no room for, or
	// would in training.
	Dropped int
}

// DeclareExperts puts the tensors of routed layers into the bank: experts of a
// network [hidden, width] and back, gates and residuals. std is the standard
// deviation of the first values of what is written back. A gate begins with a
// tenth of the variance that products have, as Switch's do.
func (w *Weights) DeclareExperts(width, hidden int, std float64) {
	r := w.router
	if r == nil {
		return
	}
	declare := func(layer int, e Expert, equal bool) {
		up, down := w.ExpertTensor(layer, e, Up), w.ExpertTensor(layer, e, Down)
		if w.Bank.Has(up + "/weight") {
			return // a layer that it serves too has declared it
		}
		first := e
		if equal {
			first.group = ""
		}
		w.declare(up, w.ExpertTensor(layer, first, Up), hidden, width, 1/math.Sqrt(2*float64(width)))
		w.declare(down, w.ExpertTensor(layer, first, Down), width, hidden, std)
	}
	for l := range w.Layers {
		if !w.Routed(l) {
			continue
		}
		for _, e := range w.Always() {
			declare(l, e, false)
		}
		for _, e := range w.Experts() {
			declare(l, e, r.Equal)
		}
		for _, m := range w.Modalities {
			if name := w.GateTensor(l, m); name != "" && !w.Bank.Has(name+"/weight") {
				w.Bank.Matrix(name+"/weight", r.sees(len(w.Modalities)), width, math.Sqrt(0.1/float64(width)))
			}
			if name := w.ResidualTensor(l, m); name != "" && !w.Bank.Has(name) {
				w.Bank.Vector(name, r.Private, 1/float32(r.Private))
			}
		}
	}
}
