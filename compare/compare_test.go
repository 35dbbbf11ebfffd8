package compare

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/tensor"
	"github.com/onetrunk/onetrunk/tokenizers"
	"github.com/onetrunk/onetrunk/train"
)

// sense is a modality of tests: a value is a vector, by its name "item.copy".
type sense struct{ name string }

var senses = []string{"ear", "eye", "nose"}

func init() {
	for _, s := range senses {
		modalities.Register(sense{s})
	}
}

func (s sense) Name() string                                               { return s.name }
func (s sense) Inline() bool                                               { return true }
func (s sense) Recognise(string, []byte) bool                              { return false }
func (s sense) Open(json.RawMessage, string) (modalities.Processor, error) { return s, nil }
func (s sense) Decode(io.Reader, string) (modalities.Value, error)         { return nil, nil }
func (s sense) Augments() bool                                             { return false }
func (s sense) Augment(v modalities.Value, _ *rand.Rand) modalities.Value  { return v }
func (s sense) Config() json.RawMessage                                    { return json.RawMessage("{}") }
func (s sense) Layout() tokenizers.Layout                                  { return tokenizers.Layout{Patch: 4, Grid: [2]int{1, 2}} }
func (s sense) Tokenize(v modalities.Value) (tokenizers.Tokens, error) {
	return tokenizers.Tokens{Patches: v.([]float32), Grid: [2]int{1, 2}}, nil
}

// world is a source of things that all senses perceive.
type world struct {
	name  string
	items []datasets.Item
	loads *atomic.Int64
	after func(loads int64)
}

// newWorld makes n things with a number of copies each; first is the number of
// the first copy.
func newWorld(name string, n, copies, first int) *world {
	w := &world{name: name, loads: &atomic.Int64{}}
	for i := range n {
		item := datasets.Item{ID: fmt.Sprint(i)}
		for k := range copies {
			var row datasets.Row
			for _, s := range senses {
				row.Cells = append(row.Cells, datasets.Cell{Modality: s, Ref: fmt.Sprintf("%d.%d", i, first+k)})
			}
			item.Rows = append(item.Rows, row)
		}
		w.items = append(w.items, item)
	}
	return w
}

func (w *world) Name() string              { return w.name }
func (w *world) Modalities() []string      { return senses }
func (w *world) Len() int                  { return len(w.items) }
func (w *world) Item(i int) *datasets.Item { return &w.items[i] }
func (w *world) Load(c datasets.Cell, _ modalities.Processor) (modalities.Value, error) {
	if n := w.loads.Add(1); w.after != nil {
		w.after(n)
	}
	var i, k int
	if _, err := fmt.Sscanf(c.Ref, "%d.%d", &i, &k); err != nil {
		return nil, err
	}
	of := uint64(slices.Index(senses, c.Modality))
	thing, noise := rand.New(rand.NewPCG(uint64(i), of)), rand.New(rand.NewPCG(uint64(100*i+k), 10+of))
	x := make([]float32, 8)
	for j := range x {
		x[j] = float32(thing.NormFloat64() + 0.2*noise.NormFloat64())
	}
	return x, nil
}

// config makes a config with a sharing block and settings.
func config(name, sharing, settings string) Config {
	return Config{name, fmt.Appendf(nil, `{
		"trunk": {"width": 8, "layers": 2, "heads": 2, "hidden": 8, "embed": 8},
		"modalities": {"ear": {}, "eye": {}, "nose": {}},
		"sharing": {%s},
		"train": {"batch": 8, "steps": 30, "lr": 0.02, "save_every": 100000, "eval_every": 15%s}}`, sharing, settings)}
}

var (
	hard    = config("hard", `"private": ["norm1", "norm2"]`, "")
	private = config("private", `"private": ["norm1", "qkv", "out", "norm2", "up", "down"]`, "")
	routed  = config("routed", `"router": {"experts": 2, "top": 1, "gate": "shared"}`, "")
)

func options(dir string, configs ...Config) Options {
	return Options{
		Configs: configs, Seeds: 2, Dir: dir, Jobs: 2,
		Train: newWorld("world#train", 12, 3, 0), Val: newWorld("world#val", 12, 1, 3), Test: newWorld("world#test", 12, 1, 4),
	}
}

func mustRun(t *testing.T, o Options) Report {
	t.Helper()
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Failed() {
		t.Fatalf("%s seed %d %s: %s", f.Config, f.Seed, f.Pair, f.Error)
	}
	return r
}

func near(a, b float64) bool { return math.Abs(a-b) < 1e-12 }

func TestFiguresAreThoseOfTheRuns(t *testing.T) {
	o := options(t.TempDir(), hard, routed)
	o.Alone = []string{"hard"}
	r := mustRun(t, o)
	if len(r.Configs) != 2 || len(r.Directions) != 6 || len(r.Pairs) != 3 {
		t.Fatalf("%d configs, directions %v, pairs %v", len(r.Configs), r.Directions, r.Pairs)
	}
	c := r.Configs[0]
	if len(c.Rows) != 2 || len(c.Alone) != 6 || c.Steps != 30 || c.Batch != 8 {
		t.Fatalf("%d rows, %d alone, %d steps of %d", len(c.Rows), len(c.Alone), c.Steps, c.Batch)
	}
	var means []float64
	direction := map[string][]float64{}
	for seed := 1; seed <= 2; seed++ {
		run := filepath.Join(o.Dir, "runs", fmt.Sprintf("hard-seed%d", seed))
		m, err := model.OpenOn(run, tensor.CPU(1))
		if err != nil {
			t.Fatal(err)
		}
		e, err := train.Evaluate(t.Context(), m, o.Test, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		mean, _ := e.Mean()
		means = append(means, mean)
		for d, f := range e.Pairs {
			direction[d] = append(direction[d], f.R1)
		}
		row := c.Rows[seed-1]
		if row.Seed != uint64(seed) || !near(row.R1, mean) || row.Dir != fmt.Sprintf("runs/hard-seed%d", seed) || row.CPUSeconds <= 0 || row.SamplesPerS <= 0 {
			t.Errorf("row %+v, by hand R@1 %g", row, mean)
		}
		best, err := model.Marked(run, "best")
		if err != nil || filepath.Base(best) != fmt.Sprintf("step-%06d", row.BestStep) {
			t.Errorf("best step %d, marked is %s (%v)", row.BestStep, best, err)
		}
		bytes, err := os.Stat(filepath.Join(best, "model.safetensors"))
		if err != nil || row.Bytes != bytes.Size() {
			t.Errorf("%d bytes of %v (%v)", row.Bytes, bytes, err)
		}
		is := m.Inspect()
		if c.Unique != is.Parameters.Unique || c.Stored != is.Parameters.Stored || !near(c.Active, float64(is.Parameters.Active["ear"]+is.Parameters.Active["eye"]+is.Parameters.Active["nose"])/3) {
			t.Errorf("%d unique, %g active, %d stored of %+v", c.Unique, c.Active, c.Stored, is.Parameters)
		}
		if want := float64(is.FLOPs["ear"]+is.FLOPs["eye"]+is.FLOPs["nose"]) / 3; !near(c.FLOPs, want) {
			t.Errorf("%g FLOPs, want %g", c.FLOPs, want)
		}
	}
	a, b := means[0], means[1]
	if !near(c.R1.Mean, (a+b)/2) || !near(c.R1.SD, math.Abs(a-b)/math.Sqrt2) || c.R1.N != 2 {
		t.Errorf("R@1 %+v of %v", c.R1, means)
	}
	if c.R1.Mean < 0.3 {
		t.Errorf("R@1 %.2f, chance is 0.08: nothing was learned", c.R1.Mean)
	}
	// Transfer of a direction, by the rows of its pair alone.
	var alone []float64
	for _, row := range c.Alone {
		if row.Pair != "ear+nose" {
			continue
		}
		if len(row.Eval.Pairs) != 2 {
			t.Errorf("%s alone was tested in %v", row.Pair, row.Eval.Directions())
		}
		alone = append(alone, row.Eval.Pairs["nose>ear"].R1)
	}
	of := direction["nose>ear"]
	if got, want := c.Transfer["nose>ear"], (of[0]-alone[0]+of[1]-alone[1])/2; got.N != 2 || !near(got.Mean, want) {
		t.Errorf("transfer %+v, want %g", got, want)
	}
	if got := c.Directions["nose>ear"].R1; !near(got.Mean, (of[0]+of[1])/2) {
		t.Errorf("nose>ear %+v of %v", got, of)
	}
	if len(r.Configs[1].Transfer) != 0 || len(r.Configs[1].Experts) != 2 || len(r.Configs[1].Experts[0].ByModality) != 3 {
		t.Errorf("transfer %v, experts %+v of a routed config without alone", r.Configs[1].Transfer, r.Configs[1].Experts)
	}
	if m := c.Conflicts; m == nil || len(m.Tensors) == 0 || len(m.Pairs) != 3 {
		t.Errorf("conflicts %+v", m)
	}
	d := r.Differences[0]
	x, y := r.Configs[1].Rows[0].R1-a, r.Configs[1].Rows[1].R1-b
	if d.Config != "routed" || d.To != "hard" || d.N != 2 || !near(d.Mean, (x+y)/2) {
		t.Errorf("difference %+v of %g and %g", d, x, y)
	}
	var read Report
	data, err := os.ReadFile(filepath.Join(o.Dir, ReportFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &read); err != nil || len(read.Configs) != 2 || read.Configs[0].R1 != c.R1 {
		t.Errorf("%s does not hold the report (%v)", ReportFile, err)
	}
}

// checkpoints returns the bytes of the latest weights of all runs.
func checkpoints(t *testing.T, dir string) map[string]string {
	t.Helper()
	of := map[string]string{}
	runs, err := filepath.Glob(filepath.Join(dir, "runs", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range runs {
		latest, err := model.Marked(run, "latest")
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(latest, "model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		of[filepath.Base(run)] = string(data)
	}
	return of
}

func TestStoppedComparisonGoesOn(t *testing.T) {
	whole := options(t.TempDir(), hard, private)
	mustRun(t, whole)
	parts := options(t.TempDir(), hard, private)
	for stops, at := 0, int64(40); ; at += 40 {
		ctx, cancel := context.WithCancel(t.Context())
		parts.Train.(*world).loads.Store(0)
		parts.Val.(*world).loads.Store(0)
		parts.Val.(*world).after = func(n int64) { // evaluations read while training runs
			if n == at {
				cancel()
			}
		}
		_, err := Run(ctx, parts)
		cancel()
		if err == nil {
			if stops < 2 {
				t.Fatalf("stopped %d times", stops)
			}
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		stops++
	}
	want, got := checkpoints(t, whole.Dir), checkpoints(t, parts.Dir)
	if len(got) != 4 {
		t.Fatalf("%d runs", len(got))
	}
	for run := range want {
		if got[run] != want[run] {
			t.Errorf("%s went on differently", run)
		}
	}
}

func TestFinishedRowsAreUsedAgain(t *testing.T) {
	o := options(t.TempDir(), hard, private)
	first := mustRun(t, o)
	for _, w := range []datasets.Source{o.Train, o.Val, o.Test} {
		w.(*world).after = func(int64) { t.Error("a value was read for rows that are finished") }
	}
	again := mustRun(t, o)
	a, _ := json.Marshal(first)
	b, _ := json.Marshal(again)
	if !bytes.Equal(a, b) {
		t.Errorf("the report has changed:\n%s\n%s", a, b)
	}
	// Another test split is evaluated and not trained for.
	o.Test = newWorld("world#other", 12, 1, 7)
	other := mustRun(t, o)
	if other.Configs[0].Rows[0].BestStep != first.Configs[0].Rows[0].BestStep || other.Data.Test != "world#other (12 items)" {
		t.Errorf("tested on %s: row %+v", other.Data.Test, other.Configs[0].Rows[0])
	}
	for what, change := range map[string]func(*Options){
		"its budget is 30 steps, not 31 steps":     func(o *Options) { o.Budget.Steps = 31 },
		"its config is":                            func(o *Options) { o.Configs = []Config{config("hard", `"private": []`, "")} },
		"its training data is world#train":         func(o *Options) { o.Train = newWorld("world#more", 13, 3, 0) },
		"its validation data is world#val (12 ite": func(o *Options) { o.Val = nil },
	} {
		changed := o
		changed.Budget = Budget{}
		change(&changed)
		if _, err := Run(t.Context(), changed); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("error %v, want it to hold %q", err, what)
		}
	}
}

func TestBudgets(t *testing.T) {
	large := config("large", "", `, "accumulate": 2`)
	for _, c := range []struct {
		budget      Budget
		hard, large int
	}{
		{Budget{}, 30, 30},
		{Budget{Steps: 7}, 7, 7},
		{Budget{Samples: 170}, 21, 10},
		{Budget{Samples: 3}, 1, 1},
	} {
		o := options(t.TempDir(), hard, large)
		o.Budget, o.Seeds = c.budget, 1
		r := mustRun(t, o)
		if r.Configs[0].Steps != c.hard || r.Configs[1].Steps != c.large || r.Configs[1].Batch != 16 {
			t.Errorf("%+v: %d and %d steps, want %d and %d", c.budget, r.Configs[0].Steps, r.Configs[1].Steps, c.hard, c.large)
		}
		for _, of := range r.Configs {
			dir, err := model.Marked(filepath.Join(o.Dir, of.Rows[0].Dir), "latest")
			if err != nil || filepath.Base(dir) != fmt.Sprintf("step-%06d", of.Steps) {
				t.Errorf("%+v: %s was trained to %s, not to step %d (%v)", c.budget, of.Config, dir, of.Steps, err)
			}
		}
	}
	for _, b := range []Budget{{Steps: 3, Samples: 4}, {Steps: -1}, {CPUSeconds: math.NaN()}, {CPUSeconds: math.Inf(1)}} {
		o := options(t.TempDir(), hard)
		o.Budget = b
		if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "budget") {
			t.Errorf("%+v: error %v", b, err)
		}
	}
}

func TestCPUTimeIsDivided(t *testing.T) {
	rarely := func(c Config) Config { // evaluate at the end alone: checkpoints take their time
		c.Data = bytes.Replace(c.Data, []byte(`"eval_every": 15`), []byte(`"eval_every": 100000, "clip": 1`), 1)
		return c
	}
	small := rarely(config("small", "", ""))
	small.Data = bytes.Replace(small.Data, []byte(`"batch": 8`), []byte(`"batch": 4`), 1)
	wide := rarely(config("wide", "", ""))
	wide.Data = bytes.Replace(wide.Data, []byte(`"width": 8, "layers": 2, "heads": 2, "hidden": 8`), []byte(`"width": 64, "layers": 4, "heads": 2, "hidden": 256`), 1)
	o := options(t.TempDir(), small, wide)
	o.Seeds, o.Jobs, o.Budget = 1, 1, Budget{CPUSeconds: 0.3}
	r := mustRun(t, o)
	few, many := r.Configs[1], r.Configs[0]
	if few.Steps*3 > many.Steps {
		t.Errorf("%d steps of a wide model and %d of a small one in the same time", few.Steps, many.Steps)
	}
	// The machine may be busy; a factor of 4 is another unit, not noise.
	if s := few.CPUSeconds.Mean; s < 0.3/4 || s > 4*0.3+1 {
		t.Errorf("%g s of CPU time for a budget of 0.3 s in %d steps", s, few.Steps)
	}
	if again := mustRun(t, o); again.Configs[0].Steps != many.Steps {
		t.Errorf("the schedule was measured again: %d steps, then %d", many.Steps, again.Configs[0].Steps)
	}
}

func TestAFailedRowStopsNoOther(t *testing.T) {
	o := options(t.TempDir(), hard, config("wild", "", `, "decay": 1e30, "clip": 0`))
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	failed := r.Failed()
	if len(failed) != 2 || failed[0].Config != "wild" || !strings.Contains(failed[0].Error, "step") {
		t.Fatalf("failed %+v", failed)
	}
	if r.Configs[0].R1.N != 2 || r.Configs[1].R1.N != 0 || r.Differences[0].N != 0 || len(r.Fronts[0].Points) != 1 {
		t.Errorf("figures %+v, %+v, differences %+v, fronts %+v", r.Configs[0].R1, r.Configs[1].R1, r.Differences, r.Fronts)
	}
	checkPage(t, r)
}

func TestMistakes(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"no configs":             func(o *Options) { o.Configs = nil },
		"at least 1 seed":        func(o *Options) { o.Seeds = 0 },
		"data to test on":        func(o *Options) { o.Test = nil },
		"two configs are called": func(o *Options) { o.Configs = []Config{hard, hard} },
		`called "../x"`:          func(o *Options) { o.Configs[0].Name = "../x" },
		`"soft"`:                 func(o *Options) { o.Alone = []string{"soft"} },
		"bach": func(o *Options) {
			o.Configs[0].Data = []byte(`{"modalities": {"ear": {}}, "train": {"bach": 2}, "trunk": {"width": 8, "layers": 1, "heads": 1, "hidden": 8, "embed": 8}}`)
		},
	} {
		o := options(t.TempDir(), hard)
		change(&o)
		if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to hold %q", err, want)
		}
	}
}
