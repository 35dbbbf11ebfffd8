package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/internal/command"
	"github.com/onetrunk/onetrunk/internal/progress"
	"github.com/onetrunk/onetrunk/retrieval"
)

type embedCmd struct {
	Model         string  `required:"" help:"Run folder, one checkpoint's folder, or the folder of another library's model." placeholder:"RUN"`
	Input         string  `required:"" help:"Data: demo:, a manifest, or a folder with manifest.tsv; SRC#SPLIT picks a split." placeholder:"SRC"`
	Out           string  `required:"" help:"Folder for embeddings; a rerun does what is missing." placeholder:"DIR"`
	Batch         int     `default:"64" help:"Values that are embedded at once."`
	PartitionRows int     `default:"100000" help:"Rows in a partition of files."`
	MaxBad        float64 `default:"0.01" help:"Share of values that may be unreadable: at least one may, none with 0. They are listed in DIR/skipped.tsv."`
	Int8          bool    `name:"int8" help:"Round the trunk's weights to int8: faster, a quarter of the memory, embeddings a little off."`
	JSON          bool    `name:"json" help:"Print the report as one JSON object."`
}

func (c *embedCmd) Help() string {
	return `Each modality's vectors go to DIR/M_emb/M_emb_0.npy, what the rows are to DIR/metadata/metadata_0.parquet, as clip-retrieval lays them out.

Examples:
  mmembed embed --model runs/demo --input demo:#test --out runs/demo/embeddings
  mmembed embed --model runs/photos --input photos/manifest.tsv --out photos/index --json`
}

func (c *embedCmd) Run(e *command.Env) error {
	if c.Batch < 1 || c.PartitionRows < 1 {
		return command.Wrong("--batch and --partition-rows must be at least 1")
	}
	if !(c.MaxBad >= 0 && c.MaxBad <= 1) {
		return command.Wrong("--max-bad must be from 0 to 1")
	}
	m, err := openModel(c.Model, c.Int8)
	if err != nil {
		return err
	}
	src, err := datasets.Open(c.Input)
	if err != nil {
		return err
	}
	var bar *progress.Bar
	r, err := retrieval.EmbedSource(e.Ctx, m, src, c.Out, retrieval.EmbedOptions{
		Batch: c.Batch, PartitionRows: c.PartitionRows, MaxBad: c.MaxBad,
		Progress: func(done, total int) {
			if bar == nil {
				bar = progress.New(e.Stderr, "embed", total)
				bar.Begin(done)
			}
			bar.Set(done)
		},
	})
	bar.Done()
	if e.Ctx.Err() != nil {
		return fmt.Errorf("stopped; the same command goes on at the last whole partition of %d rows", c.PartitionRows)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return e.PrintJSON(r)
	}
	if r.Done == r.Rows {
		fmt.Fprintf(e.Stdout, "all %d rows of %s are embedded in %s already\n", r.Rows, src.Name(), c.Out)
		return nil
	}
	fmt.Fprintf(e.Stdout, "%d rows of %s:", r.Rows, src.Name())
	for _, name := range slices.Sorted(maps.Keys(r.Vectors)) {
		fmt.Fprintf(e.Stdout, " %d %s", r.Vectors[name], name)
	}
	fmt.Fprintf(e.Stdout, " embeddings in %s\n", c.Out)
	if r.Bad > 0 {
		fmt.Fprintf(e.Stdout, "%d values could not be read: %s/skipped.tsv\n", r.Bad, c.Out)
	}
	return nil
}
