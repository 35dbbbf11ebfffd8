package model

import (
	"strings"

	"github.com/onetrunk/onetrunk/encoder"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// Report says what a model is made of and what a sample costs.
type Report struct {
	// Parameters counts trained values.
	Parameters Parameters `json:"parameters"`
	// FLOPs is the number of floating-point operations of embedding one
	// sample of full length, by modality; training takes three times that.
	FLOPs map[string]int64 `json:"flops"`
	// Tokens is the number of rows of such a sample in the trunk.
	Tokens map[string]int `json:"tokens"`
	// Bytes is the size of a checkpoint's file of weights.
	Bytes int64 `json:"checkpoint_bytes"`
	// Map is the trunks' maps.
	Map []sharing.Entry `json:"map"`
}

// Parameters counts values, each physical tensor once.
type Parameters struct {
	// Unique counts all, Trunk those of the trunks alone.
	Unique int `json:"unique"`
	Trunk  int `json:"trunk"`
	// Active counts what takes part in embedding a sample, by modality.
	Active map[string]int `json:"active"`
	// Applied is Active with a tensor counted as often as it is used: what a
	// trunk of the same depth without sharing across layers would hold.
	Applied map[string]int `json:"applied"`
}

// Inspect describes the model.
func (m *Model) Inspect() Report {
	r := Report{
		Parameters: Parameters{Unique: m.Bank.Elements(), Active: map[string]int{}, Applied: map[string]int{}},
		FLOPs:      map[string]int64{}, Tokens: map[string]int{},
		Bytes: m.Size(), Map: m.Weights.Entries(),
	}
	for _, name := range m.names {
		if w := m.trunks[name].Weights(); w != m.Weights {
			r.Map = append(r.Map, w.Entries()...)
		}
	}
	size := map[string]int{} // weight and bias, by the name they share
	for _, p := range m.Bank.Params() {
		if p.Fixed {
			continue
		}
		size[strings.TrimSuffix(strings.TrimSuffix(p.Name, "/weight"), "/bias")] += p.Value.Len()
		if strings.HasPrefix(p.Name, "trunk/") || strings.HasPrefix(p.Name, "trunk@") {
			r.Parameters.Trunk += p.Value.Len()
		}
	}
	for _, name := range m.names {
		seen := map[string]bool{}
		active, applied := 0, 0
		for _, e := range r.Map {
			if e.Modality != name {
				continue
			}
			applied += size[e.Tensor]
			if !seen[e.Tensor] {
				active += size[e.Tensor]
				seen[e.Tensor] = true
			}
		}
		own := 0
		for n, s := range size {
			if strings.HasPrefix(n, "tokenizers/"+name+"/") || strings.HasPrefix(n, "heads/"+name+"/") {
				own += s
			}
		}
		r.Parameters.Active[name] = active + own
		r.Parameters.Applied[name] = applied + own
		l := m.processors[name].Layout()
		full := tokenizers.Tokens{Grid: l.Grid}
		r.Tokens[name] = m.stems[name].Length(full)
		r.FLOPs[name] = m.FLOPs(name, full)
	}
	return r
}

// FLOPs returns the floating-point operations of embedding one sample: two
// for each multiplication of a matrix product, attention's included.
func (m *Model) FLOPs(modality string, t tokenizers.Tokens) int64 {
	c := m.Config.trunk(modality)
	d, h, n := int64(c.Width), int64(c.Hidden), int64(m.stems[modality].Length(t))
	// A block of q queries and n keys.
	block := func(q int64) int64 { return n*3*d*d + q*(d*d+2*d*h) + 2*q*n*d }
	last := n
	if encoder.OneRow(m.Config.Modalities[modality].Pool) {
		last = 1 // the others are not asked for
	}
	patches := int64(t.Len()) * int64(m.processors[modality].Layout().Patch) * d
	return 2 * (int64(c.Layers-1)*block(n) + block(last) + patches + d*int64(c.Embed))
}
