package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/onetrunk/onetrunk/internal/atomicfile"
	"github.com/onetrunk/onetrunk/internal/strictjson"
	"github.com/onetrunk/onetrunk/model"
)

const stateFile = "state.json"

// state is what a run must remember besides weights and moments. Order,
// augmentation and schedule are functions of the step and the seed.
type state struct {
	Step int `json:"step"`
	// Best is the mean R@1 of the best evaluation, at step BestStep.
	Best     float64 `json:"best"`
	BestStep int     `json:"best_step"`
	// Data names the training source, and Items its size: a run goes on with
	// the same data or not at all.
	Data  string `json:"data"`
	Items int    `json:"items"`
	// Locked is what is not trained.
	Locked *Locked `json:"locked,omitempty"`
	// Phases are those that have begun, the last of which holds.
	Phases []PhaseState `json:"phases,omitempty"`
	// Balance is what the balance of the pairs remembers.
	Balance *balance `json:"balance,omitempty"`
	// Checked is the last step that began with a look for conflicts, Streaks are of
	// the halves that had some, and Splits what has been split: see sharing.Adapt.
	// The checkpoint has the map in a config of its own.
	Checked int               `json:"checked,omitempty"`
	Streaks map[string]Streak `json:"streaks,omitempty"`
	Splits  []string          `json:"splits,omitempty"`
}

// save makes the checkpoint of the current step and marks it the latest, and
// the best if it is. Its folder appears whole or not at all, and the latest's
// mark is set last: a run that is killed before goes on from the one before.
func (r *run) save(best bool) (err error) {
	dir := model.CheckpointDir(r.dir, r.state.Step)
	making := filepath.Join(filepath.Dir(dir), ".tmp-"+filepath.Base(dir))
	defer func() {
		if err != nil {
			os.RemoveAll(making)
		}
	}()
	if err := r.unmoved(); err != nil {
		return err
	}
	if err := r.model.Save(making); err != nil {
		return err
	}
	if err := r.opt.save(filepath.Join(making, momentsFile)); err != nil {
		return err
	}
	if r.search != nil {
		if err := r.search.opt.save(filepath.Join(making, policyFile)); err != nil {
			return err
		}
	}
	if r.Config.Sharing.Adapt != nil {
		if err := r.model.WriteConfig(making); err != nil {
			return err
		}
	}
	data, err := json.MarshalIndent(r.state, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.WriteBytes(filepath.Join(making, stateFile), append(data, '\n')); err != nil {
		return err
	}
	// One that a killed run made and did not mark may stand there.
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Rename(making, dir); err != nil {
		return err
	}
	if err := atomicfile.SyncDir(filepath.Dir(dir)); err != nil {
		return err
	}
	if best {
		if err := model.Mark(dir, "best"); err != nil {
			return err
		}
	}
	if err := model.Mark(dir, "latest"); err != nil {
		return err
	}
	r.saved = r.state.Step
	if r.Config.Sharing.Adapt != nil {
		if err := r.model.WriteConfig(r.dir); err != nil {
			return err
		}
	}
	return r.prune()
}

// prune removes the checkpoints that are neither the latest nor the best, and
// what a killed run was making.
func (r *run) prune() error {
	var keep []string
	for _, as := range []string{"latest", "best"} {
		dir, err := model.Marked(r.dir, as)
		if err == nil {
			keep = append(keep, dir)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	dirs, err := filepath.Glob(filepath.Join(r.dir, "checkpoints", "step-*"))
	if err != nil {
		return err
	}
	killed, err := filepath.Glob(filepath.Join(r.dir, "checkpoints", ".tmp-*"))
	if err != nil {
		return err
	}
	for _, d := range append(dirs, killed...) {
		if !slices.Contains(keep, d) {
			if err := os.RemoveAll(d); err != nil {
				return err
			}
		}
	}
	return nil
}

// restore goes back to the run's latest checkpoint.
func (r *run) restore() error {
	dir, err := model.Marked(r.dir, "latest")
	if err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return err
	}
	var s state
	if err := strictjson.Unmarshal(filepath.Join(dir, stateFile), data, &s); err != nil {
		return err
	}
	if s.Items != r.state.Items {
		return fmt.Errorf("%s was trained on %s with %d items; %s has %d", r.dir, s.Data, s.Items, r.state.Data, r.state.Items)
	}
	if err := r.model.Load(filepath.Join(dir, "model.safetensors")); err != nil {
		return err
	}
	if err := r.opt.load(filepath.Join(dir, momentsFile)); err != nil {
		return err
	}
	if r.search != nil {
		if err := r.search.opt.load(filepath.Join(dir, policyFile)); err != nil {
			return err
		}
		for i := range r.search.opt.updates {
			r.search.opt.updates[i] = max(s.Step-r.search.warmup, 0)
		}
	}
	for i, p := range r.opt.params {
		r.opt.updates[i] = r.updates(p.Name, s.Step)
	}
	r.balance.restore(s.Balance)
	s.Balance = r.balance
	r.state, r.saved = s, s.Step
	return r.unmoved() // what was read must be what was frozen
}
