package compare

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/internal/atomicfile"
	"github.com/onetrunk/onetrunk/internal/measure"
	"github.com/onetrunk/onetrunk/internal/progress"
	"github.com/onetrunk/onetrunk/internal/strictjson"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/tensor"
	"github.com/onetrunk/onetrunk/train"
)

// Row is one training and its figures.
type Row struct {
	Config string `json:"config"`
	Seed   uint64 `json:"seed"`
	// Pair is the only pair that was trained, "" for all of the config's.
	Pair string `json:"pair,omitempty"`
	// Dir is the run folder, below the comparison's.
	Dir string `json:"dir"`
	// Steps is the length of its schedule, BestStep the step of the checkpoint
	// that the figures are of.
	Steps    int `json:"steps"`
	BestStep int `json:"best_step"`
	// Eval is on the test data, and R1 its mean R@1.
	Eval *train.Evaluation `json:"eval,omitempty"`
	R1   float64           `json:"r1"`
	// CPUSeconds is what training took, with its evaluations and checkpoints;
	// rows that ran at once share the process's time equally.
	CPUSeconds float64 `json:"cpu_seconds"`
	// SamplesPerS is the median over the steps, while other rows ran beside.
	SamplesPerS float64 `json:"samples_per_s"`
	// Bytes is the size of the weights' file.
	Bytes     int64      `json:"checkpoint_bytes"`
	Diagnosis *Diagnosis `json:"diagnosis,omitempty"`
	// Error is why it has no figures.
	Error string `json:"error,omitempty"`
}

// key is what decides the bits of a row.
type key struct {
	Config  string  `json:"config_sha256"`
	Train   string  `json:"train"`
	Val     string  `json:"val"`
	Budget  Budget  `json:"budget"`
	Seed    uint64  `json:"seed"`
	Pair    string  `json:"pair"`
	Threads int     `json:"threads"`
	MaxBad  float64 `json:"max_bad"`
}

// record is what a comparison remembers of a row, in the row's run folder.
type record struct {
	Key   key `json:"key"`
	Steps int `json:"steps"` // 0 while the budget's is not known
	// CPUSeconds is what has been spent so far.
	CPUSeconds float64 `json:"cpu_seconds"`
	// Trained says that the schedule has ended, and Row is what came of it on
	// Test.
	Trained bool   `json:"trained"`
	Test    string `json:"test,omitempty"`
	Row     *Row   `json:"row,omitempty"`
}

const recordFile = "compare.json"

// row is a row in progress.
type row struct {
	of     *variant
	dir    string
	record record
	err    error
	done   int // steps, for the progress
	saved  time.Time
}

// describe names a source and its size.
func describe(s datasets.Source) string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf("%s (%d items)", s.Name(), s.Len())
}

// open finds what there is of a row. One that was made in another way is an
// error.
func (c *comparison) open(v *variant, seed uint64) (*row, error) {
	sum := sha256.Sum256(c.Configs[v.of].Data)
	if c.Budget == (Budget{}) {
		c.Budget.Steps = c.variants[0].settings.Steps
	}
	k := key{
		Config: hex.EncodeToString(sum[:]), Train: describe(c.Train), Val: describe(c.Val),
		Budget: c.Budget, Seed: seed, Pair: v.pair, Threads: c.threads, MaxBad: c.MaxBad,
	}
	r := &row{of: v, dir: filepath.Join(c.Dir, runsDir, fmt.Sprintf("%s-seed%d", v.name, seed)), record: record{Key: k}}
	path := filepath.Join(r.dir, recordFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	var found record
	if err := strictjson.Unmarshal(path, data, &found); err != nil {
		return nil, err
	}
	if what := k.differs(found.Key); what != "" {
		return nil, fmt.Errorf("%s holds a run of another comparison (%s): take another folder, or remove it", r.dir, what)
	}
	r.record = found
	return r, nil
}

// differs says in what one key differs from another that was found; "" in
// nothing.
func (k key) differs(found key) string {
	for _, f := range []struct{ what, want, is string }{
		{"config", k.Config[:8], found.Config[:min(8, len(found.Config))]},
		{"training data", k.Train, found.Train},
		{"validation data", k.Val, found.Val},
		{"budget", k.Budget.String(), found.Budget.String()},
		{"threads", fmt.Sprint(k.Threads), fmt.Sprint(found.Threads)},
	} {
		if f.want != f.is {
			return fmt.Sprintf("its %s is %s, not %s", f.what, f.is, f.want)
		}
	}
	if k != found {
		return fmt.Sprintf("it is %+v", found)
	}
	return ""
}

// name is the run folder below the comparison's.
func (r *row) name() string { return runsDir + "/" + filepath.Base(r.dir) }

// save writes the record.
func (r *row) save() error {
	r.saved = time.Now()
	return writeJSON(filepath.Join(r.dir, recordFile), r.record)
}

func writeJSON(path string, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return atomicfile.WriteBytes(path, b.Bytes())
}

// view is a source of which some modalities alone are read.
type view struct {
	datasets.Source
	modalities []string
}

func (v view) Modalities() []string { return v.modalities }

// only returns what of a source a variant reads.
func (v *variant) only(s datasets.Source) datasets.Source {
	if s == nil || v.pair == "" {
		return s
	}
	pair := strings.Split(v.pair, "+")
	return view{s, slices.DeleteFunc(slices.Clone(s.Modalities()), func(m string) bool { return !slices.Contains(pair, m) })}
}

// options describes the training of a variant.
func (c *comparison) options(v *variant, seed uint64, dir string) train.Options {
	s := v.settings
	s.Seed = seed
	if v.steps > 0 {
		s.Steps = v.steps
	}
	return train.Options{
		Name: v.name, Config: v.config, Settings: s, Train: v.only(c.Train), Val: v.only(c.Val),
		Dir: dir, Resume: true, MaxBad: c.MaxBad, Threads: c.threads,
	}
}

// train brings every row to its figures, Jobs of them at once.
func (c *comparison) train(ctx context.Context) error {
	total := 0
	for _, r := range c.rows {
		total += r.of.steps
		r.done = r.reached()
	}
	bar := newBar(c, total)
	defer bar.Done()
	next := make(chan *row)
	var workers sync.WaitGroup
	for range min(c.Jobs, len(c.rows)) {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for r := range next {
				r.err = c.run(ctx, r, bar)
			}
		}()
	}
	for _, r := range c.rows {
		if ctx.Err() != nil {
			break
		}
		next <- r
	}
	close(next)
	workers.Wait()
	if ctx.Err() != nil {
		return fmt.Errorf("%w: what is trained is saved in %s, the same command goes on", ctx.Err(), c.Dir)
	}
	return nil
}

// reached returns the step that a row would go on from.
func (r *row) reached() int {
	var step int
	if dir, err := model.Marked(r.dir, "latest"); err == nil {
		_, _ = fmt.Sscanf(filepath.Base(dir), "step-%d", &step) // for the progress alone
	}
	return step
}

// bar is the progress of all rows.
type bar struct {
	*progress.Bar
	mu   sync.Mutex
	rows []*row
}

func newBar(c *comparison, total int) *bar {
	b := &bar{Bar: progress.New(c.Out, "compare", total), rows: c.rows}
	b.Begin(b.sum())
	return b
}

func (b *bar) sum() (steps int) {
	for _, r := range b.rows {
		steps += r.done
	}
	return steps
}

// step says that a row has come to a step.
func (b *bar) step(r *row, done int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.done = done
	finished, running := 0, ""
	for _, r := range b.rows {
		switch {
		case r.done == r.of.steps:
			finished++
		case r.done > 0:
			running = fmt.Sprintf("  %s %.0f%%", filepath.Base(r.dir), 100*float64(r.done)/float64(r.of.steps)) + running
		}
	}
	b.Note("%d of %d rows%s", finished, len(b.rows), running)
	b.Set(b.sum())
}

// run brings a row to its figures.
func (c *comparison) run(ctx context.Context, r *row, b *bar) error {
	if r.of.err != nil {
		return r.of.err
	}
	if !r.record.Trained {
		if err := c.trainRow(ctx, r, b); err != nil {
			return err
		}
	}
	b.step(r, r.of.steps)
	if test := describe(c.Test); r.record.Row == nil || r.record.Test != test {
		found, err := c.figures(ctx, r)
		if err != nil {
			return err
		}
		r.record.Row, r.record.Test = &found, test
		return r.save()
	}
	return nil
}

// trainRow runs a row's schedule to its end.
func (c *comparison) trainRow(ctx context.Context, r *row, b *bar) error {
	before, spent := r.record.CPUSeconds, 0.0
	keep := func() error {
		r.record.CPUSeconds = before + c.clock.read(&spent)
		return r.save()
	}
	o := c.options(r.of, r.record.Key.Seed, r.dir)
	o.Report = func(done, _ int) {
		if time.Since(r.saved) > 5*time.Second {
			_ = keep() // the run's own checkpoints meet the same disk, and say so
		}
		b.step(r, done)
	}
	c.clock.start(&spent)
	_, err := train.Run(ctx, o)
	c.clock.stop(&spent)
	r.record.Trained = err == nil
	return errors.Join(err, keep())
}

// figures evaluates a trained row.
func (c *comparison) figures(ctx context.Context, r *row) (Row, error) {
	f := Row{
		Config: c.Configs[r.of.of].Name, Seed: r.record.Key.Seed, Pair: r.of.pair,
		Dir: r.name(), Steps: r.of.steps, CPUSeconds: r.record.CPUSeconds,
	}
	m, err := model.OpenOn(r.dir, tensor.CPU(c.threads))
	if err != nil {
		return f, err
	}
	if f.Bytes, err = model.DiskBytes(r.dir); err != nil {
		return f, err
	}
	best, err := model.Marked(r.dir, "best")
	if err != nil {
		f.BestStep = f.Steps
	} else if _, err := fmt.Sscanf(filepath.Base(best), "step-%d", &f.BestStep); err != nil {
		return f, fmt.Errorf("%s: %w", best, err)
	}
	if f.SamplesPerS, err = speed(filepath.Join(r.dir, train.LogFile)); err != nil {
		return f, err
	}
	e, err := train.Evaluate(ctx, m, r.of.only(c.Test), c.MaxBad, nil)
	if err != nil {
		return f, err
	}
	f.Eval = &e
	f.R1, _ = e.Mean()
	if r.of.pair == "" {
		d, err := c.diagnose(ctx, r, m)
		if err != nil {
			return f, err
		}
		f.Diagnosis = &d
	}
	return f, nil
}

// speed returns the median speed of the steps in a run's log, in samples a
// second.
func speed(path string) (float64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var speeds []float64
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var step struct {
			SamplesPerS float64 `json:"samples_per_s"`
		}
		if err := json.Unmarshal(lines.Bytes(), &step); err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		if step.SamplesPerS > 0 {
			speeds = append(speeds, step.SamplesPerS)
		}
	}
	return measure.Median(speeds), lines.Err()
}
