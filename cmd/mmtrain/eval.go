package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/evaluate"
	"github.com/onetrunk/onetrunk/internal/command"
	"github.com/onetrunk/onetrunk/internal/progress"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/pretrained"
	"github.com/onetrunk/onetrunk/train"
)

type evalCmd struct {
	Model     string  `required:"" help:"Run folder, one checkpoint's folder, or the folder of another library's model." placeholder:"RUN"`
	Task      string  `default:"retrieval" enum:"retrieval,zero-shot,knn,probe" help:"What to measure: ${enum} (${default})."`
	Data      string  `required:"" help:"For retrieval data, as demo:#test or a manifest. For the other tasks the folder to classify, DIR/CLASS/FILE." placeholder:"SRC|DIR"`
	TrainData string  `help:"For knn and probe the folder of labelled files to learn the classes from, DIR/CLASS/FILE." placeholder:"DIR"`
	Modality  string  `help:"Modality of a folder's files; recognised without it." placeholder:"image|audio"`
	Templates string  `help:"For zero-shot a file of sentences to put the classes' names into, one a line, with {} for the name; a built-in few without it." placeholder:"FILE"`
	Seed      *uint64 `help:"For probe the seed of which fifth of the training files chooses the regularisation (0)."`
	MaxBad    float64 `default:"0.01" help:"Share of values that may be unreadable."`
	Int8      bool    `name:"int8" help:"Round the trunk's weights to int8, as mmembed does with --int8."`
	JSON      bool    `name:"json" help:"Print one JSON object, shares in 0..1."`
}

func (c *evalCmd) Help() string {
	return `retrieval: every value asks for its partners among those of another modality; R@1, R@5 and R@10 for each direction.

The other tasks classify the files of a folder with a folder for each class, as birds/sea_eagle/17.jpg. A class is called as its folder is, with spaces for underscores, or as DIR/classes.json says: {"n01614925": "sea eagle"}.

zero-shot: by the names of the classes alone. Each is put into every template, and the file's embedding goes to the class whose sentences lie nearest on the mean (Radford et al. 2021). Needs a model that reads text.

knn: by the 1, 5 and 20 nearest files of --train-data, which vote with a weight of exp(cosine/0.07) (Wu et al. 2018).

probe: by logistic regression on the embeddings of --train-data. A fifth of them chooses the regularisation; --data is only looked at in the end.

Examples:
  mmtrain eval --model runs/demo --data demo:#test
  mmtrain eval --model runs/photos --task zero-shot --data birds/test
  mmtrain eval --model runs/photos --task zero-shot --data birds/test --templates birds.txt --json
  mmtrain eval --model runs/photos --task knn --train-data birds/train --data birds/test
  mmtrain eval --model runs/sounds --task probe --train-data esc/train --data esc/test --modality audio`
}

// check finds flags that do not go with the task.
func (c *evalCmd) check() error {
	learns := c.Task == "knn" || c.Task == "probe"
	for _, f := range []struct {
		flag        string
		given, fits bool
		tasks       string
	}{
		{"--train-data", c.TrainData != "", learns, "knn and probe"},
		{"--modality", c.Modality != "", c.Task != "retrieval", "zero-shot, knn and probe"},
		{"--templates", c.Templates != "", c.Task == "zero-shot", "zero-shot"},
		{"--seed", c.Seed != nil, c.Task == "probe", "probe"},
	} {
		if f.given && !f.fits {
			return command.Wrong("%s is for --task %s, not for %s", f.flag, f.tasks, c.Task)
		}
	}
	if learns && c.TrainData == "" {
		return command.Wrong("--task %s needs --train-data, a folder of labelled files", c.Task)
	}
	if !(c.MaxBad >= 0 && c.MaxBad <= 1) {
		return command.Wrong("--max-bad must be from 0 to 1")
	}
	return nil
}

func (c *evalCmd) Run(e *command.Env) error {
	if err := c.check(); err != nil {
		return err
	}
	if c.Task == "retrieval" {
		return c.retrieval(e)
	}
	r, err := c.classify(e)
	if err != nil {
		return err
	}
	if c.JSON {
		return e.PrintJSON(r)
	}
	return r.print(e.Stdout)
}

// open opens the model.
func (c *evalCmd) open() (*model.Model, error) {
	m, err := pretrained.Open(c.Model)
	if err == nil && c.Int8 {
		m.Int8()
	}
	return m, err
}

// watch shows a job's progress as a bar until done is called.
func watch(e *command.Env, what string) (report func(done, total int), done func()) {
	var bar *progress.Bar
	report = func(done, total int) {
		if bar == nil {
			bar = progress.New(e.Stderr, what, total)
		}
		bar.Set(done)
	}
	return report, func() { bar.Done() }
}

func (c *evalCmd) retrieval(e *command.Env) error {
	m, err := c.open()
	if err != nil {
		return err
	}
	src, err := datasets.Open(c.Data)
	if err != nil {
		return err
	}
	report, done := watch(e, "embed")
	ev, err := train.Evaluate(e.Ctx, m, src, c.MaxBad, report)
	done()
	if err != nil {
		return err
	}
	if c.JSON {
		return e.PrintJSON(ev)
	}
	return printEvaluation(e.Stdout, ev)
}

// classified is what the tasks that classify print. The task's own part alone
// is there.
type classified struct {
	Task      string                `json:"task"`
	Modality  string                `json:"modality"`
	Templates []string              `json:"templates,omitempty"`
	ZeroShot  *evaluate.Scores      `json:"zero_shot,omitempty"`
	KNN       []evaluate.Neighbours `json:"knn,omitempty"`
	Probe     *evaluate.Probed      `json:"probe,omitempty"`
	// Bad are the files that could not be read and took no part.
	Bad []badFile `json:"bad"`
}

type badFile struct {
	File  string `json:"file"`
	Error string `json:"error"`
}

func (c *evalCmd) classify(e *command.Env) (*classified, error) {
	test, err := evaluate.OpenClasses(c.Data, c.Modality)
	if err != nil {
		return nil, err
	}
	r := &classified{Task: c.Task, Modality: test.Modality(), Bad: []badFile{}}
	var labelled *evaluate.Classes
	if c.TrainData != "" {
		if labelled, err = evaluate.OpenClasses(c.TrainData, test.Modality()); err != nil {
			return nil, err
		}
	}
	if c.Task == "zero-shot" {
		r.Templates = evaluate.Templates(test.Modality())
		if c.Templates != "" {
			if r.Templates, err = evaluate.ReadTemplates(c.Templates); err != nil {
				return nil, err
			}
		}
	}
	m, err := c.open()
	if err != nil {
		return nil, err
	}
	embed := func(what string, of *evaluate.Classes) (*evaluate.Vectors, error) {
		report, done := watch(e, what)
		defer done()
		v, err := evaluate.Embed(e.Ctx, m, of, c.MaxBad, report)
		if err != nil {
			return nil, err
		}
		for _, b := range v.Bad {
			r.Bad = append(r.Bad, badFile{of.Path(b.Cell), b.Err.Error()})
		}
		return v, nil
	}
	if c.Task == "zero-shot" {
		report, done := watch(e, "embed names")
		names, err := evaluate.ClassVectors(e.Ctx, m, test.Classes(), r.Templates, report)
		done()
		if err != nil {
			return nil, err
		}
		v, err := embed("embed", test)
		if err != nil {
			return nil, err
		}
		s, err := evaluate.ZeroShot(e.Ctx, v, names)
		r.ZeroShot = &s
		return r, err
	}
	known, err := embed("embed training files", labelled)
	if err != nil {
		return nil, err
	}
	v, err := embed("embed", test)
	if err != nil {
		return nil, err
	}
	if c.Task == "knn" {
		r.KNN, err = evaluate.KNN(e.Ctx, known, v, 1, 5, 20)
		return r, err
	}
	seed := uint64(0)
	override(&seed, c.Seed)
	report, done := watch(e, "fit")
	defer done()
	p, err := evaluate.Probe(e.Ctx, known, v, seed, report)
	r.Probe = &p
	return r, err
}

// print draws the figures as a table, shares in percent, then what is most
// often confused: by 20 neighbours, where there are several numbers of them.
func (r *classified) print(w io.Writer) error {
	type row struct {
		name string
		evaluate.Scores
	}
	var rows []row
	how := ""
	switch {
	case r.ZeroShot != nil:
		rows = []row{{r.Task, *r.ZeroShot}}
		how = fmt.Sprintf("; %d sentences a class", len(r.Templates))
	case r.Probe != nil:
		rows = []row{{r.Task, r.Probe.Scores}}
	default:
		for _, n := range r.KNN {
			rows = append(rows, row{fmt.Sprintf("k = %d", n.K), n.Scores})
		}
	}
	last := rows[len(rows)-1].Scores
	fmt.Fprintf(w, "%d %s files of %d classes%s\n", last.N, r.Modality, len(last.Classes), how)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\ttop-1\ttop-5\tmean of classes\t")
	for _, s := range rows {
		fmt.Fprintf(t, "%s\t%.1f%%\t%.1f%%\t%.1f%%\t\n", s.name, 100*s.Top1, 100*s.Top5, 100*s.PerClass)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if p := r.Probe; p != nil {
		var tried []string
		for _, h := range p.HeldOut {
			tried = append(tried, fmt.Sprintf("%g: %.1f%%", h.L2, 100*h.Top1))
		}
		fmt.Fprintf(w, "L2 %g was taken; held-out files were right with %s\n", p.L2, strings.Join(tried, ", "))
	}
	if len(last.Confusions) > 0 {
		fmt.Fprintln(w, "\nmost often confused:")
		t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "files\tare\ttaken for")
		for _, c := range last.Confusions {
			fmt.Fprintf(t, "%d\t%s\t%s\n", c.N, c.Class, c.As)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if len(r.Bad) > 0 {
		fmt.Fprintf(w, "\n%d files could not be read:\n", len(r.Bad))
		for _, b := range r.Bad {
			fmt.Fprintln(w, b.Error)
		}
	}
	return nil
}

// printEvaluation draws the figures as a table, shares in percent.
func printEvaluation(w io.Writer, e train.Evaluation) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "direction\tqueries\tamong\tR@1\tR@5\tR@10\tmean rank\tmedian rank\t")
	for _, name := range e.Directions() {
		m := e.Pairs[name]
		fmt.Fprintf(t, "%s\t%d\t%d\t%.1f%%\t%.1f%%\t%.1f%%\t%.1f\t%g\t\n",
			name, m.N, m.Gallery, 100*m.R1, 100*m.R5, 100*m.R10, m.MeanRank, m.MedianRank)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	mean, worst := e.Mean()
	fmt.Fprintf(w, "R@1: mean %.1f%%, worst direction %.1f%%\n", 100*mean, 100*worst)
	if e.Bad > 0 {
		fmt.Fprintf(w, "%d values could not be read\n", e.Bad)
	}
	return nil
}
