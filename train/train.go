// Package train is the training loop and what it needs: settings, optimizer,
// checkpoints, the log, and evaluation.
//
// A run is a function of its config, data, seed and number of threads: the
// same ones give the same bits, also when it was killed and resumed.
package train

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/contrastive"
	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/internal/progress"
	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/pretrained"
	"github.com/onetrunk/onetrunk/tensor"
)

// Options describes a run.
type Options struct {
	// Name is what errors call the config.
	Name     string
	Config   model.Config
	Settings Settings
	// Train and Val are the sources; Val may be nil, then no checkpoint is
	// the best.
	Train, Val datasets.Source
	// Begin, where it is not nil, is a model of the same config whose values and
	// processors the run begins with.
	Begin *model.Model
	// Dir is the run folder.
	Dir string
	// Resume goes on from the latest checkpoint in Dir. Otherwise Dir must
	// not hold a run.
	Resume bool
	// MaxSteps ends the run early, with the schedule as it is; 0 does not.
	MaxSteps int
	// MaxBad is the share of the values that may be unreadable: one always
	// may, but none when MaxBad is 0.
	MaxBad float64
	// MaxMemory bounds the resident memory of the process in MB, by computing
	// blocks again in the backward pass; 0 does not.
	MaxMemory float64
	// Threads of the device; 0 takes one for each processor.
	Threads int
	// Out receives progress; nil shows none.
	Out io.Writer
	// Report, if set, hears of every step, done of the steps of this run.
	Report Report

	inner  *inner          // of a run of a search for masks
	forget datasets.Source // items that the run unlearns; see Forget
}

// Result says how a run ended.
type Result struct {
	Step     int         `json:"step"`
	Loss     float64     `json:"loss"`
	Seconds  float64     `json:"seconds"`
	Samples  int         `json:"samples"`
	Bad      int         `json:"bad"`
	BestStep int         `json:"best_step,omitempty"`
	Eval     *Evaluation `json:"eval,omitempty"`
	Locked   *Locked     `json:"locked,omitempty"`
	// Phases are those that were entered, with what each kept as it was; Splits
	// what sharing.adapt has split.
	Phases []PhaseState `json:"phases,omitempty"`
	Splits []string     `json:"splits,omitempty"`
}

// ErrInterrupted is returned, wrapped, when the context ended a run. Its
// state is saved.
var ErrInterrupted = errors.New("interrupted")

// run is a run in progress.
type run struct {
	Options
	given   Options // as Run got them
	dir     string
	dev     tensor.Device
	model   *model.Model
	fwd     *forward
	opt     *optimizer
	loader  *datasets.Loader
	tape    *autograd.Tape
	phases  phases
	balance *balance    // nil where there is none
	apart   *apart      // the gradients of pairs, within a step
	search  *search     // nil without
	forgets *forgetting // nil when nothing is to be forgotten
	memory  *memory
	log     *os.File
	bar     *progress.Bar
	state   state
	saved   int // step of the last checkpoint
	bad     []datasets.BadRow
}

// Run trains until the schedule's end, MaxSteps or the end of the context.
func Run(ctx context.Context, o Options) (Result, error) {
	r := &run{Options: o, given: o, dir: o.Dir, dev: tensor.CPU(o.Threads)}
	if err := r.prepare(ctx); err != nil {
		return Result{}, err
	}
	defer r.log.Close()
	defer r.search.close()
	if r.forget != nil {
		if err := r.beginForgetting(ctx); err != nil {
			return Result{}, err
		}
		defer r.forgets.stop()
	}
	return r.train(ctx)
}

// prepare makes or restores everything that a step needs.
func (r *run) prepare(ctx context.Context) error {
	_, err := model.Marked(r.dir, "latest")
	switch {
	case r.Resume && errors.Is(err, fs.ErrNotExist):
		r.Resume = false // nothing was saved yet: begin
	case err == nil && !r.Resume:
		return fmt.Errorf("%s holds a run already: go on with --resume latest, or take another --name", r.dir)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	r.Config.Train = r.Settings.orDefault()
	from := ""
	var start *pretrained.Start
	switch {
	case r.Resume:
		from = r.dir
		if len(r.Settings.Init) > 0 { // the run folder holds what came from there
			c, err := model.ReadConfig(filepath.Join(r.dir, "config.json"))
			if err != nil {
				return err
			}
			r.Config.Trunk, r.Config.Modalities = c.Trunk, c.Modalities
		}
	case r.Begin != nil:
	case r.Config.Sharing.Compress != nil && r.Config.Sharing.Compress.Kind == "int8":
		return fmt.Errorf("%s: sharing.compress.kind: int8 trains the scales of numbers that something else must have found: train, then mmtrain compress the run", r.Name)
	case len(r.Settings.Init) > 0:
		if start, r.Config, err = pretrained.Begin(r.Config, r.Settings.Init); err != nil {
			return err
		}
	}
	if r.Resume && r.Config.Sharing.Adapt != nil {
		if err := r.splitBefore(); err != nil {
			return err
		}
	}
	processors, err := r.Config.OpenProcessors(from)
	if err != nil {
		return fmt.Errorf("%s: %w", r.Name, err)
	}
	switch {
	case r.inner != nil:
		processors = r.inner.processors
	case r.Begin != nil && !r.Resume:
		processors = r.Begin.Processors()
	}
	if err := r.fit(ctx, processors); err != nil {
		return err
	}
	m := model.New(r.Config, processors, r.dev, r.Settings.Seed)
	if r.Begin != nil && !r.Resume {
		if err := m.Bank.Take(r.Begin.Bank); err != nil {
			return fmt.Errorf("%s: %w", r.Name, err)
		}
	}
	if start != nil {
		if err := start.Fill(m); err != nil {
			return err
		}
	}
	r.model = m
	if err := r.newPhases(); err != nil {
		return err
	}
	if !r.Resume {
		if err := r.begin(ctx); err != nil {
			return err
		}
	}
	r.balance = newBalance(r.Config.Sharing.Balance, r.Settings.Seed)
	r.state = state{Data: r.Train.Name(), Items: r.Train.Len(), Best: -1, Balance: r.balance}
	r.tape = autograd.NewTape(r.dev, true)
	r.memory = newMemory(r.MaxMemory, r.tape, r.Out)
	r.use(m)
	maxBad := r.MaxBad
	if maxBad == 0 {
		maxBad = -1 // the loader's word for none
	}
	load := datasets.LoaderOptions{
		Processors: processors, Batch: r.Settings.Batch, Seed: r.Settings.Seed, MaxBad: maxBad,
		OnBad: func(b datasets.BadRow) { r.bad = append(r.bad, b) },
	}
	if r.search, err = newSearch(r, load); err != nil {
		return err
	}
	src := r.Train
	if r.search != nil {
		src = half{r.Train, 0}
	}
	if r.loader, err = datasets.NewLoader(src, load); err != nil {
		return err
	}
	if r.Resume {
		if err := r.restore(); err != nil {
			return err
		}
	} else if err := r.model.SaveConfig(r.dir); err != nil {
		return err
	}
	r.log, err = openLog(r.dir, r.state.Step)
	return err
}

// use makes a model the one that is trained.
func (r *run) use(m *model.Model) {
	r.model = m
	r.lock()
	r.opt = newOptimizer(r.dev, m.Bank, &r.Settings)
	r.fwd = &forward{
		model: m, positives: r.Settings.Positives, data: r.Train.Name(),
		objective: contrastive.Objective{
			Weight:   r.base,
			LogScale: func(a, b string) *autograd.Var { return m.LogScale(a, b).Var() },
		},
	}
	if r.balance != nil {
		r.fwd.objective.Factor = r.factor
	}
}

// fit lets the modalities learn from the training data what they need to.
func (r *run) fit(ctx context.Context, processors map[string]modalities.Processor) error {
	for name, p := range processors {
		f, ok := p.(modalities.Fitter)
		if !ok || f.Fitted() {
			continue
		}
		bar := progress.New(r.Out, name+" vocabulary", 0)
		var failed error
		err := f.Fit(func(yield func(modalities.Value) bool) {
			for _, v := range datasets.Distinct(r.Train, name) {
				if failed = ctx.Err(); failed != nil {
					return
				}
				value, err := r.Train.Load(v.Cell, p)
				if err != nil {
					continue // the loader will meet it again, count and list it
				}
				if !yield(value) {
					return
				}
			}
		})
		bar.Done()
		if err = errors.Join(failed, err); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// train runs the steps that are left.
func (r *run) train(ctx context.Context) (Result, error) {
	last := r.Settings.Steps
	if r.MaxSteps > 0 {
		last = min(last, r.MaxSteps)
	}
	res := Result{Step: r.state.Step}
	began := time.Now()
	r.bar = progress.New(r.Out, "train", last)
	r.bar.Begin(r.state.Step)
	defer r.bar.Done()
	if r.state.Step < last {
		if err := r.steps(ctx, last, &res); err != nil {
			return res, err
		}
	}
	res.Seconds = time.Since(began).Seconds()
	res.Bad, res.BestStep, res.Locked = len(r.bad), r.state.BestStep, r.state.Locked
	res.Phases, res.Splits = r.state.Phases, r.state.Splits
	return res, r.listBad()
}

// steps trains from the current step to the last one.
func (r *run) steps(ctx context.Context, last int, res *Result) error {
	acc := r.Settings.Accumulate
	var s stepStats
	// The loader counts batches, a step takes acc of them.
	for batch, err := range r.loader.Run(ctx, r.state.Step*acc) {
		if err != nil {
			if ctx.Err() != nil {
				return r.interrupted()
			}
			return errors.Join(err, r.listBad())
		}
		n := r.state.Step + 1
		if s.passes == 0 {
			if err := r.beginStep(n, batch, &s); err != nil {
				return err
			}
		}
		r.search.sample(n, false)
		if r.forgets != nil {
			if err := r.forgets.join(batch); err != nil {
				if ctx.Err() != nil {
					return r.interrupted()
				}
				return errors.Join(err, r.listBad())
			}
		}
		if err := r.pass(batch, &s); err != nil {
			return err
		}
		if s.passes < acc {
			continue
		}
		rate, norm, err := r.opt.finish()
		if err != nil {
			return fmt.Errorf("step %d: %w (samples %v); the last checkpoint is of step %d", n, err, s.ids, r.saved)
		}
		r.model.ClampTemperatures()
		r.balance.learn(s.pairs)
		r.state.Step = n
		if err := r.search.step(ctx, n); err != nil {
			return err
		}
		if err := r.remask(ctx, n); err != nil {
			return err
		}
		if err := r.memory.after(n); err != nil {
			return err
		}
		rec := s.record(n, rate, norm, r.temperatures())
		rec.Bad, rec.Pairs = len(r.bad), r.pairRecords(&s)
		if p := r.state.Phases; len(p) > 0 && p[len(p)-1].From == n-1 {
			rec.Phase = &p[len(p)-1]
		}
		if err := r.write(rec); err != nil {
			return err
		}
		r.bar.Set(n)
		r.bar.Note("loss %.3f  R@1 %.0f%%  %.0f samples/s  %.0f tokens/s", rec.Loss, 100*rec.R1, rec.SamplesPerS, rec.TokensPerS)
		if r.Report != nil {
			r.Report(n, last)
		}
		res.Step, res.Loss = n, rec.Loss
		res.Samples += s.samples
		s = stepStats{}
		done, err := r.milestones(ctx, n == last, res)
		if done || err != nil {
			return err
		}
	}
	return nil
}

// beginStep begins step n, whose first batch is b.
func (r *run) beginStep(n int, b *datasets.Batch, s *stepStats) error {
	s.began = time.Now()
	if err := r.enter(n); err != nil {
		return err
	}
	if err := r.adapt(n, b, s); err != nil {
		return err
	}
	r.opt.begin(n)
	r.probe(n)
	if r.balance != nil {
		s.weights = r.weights()
	}
	return nil
}

// milestones evaluates and saves when it is time.
func (r *run) milestones(ctx context.Context, last bool, res *Result) (done bool, err error) {
	n := r.state.Step
	if ctx.Err() != nil {
		return true, r.interrupted()
	}
	evaluate := r.Val != nil && (last || n%r.Settings.EvalEvery == 0)
	if !evaluate {
		if last || n%r.Settings.SaveEvery == 0 {
			return last, r.save(false)
		}
		return false, nil
	}
	e, err := Evaluate(ctx, r.model, r.Val, r.MaxBad, nil)
	if err != nil {
		if ctx.Err() != nil {
			return true, r.interrupted()
		}
		return true, err
	}
	res.Eval = &e
	if err := r.write(record{Step: n, Eval: &e}); err != nil {
		return true, err
	}
	mean, _ := e.Mean()
	better := mean > r.state.Best
	if better {
		r.state.Best, r.state.BestStep = mean, n
	}
	return last, r.save(better)
}

// interrupted saves what a run that was told to stop has done.
func (r *run) interrupted() error {
	if r.state.Step > r.saved {
		if err := r.save(false); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w at step %d, which is saved: go on with --resume latest", ErrInterrupted, r.state.Step)
}

// temperatures reads the learned temperature of every pair.
func (r *run) temperatures() map[string]float64 {
	t := map[string]float64{}
	names := r.model.Modalities()
	for i, a := range names {
		for _, b := range names[i+1:] {
			if r.base(a, b) > 0 {
				x := r.model.Bank.Read(r.model.LogScale(a, b))
				t[a+"+"+b] = math.Exp(-float64(x[0]))
			}
		}
	}
	return t
}

// listBad writes the values that could not be read beside the run's log.
func (r *run) listBad() error {
	if len(r.bad) == 0 {
		return nil
	}
	bad := slices.Clone(r.bad)
	return datasets.WriteBad(filepath.Join(r.dir, "bad.tsv"), bad)
}
