package main

import (
	"cmp"
	"fmt"
	"text/tabwriter"

	"github.com/onetrunk/onetrunk/internal/command"
	"github.com/onetrunk/onetrunk/train"
)

type benchCmd struct {
	Config    string       `xor:"config" help:"Preset (${presets}) or a JSON file; tiny without it."`
	BatchSize int          `xor:"batch" help:"Samples in a step, instead of the config's."`
	Lengths   string       `xor:"lengths" help:"JSON histogram of the lengths that texts have, instead of full length." placeholder:"FILE"`
	Seconds   float64      `help:"How long to measure: 20 without it, 2 for each row of a table."`
	Threads   int          `xor:"threads" help:"Threads to compute with; 0 takes one for each processor."`
	MaxMemory command.Size `xor:"memory" help:"Bound of the resident memory: ${size_help}" placeholder:"SIZE"`
	Table     bool         `xor:"config,batch,lengths,threads,memory" help:"What a step costs as width, layers, tokens, batch, threads and unique layers grow, each alone, around the preset clip-tiny with a small batch."`
	JSON      bool         `name:"json" help:"Print one JSON object."`
}

func (c *benchCmd) Help() string {
	return `Every sample has all modalities; the same batch is used each step, so data loading is not part of it.

Examples:
  mmtrain bench --config small
  mmtrain bench --config clip-tiny --lengths internal/benchcompare/lengths.json
  mmtrain bench --table --json`
}

func (c *benchCmd) Run(e *command.Env) error {
	if c.Table {
		return c.table(e)
	}
	c.Config = cmp.Or(c.Config, "tiny")
	cfg, settings, err := readConfig(c.Config)
	if err != nil {
		return err
	}
	if c.BatchSize > 0 {
		settings.Batch = c.BatchSize
	}
	o := train.BenchOptions{Threads: c.Threads, Seconds: cmp.Or(c.Seconds, 20), MaxMemory: c.MaxMemory.MB()}
	if c.Lengths != "" {
		if o.Lengths, err = train.ReadLengths(c.Lengths); err != nil {
			return err
		}
	}
	r, err := train.TimeSteps(e.Ctx, cfg, settings, o)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Config, err)
	}
	if c.JSON {
		return e.PrintJSON(r)
	}
	fmt.Fprintf(e.Stdout, "%s, batch %d on %s: %.1f samples/s, %.0f tokens/s, %.1f GFLOP/s\n"+
		"step %.1f ms (forward %.1f, backward %.1f, optimizer %.1f), median of %d\n"+
		"%.0f bytes in %.0f allocations a step; peak memory %.0f MB; %d blocks are computed again\n",
		c.Config, r.Batch, r.Device, r.SamplesPerS, r.TokensPerS, r.GFLOPS,
		1e3*r.StepS, 1e3*r.ForwardS, 1e3*r.BackwardS, 1e3*r.OptimizerS, r.Steps,
		r.AllocBytes, r.Allocs, r.PeakRSSMB, r.Recomputed)
	return nil
}

// table prints what a step costs as the work grows.
func (c *benchCmd) table(e *command.Env) error {
	rows, err := measureCosts(e, cmp.Or(c.Seconds, 2))
	if err != nil {
		return err
	}
	if c.JSON {
		return e.PrintJSON(map[string]any{"rows": rows})
	}
	t := tabwriter.NewWriter(e.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "varied\tvalue\tstep ms\tsamples/s\tGFLOP/s\tpeak MB\t")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%d\t%.1f\t%.1f\t%.1f\t%.0f\t\n", r.Varied, r.Value, 1e3*r.StepS, r.SamplesPerS, r.GFLOPS, r.PeakRSSMB)
	}
	return t.Flush()
}
