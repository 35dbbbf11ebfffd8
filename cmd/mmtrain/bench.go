package main

import (
	"fmt"

	"github.com/onetrunk/onetrunk/internal/command"
	"github.com/onetrunk/onetrunk/train"
)

type benchCmd struct {
	Config    string  `default:"tiny" help:"Preset (${presets}) or a JSON file."`
	BatchSize int     `help:"Samples in a step, instead of the config's."`
	Seconds   float64 `default:"20" help:"How long to measure."`
	Threads   int     `help:"Threads to compute with; 0 takes one for each processor."`
	JSON      bool    `name:"json" help:"Print one JSON object."`
}

func (c *benchCmd) Run(e *command.Env) error {
	cfg, settings, err := readConfig(c.Config)
	if err != nil {
		return err
	}
	if c.BatchSize > 0 {
		settings.Batch = c.BatchSize
	}
	r, err := train.Bench(e.Ctx, cfg, settings, c.Threads, c.Seconds)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Config, err)
	}
	if c.JSON {
		return e.PrintJSON(r)
	}
	fmt.Fprintf(e.Stdout, "%s, batch %d on %s: %.1f samples/s, %.0f tokens/s, %.1f GFLOP/s\n"+
		"step %.1f ms (forward %.1f, backward %.1f, optimizer %.1f), median of %d\n"+
		"%.0f bytes in %.0f allocations a step; peak memory %.0f MB\n",
		c.Config, r.Batch, r.Device, r.SamplesPerS, r.TokensPerS, r.GFLOPS,
		1e3*r.StepS, 1e3*r.ForwardS, 1e3*r.BackwardS, 1e3*r.OptimizerS, r.Steps,
		r.AllocBytes, r.Allocs, r.PeakRSSMB)
	return nil
}
