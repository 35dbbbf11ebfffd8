// Package design finds by itself which modalities share what: for each layer's
// attention and each layer's feed-forward network one of the ways to group the
// modalities, within a budget of parameters.
//
// Two designers propose maps. One searches by gradients, over a mixture of all
// groupings, with the weights trained on one half of the training data and the
// choices on the other (train's search). The other, cheap one trains one shared
// trunk and separates the modalities whose gradients point most apart. Each map
// is then a plain config, trained from scratch beside maps made by hand and
// random maps of the same budget, in one comparison.
package design

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"

	"github.com/onetrunk/onetrunk/compare"
	"github.com/onetrunk/onetrunk/internal/atomicfile"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
	"github.com/onetrunk/onetrunk/train"
)

// Options describes a design.
type Options struct {
	// Base is the config whose sharing is designed; of its sharing block the
	// layers and private norms stay, and nothing else may be in it.
	Base compare.Config
	// Budget is the greatest number of unique parameters of the model. Where it is
	// 0, it is Share of what separate towers have.
	Budget int
	Share  float64
	// SearchSteps is the length of the search's schedule, and of the training of
	// the shared trunk whose gradients are compared.
	SearchSteps int
	// Random is the number of random maps beside.
	Random int
	// Compare holds the seeds, data, budget of training, jobs and progress of the
	// comparison, and the folder of everything. Its Configs are set here.
	Compare compare.Options
}

// Report says what was designed and how it does.
type Report struct {
	// Budget is that of the options, Fixed what of it cannot be shared otherwise.
	Budget int `json:"budget"`
	Fixed  int `json:"fixed"`
	// Designs are the designers' maps.
	Designs []Design `json:"designs"`
	// Random is the mean R@1 over the random maps, each the mean of its seeds,
	// with their standard deviation.
	Random compare.Stat `json:"random"`
	// Comparison holds the rows of all.
	Comparison compare.Report `json:"comparison"`
}

// Design is a map that a designer proposes.
type Design struct {
	// Config is its name in the comparison, File its config's.
	Config string `json:"config"`
	File   string `json:"file"`
	// Map is the rules, Unique the parameters of the model.
	Map    []sharing.Rule `json:"map"`
	Unique int            `json:"unique_parameters"`
	R1     compare.Stat   `json:"r1"`
	// Above is how many standard deviations of the random maps R1 is above their
	// mean; nil without two of them.
	Above *float64 `json:"sd_above_random,omitempty"`
	// Front says that no config of the comparison has as few parameters and a
	// higher R@1.
	Front bool `json:"on_the_front"`
}

// design is one in progress.
type design struct {
	Options
	base     map[string]any // the config's keys
	config   model.Config
	settings train.Settings
	dir      string
	units    []sharing.Unit
	names    []string // the modalities of the trunk
	fixed    int
	budget   int // of the units
}

// Run designs maps, trains them beside others, and writes DIR/design.json and
// what compare.Run writes. What is finished is not done again; what was begun
// goes on.
func Run(ctx context.Context, o Options) (Report, error) {
	d := &design{Options: o, dir: o.Compare.Dir}
	if err := d.prepare(); err != nil {
		return Report{}, err
	}
	shared, err := d.trained(ctx, "shared", nil)
	if err != nil {
		return Report{}, err
	}
	if err := d.measure(shared); err != nil {
		return Report{}, err
	}
	bySearch, err := d.search(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("search: %w", err)
	}
	byConflict, err := d.conflict(ctx, shared)
	if err != nil {
		return Report{}, fmt.Errorf("conflicts: %w", err)
	}
	r := Report{Budget: d.Budget, Fixed: d.fixed}
	for _, p := range []struct {
		name  string
		rules []sharing.Rule
	}{{"designed-search", bySearch}, {"designed-conflict", byConflict}} {
		r.Designs = append(r.Designs, Design{Config: p.name, File: p.name + ".json", Map: p.rules, Unique: d.fixed + sharing.Size(d.units, p.rules)})
	}
	if err := d.compare(ctx, &r); err != nil {
		return r, err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return r, err
	}
	return r, atomicfile.WriteBytes(filepath.Join(d.dir, "design.json"), append(data, '\n'))
}

// prepare reads the base.
func (d *design) prepare() error {
	if err := json.Unmarshal(d.Base.Data, &d.base); err != nil {
		return fmt.Errorf("%s: %w", d.Base.Name, err)
	}
	c, err := model.ParseConfig(d.Base.Name, d.Base.Data)
	if err != nil {
		return err
	}
	s := c.Sharing
	plain := sharing.Config{Layers: s.Layers, Private: s.Private, Experts: s.Experts}
	if s.String() != plain.String() {
		return fmt.Errorf("%s: a design is of layers and private norms; the sharing block has more: %s", d.Base.Name, s)
	}
	c.Sharing = sharing.Config{Layers: s.Layers, Experts: "none"}
	for _, r := range s.Private {
		if !r.Product() {
			c.Sharing.Private = append(c.Sharing.Private, r)
		}
	}
	if d.settings, err = train.ParseSettings(d.Base.Name, c); err != nil {
		return err
	}
	d.config, d.settings.Steps, d.settings.SaveEvery, d.settings.EvalEvery = c, d.SearchSteps, 0, 0
	return nil
}

// with returns the base's config with another sharing block, as JSON.
func (d *design) with(s sharing.Config) ([]byte, error) {
	whole := map[string]any{}
	for k, v := range d.base {
		whole[k] = v
	}
	whole["sharing"] = s
	return json.MarshalIndent(whole, "", "  ")
}

// trained trains the base with a mixture, or one shared trunk without, in
// DIR/search/NAME, and returns the model at its end.
func (d *design) trained(ctx context.Context, name string, mix *sharing.Mix) (*model.Model, error) {
	c := d.config
	c.Sharing.Mix = mix
	dir := filepath.Join(d.dir, "search", name)
	_, err := train.Run(ctx, train.Options{
		Name: d.Base.Name, Config: c, Settings: d.settings, Train: d.Compare.Train, Dir: dir,
		Resume: true, MaxBad: d.Compare.MaxBad, Out: d.Compare.Out,
	})
	if err != nil {
		return nil, err
	}
	latest, err := model.Marked(dir, "latest")
	if err != nil {
		return nil, err
	}
	return model.OpenOn(latest, tensor.CPU(0))
}

// measure finds the units and what of the budget is theirs.
func (d *design) measure(shared *model.Model) error {
	d.units, d.names = shared.Weights.Units(), shared.Weights.Modalities
	d.fixed = shared.Bank.Elements()
	for _, u := range d.units {
		d.fixed -= u.Size
	}
	if d.Budget == 0 {
		separate := d.fixed + sharing.Size(d.units, d.all(len(sharing.Partitions(d.names))-1))
		d.Budget = int(d.Share * float64(separate))
	}
	d.budget = d.Budget - d.fixed
	if least := d.fixed + sharing.Size(d.units, d.all(0)); d.Budget < least {
		return fmt.Errorf("a budget of %d parameters, expected at least %d: one trunk that all modalities share, with the rest of the model", d.Budget, least)
	}
	return nil
}

// all returns the rules that group the modalities in one way everywhere.
func (d *design) all(way int) []sharing.Rule {
	var rs []sharing.Rule
	for _, u := range d.units {
		rs = append(rs, sharing.Rule{Layers: []int{u.Layer}, Roles: u.Roles, Groups: sharing.Partitions(d.names)[way]})
	}
	return rs
}

// search returns the map that a search by gradients favours within the budget:
// the one of the greatest probability.
func (d *design) search(ctx context.Context) ([]sharing.Rule, error) {
	m, err := d.trained(ctx, "mixture", &sharing.Mix{Kind: "partitions", Search: &sharing.Search{
		Budget: d.budget, Weight: 1, Warmup: 0.2, Tau: [2]float64{5, 0.5}, Rate: 0.02,
	}})
	if err != nil {
		return nil, err
	}
	var logits [][]float64
	for _, u := range d.units {
		x := m.Bank.Read(m.Bank.Param(u.Policy))
		var sum float64
		for _, v := range x {
			sum += math.Exp(float64(v))
		}
		var ls []float64
		for _, v := range x {
			ls = append(ls, float64(v)-math.Log(sum))
		}
		logits = append(logits, ls)
	}
	return sharing.Best(d.units, d.names, d.budget, func(i, j int) float64 { return logits[i][j] })
}

// conflict returns the map within the budget that keeps together the modalities
// whose gradients agree: the one with the least sum, over all pairs of
// modalities that share a unit, of 1 minus the cosine of the gradients that
// reach the unit's tensors through each of the two.
func (d *design) conflict(ctx context.Context, shared *model.Model) ([]sharing.Rule, error) {
	found, err := train.Conflicts(ctx, shared, d.Compare.Train, train.ConflictOptions{
		Batch: d.settings.Batch, Batches: 16, Seed: d.settings.Seed, Positives: d.settings.Positives, MaxBad: d.Compare.MaxBad,
	})
	if err != nil {
		return nil, err
	}
	ways := sharing.Partitions(d.names)
	cosine := func(u sharing.Unit, a, b string) float64 {
		var sum, n float64
		for _, t := range found.Tensors {
			if t.Layer == u.Layer && slices.Contains(u.Roles, t.Role) {
				if c, ok := t.Modalities[a+"|"+b]; ok {
					sum, n = sum+c, n+1
				}
			}
		}
		if n == 0 {
			return 0
		}
		return sum / n
	}
	return sharing.Best(d.units, d.names, d.budget, func(i, j int) (score float64) {
		for _, group := range ways[j] {
			for k, a := range group {
				for _, b := range group[k+1:] {
					score -= 1 - cosine(d.units[i], a, b)
				}
			}
		}
		return score
	})
}

// compare trains the designs beside other maps.
func (d *design) compare(ctx context.Context, r *Report) error {
	s := d.config.Sharing
	o := d.Compare
	add := func(name string, s sharing.Config) error {
		data, err := d.with(s)
		o.Configs = append(o.Configs, compare.Config{Name: name, Data: data})
		return err
	}
	mapped := func(rules []sharing.Rule) sharing.Config {
		c := s
		c.Map = rules
		return c
	}
	experts := s
	experts.Experts = "modality"
	err := errors.Join(add("shared", s), add("experts", experts), add("separate", mapped(d.all(len(sharing.Partitions(d.names))-1))))
	taken := map[string]bool{}
	least := d.budget
	for _, p := range r.Designs {
		err = errors.Join(err, add(p.Config, mapped(p.Map)))
		taken[fmt.Sprint(p.Map)] = true
		least = min(least, sharing.Size(d.units, p.Map))
	}
	random := map[string]bool{}
	rng := rand.New(rand.NewPCG(d.settings.Seed, 0xde51))
	for i := 0; len(random) < d.Random; i++ {
		rules, failed := sharing.Random(d.units, d.names, least, d.budget, rng)
		if failed != nil {
			return failed
		}
		if i > 100*d.Random {
			return fmt.Errorf("there are only %d random maps of the budget beside the designed ones, expected %d", len(random), d.Random)
		}
		if key := fmt.Sprint(rules); !taken[key] {
			taken[key] = true
			name := fmt.Sprintf("random-%02d", len(random)+1)
			random[name] = true
			err = errors.Join(err, add(name, mapped(rules)))
		}
	}
	if err != nil {
		return err
	}
	for _, c := range o.Configs {
		if slices.ContainsFunc(r.Designs, func(p Design) bool { return p.Config == c.Name }) {
			if err := atomicfile.WriteBytes(filepath.Join(d.dir, c.Name+".json"), append(c.Data, '\n')); err != nil {
				return err
			}
		}
	}
	if r.Comparison, err = compare.Run(ctx, o); err != nil {
		return err
	}
	r.rank(random)
	return nil
}

// rank places the designs among the random maps, and on the front.
func (r *Report) rank(random map[string]bool) {
	var of []float64
	for _, c := range r.Comparison.Configs {
		if random[c.Config] && c.R1.N > 0 {
			of = append(of, c.R1.Mean)
		}
	}
	r.Random = compare.StatOf(of)
	for i := range r.Designs {
		p := &r.Designs[i]
		for _, c := range r.Comparison.Configs {
			if c.Config == p.Config {
				p.R1 = c.R1
			}
		}
		if r.Random.N > 1 && r.Random.SD > 0 {
			above := (p.R1.Mean - r.Random.Mean) / r.Random.SD
			p.Above = &above
		}
		for _, front := range r.Comparison.Fronts {
			for _, at := range front.Points {
				if front.Cost == compare.UniqueParameters && at.Config == p.Config {
					p.Front = at.Best
				}
			}
		}
	}
}

// Print writes the report in lines.
func (r Report) Print(w io.Writer) {
	for _, p := range r.Designs {
		fmt.Fprintf(w, "%s: %d parameters of %d, R@1 %.1f ± %.1f%%", p.Config, p.Unique, r.Budget, 100*p.R1.Mean, 100*p.R1.SD)
		if p.Above != nil {
			fmt.Fprintf(w, ", %+.1f standard deviations from the mean of %d random maps (%.1f ± %.1f%%)", *p.Above, r.Random.N, 100*r.Random.Mean, 100*r.Random.SD)
		}
		if p.Front {
			fmt.Fprint(w, ", on the Pareto front")
		}
		fmt.Fprintln(w)
		for _, rule := range p.Map {
			fmt.Fprintf(w, "  layer %s\n", rule)
		}
	}
}
