package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// tuned is the environment in which PyTorch keeps the memory that it frees,
// instead of fetching and clearing pages anew at each step.
var tuned = []string{"MALLOC_MMAP_THRESHOLD_=4294967296", "MALLOC_TRIM_THRESHOLD_=8589934592", "MALLOC_TOP_PAD_=268435456"}

// The sides of training.
const (
	eagerSide   = "OpenCLIP, eager"
	tunedSide   = "OpenCLIP, fused AdamW, malloc tuned"
	oursSide    = "ours"
	lengthsSide = "ours, recorded lengths"
)

// lengthsConfig is where texts of recorded lengths are measured.
const lengthsConfig = "tiny"

// trainGoals are the least ratios of samples a second, by preset and side.
var trainGoals = map[string]map[string]goal{
	"tiny":   {eagerSide: {"≥", 2.0}, tunedSide: {"≥", 1.8}},
	"small":  {tunedSide: {"≥", 1.4}},
	"vitb32": {tunedSide: {"≥", 1.3}},
}

var (
	memoryGoal  = goal{"≤", 0.5}
	lengthsGoal = goal{"≥", 2.3}
)

// training measures training steps of a preset, and what follows from them:
// the peak of memory, and packed texts against padded ones.
func (b *bench) training(ctx context.Context, config string) error {
	lengths := b.wants("lengths") && config == lengthsConfig
	var sides []side
	var params int // of the model, as the peers have it
	for _, s := range []struct {
		name   string
		wanted bool
		env    []string
		args   []string
	}{
		{eagerSide, b.wants("train") || b.wants("memory"), nil, nil},
		{tunedSide, b.wants("train") || lengths, tuned, []string{"--fused"}},
	} {
		if !s.wanted {
			continue
		}
		p, r, err := b.start(ctx, s.env, "train_openclip.py", append(s.args, preset(config))...)
		if err != nil {
			return err
		}
		defer p.stop()
		params = r.Params
		sides = append(sides, side{s.name, func(_ context.Context, seconds float64) (map[string]float64, float64, error) {
			return trained(func(to any) (float64, error) { return p.ask(seconds, to) })
		}})
	}
	if len(sides) == 0 {
		return nil
	}
	if err := b.sameModel(ctx, config, params); err != nil {
		return err
	}
	ours := func(name string, args ...string) side {
		return side{name, func(ctx context.Context, seconds float64) (map[string]float64, float64, error) {
			args := append([]string{
				"bench", "--json", "--config", preset(config), "--threads", strconv.Itoa(b.threads),
				"--seconds", strconv.FormatFloat(seconds, 'g', -1, 64),
			}, args...)
			return trained(func(to any) (float64, error) { return b.ours(ctx, to, "mmtrain", args...) })
		}}
	}
	if b.wants("train") || b.wants("memory") {
		sides = append(sides, ours(oursSide))
	}
	if lengths {
		sides = append(sides, ours(lengthsSide, "--lengths", filepath.Join("internal", "benchcompare", "lengths.json")))
	}
	what := "train clip-" + config
	if err := b.turns(ctx, what, b.seconds, sides); err != nil {
		return err
	}
	compare := func(title, unit, figure, peer, ours string, g goal) {
		r := &b.report
		r.compare(title, unit, peer, r.series(what, peer, figure), r.series(what, ours, figure), g)
	}
	if b.wants("train") {
		for _, peer := range []string{eagerSide, tunedSide} {
			compare(what, "samples"+perSecond, "samples_per_s", peer, oursSide, trainGoals[config][peer])
		}
	}
	if lengths {
		compare(what+", texts as long as captions are; the peer pads them", "samples"+perSecond, "samples_per_s", tunedSide, lengthsSide, lengthsGoal)
	}
	if b.wants("memory") {
		compare("peak memory of training clip-"+config, megabytes, "peak_mb", eagerSide, oursSide, memoryGoal)
	}
	return nil
}

// trained turns the answer of either side into figures.
func trained(ask func(to any) (float64, error)) (map[string]float64, float64, error) {
	var a struct {
		Batch     int     `json:"batch"`
		StepS     float64 `json:"step_s"`
		Steps     int     `json:"steps"`
		PeakRSSMB float64 `json:"peak_rss_mb"`
	}
	cpu, err := ask(&a)
	if err != nil {
		return nil, 0, err
	}
	return map[string]float64{
		"samples_per_s": float64(a.Batch) / a.StepS, "step_s": a.StepS, "steps": float64(a.Steps), "peak_mb": a.PeakRSSMB,
	}, cpu, nil
}

// sameModel makes sure that both sides have the same architecture: ours holds
// what the peer's does and one vector more, the bias of the patch projection.
func (b *bench) sameModel(ctx context.Context, config string, params int) error {
	data, err := os.ReadFile(preset(config))
	if err != nil {
		return err
	}
	var shape struct {
		Trunk struct {
			Width int `json:"width"`
		} `json:"trunk"`
	}
	if err := json.Unmarshal(data, &shape); err != nil {
		return fmt.Errorf("%s: %w", preset(config), err)
	}
	var a struct {
		Parameters struct {
			Unique int `json:"unique"`
		} `json:"parameters"`
	}
	if _, err := b.ours(ctx, &a, "mmtrain", "inspect", "--json", "--model", preset(config)); err != nil {
		return err
	}
	if a.Parameters.Unique != params+shape.Trunk.Width {
		return fmt.Errorf("the peer has %d parameters, we have %d: not the same model", params, a.Parameters.Unique)
	}
	return nil
}
