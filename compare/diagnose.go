package compare

import (
	"context"
	"slices"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/moe"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tokenizers"
	"github.com/onetrunk/onetrunk/train"
)

type metrics = train.Metrics

// Conflicts are the cosines between the gradients of pairs' losses.
type Conflicts struct {
	Pairs      []string         `json:"pairs"`
	Modalities []string         `json:"modalities"`
	Tensors    []ConflictTensor `json:"tensors"`
}

type ConflictTensor struct {
	Tensor     string             `json:"tensor"`
	Layer      int                `json:"layer"`
	Role       sharing.Role       `json:"role"`
	Pairs      map[string]float64 `json:"pairs"`
	Modalities map[string]float64 `json:"modalities"`
}

// Diagnosis is what is measured of a trained row beside its retrieval.
type Diagnosis struct {
	// Conflicts are of batches of the training data.
	Conflicts *Conflicts `json:"conflicts,omitempty"`
	// Experts is which modality uses which expert, of the first of the test data;
	// nil where nothing is routed.
	Experts []moe.Use `json:"experts,omitempty"`
}

// diagnosed is the number of values of a modality that ExpertUse is told by.
const diagnosed = 128

// diagnose measures a trained row.
func (c *comparison) diagnose(ctx context.Context, r *row, m *model.Model) (Diagnosis, error) {
	var d Diagnosis
	var err error
	if m.Config.Sharing.Router == nil {
		return d, nil
	}
	inputs, err := c.inputs(ctx, m)
	if err != nil {
		return d, err
	}
	d.Experts, err = m.ExpertUse(ctx, inputs)
	return d, err
}

// inputs reads the first values of each modality of the test data.
func (c *comparison) inputs(ctx context.Context, m *model.Model) ([]model.Input, error) {
	var inputs []model.Input
	for _, name := range m.Modalities() {
		if !slices.Contains(c.Test.Modalities(), name) {
			continue
		}
		p, err := m.Processor(name)
		if err != nil {
			return nil, err
		}
		var cells []datasets.Cell
		for _, v := range datasets.Distinct(c.Test, name) {
			if cells = append(cells, v.Cell); len(cells) == diagnosed {
				break
			}
		}
		var tokens []tokenizers.Tokens
		for l, err := range datasets.Stream(ctx, c.Test, cells, map[string]modalities.Processor{name: p}, 0, diagnosed) {
			if err != nil {
				return nil, err
			}
			if l.Err == nil && m.Check(name, l.Tokens) == nil {
				tokens = append(tokens, l.Tokens)
			}
		}
		if len(tokens) > 0 {
			inputs = append(inputs, model.Input{Modality: name, Tokens: tokens})
		}
	}
	return inputs, nil
}

// diagnoses sums up what was measured of the rows.
func (r *Result) diagnoses() {
	for _, row := range r.Rows {
		if row.Diagnosis != nil && r.Experts == nil {
			r.Experts = row.Diagnosis.Experts
		}
	}
}
