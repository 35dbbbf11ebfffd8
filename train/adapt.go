package train

import (
	"fmt"
	"slices"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

// Streak is the checks in a row in which a half's gradients conflicted.
type Streak struct {
	Checks int `json:"checks"`
	// Sums are of the cosines in those checks, by two modalities: "audio|image".
	Sums map[string]float64 `json:"sums"`
}

// adapt looks, when it is time, for conflicts on the batch that step n begins
// with, and splits what has conflicted for long enough.
func (r *run) adapt(n int, b *datasets.Batch, s *stepStats) error {
	a := r.Config.Sharing.Adapt
	if a == nil {
		return nil
	}
	since := n - 1 - sharing.Steps(a.Warmup, r.Settings.Steps)
	if since < 0 || since%a.Every != 0 || r.state.Checked == n {
		return nil
	}
	r.state.Checked = n // a run that is stopped within the step looks once
	names, halves := r.model.Weights.Halves()
	found, err := r.disagreements(b, names, halves)
	if err != nil {
		return err
	}
	s.checks = map[string]float64{}
	var rules []sharing.Rule
	for _, name := range names {
		least := 1.0
		for _, c := range found[name] {
			least = min(least, c)
		}
		if len(found[name]) > 0 {
			s.checks[name] = least
		}
		if least >= a.Threshold {
			delete(r.state.Streaks, name)
			continue
		}
		streak := r.state.Streaks[name]
		if streak.Sums == nil {
			streak.Sums = map[string]float64{}
		}
		streak.Checks++
		for two, c := range found[name] {
			streak.Sums[two] += c
		}
		if r.state.Streaks == nil {
			r.state.Streaks = map[string]Streak{}
		}
		r.state.Streaks[name] = streak
		if streak.Checks < a.Checks {
			continue
		}
		delete(r.state.Streaks, name)
		h := halves[name]
		parts := sharing.Part(h.Group, func(a, b string) float64 { return streak.Sums[min(a, b)+"|"+max(a, b)] })
		rules = append(rules, r.model.Weights.Split(h, parts)...)
	}
	if len(rules) == 0 {
		return nil
	}
	for _, rule := range rules {
		s.splits = append(s.splits, rule.String())
		r.state.Splits = append(r.state.Splits, fmt.Sprintf("step %d: %s", n, rule))
	}
	return r.split(rules)
}

// disagreements returns, for each half, the cosines of the gradients that reach
// its tensors through the rows of two modalities of its group, on one batch.
func (r *run) disagreements(b *datasets.Batch, names []string, halves map[string]sharing.Half) (map[string]map[string]float64, error) {
	all := r.model.Weights.Modalities
	a := newApart(r.dev, r.opt.trained(), len(all))
	defer a.release()
	for i, m := range all {
		if err := r.fwd.through(r.tape, b, m, a, i); err != nil {
			return nil, err
		}
	}
	found := map[string]map[string]float64{}
	for _, name := range names {
		h := halves[name]
		own := map[string]bool{}
		for _, t := range r.model.Weights.HalfTensors(h) {
			own[t+"/weight"], own[t+"/bias"] = true, true
		}
		gram := a.gram(len(all), func(p int) bool { return own[a.params[p].Name] })
		found[name] = cosines(all, gram)
	}
	return found, nil
}

// split makes the rules part of the run's map and goes on with a model in which
// they hold: tensors have the values, and the moments, of those that served their
// places before.
func (r *run) split(rules []sharing.Rule) error {
	r.Config.Sharing.Map = append(slices.Clone(r.Config.Sharing.Map), rules...)
	old, oldOpt := r.model, r.opt
	r.use(model.New(r.Config, old.Processors(), r.dev, r.Settings.Seed))
	from := r.model.Weights.From(old.Weights.Map)
	source := func(name string) *autograd.Param {
		for _, end := range []string{"/weight", "/bias"} {
			if was, ok := from[name[:max(len(name)-len(end), 0)]]; ok {
				name = was + name[len(name)-len(end):]
				break
			}
		}
		return old.Bank.Param(name)
	}
	for _, p := range r.model.Bank.Params() {
		r.dev.Copy(p.Value, source(p.Name).Value)
	}
	for i, p := range r.opt.params {
		was := oldOpt.index[source(p.Name)]
		r.opt.updates[i] = oldOpt.updates[was]
		for _, moments := range [][2][]*tensor.Tensor{{r.opt.m, oldOpt.m}, {r.opt.v, oldOpt.v}} {
			r.dev.Copy(moments[0][i], moments[1][was])
		}
	}
	return nil
}

// splitBefore takes over the map of the latest checkpoint, in which a run may
// have split what its config shares.
func (r *run) splitBefore() error {
	dir, err := model.Marked(r.dir, "latest")
	if err != nil {
		return err
	}
	c, err := model.ReadConfig(model.ConfigOf(dir))
	if err != nil {
		return err
	}
	if !slices.EqualFunc(c.Sharing.Map[:min(len(c.Sharing.Map), len(r.Config.Sharing.Map))], r.Config.Sharing.Map, equalRules) {
		return fmt.Errorf("%s: sharing.map does not begin with that of %s, which this run goes on from", r.Name, dir)
	}
	r.Config.Sharing.Map = c.Sharing.Map
	return nil
}

func equalRules(a, b sharing.Rule) bool {
	return slices.Equal(a.Layers, b.Layers) && slices.Equal(a.Roles, b.Roles) && slices.EqualFunc(a.Groups, b.Groups, slices.Equal)
}
