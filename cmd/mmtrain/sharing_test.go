package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/checkpoint"
	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/datasets/demo"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/tensor"
	"github.com/onetrunk/onetrunk/train"
)

// TestSharingExamples reads every example of a way of sharing, trains it for two
// steps on a small demo: world, opens what was saved, and holds its embeddings to
// those of the same weights in a model that makes its weights at each pass.
func TestSharingExamples(t *testing.T) {
	paths, err := filepath.Glob("../../configs/sharing/*.json")
	if err != nil || len(paths) < 20 {
		t.Fatalf("%d examples (%v)", len(paths), err)
	}
	src, err := demo.Open("train", demo.Options{Train: 48, Val: 4, Test: 4})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			cfg, settings, err := readConfig(path)
			if err != nil {
				t.Fatal(err)
			}
			settings.Batch, settings.Accumulate = 8, 1
			if m := cfg.Sharing.Mask; m != nil && m.Kind == "sparse" {
				m.Rounds, m.Steps = 1, 2
			}
			dir := t.TempDir()
			res, err := train.Run(t.Context(), train.Options{Name: path, Config: cfg, Settings: settings, Train: src, Dir: dir, MaxSteps: 2, Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			if res.Step != 2 || !(res.Loss > 0 && res.Loss < 10) {
				t.Errorf("step %d with a loss of %g", res.Step, res.Loss)
			}
			m, err := model.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			weights := filepath.Join(model.CheckpointDir(dir, 2), "model.safetensors")
			checkNames(t, m, weights)
			plain := model.New(m.Config, m.Processors(), tensor.CPU(1), 99)
			if err := plain.Load(weights); err != nil {
				t.Fatal(err)
			}
			for _, name := range m.Modalities() {
				var got [2][]float32
				for i, m := range []*model.Model{m, plain} {
					p, err := m.Processor(name)
					if err != nil {
						t.Fatal(err)
					}
					v, err := src.Load(cell(src, name), p)
					if err != nil {
						t.Fatal(err)
					}
					if got[i], err = m.EmbedValue(t.Context(), name, v); err != nil {
						t.Fatal(err)
					}
				}
				if !slices.Equal(got[0], got[1]) {
					t.Errorf("%s: a model that was opened embeds another thing than one that loads its weights", name)
				}
			}
		})
	}
}

// cell is a value of a modality of the first item.
func cell(src datasets.Source, modality string) datasets.Cell {
	cells := src.Item(0).Rows[0].Cells
	return cells[slices.IndexFunc(cells, func(c datasets.Cell) bool { return c.Modality == modality })]
}

// checkNames holds the tensors of a checkpoint to those of the model's bank, each
// once.
func checkNames(t *testing.T, m *model.Model, path string) {
	t.Helper()
	f, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var want []string
	for _, p := range m.Bank.Params() {
		want = append(want, p.Name)
	}
	for _, c := range m.Bank.Codes() {
		want = append(want, c.Name)
	}
	slices.Sort(want)
	got := slices.Clone(f.Names())
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the checkpoint holds %v, want %v", got, want)
	}
}
