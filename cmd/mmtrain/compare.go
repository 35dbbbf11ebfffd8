package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/onetrunk/onetrunk/compare"
	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/internal/atomicfile"
	"github.com/onetrunk/onetrunk/internal/command"
)

type compareCmd struct {
	Configs  []string      `required:"" help:"Presets (${presets}) or JSON files. Differences are to the first." placeholder:"CONFIG"`
	Seeds    int           `default:"3" help:"Train each with the seeds 1 to this."`
	Data     string        `required:"" help:"Training data, as of train: demo:, a manifest, or a folder." placeholder:"SRC"`
	ValData  string        `help:"Data to choose checkpoints by; of demo: without it demo:#val." placeholder:"SRC"`
	TestData string        `help:"Data that the figures are of, which choose nothing; of demo: without it demo:#test." placeholder:"SRC"`
	Steps    int           `xor:"budget" help:"Train each for so many steps. Without a budget: as many as the first config says."`
	Samples  int           `xor:"budget" help:"Train each on so many samples, in batches of its own size."`
	CPUTime  time.Duration `name:"cpu-time" xor:"budget" help:"Train each for so much CPU time, over all its threads: 90s, 10m. Its schedule's length follows from its first steps." placeholder:"TIME"`
	Jobs     int           `help:"Runs at once; 0 for one each processor. Each has as many threads as there are processors for it, at least one."`
	Alone    []string      `default:"none" help:"Configs of which each pair is trained alone too, for what joint training gives or costs it: names, all or none." placeholder:"NAME"`
	MaxBad   float64       `default:"0.01" help:"Share of values that may be unreadable before a run stops."`
	Out      string        `required:"" help:"Folder of the runs and the report." placeholder:"DIR"`
	Markdown string        `help:"Write the table as Markdown into this file." placeholder:"FILE"`
	JSON     bool          `name:"json" help:"Print the report as one JSON object."`
}

func (c *compareCmd) Help() string {
	return `Trains every config with every seed under the same budget, evaluates all directions on the test data, and writes OUT/report.json and OUT/report.html, a page that needs nothing else. The runs are OUT/runs/CONFIG-seedN. What is trained already is used again, and the same command goes on after it was stopped.

Examples:
  mmtrain compare --configs demo,configs/sharing/mmoe.json --data demo: --steps 500 --out compared
  mmtrain compare --configs a.json,b.json --data photos.tsv --val-data photos.tsv#val --test-data photos.tsv#test --cpu-time 10m --out compared
  mmtrain compare --configs demo --seeds 2 --data demo: --alone all --out compared --markdown table.md`
}

func (c *compareCmd) Run(e *command.Env) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	o.Out = e.Stderr
	r, err := compare.Run(e.Ctx, o)
	if err != nil {
		return err
	}
	if c.Markdown != "" {
		if err := atomicfile.Write(c.Markdown, func(w io.Writer) error { return compare.WriteMarkdown(w, r) }); err != nil {
			return err
		}
	}
	if c.JSON {
		err = e.PrintJSON(r)
	} else {
		err = printComparison(e.Stdout, r, c.Out)
	}
	if err != nil {
		return err
	}
	return failedRows(r)
}

// failedRows is an error when rows have no figures.
func failedRows(r compare.Report) error {
	if failed := r.Failed(); len(failed) > 0 {
		return fmt.Errorf("%d of the runs failed; the first, %s with seed %d: %s", len(failed), failed[0].Config, failed[0].Seed, failed[0].Error)
	}
	return nil
}

// options checks the flags and opens what they name.
func (c *compareCmd) options() (compare.Options, error) {
	o := compare.Options{
		Seeds: c.Seeds, Jobs: c.Jobs, MaxBad: c.MaxBad, Dir: c.Out,
		Budget: compare.Budget{Steps: c.Steps, Samples: c.Samples, CPUSeconds: c.CPUTime.Seconds()},
	}
	if c.Seeds < 1 {
		return o, command.Wrong("--seeds must be at least 1")
	}
	for _, ref := range c.Configs {
		of, err := compare.Read(ref)
		if err != nil {
			return o, err
		}
		o.Configs = append(o.Configs, of)
	}
	switch strings.Join(c.Alone, ",") {
	case "none", "":
	case "all":
		for _, of := range o.Configs {
			o.Alone = append(o.Alone, of.Name)
		}
	default:
		o.Alone = c.Alone
	}
	if strings.HasPrefix(c.Data, "demo:") {
		if c.ValData == "" {
			c.ValData = "demo:#val"
		}
		if c.TestData == "" {
			c.TestData = "demo:#test"
		}
	}
	if c.TestData == "" {
		return o, command.Wrong("--test-data is missing: name the split that the figures are of, as %s#test", c.Data)
	}
	for _, d := range []struct {
		ref string
		src *datasets.Source
	}{{c.Data, &o.Train}, {c.ValData, &o.Val}, {c.TestData, &o.Test}} {
		if d.ref == "" {
			continue
		}
		src, err := datasets.Open(d.ref)
		if err != nil {
			return o, err
		}
		*d.src = src
	}
	return o, nil
}

// printComparison prints the figures of every config in a line.
func printComparison(w io.Writer, r compare.Report, out string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "config\tR@1\tto the first\tp\tunique\tactive\tMFLOP a sample\tMB\tsamples/s\tCPU s\t")
	for i, c := range r.Configs {
		diff, p := "", ""
		if i > 0 {
			if d := r.Differences[i-1]; d.N > 0 {
				diff = fmt.Sprintf("%+.1f", 100*d.Mean)
				if d.Tested {
					p = fmt.Sprintf("%.2g", d.P)
				}
			}
		}
		if c.R1.N == 0 {
			fmt.Fprintf(t, "%s\tfailed\t\t\t\t\t\t\t\t\t\n", c.Config)
			continue
		}
		fmt.Fprintf(t, "%s\t%.1f ± %.1f\t%s\t%s\t%d\t%.0f\t%.1f\t%.2f\t%.0f\t%.1f\t\n", c.Config, 100*c.R1.Mean, 100*c.R1.SD, diff, p,
			c.Unique, c.Active, c.FLOPs/1e6, c.Bytes.Mean/1e6, c.SamplesPerS.Mean, c.CPUSeconds.Mean)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nR@1 is in %%, the mean over %d directions, ± the standard deviation over %d seeds; p is of a paired t-test. The report is %s\n",
		len(r.Directions), r.Seeds, filepath.Join(out, compare.PageFile))
	return nil
}
