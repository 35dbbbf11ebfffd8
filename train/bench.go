package train

import (
	"context"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/contrastive"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/tensor"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// BenchResult holds the figures of training steps on synthetic samples.
// Times are medians, in seconds.
type BenchResult struct {
	Batch       int     `json:"batch"`
	SamplesPerS float64 `json:"samples_per_s"`
	TokensPerS  float64 `json:"tokens_per_s"`
	PeakRSSMB   float64 `json:"peak_rss_mb"`
	// GFLOPS counts forward and backward, three times the embedding.
	GFLOPS     float64 `json:"gflops"`
	StepS      float64 `json:"step_s"`
	ForwardS   float64 `json:"forward_s"`
	BackwardS  float64 `json:"backward_s"`
	OptimizerS float64 `json:"optimizer_s"`
	Steps      int     `json:"steps"`
	// AllocBytes and Allocs are the Go heap's allocations in a step.
	AllocBytes float64 `json:"alloc_bytes"`
	Allocs     float64 `json:"allocs"`
	Device     string  `json:"device"`
}

// Bench times training steps for about the given seconds. Every sample has
// all modalities at full length, and the same batch is used each step: data
// loading is not part of it.
func Bench(ctx context.Context, cfg model.Config, s Settings, threads int, seconds float64) (BenchResult, error) {
	processors, err := cfg.OpenProcessors("")
	if err != nil {
		return BenchResult{}, err
	}
	dev := tensor.CPU(threads)
	m := model.New(cfg, processors, dev, s.Seed)
	m.Bank.Freeze(func(string) bool { return true }, false)
	opt := newOptimizer(dev, m.Bank, &s)
	tape := autograd.NewTape(dev, true)
	obj := contrastive.Objective{Weight: s.weight, LogScale: func(a, b string) *autograd.Var { return m.LogScale(a, b).Var() }}

	r := BenchResult{Batch: s.Batch, Device: dev.String()}
	rng := rand.New(rand.NewPCG(1, 2))
	inputs := make([]model.Input, len(m.Modalities()))
	tokens, flops := 0, int64(0)
	rows := make([]int, s.Batch)
	groups := make([]int32, s.Batch)
	for i := range rows {
		rows[i], groups[i] = i, int32(i)
	}
	for i, name := range m.Modalities() {
		l := processors[name].Layout()
		inputs[i].Modality = name
		for range s.Batch {
			t := tokenizers.Tokens{Grid: l.Grid}
			if l.Patch > 0 {
				t.Patches = make([]float32, t.Len()*l.Patch)
				for j := range t.Patches {
					t.Patches[j] = float32(rng.NormFloat64())
				}
			} else {
				t.IDs = make([]int32, t.Len())
				for j := range t.IDs {
					t.IDs[j] = rng.Int32N(int32(l.Vocab))
				}
			}
			inputs[i].Tokens = append(inputs[i].Tokens, t)
			tokens += t.Len()
			flops += 3 * m.FLOPs(name, t)
		}
	}

	const warmup = 2
	var step, forward, backward, optimize []float64
	var before, after runtime.MemStats
	began := time.Now()
	for n := 1; len(step) < 3 || time.Since(began).Seconds() < seconds; n++ {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		if n == warmup+1 {
			runtime.ReadMemStats(&before)
			began = time.Now()
		}
		t0 := time.Now()
		vectors := make([]contrastive.Vectors, len(inputs))
		for i, z := range m.Forward(tape, inputs) {
			vectors[i] = contrastive.Vectors{Modality: inputs[i].Modality, Z: z, Rows: rows}
		}
		c := obj.Forward(tape, vectors, groups)
		tape.Scalar(c.Loss)
		t1 := time.Now()
		tape.Backward(c.Loss, nil)
		t2 := time.Now()
		if _, _, err := opt.step(n); err != nil {
			return r, err
		}
		m.ClampTemperatures()
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
	r.StepS, r.ForwardS, r.BackwardS, r.OptimizerS = median(step), median(forward), median(backward), median(optimize)
	r.SamplesPerS = float64(s.Batch) / r.StepS
	r.TokensPerS = float64(tokens) / r.StepS
	r.GFLOPS = float64(flops) / r.StepS / 1e9
	r.PeakRSSMB = peakRSS()
	return r, nil
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return x[len(x)/2]
}

// peakRSS returns the greatest resident memory of the process so far, in MB;
// 0 where the system does not say.
func peakRSS() float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "VmHWM:" {
			kb, _ := strconv.ParseFloat(f[1], 64)
			return kb / 1024
		}
	}
	return 0
}
