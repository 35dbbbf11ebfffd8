package compare

import (
	"context"
	"slices"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/moe"
	"github.com/onetrunk/onetrunk/tokenizers"
	"github.com/onetrunk/onetrunk/train"
)

type metrics = train.Metrics

// Diagnosis is what is measured of a trained row beside its retrieval.
type Diagnosis struct {
	// Conflicts are of batches of the training data.
	Conflicts *train.ConflictMap `json:"conflicts,omitempty"`
	// Experts is which modality uses which expert, of the first of the test data;
	// nil where nothing is routed.
	Experts []moe.Use `json:"experts,omitempty"`
}

// diagnosed is the number of values of a modality that ExpertUse is told by.
const diagnosed = 128

// conflictBatches is the number of batches that conflicts are measured on.
const conflictBatches = 4

// diagnose measures a trained row. Its options are those of its training.
func (c *comparison) diagnose(ctx context.Context, r *row, m *model.Model) (Diagnosis, error) {
	var d Diagnosis
	if before := r.record.Row; before != nil { // tested on other data
		d.Conflicts = before.Diagnosis.Conflicts
	} else if len(r.of.pairs(c.Train.Modalities())) > 1 {
		conflicts, err := train.Conflicts(ctx, m, c.Train, train.ConflictOptions{
			Batch: r.of.settings.Batch, Batches: conflictBatches, Seed: r.record.Key.Seed,
			Positives: r.of.settings.Positives, MaxBad: c.MaxBad,
		})
		if err != nil {
			return d, err
		}
		d.Conflicts = &conflicts
	}
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
	var maps []*train.ConflictMap
	for _, row := range r.Rows {
		d := row.Diagnosis
		if row.Error != "" || d == nil {
			continue
		}
		if r.Experts == nil {
			r.Experts = d.Experts
		}
		if d.Conflicts != nil {
			maps = append(maps, d.Conflicts)
		}
	}
	r.Conflicts = meanConflicts(maps)
}

// meanConflicts returns the mean of maps of one config's rows, nil of none. Where
// training has changed a map, a tensor's mean is over the rows that have it.
func meanConflicts(maps []*train.ConflictMap) *train.ConflictMap {
	if len(maps) == 0 {
		return nil
	}
	mean := *maps[0]
	mean.Tensors = nil
	at := map[string]int{}
	var of [][]train.Conflict // by tensor
	for _, m := range maps {
		for _, t := range m.Tensors {
			i, ok := at[t.Tensor]
			if !ok {
				i = len(of)
				at[t.Tensor] = i
				of = append(of, nil)
			}
			of[i] = append(of[i], t)
		}
	}
	for _, ts := range of {
		t := ts[0]
		t.Pairs, t.Modalities = meanFigures(ts, byPairs), meanFigures(ts, byModalities)
		t.PairNorms = meanFigures(ts, func(t train.Conflict) map[string]float64 { return t.PairNorms })
		t.ModalityNorms = meanFigures(ts, func(t train.Conflict) map[string]float64 { return t.ModalityNorms })
		mean.Tensors = append(mean.Tensors, t)
	}
	return &mean
}

// meanFigures returns the mean of each figure over those that have it.
func meanFigures(ts []train.Conflict, of func(train.Conflict) map[string]float64) map[string]float64 {
	values := map[string][]float64{}
	for _, t := range ts {
		for k, v := range of(t) {
			values[k] = append(values[k], v)
		}
	}
	means := map[string]float64{}
	for k, v := range values {
		means[k] = StatOf(v).Mean
	}
	return means
}
