package main

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/onetrunk/onetrunk/configs"
	"github.com/onetrunk/onetrunk/internal/command"
	"github.com/onetrunk/onetrunk/internal/measure"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/pretrained"
	"github.com/onetrunk/onetrunk/tensor"
	"github.com/onetrunk/onetrunk/tokenizers"
	"github.com/onetrunk/onetrunk/train"
)

type benchCmd struct {
	Model   string  `xor:"model" required:"" help:"Run folder, one checkpoint's folder, or the folder of another library's model." placeholder:"RUN"`
	Config  string  `xor:"model" required:"" help:"Preset or a JSON file, with random weights." placeholder:"CONFIG"`
	Seconds float64 `default:"4" help:"How long to measure each row."`
	Threads int     `help:"Threads to compute with; 0 takes one for each processor."`
	Int8    bool    `name:"int8" help:"Round the trunk's weights to int8."`
	JSON    bool    `name:"json" help:"Print one JSON object."`
	First   string  `hidden:"" help:"Embed one sample of this modality, print a line and end."`
	Save    string  `hidden:"" help:"Write the random model as a run folder and end." placeholder:"DIR"`
}

func (c *benchCmd) Help() string {
	return `Embeds random samples: of full length, and texts also as short as a caption. With --model it also starts itself anew and takes the time to the first embedding.

Examples:
  mmembed bench --config clip-tiny
  mmembed bench --model runs/demo --json`
}

// benchResult is what mmembed bench measures.
type benchResult struct {
	Device string     `json:"device"`
	Rows   []benchRow `json:"rows"`
	// FirstMS is the time from the start of a process to its first embedding,
	// by modality, in milliseconds; the median of a few, with the model's
	// files in the system's cache.
	FirstMS   map[string]float64 `json:"first_ms,omitempty"`
	PeakRSSMB float64            `json:"peak_rss_mb"`
}

// benchRow is the speed of one kind of batch.
type benchRow struct {
	Modality string `json:"modality"`
	// Tokens is the length of each of the Batch samples, without a class
	// token.
	Tokens int `json:"tokens"`
	Batch  int `json:"batch"`
	// P50MS is the median time of a batch in milliseconds, of Runs.
	P50MS float64 `json:"p50_ms"`
	PerS  float64 `json:"per_s"`
	Runs  int     `json:"runs"`
}

const (
	captionTokens = 10 // a caption of 8, its start and its end
	firstRuns     = 5
)

func (c *benchCmd) Run(e *command.Env) error {
	m, err := c.open()
	if err != nil {
		return err
	}
	switch {
	case c.Save != "":
		return saveRandom(m, c.Save)
	case c.First != "":
		if c.Int8 {
			m.Int8()
		}
		return c.first(e, m)
	}
	if c.Int8 {
		m.Int8()
	}
	r := benchResult{Device: m.Device.String()}
	for _, name := range m.Modalities() {
		p, err := m.Processor(name)
		if err != nil {
			return err
		}
		for _, grid := range benchGrids(p.Layout()) {
			for _, batch := range []int{1, 32} {
				row, err := benchEmbed(e.Ctx, m, name, grid, batch, c.Seconds)
				if err != nil {
					return err
				}
				r.Rows = append(r.Rows, row)
			}
		}
	}
	r.PeakRSSMB = measure.PeakMB()
	if c.Model != "" {
		r.FirstMS = map[string]float64{}
		for _, name := range m.Modalities() {
			if r.FirstMS[name], err = c.startToFirst(e, name); err != nil {
				return err
			}
		}
	}
	if c.JSON {
		return e.PrintJSON(r)
	}
	return r.print(e)
}

func (r *benchResult) print(e *command.Env) error {
	fmt.Fprintf(e.Stdout, "on %s; peak memory %.0f MB\n", r.Device, r.PeakRSSMB)
	t := tabwriter.NewWriter(e.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "modality\ttokens\tbatch\tms\tper s\t")
	for _, row := range r.Rows {
		fmt.Fprintf(t, "%s\t%d\t%d\t%.2f\t%.1f\t\n", row.Modality, row.Tokens, row.Batch, row.P50MS, row.PerS)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(r.FirstMS)) {
		fmt.Fprintf(e.Stdout, "%.0f ms from the start of a process to its first embedding of %s\n", r.FirstMS[name], name)
	}
	return nil
}

// open opens the model, or makes one with random weights.
func (c *benchCmd) open() (*model.Model, error) {
	dev := tensor.CPU(c.Threads)
	if c.Model != "" {
		return pretrained.OpenOn(c.Model, dev)
	}
	data, err := configs.Read(c.Config)
	if err != nil {
		return nil, err
	}
	cfg, err := model.ParseConfig(c.Config, data)
	if err != nil {
		return nil, err
	}
	ps, err := cfg.OpenProcessors("")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Config, err)
	}
	return model.New(cfg, ps, dev, 1), nil
}

// benchGrids lists the arrangements of tokens that are measured: the whole
// grid, and for ids also a caption.
func benchGrids(l tokenizers.Layout) [][2]int {
	if l.Vocab > 0 && l.Grid[1] > captionTokens {
		return [][2]int{{1, captionTokens}, l.Grid}
	}
	return [][2]int{l.Grid}
}

// randomBatch makes samples of a modality, the same each time.
func randomBatch(m *model.Model, modality string, grid [2]int, n int) ([]tokenizers.Tokens, error) {
	p, err := m.Processor(modality)
	if err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(1, 2))
	batch := make([]tokenizers.Tokens, n)
	for i := range batch {
		batch[i] = train.RandomTokens(p.Layout(), grid, rng)
	}
	return batch, nil
}

// benchEmbed times a batch for about the given seconds and at least five
// times.
func benchEmbed(ctx context.Context, m *model.Model, modality string, grid [2]int, n int, seconds float64) (benchRow, error) {
	batch, err := randomBatch(m, modality, grid, n)
	if err != nil {
		return benchRow{}, err
	}
	const warmup, least = 2, 5
	var times []float64
	began := time.Now()
	for i := 0; len(times) < least || time.Since(began).Seconds() < seconds; i++ {
		if i == warmup {
			began = time.Now()
		}
		t0 := time.Now()
		if _, err := m.Embed(ctx, modality, batch); err != nil {
			return benchRow{}, err
		}
		if i >= warmup {
			times = append(times, time.Since(t0).Seconds())
		}
	}
	p50 := measure.Median(times)
	return benchRow{
		Modality: modality, Tokens: grid[0] * grid[1], Batch: n,
		P50MS: 1e3 * p50, PerS: float64(n) / p50, Runs: len(times),
	}, nil
}

// first embeds one sample and says so.
func (c *benchCmd) first(e *command.Env, m *model.Model) error {
	p, err := m.Processor(c.First)
	if err != nil {
		return err
	}
	batch, err := randomBatch(m, c.First, benchGrids(p.Layout())[0], 1)
	if err != nil {
		return err
	}
	if _, err := m.Embed(e.Ctx, c.First, batch); err != nil {
		return err
	}
	_, err = fmt.Fprintln(e.Stdout, "embedded")
	return err
}

// startToFirst returns the milliseconds from before a process of this program
// starts until it has embedded a sample of the modality.
func (c *benchCmd) startToFirst(e *command.Env, modality string) (float64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	var times []float64
	for range firstRuns {
		cmd := exec.CommandContext(e.Ctx, self, "bench", "--model", c.Model, "--threads", strconv.Itoa(c.Threads), "--first", modality)
		cmd.Stderr = e.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			return 0, err
		}
		began := time.Now()
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		_, failed := bufio.NewReader(out).ReadString('\n')
		times = append(times, 1e3*time.Since(began).Seconds())
		if err := cmd.Wait(); err != nil {
			return 0, fmt.Errorf("first %s: %w", modality, err)
		}
		if failed != nil {
			return 0, fmt.Errorf("first %s: %w", modality, failed)
		}
	}
	return measure.Median(times), nil
}
