package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// embedConfig is where embedding is measured.
const embedConfig = "vitb32"

// The sides of embedding, besides oursSide.
const (
	openclipSide = "OpenCLIP"
	ortSide      = "ONNX Runtime"
	int8Side     = "ours, int8"
)

// embedding measures embedding by a model with random weights: ours from a
// run folder, so that its start counts as it is.
func (b *bench) embedding(ctx context.Context, config string) error {
	onnx, err := b.exported(ctx, config)
	if err != nil {
		return err
	}
	var sides []side
	for _, s := range []struct {
		name string
		args []string
	}{
		{openclipSide, []string{"--backend", "openclip"}},
		{ortSide, []string{"--backend", "ort", "--onnx", onnx}},
	} {
		p, _, err := b.start(ctx, nil, "embed_peers.py", append(s.args, preset(config))...)
		if err != nil {
			return err
		}
		defer p.stop()
		sides = append(sides, side{s.name, func(_ context.Context, seconds float64) (map[string]float64, float64, error) {
			return embedded(func(to any) (float64, error) { return p.ask(seconds, to) })
		}})
	}
	run := filepath.Join(b.work, "clip-"+config)
	if err := os.RemoveAll(run); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, b.program("mmembed"), "bench", "--config", preset(config), "--save", run).CombinedOutput(); err != nil {
		return fmt.Errorf("a random model: %w: %s", err, out)
	}
	ours := func(name string, args ...string) side {
		return side{name, func(ctx context.Context, seconds float64) (map[string]float64, float64, error) {
			args := append([]string{
				"bench", "--json", "--model", run, "--threads", strconv.Itoa(b.threads),
				"--seconds", strconv.FormatFloat(seconds, 'g', -1, 64),
			}, args...)
			return embedded(func(to any) (float64, error) { return b.ours(ctx, to, "mmembed", args...) })
		}}
	}
	sides = append(sides, ours(oursSide))
	withInt8, err := b.hasInt8(ctx)
	if err != nil {
		return err
	}
	if withInt8 {
		sides = append(sides, ours(int8Side, "--int8"))
	}
	what := "embed clip-" + config
	if err := b.turns(ctx, what, b.seconds/4, sides); err != nil {
		return err
	}
	b.embedRows(what, withInt8)
	return nil
}

// embedGoals are what our figures are compared with, and the ratios to ONNX
// Runtime that are wanted. OpenCLIP is the slower of the peers.
var embedGoals = []struct {
	what, unit, theirs, ours string
	goal                     goal
}{
	{"embed images, batch 32", "images" + perSecond, "image/32 per_s", "image/32 per_s", goal{"≥", 1}},
	{"embed one image", milliseconds, "image/1 ms", "image/1 ms", goal{">", 1}},
	{"embed texts of the whole context, batch 32", "texts" + perSecond, "text/32 per_s", "text/32 per_s", goal{"≥", 1}},
	{"embed one text of the whole context", milliseconds, "text/1 ms", "text/1 ms", goal{">", 1}},
	{
		"embed one text of 10 tokens; the peer computes all positions, though a causal tower needs none after the end token",
		milliseconds, "text/1 ms", "caption/1 ms",
		goal{"≥", 5},
	},
	{"embed texts of 10 tokens, batch 32; as above", "texts" + perSecond, "text/32 per_s", "caption/32 per_s", goal{}},
	{"peak memory of embedding", megabytes, "peak_mb", "peak_mb", goal{}},
}

// The goals of int8 weights, against ONNX Runtime in float32, and of the time
// from the start of a process to its first embedding, in milliseconds.
var (
	int8Goal  = goal{"≥", 1.5}
	firstGoal = goal{"<", 500}
)

// embedRows adds the rows of the table.
func (b *bench) embedRows(task string, withInt8 bool) {
	r := &b.report
	compare := func(what, unit, peer, theirs, side, ours string, g goal) {
		r.compare(what, unit, peer, r.series(task, peer, theirs), r.series(task, side, ours), g)
	}
	for _, c := range embedGoals {
		compare(c.what, c.unit, ortSide, c.theirs, oursSide, c.ours, c.goal)
	}
	if withInt8 {
		for _, c := range embedGoals {
			g := goal{}
			if strings.Contains(c.ours, "/32") && c.goal.sign != "" {
				g = int8Goal
			}
			compare(c.what+"; our weights int8", c.unit, ortSide, c.theirs, int8Side, c.ours, g)
		}
	}
	for _, c := range embedGoals {
		compare(c.what, c.unit, openclipSide, c.theirs, oursSide, c.ours, goal{})
	}
	for _, modality := range []string{"image", "text"} {
		r.compare("from the start of a process to its first "+modality, milliseconds, "", nil, r.series(task, oursSide, modality+" first_ms"), firstGoal)
	}
}

// embedded turns the answer of either side into figures: MODALITY/BATCH for
// images and for texts of the whole context, caption/BATCH for short texts.
func embedded(ask func(to any) (float64, error)) (map[string]float64, float64, error) {
	var a struct {
		Rows []struct {
			Modality string  `json:"modality"`
			Tokens   int     `json:"tokens"`
			Batch    int     `json:"batch"`
			P50MS    float64 `json:"p50_ms"`
			PerS     float64 `json:"per_s"`
		} `json:"rows"`
		FirstMS   map[string]float64 `json:"first_ms"`
		PeakRSSMB float64            `json:"peak_rss_mb"`
	}
	cpu, err := ask(&a)
	if err != nil {
		return nil, 0, err
	}
	longest := map[string]int{}
	for _, row := range a.Rows {
		longest[row.Modality] = max(longest[row.Modality], row.Tokens)
	}
	figures := map[string]float64{"peak_mb": a.PeakRSSMB}
	for _, row := range a.Rows {
		name := row.Modality
		if row.Tokens < longest[name] {
			name = "caption"
		}
		name += "/" + strconv.Itoa(row.Batch)
		figures[name+" ms"], figures[name+" per_s"] = row.P50MS, row.PerS
	}
	for modality, ms := range a.FirstMS {
		figures[modality+" first_ms"] = ms
	}
	return figures, cpu, nil
}

// exported returns the folder of the peer's ONNX files, which it makes once
// for a preset.
func (b *bench) exported(ctx context.Context, config string) (string, error) {
	data, err := os.ReadFile(preset(config))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	dir := filepath.Join(b.work, "onnx", "clip-"+config+"-"+hex.EncodeToString(sum[:4]))
	for _, name := range []string{"image.onnx", "text.onnx"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			continue
		}
		fmt.Fprintln(os.Stderr, "exporting to ONNX once")
		path := filepath.Join("internal", "benchcompare", "embed_peers.py")
		cmd := exec.CommandContext(ctx, b.python(), path, "--export", "--onnx", dir, preset(config))
		cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("export to ONNX: %w: %s", err, out)
		}
		break
	}
	return dir, nil
}

// hasInt8 reports whether mmembed can embed with int8 weights.
func (b *bench) hasInt8(ctx context.Context) (bool, error) {
	help, err := exec.CommandContext(ctx, b.program("mmembed"), "bench", "--help").Output()
	return strings.Contains(string(help), "--int8"), err
}
