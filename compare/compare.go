// Package compare trains several configs under one budget and says what came of
// each: retrieval in every direction, transfer, parameters, operations, bytes and
// time, with their spread over seeds.
//
// A row is one training: a config, a seed and, where it is asked what a pair
// reaches alone, that pair. Rows are ordinary runs under DIR/runs. The best
// checkpoint of each is chosen by the validation data; the test data choose
// nothing.
package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"

	"github.com/onetrunk/onetrunk/configs"
	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/internal/atomicfile"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/train"
)

// Config is a config that takes part.
type Config struct {
	// Name is what the report and its runs' folders call it: letters, digits,
	// ".", "_" and "-".
	Name string
	// Data is the JSON of the config.
	Data []byte
}

// Read reads the config that ref names, a preset or a file. It is called as the
// file is, without the extension.
func Read(ref string) (Config, error) {
	data, err := configs.Read(ref)
	name := filepath.Base(ref)
	if ext := filepath.Ext(name); ext == ".json" {
		name = name[:len(name)-len(ext)]
	}
	return Config{Name: name, Data: data}, err
}

// Options describes a comparison.
type Options struct {
	// Configs take part; differences are to the first.
	Configs []Config
	// Seeds is their number: each config is trained with the seeds 1 to Seeds.
	Seeds int
	// Train, Val and Test are the data. Val may be nil, then the latest checkpoint
	// of each row is taken.
	Train, Val, Test datasets.Source
	// Budget is what each row may spend.
	Budget Budget
	// Alone names the configs of which each pair of modalities is trained alone
	// too, under the same budget.
	Alone []string
	// Jobs is the number of rows that run at once, 0 for one a processor. A row
	// has as many threads as there are processors for each job.
	Jobs int
	// MaxBad is the share of values that may be unreadable, as in train.Options.
	MaxBad float64
	// Dir is the folder of the runs and the report.
	Dir string
	// Out receives progress; nil shows none.
	Out io.Writer
}

// Files of a comparison's folder.
const (
	ReportFile = "report.json"
	PageFile   = "report.html"
	runsDir    = "runs"
)

var nameOf = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// comparison is one that runs.
type comparison struct {
	Options
	threads  int
	variants []*variant
	rows     []*row
	clock    clock
}

// variant is a config, or one pair of it alone.
type variant struct {
	name     string // of a run's folder, without the seed
	of       int    // of the config
	pair     string // "audio+image", or "" for all that the config trains
	config   model.Config
	settings train.Settings
	steps    int   // of its schedule under the budget
	err      error // why that is not known
}

// Run trains what has not been trained and reports all rows, in
// Dir/report.json and Dir/report.html too. Rows that were trained with the same
// config, data, budget, seed and threads are used again, those that were begun go
// on. A row that fails is in the report with its error; the error of Run is for
// what concerns all: a mistake in the options, the end of the context.
func Run(ctx context.Context, o Options) (Report, error) {
	c := &comparison{Options: o}
	if err := c.prepare(); err != nil {
		return Report{}, err
	}
	if err := c.schedule(ctx); err != nil {
		return Report{}, err
	}
	if err := c.train(ctx); err != nil {
		return Report{}, err
	}
	r, err := c.report()
	if err != nil {
		return Report{}, err
	}
	return r, errors.Join(
		writeJSON(filepath.Join(c.Dir, ReportFile), r),
		atomicfile.Write(filepath.Join(c.Dir, PageFile), func(w io.Writer) error { return WriteHTML(w, r) }),
	)
}

// prepare checks the options and lists the rows.
func (c *comparison) prepare() error {
	switch {
	case len(c.Configs) == 0:
		return fmt.Errorf("compare: no configs")
	case c.Seeds < 1:
		return fmt.Errorf("compare: expected at least 1 seed, found %d", c.Seeds)
	case c.Train == nil || c.Test == nil:
		return fmt.Errorf("compare: needs data to train on and data to test on")
	case c.Jobs < 0:
		return fmt.Errorf("compare: expected at least 0 jobs, found %d", c.Jobs)
	}
	if err := c.Budget.validate(); err != nil {
		return err
	}
	processors := runtime.GOMAXPROCS(0)
	if c.Jobs == 0 {
		c.Jobs = processors
	}
	c.threads = max(1, processors/c.Jobs)
	for _, name := range c.Alone {
		if !slices.ContainsFunc(c.Configs, func(o Config) bool { return o.Name == name }) {
			return fmt.Errorf("compare: %q, whose pairs are to be trained alone, is none of the configs", name)
		}
	}
	for i, of := range c.Configs {
		if !nameOf.MatchString(of.Name) {
			return fmt.Errorf("compare: a config is called %q, expected letters, digits, \".\", \"_\" and \"-\"", of.Name)
		}
		if slices.ContainsFunc(c.Configs[:i], func(o Config) bool { return o.Name == of.Name }) {
			return fmt.Errorf("compare: two configs are called %q", of.Name)
		}
		cfg, err := model.ParseConfig(of.Name, of.Data)
		if err != nil {
			return err
		}
		settings, err := train.ParseSettings(of.Name, cfg)
		if err != nil {
			return err
		}
		v := variant{name: of.Name, of: i, config: cfg, settings: settings}
		c.variants = append(c.variants, &v)
		if slices.Contains(c.Alone, of.Name) {
			for _, pair := range v.pairs(c.Train.Modalities()) {
				alone := v
				alone.name, alone.pair = of.Name+"-"+pair, pair
				alone.settings.Pairs = map[string]float64{pair: 1}
				c.variants = append(c.variants, &alone)
			}
		}
	}
	// All configs come to their first seed before any comes to its second.
	for seed := range c.Seeds {
		for _, v := range c.variants {
			r, err := c.open(v, uint64(seed+1))
			if err != nil {
				return err
			}
			c.rows = append(c.rows, r)
		}
	}
	return nil
}

// pairs lists the pairs of modalities that the variant trains on data.
func (v *variant) pairs(data []string) []string {
	var names, pairs []string
	for _, m := range data {
		if _, ok := v.config.Modalities[m]; ok {
			names = append(names, m)
		}
	}
	for i, a := range names {
		for _, b := range names[i+1:] {
			pair := a + "+" + b
			if v.settings.Pairs == nil || v.settings.Pairs[pair] > 0 {
				pairs = append(pairs, pair)
			}
		}
	}
	return pairs
}
