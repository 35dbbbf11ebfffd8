package model

import (
	"strings"

	"github.com/onetrunk/onetrunk/encoder"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// Report says what a model is made of and what a sample costs.
type Report struct {
	// Parameters counts values.
	Parameters Parameters `json:"parameters"`
	// FLOPs is the number of floating-point operations of embedding one
	// sample of full length, by modality; training takes three times that.
	FLOPs map[string]int64 `json:"flops"`
	// Tokens is the number of rows of such a sample in the trunk.
	Tokens map[string]int `json:"tokens"`
	// Bytes is the size of the weights in memory, and in a checkpoint that holds
	// them as they are.
	Bytes int64 `json:"checkpoint_bytes"`
	// Map lists the places of the trunks and what serves each.
	Map []Place `json:"map"`
	// Tensors gives the number of values of every parameter.
	Tensors map[string]int `json:"tensors"`
}

// Place is a place of a trunk and the parameters that serve it.
type Place struct {
	sharing.Entry
	// Serving lists their names, those of the physical tensor first.
	Serving []string `json:"serving"`
}

// Parameters counts values, each parameter once.
type Parameters struct {
	// Unique counts all that are trained, Trunk those of the trunks alone.
	Unique int `json:"unique"`
	Trunk  int `json:"trunk"`
	// Stored counts what a checkpoint holds.
	Stored int `json:"stored"`
	// Active counts what takes part in embedding a sample, by modality: what
	// serves a place of its trunk, or no place in particular, and its tokenizer
	// and head.
	Active map[string]int `json:"active"`
	// Applied is Active with a parameter counted as often as it is used: what a
	// trunk of the same depth without sharing across layers would hold.
	Applied map[string]int `json:"applied"`
}

// Mean returns the mean of a figure over modalities.
func Mean[T int | int64](of map[string]T) float64 {
	sum := 0.0
	for _, v := range of {
		sum += float64(v)
	}
	return sum / float64(max(len(of), 1))
}

// Inspect describes the model.
func (m *Model) Inspect() Report {
	r := Report{
		Parameters: Parameters{Active: map[string]int{}, Applied: map[string]int{}},
		FLOPs:      map[string]int64{}, Tokens: map[string]int{}, Map: m.places(), Tensors: map[string]int{},
	}
	served := map[string]bool{} // parameters that serve some place
	for _, p := range r.Map {
		for _, n := range p.Serving {
			served[n] = true
		}
	}
	for _, p := range m.Bank.Params() {
		n := p.Value.Len()
		r.Tensors[p.Name] = n
		r.Parameters.Unique += n
		r.Parameters.Stored += n
		if strings.HasPrefix(p.Name, "trunk/") || strings.HasPrefix(p.Name, "trunk@") {
			r.Parameters.Trunk += n
		}
	}
	for _, c := range m.Bank.Codes() {
		r.Parameters.Stored += c.Rows * c.Cols
	}
	r.Bytes = m.Bank.Bytes()
	for _, name := range m.names {
		trunk := m.trunks[name].Weights().Trunk + "/"
		active, applied := 0, 0
		for n, size := range r.Tensors {
			if strings.HasPrefix(n, trunk) && !served[n] || strings.HasPrefix(n, "tokenizers/"+name+"/") || strings.HasPrefix(n, "heads/"+name+"/") {
				active += size
				applied += size
			}
		}
		seen := map[string]bool{}
		for _, p := range r.Map {
			if p.Modality != name {
				continue
			}
			for _, n := range p.Serving {
				applied += r.Tensors[n]
				if !seen[n] {
					active += r.Tensors[n]
					seen[n] = true
				}
			}
		}
		r.Parameters.Active[name], r.Parameters.Applied[name] = active, applied
		full := tokenizers.Tokens{Grid: m.processors[name].Layout().Grid}
		r.Tokens[name] = m.stems[name].Length(full)
		r.FLOPs[name] = m.FLOPs(name, full)
	}
	return r
}

// places lists the places of all trunks, the shared one's first.
func (m *Model) places() []Place {
	var ps []Place
	for _, w := range m.weights() {
		for _, e := range w.Entries() {
			ps = append(ps, Place{e, w.Serving(e.Layer, e.Modality, e.Role)})
		}
	}
	return ps
}

// FLOPs returns the floating-point operations of embedding one sample: two
// for each multiplication of a matrix product, attention's included, and what a
// delta adds for each sample.
func (m *Model) FLOPs(modality string, t tokenizers.Tokens) int64 {
	c := m.Config.trunk(modality)
	d, h, n := int64(c.Width), int64(c.Hidden), int64(m.stems[modality].Length(t))
	w := m.trunks[modality].Weights()
	product := func(r sharing.Role, rows, out, in int64) int64 {
		return rows*out*in + w.Extra(r, rows, out, in)
	}
	// A block of q queries and n keys.
	block := func(q int64) int64 {
		return product(sharing.Qkv, n, 3*d, d) + 2*q*n*d + product(sharing.Out, q, d, d) +
			product(sharing.Up, q, h, d) + product(sharing.Down, q, d, h)
	}
	last := n
	if encoder.OneRow(m.Config.Modalities[modality].Pool) {
		last = 1 // the others are not asked for
	}
	patches := int64(t.Len()) * int64(m.processors[modality].Layout().Patch) * d
	return 2 * (int64(c.Layers-1)*block(n) + block(last) + patches + d*int64(c.Embed))
}
