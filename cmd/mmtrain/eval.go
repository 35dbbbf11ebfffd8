package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/internal/command"
	"github.com/onetrunk/onetrunk/internal/progress"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/train"
)

type evalCmd struct {
	Model  string  `required:"" help:"Run folder, or one checkpoint's folder." placeholder:"RUN"`
	Data   string  `required:"" help:"Data, as demo:#test or a manifest." placeholder:"SRC"`
	MaxBad float64 `default:"0.01" help:"Share of values that may be unreadable."`
	Int8   bool    `name:"int8" help:"Round the trunk's weights to int8, as mmembed does with --int8."`
	JSON   bool    `name:"json" help:"Print one JSON object, shares in 0..1."`
}

func (c *evalCmd) Run(e *command.Env) error {
	m, err := model.Open(c.Model)
	if err != nil {
		return err
	}
	if c.Int8 {
		m.Int8()
	}
	src, err := datasets.Open(c.Data)
	if err != nil {
		return err
	}
	var bar *progress.Bar
	ev, err := train.Evaluate(e.Ctx, m, src, c.MaxBad, func(done, total int) {
		if bar == nil {
			bar = progress.New(e.Stderr, "embed", total)
		}
		bar.Set(done)
	})
	bar.Done()
	if err != nil {
		return err
	}
	if c.JSON {
		return e.PrintJSON(ev)
	}
	return printEvaluation(e.Stdout, ev)
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
