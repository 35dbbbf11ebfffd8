package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/onetrunk/onetrunk/compare"
	"github.com/onetrunk/onetrunk/design"
	"github.com/onetrunk/onetrunk/internal/command"
)

type designCmd struct {
	BudgetParams string        `required:"" help:"Greatest number of unique parameters of the model: a number, or a share of what separate towers have, as 60%." placeholder:"N"`
	Config       string        `default:"demo" help:"Preset (${presets}) or a JSON file whose sharing is designed." placeholder:"CONFIG"`
	Data         string        `required:"" help:"Training data, as of train." placeholder:"SRC"`
	ValData      string        `help:"Data to choose checkpoints by; of demo: without it demo:#val." placeholder:"SRC"`
	TestData     string        `help:"Data that the figures are of, which choose nothing; of demo: without it demo:#test." placeholder:"SRC"`
	SearchSteps  int           `default:"500" help:"Steps of the search, and of the shared trunk whose gradients are compared."`
	Random       int           `default:"10" help:"Random maps of the budget beside."`
	Seeds        int           `default:"3" help:"Train each map with the seeds 1 to this."`
	Steps        int           `xor:"budget" help:"Train each map for so many steps. Without a budget: as many as the config says."`
	Samples      int           `xor:"budget" help:"Train each map on so many samples."`
	CPUTime      time.Duration `name:"cpu-time" xor:"budget" help:"Train each map for so much CPU time." placeholder:"TIME"`
	Jobs         int           `help:"Runs at once; 0 for one each processor."`
	MaxBad       float64       `default:"0.01" help:"Share of values that may be unreadable before a run stops."`
	Out          string        `required:"" help:"Folder of everything." placeholder:"DIR"`
	JSON         bool          `name:"json" help:"Print the report as one JSON object."`
}

func (c *designCmd) Help() string {
	return `Finds which modalities share what, for each layer's attention and each layer's feed-forward network, within a budget of parameters. Two designers propose a map: a search by gradients, and a cheap one that separates modalities whose gradients conflict. Each is written as a plain config, OUT/designed-search.json and OUT/designed-conflict.json, trained from scratch beside maps made by hand and random maps of the same budget, and shown in OUT/report.html and OUT/design.json. The test data choose nothing.

Examples:
  mmtrain design --budget-params 60% --data demo: --steps 500 --out designed
  mmtrain train --config designed/designed-search.json --train-data demo: --logs runs --name mine`
}

func (c *designCmd) Run(e *command.Env) error {
	o, err := (&compareCmd{
		Seeds: c.Seeds, Data: c.Data, ValData: c.ValData, TestData: c.TestData, Steps: c.Steps, Samples: c.Samples, CPUTime: c.CPUTime,
		Jobs: c.Jobs, MaxBad: c.MaxBad, Out: c.Out,
	}).options()
	if err != nil {
		return err
	}
	o.Out = e.Stderr
	base, err := compare.Read(c.Config)
	if err != nil {
		return err
	}
	d := design.Options{Base: base, SearchSteps: c.SearchSteps, Random: c.Random, Compare: o}
	if share, ok := strings.CutSuffix(c.BudgetParams, "%"); ok {
		if d.Share, err = strconv.ParseFloat(share, 64); err != nil || !(d.Share > 0) {
			return command.Wrong("--budget-params %s: expected a share as 60%%", c.BudgetParams)
		}
		d.Share /= 100
	} else if d.Budget, err = strconv.Atoi(c.BudgetParams); err != nil || d.Budget < 1 {
		return command.Wrong("--budget-params %s: expected a number of parameters, or a share as 60%%", c.BudgetParams)
	}
	if c.SearchSteps < 1 || c.Random < 0 {
		return command.Wrong("--search-steps must be at least 1, --random at least 0")
	}
	r, err := design.Run(e.Ctx, d)
	if err != nil {
		return err
	}
	if c.JSON {
		err = e.PrintJSON(r)
	} else {
		r.Print(e.Stdout)
		fmt.Fprintln(e.Stdout)
		err = printComparison(e.Stdout, r.Comparison, c.Out)
	}
	if err != nil {
		return err
	}
	return failedRows(r.Comparison)
}
