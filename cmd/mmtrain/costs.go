package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/onetrunk/onetrunk/internal/command"
	"github.com/onetrunk/onetrunk/internal/progress"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/train"
)

// tableBatch is the batch that the other settings are varied at: small, so
// that a step is short.
const tableBatch = 32

// cost is a row of the table: one setting has a value, the others are the
// base's.
type cost struct {
	Varied string `json:"varied"`
	Value  int    `json:"value"`
	train.BenchResult
}

// work is what a row measures.
type work struct {
	varied  string
	value   int
	config  model.Config
	batch   int
	threads int
}

// works lists the rows of the table around a base of images and texts.
func works(base model.Config) ([]work, error) {
	var ws []work
	cpus := runtime.NumCPU()
	add := func(varied string, value int) *work {
		w := work{varied: varied, value: value, config: base, batch: tableBatch, threads: cpus}
		w.config.Modalities = maps.Clone(base.Modalities)
		ws = append(ws, w)
		return &ws[len(ws)-1]
	}
	for _, width := range []int{64, 128, 256} {
		t := &add("width", width).config.Trunk
		t.Heads = max(1, t.Heads*width/t.Width) // heads keep their width
		t.Hidden = t.Hidden * width / t.Width
		t.Width = width
	}
	for _, layers := range []int{3, 6, 12} {
		add("layers", layers).config.Trunk.Layers = layers
	}
	for _, size := range []int{32, 64, 96, 128} {
		w := add("tokens", 0)
		image := w.config.Modalities["image"]
		var input map[string]any
		if err := json.Unmarshal(image.Input, &input); err != nil {
			return nil, err
		}
		input["size"] = size
		var err error
		if image.Input, err = json.Marshal(input); err != nil {
			return nil, err
		}
		w.config.Modalities["image"] = image
		ps, err := w.config.OpenProcessors("")
		if err != nil {
			return nil, err
		}
		for name, p := range ps {
			grid := p.Layout().Grid
			w.value += grid[0] * grid[1]
			if w.config.Modalities[name].Pool == "class" {
				w.value++
			}
		}
	}
	for _, batch := range []int{8, tableBatch, 128} {
		add("batch", batch).batch = batch
	}
	for threads := 1; threads < cpus; threads *= 2 {
		add("threads", threads).threads = threads
	}
	add("threads", cpus)
	for unique := 1; unique <= base.Trunk.Layers; unique++ {
		if base.Trunk.Layers%unique == 0 {
			l := &add("unique layers", unique).config.Sharing.Layers
			l.Scheme, l.Unique = "cycle", unique
		}
	}
	return ws, nil
}

// measureCosts measures every row in a process of its own, whose peak of
// memory is that row's alone.
func measureCosts(e *command.Env, seconds float64) ([]cost, error) {
	base, _, err := readConfig("clip-tiny")
	if err != nil {
		return nil, err
	}
	ws, err := works(base)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "mmtrain-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	bar := progress.New(e.Stderr, "bench", len(ws))
	defer bar.Done()
	costs := make([]cost, len(ws))
	for i, w := range ws {
		costs[i] = cost{Varied: w.varied, Value: w.value}
		if costs[i].BenchResult, err = w.measure(e, filepath.Join(dir, "config.json"), seconds); err != nil {
			return nil, fmt.Errorf("%s %d: %w", w.varied, w.value, err)
		}
		bar.Set(i + 1)
	}
	return costs, nil
}

// measure runs this program on the work, whose config it writes to path.
func (w *work) measure(e *command.Env, path string, seconds float64) (r train.BenchResult, err error) {
	data, err := json.Marshal(w.config)
	if err != nil {
		return r, err
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return r, err
	}
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	cmd := exec.CommandContext(e.Ctx, self, "bench", "--json", "--config", path,
		"--batch-size", strconv.Itoa(w.batch), "--threads", strconv.Itoa(w.threads),
		"--seconds", strconv.FormatFloat(seconds, 'g', -1, 64))
	var says strings.Builder
	cmd.Stderr = &says
	out, err := cmd.Output()
	if err != nil {
		if e.Ctx.Err() != nil {
			return r, e.Ctx.Err()
		}
		return r, fmt.Errorf("%w: %s", err, strings.TrimSpace(says.String()))
	}
	return r, json.Unmarshal(out, &r)
}
