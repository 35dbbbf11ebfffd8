package train_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/checkpoint"
	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/train"
)

// compression describes the making of a smaller model by a block.
func compression(t *testing.T, data, run string, by *sharing.Compress) train.CompressOptions {
	t.Helper()
	src, err := datasets.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	test, err := datasets.Open(data + "#test")
	if err != nil {
		t.Fatal(err)
	}
	return train.CompressOptions{
		Model: run, Dir: filepath.Join(t.TempDir(), "small"), Data: src, Test: test, Seconds: 0.01, MaxBad: 0.01, Threads: 2,
		To: func(c sharing.Config) (sharing.Config, error) {
			c.Compress = by
			return c, nil
		},
	}
}

// TestCompress makes smaller models of a trained one, trains them further, and
// opens what is written.
func TestCompress(t *testing.T) {
	data, run := traces(t), t.TempDir()
	mustRun(t, data, run, nil, func(s *train.Settings) { s.Steps = 100 })
	codes := func(dir, name string) []byte {
		step, err := model.Marked(dir, "latest")
		if err != nil {
			t.Fatal(err)
		}
		f, err := checkpoint.Open(filepath.Join(step, "model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		shape, _ := f.Shape(name)
		x, err := f.Bytes(name, "U8", shape)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	var before []byte
	for _, c := range []struct {
		by    sharing.Compress
		steps int
		bytes float64 // of before, at most
		r1    float64 // of before, at least
	}{
		{sharing.Compress{Kind: "int8"}, 0, 0.6, 0.9},
		{sharing.Compress{Kind: "kmeans", Bits: 3}, 0, 0.5, 0},
		{sharing.Compress{Kind: "kmeans", Bits: 3}, 20, 0.5, 0.6},
		{sharing.Compress{Kind: "basis", Ratio: 0.5, Group: 2}, 20, 0.75, 0.6},
	} {
		o := compression(t, data, run, &c.by)
		o.Steps = c.steps
		r, err := train.Compress(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if share := float64(r.After.Bytes) / float64(r.Before.Bytes); share > c.bytes || r.After.Recall.R1 < c.r1*r.Before.Recall.R1 || !(r.Before.SamplesPerS > 0 && r.After.SamplesPerS > 0) {
			t.Errorf("%s, %d steps: %.2f of the bytes, R@1 %.2f of %.2f, speeds %.0f and %.0f", r.Sharing, c.steps, share, r.After.Recall.R1, r.Before.Recall.R1, r.Before.SamplesPerS, r.After.SamplesPerS)
		}
		m, err := model.Open(o.Dir)
		if err != nil {
			t.Fatal(err)
		}
		if c.by.Kind != "kmeans" {
			continue
		}
		// Training moves the values of a codebook, never who has which.
		now := codes(o.Dir, "trunk/0/attn/qkv/codes")
		if c.steps == 0 {
			before = now
		} else if string(now) != string(before) || r.Tuned == r.Distance {
			t.Error("training changes codes, or nothing")
		}
		if n := m.Bank.Param("trunk/0/attn/qkv/codebook").Value.Len(); n != 8 {
			t.Errorf("a codebook of %d values", n)
		}
	}
}

func TestCompressLeavesNothingBehind(t *testing.T) {
	data, run := traces(t), t.TempDir()
	mustRun(t, data, run, func(o *train.Options) { o.MaxSteps = 2 }, short)
	o := compression(t, data, run, &sharing.Compress{Kind: "kmeans", Bits: 3})
	o.Steps, o.Test = 1000000, nil
	ctx, cancel := context.WithCancel(t.Context())
	o.Data = &cancelling{Source: o.Data, after: 150, cancel: cancel}
	_, err := train.Compress(ctx, o)
	if !errors.Is(err, train.ErrInterrupted) || !strings.Contains(err.Error(), "nothing is written") {
		t.Errorf("interrupted: %v", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(o.Dir)); len(left) != 0 {
		t.Errorf("%v is left behind", left)
	}
	for want, change := range map[string]func(o *train.CompressOptions){
		"need data to calibrate": func(o *train.CompressOptions) {
			o.Data = nil
			o.To = func(c sharing.Config) (sharing.Config, error) {
				c.Compress = &sharing.Compress{Kind: "basis", Rank: 2}
				return c, nil
			}
		},
		"need data to train":    func(o *train.CompressOptions) { o.Data = nil },
		"folder is not empty":   func(o *train.CompressOptions) { o.Dir = run },
		"sharing.compress.bits": func(o *train.CompressOptions) { o.To = compression(t, data, run, &sharing.Compress{Kind: "kmeans"}).To },
	} {
		o := compression(t, data, run, &sharing.Compress{Kind: "kmeans", Bits: 3})
		o.Steps = 1
		change(&o)
		if _, err := train.Compress(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to hold %q", err, want)
		}
	}
}

// TestCompressedFromScratch trains codebooks of random codes and bases from their
// first values.
func TestCompressedFromScratch(t *testing.T) {
	data := traces(t)
	test, err := datasets.Open(data + "#test")
	if err != nil {
		t.Fatal(err)
	}
	for _, by := range []*sharing.Compress{{Kind: "kmeans", Bits: 4}, {Kind: "basis", Rank: 8, Group: 2}} {
		dir := t.TempDir()
		mustRun(t, data, dir, func(o *train.Options) { o.Config.Sharing.Compress = by }, func(s *train.Settings) { s.Steps = 80 })
		m, err := model.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		e, err := train.Evaluate(t.Context(), m, test, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		if mean, _ := e.Mean(); mean < 0.2 {
			t.Errorf("%s: R@1 %.2f, want at least 0.2 (chance is 0.04)", by, mean)
		}
		// Resumed runs have the same bits.
		a, b := t.TempDir(), t.TempDir()
		of := func(steps int, resume bool) func(o *train.Options) {
			return func(o *train.Options) {
				o.Config.Sharing.Compress = by
				o.MaxSteps, o.Resume = steps, resume
			}
		}
		mustRun(t, data, a, of(8, false), short)
		mustRun(t, data, b, of(3, false), short)
		mustRun(t, data, b, of(8, true), short)
		if string(weights(t, a)) != string(weights(t, b)) {
			t.Errorf("%s: a resumed run has other bits", by)
		}
	}
	o, err := options(data, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	o.Config.Sharing.Compress = &sharing.Compress{Kind: "int8"}
	if _, err := train.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "sharing.compress.kind: int8") {
		t.Errorf("int8 from its first values: %v", err)
	}
}
