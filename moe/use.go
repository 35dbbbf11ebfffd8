package moe

import (
	"math"

	"github.com/onetrunk/onetrunk/sharing"
)

// Use says which modality uses which expert of a routed layer.
type Use struct {
	Layer int `json:"layer"`
	// Experts are the names of those that a gate chooses among.
	Experts []string `json:"experts"`
	// ByModality is, for each expert, the share that it has of the choices of a
	// modality's tokens, before any are dropped; where all experts run, the mean
	// of the gate's p. The shares of a modality sum to 1.
	ByModality map[string][]float64 `json:"by_modality"`
	// MutualInformation between modality and expert is in bits: what a token's
	// expert tells about its modality when each modality is as likely. 0 where
	// all modalities use the experts alike, log2 of their number where none
	// shares any.
	MutualInformation float64 `json:"mutual_information"`
	// Dropped is the share of the choices that a capacity has no room for, were
	// these tokens a pass of training.
	Dropped float64 `json:"dropped"`
}

// Uses sums up where rows went, layer by layer, in the layers' order.
func Uses(experts []sharing.Expert, routings []sharing.Routing) []Use {
	var uses []Use
	var choices, dropped []float64
	for _, r := range routings {
		if len(uses) == 0 || uses[len(uses)-1].Layer != r.Layer {
			u := Use{Layer: r.Layer, ByModality: map[string][]float64{}}
			for _, e := range experts {
				u.Experts = append(u.Experts, e.Name)
			}
			uses, choices, dropped = append(uses, u), append(choices, 0), append(dropped, 0)
		}
		last := len(uses) - 1
		by := uses[last].ByModality
		if by[r.Modality] == nil {
			by[r.Modality] = make([]float64, len(experts))
		}
		for e, n := range r.Chosen {
			by[r.Modality][e] += n
			choices[last] += n
		}
		dropped[last] += float64(r.Dropped)
	}
	for i := range uses {
		u := &uses[i]
		var shares [][]float64
		for _, of := range u.ByModality {
			sum := 0.0
			for _, n := range of {
				sum += n
			}
			for e := range of {
				of[e] /= sum
			}
			shares = append(shares, of)
		}
		u.MutualInformation = information(shares)
		u.Dropped = dropped[i] / choices[i]
	}
	return uses
}

// information returns the mutual information in bits of a row's number, each as
// likely, and the column that is drawn by the row's shares.
func information(shares [][]float64) (bits float64) {
	entropy := func(p float64) float64 {
		if p == 0 {
			return 0
		}
		return -p * math.Log2(p)
	}
	n := float64(len(shares))
	for e := range shares[0] {
		mean := 0.0
		for _, of := range shares {
			mean += of[e] / n
			bits -= entropy(of[e]) / n
		}
		bits += entropy(mean)
	}
	return max(bits, 0)
}
