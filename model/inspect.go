package model

import (
	"cmp"
	"math"
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
	// Bytes is the size of the weights in a checkpoint.
	Bytes int64 `json:"checkpoint_bytes"`
	// Map is the trunks' maps.
	Map []sharing.Entry `json:"map"`
}

// Parameters counts values, each physical tensor once.
type Parameters struct {
	// Unique counts all, Trunk those of the trunks alone.
	Unique int `json:"unique"`
	Trunk  int `json:"trunk"`
	// Active counts what takes part in embedding a sample, by modality; of the
	// experts of a routed layer as many as run for a token.
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
		Bytes: 4 * int64(m.Bank.Elements()), Map: m.Weights.Entries(),
	}
	for _, name := range m.names {
		if w := m.trunks[name].Weights(); w != m.Weights {
			r.Map = append(r.Map, w.Entries()...)
		}
	}
	size := map[string]int{} // weight and bias, by the name they share
	for _, p := range m.Bank.Params() {
		size[strings.TrimSuffix(strings.TrimSuffix(p.Name, "/weight"), "/bias")] += p.Value.Len()
		if strings.HasPrefix(p.Name, "trunk/") || strings.HasPrefix(p.Name, "trunk@") {
			r.Parameters.Trunk += p.Value.Len()
		}
	}
	for _, name := range m.names {
		seen := map[string]bool{}
		active, applied := 0.0, 0.0
		for _, e := range r.Map {
			if e.Modality != name {
				continue
			}
			n := float64(size[e.Tensor])
			if e.Expert != "" {
				n *= e.Share
			}
			applied += n
			if !seen[e.Tensor] {
				active += n
				seen[e.Tensor] = true
			}
		}
		own := 0
		for n, s := range size {
			if strings.HasPrefix(n, "tokenizers/"+name+"/") || strings.HasPrefix(n, "heads/"+name+"/") {
				own += s
			}
		}
		r.Parameters.Active[name] = int(math.Round(active)) + own
		r.Parameters.Applied[name] = int(math.Round(applied)) + own
		l := m.processors[name].Layout()
		full := tokenizers.Tokens{Grid: l.Grid}
		r.Tokens[name] = m.stems[name].Length(full)
		r.FLOPs[name] = m.FLOPs(name, full)
	}
	return r
}

// FLOPs returns the floating-point operations of embedding one sample: two
// for each multiplication of a matrix product, attention's included. Of a routed
// layer they are those of the gate and of the experts that run, none dropped.
func (m *Model) FLOPs(modality string, t tokenizers.Tokens) int64 {
	c := m.Config.trunk(modality)
	d, n := int64(c.Width), int64(m.stems[modality].Length(t))
	patches := int64(t.Len()) * int64(m.processors[modality].Layout().Patch) * d
	sum := patches + d*int64(c.Embed)
	for l := range c.Layers {
		q := n // queries, of n keys
		if l == c.Layers-1 && encoder.OneRow(m.Config.Modalities[modality].Pool) {
			q = 1 // the others are not asked for
		}
		sum += n*3*d*d + q*(d*d+m.slot(modality, l)) + 2*q*n*d
	}
	return 2 * sum
}

// slot returns the multiplications of a layer's feed-forward slot for a row.
func (m *Model) slot(modality string, layer int) int64 {
	c, of := m.Config.trunk(modality), m.Trunk(modality)
	d := int64(c.Width)
	if !of.Routed(layer) {
		return 2 * d * int64(c.Hidden)
	}
	run, sees := of.Running()
	run += len(of.Always())
	sum := int64(run) * 2 * d * int64(cmp.Or(m.Config.Sharing.Router.Hidden, c.Hidden))
	if of.GateTensor(layer, modality) != "" {
		sum += d * int64(sees)
	}
	return sum
}
