package train

import (
	"context"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/contrastive"
	"github.com/onetrunk/onetrunk/internal/measure"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/tensor"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// BenchOptions says how training steps are timed.
type BenchOptions struct {
	// Threads of the device; 0 takes one for each processor.
	Threads int
	// Seconds is about how long to measure: at least three steps.
	Seconds float64
	// Lengths gives texts their lengths; nil makes all of them as long as the
	// model reads.
	Lengths Lengths
	// MaxMemory bounds the resident memory in MB; 0 does not.
	MaxMemory float64
}

// BenchResult holds the figures of training steps on synthetic samples.
// Times are medians, in seconds.
type BenchResult struct {
	Batch       int     `json:"batch"`
	SamplesPerS float64 `json:"samples_per_s"`
	TokensPerS  float64 `json:"tokens_per_s"`
	PeakRSSMB   float64 `json:"peak_rss_mb"`
	// GFLOPS counts forward and backward, three times the embedding.
	GFLOPS    float64 `json:"gflops"`
	StepS     float64 `json:"step_s"`
	ForwardS  float64 `json:"forward_s"`
	BackwardS float64 `json:"backward_s"`
	// OptimizerS is what is left to do after the backward pass, in which
	// parameters take their steps where the gradient is not clipped.
	OptimizerS float64 `json:"optimizer_s"`
	Steps      int     `json:"steps"`
	// AllocBytes and Allocs are the Go heap's allocations in a step.
	AllocBytes float64 `json:"alloc_bytes"`
	Allocs     float64 `json:"allocs"`
	Device     string  `json:"device"`
	// Recomputed is the number of blocks that the backward pass computes again
	// to keep within the memory.
	Recomputed int `json:"recomputed_blocks,omitempty"`
}

// TimeSteps times training steps on synthetic samples of which each has all
// modalities. The same batch is used each step: data loading is not part of
// it.
func TimeSteps(ctx context.Context, cfg model.Config, s Settings, o BenchOptions) (BenchResult, error) {
	processors, err := cfg.OpenProcessors("")
	if err != nil {
		return BenchResult{}, err
	}
	dev := tensor.CPU(o.Threads)
	m := model.New(cfg, processors, dev, s.Seed)
	m.Bank.Freeze(func(string) bool { return true }, false)
	opt := newOptimizer(dev, m.Bank, &s)
	tape := autograd.NewTape(dev, true)
	tape.Ready = opt.ready
	memory := newMemory(o.MaxMemory, tape, nil)
	obj := contrastive.Objective{Weight: s.weight, LogScale: func(a, b string) *autograd.Var { return m.LogScale(a, b).Var() }}

	r := BenchResult{Batch: s.Batch, Device: dev.String()}
	inputs, err := synthetic(m, s.Batch, o.Lengths)
	if err != nil {
		return r, err
	}
	tokens, flops := 0, int64(0)
	for _, in := range inputs {
		for _, t := range in.Tokens {
			tokens += t.Len()
			flops += 3 * m.FLOPs(in.Modality, t)
		}
	}
	rows := make([]int, s.Batch)
	groups := make([]int32, s.Batch)
	for i := range rows {
		rows[i], groups[i] = i, int32(i)
	}

	const warmup = 2
	var step, forward, backward, optimize []float64
	var before, after runtime.MemStats
	began := time.Now()
	for n := 1; len(step) < 3 || time.Since(began).Seconds() < o.Seconds; n++ {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		if n == warmup+1 {
			runtime.ReadMemStats(&before)
			began = time.Now()
		}
		t0 := time.Now()
		opt.begin(n)
		vectors := make([]contrastive.Vectors, len(inputs))
		for i, z := range m.Forward(tape, inputs) {
			vectors[i] = contrastive.Vectors{Modality: inputs[i].Modality, Z: z, Rows: rows}
		}
		c := obj.Forward(tape, vectors, groups)
		tape.Scalar(c.Loss)
		t1 := time.Now()
		tape.Backward(c.Loss, nil)
		t2 := time.Now()
		if _, _, err := opt.finish(); err != nil {
			return r, err
		}
		m.ClampTemperatures()
		if err := memory.after(n); err != nil {
			return r, err
		}
		t3 := time.Now()
		if n > warmup {
			step = append(step, t3.Sub(t0).Seconds())
			forward = append(forward, t1.Sub(t0).Seconds())
			backward = append(backward, t2.Sub(t1).Seconds())
			optimize = append(optimize, t3.Sub(t2).Seconds())
		}
	}
	runtime.ReadMemStats(&after)
	r.Steps = len(step)
	r.AllocBytes = float64(after.TotalAlloc-before.TotalAlloc) / float64(r.Steps)
	r.Allocs = float64(after.Mallocs-before.Mallocs) / float64(r.Steps)
	r.StepS, r.ForwardS, r.BackwardS, r.OptimizerS = measure.Median(step), measure.Median(forward), measure.Median(backward), measure.Median(optimize)
	r.SamplesPerS = float64(s.Batch) / r.StepS
	r.TokensPerS = float64(tokens) / r.StepS
	r.GFLOPS = float64(flops) / r.StepS / 1e9
	r.PeakRSSMB = measure.PeakMB()
	r.Recomputed = memory.recomputed()
	return r, nil
}

// synthetic makes a batch of random samples of every modality, of the size
// that its layout has; texts are as long as the histogram says, if there is
// one. The batch is the same each time.
func synthetic(m *model.Model, batch int, lengths Lengths) ([]model.Input, error) {
	rng := rand.New(rand.NewPCG(1, 2))
	inputs := make([]model.Input, len(m.Modalities()))
	for i, name := range m.Modalities() {
		p, err := m.Processor(name)
		if err != nil {
			return nil, err
		}
		l := p.Layout()
		in := &inputs[i]
		in.Modality = name
		in.Tokens = make([]tokenizers.Tokens, batch)
		var drawn []int
		if lengths != nil && l.Vocab > 0 {
			drawn = lengths.draw(batch, l.Grid[1], rng)
		}
		for j := range in.Tokens {
			grid := l.Grid
			if drawn != nil {
				grid[1] = drawn[j]
			}
			in.Tokens[j] = RandomTokens(l, grid, rng)
		}
	}
	return inputs, nil
}

// RandomTokens makes a sample of a layout, with as many tokens as the grid
// has places: patches of normal values, or ids of the whole vocabulary.
func RandomTokens(l tokenizers.Layout, grid [2]int, rng *rand.Rand) tokenizers.Tokens {
	t := tokenizers.Tokens{Grid: grid}
	if l.Patch > 0 {
		t.Patches = make([]float32, t.Len()*l.Patch)
		for i := range t.Patches {
			t.Patches[i] = float32(rng.NormFloat64())
		}
		return t
	}
	t.IDs = make([]int32, t.Len())
	for i := range t.IDs {
		t.IDs[i] = rng.Int32N(int32(l.Vocab))
	}
	return t
}
