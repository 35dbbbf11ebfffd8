package train_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/onetrunk/onetrunk/configs"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/train"
)

// TestRouterNoiseIsTheRunsOwn holds a run with a noisy router that stopped twice
// to one in one piece, also with blocks that are computed again, and to one of
// another noise.
func TestRouterNoiseIsTheRunsOwn(t *testing.T) {
	data := traces(t)
	run := func(noise float64, stops ...int) []byte {
		dir := t.TempDir()
		for _, stop := range stops {
			mustRun(t, data, dir, func(o *train.Options) {
				o.Resume, o.MaxSteps = true, stop
				o.Config.Sharing.Router = &sharing.Router{
					Experts: 3, Top: 1, Gate: "shared", Noise: noise, Capacity: 1.25,
					Balance: sharing.Balancing{Importance: 0.01, Load: 0.01},
				}
			}, func(s *train.Settings) { s.Steps, s.SaveEvery, s.Accumulate, s.Batch = 8, 8, 2, 12 })
		}
		return weights(t, dir)
	}
	whole := run(1, 8)
	if !bytes.Equal(whole, run(1, 3, 6, 8)) {
		t.Error("a run in three parts differs from one in one piece")
	}
	if bytes.Equal(whole, run(2, 8)) {
		t.Error("the noise changes nothing")
	}
}

func TestRouterExamples(t *testing.T) {
	for _, name := range []string{"moe-topk", "moe-shared", "mmoe", "ple", "adatt", "limoe"} {
		path := filepath.Join("..", "configs", "sharing", name+".json")
		data, err := configs.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		c, err := model.ParseConfig(path, data)
		if err != nil {
			t.Error(err)
		} else if c.Sharing.Router == nil {
			t.Errorf("%s has no router", path)
		}
	}
}
