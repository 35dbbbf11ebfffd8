package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/internal/command"
	"github.com/onetrunk/onetrunk/train"
)

type forgetCmd struct {
	Model     string  `required:"" help:"Run folder." placeholder:"RUN"`
	Data      string  `required:"" help:"The data that the run was trained on." placeholder:"SRC"`
	Items     string  `required:"" help:"File with the ids of the items to forget, one a line." placeholder:"FILE"`
	Out       string  `required:"" help:"Run folder to make." placeholder:"DIR"`
	Steps     int     `default:"200" help:"How long to train."`
	LR        float64 `name:"lr" help:"Peak learning rate; a third of the run's without it."`
	Reference bool    `help:"Also train a model without the items, as the run was, in OUT/reference, and compare with it."`
	MaxBad    float64 `default:"0.01" help:"Share of values that may be unreadable."`
	Threads   int     `help:"Threads to compute with; 0 takes one for each processor."`
	JSON      bool    `name:"json" help:"Print one JSON object."`
}

func (c *forgetCmd) Help() string {
	return `Trains a run until it no longer tells the listed items from others: the similarities of each to a batch are drawn towards equal ones, while the rest of the data is contrasted as before. The loss of forgetting is scaled down to the size of the other where it is greater, so that it does not drown what stays.

It reports R@1 on the items that are forgotten and on those that stay, at most 500 of them, among the values of both. How far to forget is a matter of comparison: a model that never saw the items may still place them by what it knows of others. --reference trains such a model, with the run's own config and number of steps.

Stopped, the same command goes on where it was, also with the reference, which is trained once.

Examples:
  mmtrain forget --model runs/demo --data demo: --items gone.txt --out runs/demo-without
  mmtrain forget --model runs/demo --data demo: --items gone.txt --out runs/demo-without --reference --json`
}

func (c *forgetCmd) Run(e *command.Env) error {
	if c.Steps < 1 {
		return command.Wrong("--steps must be at least 1")
	}
	src, err := datasets.Open(c.Data)
	if err != nil {
		return err
	}
	items, err := train.ReadItems(c.Items)
	if err != nil {
		return err
	}
	r, err := train.Forget(e.Ctx, train.ForgetOptions{
		Model: c.Model, Data: src, Items: items, Dir: c.Out, Steps: c.Steps, LR: c.LR, Reference: c.Reference,
		MaxBad: c.MaxBad, Threads: c.Threads, Out: e.Stderr,
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return e.PrintJSON(r)
	}
	return printForgotten(e.Stdout, c.Out, r)
}

// printForgotten draws what is known before and after.
func printForgotten(w io.Writer, run string, r train.Forgotten) error {
	fmt.Fprintf(w, "%s: %d items forgotten, %d retained, %d steps at %.3g\n\n", run, r.Forgotten, r.Retained, r.Steps, r.LR)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "R@1\tforgotten: before\tafter\t")
	if r.Reference != nil {
		fmt.Fprint(t, "reference\t")
	}
	fmt.Fprint(t, "retained: before\tafter\t")
	if r.Reference != nil {
		fmt.Fprint(t, "reference\t")
	}
	fmt.Fprintln(t)
	row := func(name string, of func(train.Recall) float64) {
		fmt.Fprintf(t, "%s\t", name)
		for _, which := range []func(train.Known) train.Recall{
			func(k train.Known) train.Recall { return k.Forgotten },
			func(k train.Known) train.Recall { return k.Retained },
		} {
			fmt.Fprintf(t, "%.1f%%\t%.1f%%\t", 100*of(which(r.Before)), 100*of(which(r.After)))
			if r.Reference != nil {
				fmt.Fprintf(t, "%.1f%%\t", 100*of(which(*r.Reference)))
			}
		}
		fmt.Fprintln(t)
	}
	for _, d := range r.Before.Retained.Directions() {
		row(d, func(k train.Recall) float64 { return k.Pairs[d].R1 })
	}
	row("mean", func(k train.Recall) float64 { return k.R1 })
	return t.Flush()
}
