package train

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/internal/atomicfile"
	"github.com/onetrunk/onetrunk/internal/progress"
	"github.com/onetrunk/onetrunk/internal/strictjson"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/pretrained"
	"github.com/onetrunk/onetrunk/tensor"
)

// ForgetOptions describes how a model forgets.
type ForgetOptions struct {
	// Model is the run folder.
	Model string
	// Data is what the model was trained on, Items the ids of those of its items
	// that are to be forgotten; the rest is kept.
	Data  datasets.Source
	Items []string
	// Dir is the run folder that is made. Where it holds the same forgetting, it is
	// gone on with.
	Dir string
	// Steps is how long to train, at the peak rate LR, or a third of the model's own
	// when it is 0.
	Steps int
	LR    float64
	// Reference trains another model without the items, as the run was and for as
	// many steps, in the folder "reference" of Dir.
	Reference bool
	// MaxBad, Threads and Out are those of Options.
	MaxBad  float64
	Threads int
	Out     io.Writer
}

// Forgotten says what a model knows before and after it forgets.
type Forgotten struct {
	// Forgotten and Retained are numbers of items.
	Forgotten int     `json:"forgotten"`
	Retained  int     `json:"retained"`
	Steps     int     `json:"steps"`
	LR        float64 `json:"lr"`
	Before    Known   `json:"before"`
	After     Known   `json:"after"`
	// Reference is of the model that was trained without the items.
	Reference *Known `json:"reference,omitempty"`
}

// Known holds the figures of queries that belong to items which are forgotten
// alone, and of the others, among the values of both. Of the items that stay at most
// keptAsked are taken, evenly over the data.
type Known struct {
	Forgotten Recall `json:"forgotten"`
	Retained  Recall `json:"retained"`
}

// Recall is an evaluation with its mean R@1.
type Recall struct {
	R1 float64 `json:"r1"`
	Evaluation
}

func recall(e Evaluation) Recall {
	mean, _ := e.Mean()
	return Recall{mean, e}
}

// keptAsked bounds the items that stay of an evaluation.
const keptAsked = 500

// forgetFile says in a run folder what the run forgets.
const forgetFile = "forget.json"

// intent is what forgetFile holds.
type intent struct {
	Model string   `json:"model"` // its fingerprint
	Data  string   `json:"data"`
	Items []string `json:"items"`
	Steps int      `json:"steps"`
	LR    float64  `json:"lr"`
}

// Forget makes a run of a model that no longer knows some items: see
// contrastive.Objective.Forget. A step takes a batch of the items that stay, as the
// model's own training does, and up to half as many of those to forget.
func Forget(ctx context.Context, o ForgetOptions) (Forgotten, error) {
	out := Forgotten{Steps: o.Steps}
	named, rest, err := datasets.Part(o.Data, o.Items)
	if err != nil {
		return out, err
	}
	out.Forgotten, out.Retained = named.Len(), rest.Len()
	m, err := pretrained.OpenOn(o.Model, tensor.CPU(o.Threads))
	if err != nil {
		return out, err
	}
	s, err := ParseSettings(o.Model, m.Config)
	if err != nil {
		return out, err
	}
	tuned := tuning(s, o.Steps, cmp.Or(o.LR, s.LR/3))
	out.LR = tuned.LR
	if err := o.begin(m, named, tuned); err != nil {
		return out, err
	}
	cfg := m.Config
	cfg.Sharing = cfg.Sharing.Trained()
	if _, err := Run(ctx, Options{
		Name: o.Model, Config: cfg, Settings: tuned, Train: rest, Begin: m, Dir: o.Dir, Resume: true,
		MaxBad: o.MaxBad, Threads: o.Threads, Out: o.Out, forget: named,
	}); err != nil {
		return out, again(err)
	}
	if out.Before, err = o.known(ctx, m, "before"); err != nil {
		return out, err
	}
	if m, err = model.OpenOn(o.Dir, tensor.CPU(o.Threads)); err != nil {
		return out, err
	}
	if out.After, err = o.known(ctx, m, "after"); err != nil || !o.Reference {
		return out, err
	}
	out.Reference, err = o.reference(ctx, s, rest)
	return out, err
}

// tuning returns settings for a few more steps after a training: the same but for
// the length and the peak rate.
func tuning(s Settings, steps int, lr float64) Settings {
	s.LR, s.Steps, s.SaveEvery, s.EvalEvery = lr, steps, 0, 0
	return s
}

// again is the error of a run that can be gone on with by the same command.
func again(err error) error {
	if errors.Is(err, ErrInterrupted) {
		return fmt.Errorf("%w: what is done is saved, the same command goes on", ErrInterrupted)
	}
	return err
}

// begin writes into the run folder what it forgets, or finds the same there.
func (o *ForgetOptions) begin(m *model.Model, named datasets.Source, s Settings) error {
	now := intent{Model: m.Fingerprint(), Data: o.Data.Name(), Steps: s.Steps, LR: s.LR}
	for i := range named.Len() {
		now.Items = append(now.Items, named.Item(i).ID)
	}
	path := filepath.Join(o.Dir, forgetFile)
	data, err := os.ReadFile(path)
	if err == nil {
		var was intent
		if err := strictjson.Unmarshal(path, data, &was); err != nil {
			return err
		}
		if !reflect.DeepEqual(was, now) {
			return fmt.Errorf("%s: the folder is of another forgetting (model %s, %d items of %s, %d steps at %g); take another --out", path, was.Model, len(was.Items), was.Data, was.Steps, was.LR)
		}
		return nil
	}
	entries, none := os.ReadDir(o.Dir)
	switch {
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case none == nil && len(entries) > 0:
		return fmt.Errorf("%s: the folder is not empty", o.Dir)
	}
	if data, err = json.MarshalIndent(now, "", "  "); err != nil {
		return err
	}
	return atomicfile.WriteBytes(path, append(data, '\n'))
}

// known evaluates a model on the items that are forgotten and on the others.
func (o *ForgetOptions) known(ctx context.Context, m *model.Model, when string) (Known, error) {
	named := map[string]bool{}
	for _, id := range o.Items {
		named[id] = true
	}
	src, err := o.asked(named)
	if err != nil {
		return Known{}, err
	}
	gone := make([]bool, src.Len())
	for i := range gone {
		gone[i] = named[src.Item(i).ID]
	}
	stays := func(items []int) bool {
		return slices.ContainsFunc(items, func(i int) bool { return !gone[i] })
	}
	var bar *progress.Bar
	es, err := evaluate(ctx, m, src, o.MaxBad, func(done, total int) {
		if bar == nil {
			bar = progress.New(o.Out, "evaluate "+when, total)
		}
		bar.Set(done)
	}, func(items []int) bool { return !stays(items) }, stays)
	bar.Done()
	if err != nil {
		return Known{}, err
	}
	return Known{recall(es[0]), recall(es[1])}, nil
}

// asked returns the items to evaluate on: those that are named and some of the
// others.
func (o *ForgetOptions) asked(named map[string]bool) (datasets.Source, error) {
	ids := slices.Clone(o.Items)
	kept := o.Data.Len() - len(named)
	if kept <= keptAsked {
		return o.Data, nil
	}
	at := 0
	for i := range o.Data.Len() {
		if id := o.Data.Item(i).ID; !named[id] {
			if at*keptAsked/kept != (at+1)*keptAsked/kept {
				ids = append(ids, id)
			}
			at++
		}
	}
	some, _, err := datasets.Part(o.Data, ids)
	return some, err
}

// reference trains a model without the items, or goes on with it, and evaluates it.
func (o *ForgetOptions) reference(ctx context.Context, s Settings, rest datasets.Source) (*Known, error) {
	dir := filepath.Join(o.Dir, "reference")
	of := dir // what it learned of the data that stays is in its own config
	if _, err := model.Marked(dir, "latest"); err != nil {
		of = runOf(o.Model)
	}
	cfg, err := model.ReadConfig(filepath.Join(of, "config.json"))
	if err != nil {
		return nil, fmt.Errorf("a reference is trained as a run of ours was: %w", err)
	}
	if _, err := Run(ctx, Options{
		Name: o.Model, Config: cfg, Settings: s, Train: rest, Dir: dir, Resume: true, MaxSteps: trainedSteps(o.Model),
		MaxBad: o.MaxBad, Threads: o.Threads, Out: o.Out,
	}); err != nil {
		return nil, fmt.Errorf("reference: %w", again(err))
	}
	m, err := model.OpenOn(dir, tensor.CPU(o.Threads))
	if err != nil {
		return nil, err
	}
	k, err := o.known(ctx, m, "reference")
	return &k, err
}

// runOf returns the run folder that dir is, or that the checkpoint dir is of.
func runOf(dir string) string {
	if _, err := os.Stat(filepath.Join(dir, stateFile)); err == nil {
		return filepath.Dir(filepath.Dir(filepath.Clean(dir)))
	}
	return dir
}

// trainedSteps returns the number of steps that a run was trained for, 0 where it
// does not say.
func trainedSteps(dir string) int {
	latest, err := model.Marked(runOf(dir), "latest")
	if err != nil {
		return 0
	}
	var s state
	data, err := os.ReadFile(filepath.Join(latest, stateFile))
	if err != nil || json.Unmarshal(data, &s) != nil {
		return 0
	}
	return s.Step
}

// ReadItems reads the ids of items from a file, one a line; empty lines are passed
// over.
func ReadItems(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var ids []string
	for line := range strings.Lines(string(data)) {
		if id := strings.TrimRight(line, "\r\n"); strings.TrimSpace(id) != "" {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("%s: no ids of items, expected one a line", path)
	}
	return ids, nil
}

// forgetting draws the items that a run unlearns.
type forgetting struct {
	next  func() (*datasets.Batch, error, bool)
	stop  func()
	first int // row of the batch from which on they stand
}

// beginForgetting makes the run draw items to forget, from the step where it is.
func (r *run) beginForgetting(ctx context.Context) error {
	maxBad := r.MaxBad
	if maxBad == 0 {
		maxBad = -1
	}
	l, err := datasets.NewLoader(r.forget, datasets.LoaderOptions{
		Processors: r.model.Processors(), Batch: max(r.Settings.Batch/2, 1), Seed: r.Settings.Seed, MaxBad: maxBad,
		OnBad: func(b datasets.BadRow) { r.bad = append(r.bad, b) },
	})
	if err != nil {
		return err
	}
	f := &forgetting{}
	f.next, f.stop = iter.Pull2(l.Run(ctx, r.state.Step*r.Settings.Accumulate))
	r.forgets, r.fwd.forgets = f, f
	return nil
}

// join adds items to forget to a batch, behind its own.
func (f *forgetting) join(b *datasets.Batch) error {
	more, err, _ := f.next()
	if err != nil {
		return err
	}
	f.first = len(b.IDs)
	b.IDs = append(b.IDs, more.IDs...)
	for _, g := range more.Groups {
		for i := range g.Rows {
			g.Rows[i] += f.first
		}
		at, ok := slices.BinarySearchFunc(b.Groups, g, func(a, b datasets.Group) int { return strings.Compare(a.Modality, b.Modality) })
		if !ok {
			b.Groups = slices.Insert(b.Groups, at, g)
			continue
		}
		to := &b.Groups[at]
		to.Rows = append(to.Rows, g.Rows...)
		to.Tokens = append(to.Tokens, g.Tokens...)
		to.Refs = append(to.Refs, g.Refs...)
	}
	return nil
}
