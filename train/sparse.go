package train

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"

	"github.com/onetrunk/onetrunk/internal/atomicfile"
	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

// searchDir is the folder of a run that holds the runs of its search for masks,
// MODALITY-ROUND, and search.json, which says what they are of.
const searchDir = "search"

// inner says that a run is one of a search.
type inner struct {
	processors map[string]modalities.Processor
	masks      func(w *sharing.Weights) error // sets the masks that it begins with
}

// found are masks by the weights that they are of.
type found map[string][]float32

// findMasks finds the masks of every modality (Sun et al. 2020, algorithm 1). What
// the paper calls a task is here a modality with its pairs: in its runs its own
// masks hold for all modalities, and tensors that do not serve it are whole.
//
// Round r trains from the first values with the masks of r prunings and prunes
// them; all weights of the modality compete. Of the masks of rounds 1 and more
// those are taken whose run has the best mean R@1 on the validation data, of equal
// ones the sparser; without validation data those of the last pruning.
//
// The runs are ordinary ones in folders of their own. Those that are there are
// used again, so a search that was stopped goes on.
func (r *run) findMasks(ctx context.Context) error {
	if err := r.searchedFor(); err != nil {
		return err
	}
	w, rounds := r.model.Weights, r.Config.Sharing.Mask.Rounds
	for _, modality := range w.Modalities {
		pairs := r.pairsOf(modality)
		if len(pairs) == 0 {
			continue // it is not trained
		}
		masks, best, bestScore := found{}, found{}, math.Inf(-1)
		for round := 0; round <= rounds; round++ {
			if round == rounds && r.Val == nil {
				best = masks
				break
			}
			m, err := r.searchRun(ctx, modality, round, pairs, masks)
			if err != nil {
				return err
			}
			if round > 0 && r.Val != nil {
				score, err := r.score(ctx, m, modality)
				if err != nil {
					return err
				}
				if score >= bestScore {
					best, bestScore = masks, score
				}
			}
			if round < rounds {
				masks = r.pruned(m, modality, round+1)
			}
		}
		if err := best.set(w, modality); err != nil {
			return err
		}
	}
	return nil
}

// searchedFor is an error when the folder holds the search of another run.
func (r *run) searchedFor() error {
	val := ""
	if r.Val != nil {
		val = r.Val.Name()
	}
	of, err := json.MarshalIndent(struct {
		Config   model.Config `json:"config"`
		Settings Settings     `json:"settings"`
		Data     string       `json:"data"`
		Items    int          `json:"items"`
		Val      string       `json:"val"`
	}{r.given.Config, r.given.Settings, r.Train.Name(), r.Train.Len(), val}, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(r.dir, searchDir, "search.json")
	switch have, err := os.ReadFile(path); {
	case errors.Is(err, fs.ErrNotExist):
		return atomicfile.WriteBytes(path, append(of, '\n'))
	case err != nil:
		return err
	case !bytes.Equal(bytes.TrimSpace(have), of):
		return fmt.Errorf("%s: the search that lies there is of another config or other data: remove its folder, or take another --name", path)
	}
	return nil
}

// pairsOf returns the pairs that a modality is in, with their weights.
func (r *run) pairsOf(modality string) map[string]float64 {
	pairs := map[string]float64{}
	for _, other := range r.model.Modalities() {
		a, b := min(modality, other), max(modality, other)
		if weight := r.Settings.weight(a, b); a != b && weight > 0 {
			pairs[a+"+"+b] = weight
		}
	}
	return pairs
}

// searchRun returns the model that a run of a search ends with.
func (r *run) searchRun(ctx context.Context, modality string, round int, pairs map[string]float64, masks found) (*model.Model, error) {
	o := r.given
	o.Dir = filepath.Join(r.dir, searchDir, fmt.Sprintf("%s-%d", modality, round))
	o.Resume, o.Val, o.MaxSteps = true, nil, 0
	steps := r.Config.Sharing.Mask.Steps
	o.Settings.Steps, o.Settings.SaveEvery, o.Settings.EvalEvery = steps, max(steps/4, 1), steps
	o.Settings.Pairs = maps.Clone(pairs)
	o.Config.Sharing.Phases = nil
	o.inner = &inner{processors: r.model.Processors(), masks: func(w *sharing.Weights) error {
		for _, other := range w.Modalities {
			if err := masks.set(w, other); err != nil {
				return err
			}
		}
		return nil
	}}
	if _, err := Run(ctx, o); err != nil {
		return nil, fmt.Errorf("%s: %w", o.Dir, err)
	}
	dir, err := model.Marked(o.Dir, "latest")
	if err != nil {
		return nil, err
	}
	return model.OpenOn(dir, r.dev)
}

// pruned returns the masks of a modality after one more pruning: of the weights
// that serve it, and that the masks of the model still let through, the greatest.
func (r *run) pruned(m *model.Model, modality string, round int) found {
	w, c := m.Weights, r.Config.Sharing.Mask
	var names []string
	var weights, masks, kept []*tensor.Tensor
	total := 0
	for _, of := range w.Masked() {
		if of.Modality == modality {
			names = append(names, of.Param.Name)
			weights, masks = append(weights, of.Param.Value), append(masks, of.Mask.Value)
			kept = append(kept, r.dev.New(of.Mask.Value.Rows, of.Mask.Value.Cols))
			total += of.Mask.Value.Len()
		}
	}
	left := math.Pow(c.Keep, float64(round)/float64(c.Rounds))
	r.dev.Greatest(kept, weights, masks, max(int(math.Round(left*float64(total))), 1))
	next := found{}
	for i, t := range kept {
		next[names[i]] = make([]float32, t.Len())
		r.dev.Read(next[names[i]], t)
		r.dev.Free(t)
	}
	return next
}

// set makes the masks those of a modality, where they are of weights that serve
// it; those of other weights stay.
func (f found) set(w *sharing.Weights, modality string) error {
	for _, m := range w.Masked() {
		if x, ok := f[m.Param.Name]; ok && m.Modality == modality {
			if err := w.Bank.Write(m.Mask, x); err != nil {
				return err
			}
		}
	}
	return nil
}

// score returns a model's mean R@1 on the validation data over the directions
// that a modality is in, or over all where it is in none.
func (r *run) score(ctx context.Context, m *model.Model, modality string) (float64, error) {
	e, err := Evaluate(ctx, m, r.Val, r.MaxBad, nil)
	if err != nil {
		return 0, err
	}
	own := Evaluation{Pairs: map[string]Metrics{}}
	for _, other := range r.model.Modalities() {
		for _, direction := range []string{modality + ">" + other, other + ">" + modality} {
			if p, ok := e.Pairs[direction]; ok && r.Settings.weight(min(modality, other), max(modality, other)) > 0 {
				own.Pairs[direction] = p
			}
		}
	}
	if len(own.Pairs) == 0 {
		own = e
	}
	mean, _ := own.Mean()
	return mean, nil
}
