package train_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/train"
)

// writePairs makes a folder of pairs of a recording and a name that have nothing
// to do with each other: who has not seen a pair cannot know it.
func writePairs(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(5, 1))
	manifest := "id\ttrace\ttext\n"
	for i := range n {
		var values, name strings.Builder
		for range 8 {
			level := rng.NormFloat64()
			for range 8 {
				fmt.Fprintf(&values, "%.3f\n", level)
			}
		}
		for k := range 6 {
			name.WriteByte("bdfgklmnprstvz"[rng.IntN(14)])
			name.WriteByte("aeiou"[rng.IntN(5)])
			if k == 2 {
				name.WriteByte(' ')
			}
		}
		file := fmt.Sprintf("%d.trace", i)
		if err := os.WriteFile(filepath.Join(dir, file), []byte(values.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		manifest += fmt.Sprintf("pair-%d\t%s\t%s\n", i, file, name.String())
	}
	if err := os.WriteFile(filepath.Join(dir, "manifest.tsv"), []byte(manifest), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// forgetting describes how a run forgets a few of the pairs.
func forgetting(t *testing.T, data, run string) train.ForgetOptions {
	t.Helper()
	src, err := datasets.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	return train.ForgetOptions{
		Model: run, Data: src, Items: []string{"pair-3", "pair-11", "pair-17", "pair-20", "pair-29", "pair-31"},
		Dir: filepath.Join(t.TempDir(), "without"), Steps: 90, LR: 2e-3, MaxBad: 0.01, Threads: 2,
	}
}

// TestForgottenPairsAreAsIfNeverSeen: pairs that cannot be guessed are known no
// better after they are forgotten than by a model that was trained without them,
// and what stays loses at most 0.1 of its R@1.
func TestForgottenPairsAreAsIfNeverSeen(t *testing.T) {
	data, run := writePairs(t, 36), t.TempDir()
	mustRun(t, data, run, nil, func(s *train.Settings) { s.Steps, s.Batch = 110, 18 })
	o := forgetting(t, data, run)
	o.Reference = true
	r, err := train.Forget(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("forgotten: %.2f, then %.2f, never seen %.2f; retained: %.2f, then %.2f, %.2f", r.Before.Forgotten.R1, r.After.Forgotten.R1, r.Reference.Forgotten.R1,
		r.Before.Retained.R1, r.After.Retained.R1, r.Reference.Retained.R1)
	if r.Forgotten != 6 || r.Retained != 30 || r.Before.Forgotten.Pairs["text>trace"].N != 6 || r.Before.Retained.Pairs["text>trace"].Gallery != 36 {
		t.Errorf("queries %+v", r.Before.Forgotten)
	}
	if r.Before.Forgotten.R1 < 0.9 || r.Before.Retained.R1 < 0.9 {
		t.Fatalf("the pairs were not learned: R@1 %.2f and %.2f", r.Before.Forgotten.R1, r.Before.Retained.R1)
	}
	if d := r.After.Forgotten.R1 - r.Reference.Forgotten.R1; d > 0.15 || d < -0.15 {
		t.Errorf("forgotten pairs have R@1 %.2f, of a model that never saw them %.2f", r.After.Forgotten.R1, r.Reference.Forgotten.R1)
	}
	if r.After.Retained.R1 < r.Before.Retained.R1-0.1 {
		t.Errorf("R@1 of pairs that stay fell from %.2f to %.2f", r.Before.Retained.R1, r.After.Retained.R1)
	}
	// The same command finds what is done, reference included.
	again, err := train.Forget(t.Context(), o)
	if err != nil || again.After.Retained.R1 != r.After.Retained.R1 || again.Reference.Forgotten.R1 != r.Reference.Forgotten.R1 {
		t.Errorf("again: %+v (%v)", again.After, err)
	}
	o.Items = o.Items[1:]
	if _, err := train.Forget(t.Context(), o); err == nil || !strings.Contains(err.Error(), "another forgetting") {
		t.Errorf("other items in the same folder: %v", err)
	}
}

func TestForgettingGoesOn(t *testing.T) {
	data, run := writePairs(t, 36), t.TempDir()
	mustRun(t, data, run, func(o *train.Options) { o.MaxSteps = 4 }, short)
	o := forgetting(t, data, run)
	o.Steps = 12
	if _, err := train.Forget(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	whole := weights(t, o.Dir)
	o.Dir = filepath.Join(t.TempDir(), "parts")
	ctx, cancel := context.WithCancel(t.Context())
	plain := o.Data
	o.Data = &cancelling{Source: plain, after: 60, cancel: cancel}
	if _, err := train.Forget(ctx, o); !errors.Is(err, train.ErrInterrupted) || !strings.Contains(err.Error(), "the same command") {
		t.Fatalf("interrupted: %v", err)
	}
	o.Data = plain
	if _, err := train.Forget(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if string(weights(t, o.Dir)) != string(whole) {
		t.Error("a forgetting that was interrupted went on differently")
	}
	for want, change := range map[string]func(o *train.ForgetOptions){
		`no items of these ids: "pair-x", "pair-y"`: func(o *train.ForgetOptions) { o.Items = []string{"pair-1", "pair-x", "pair-y"} },
		"the folder is not empty":                   func(o *train.ForgetOptions) { o.Dir = run },
		"not a run folder":                          func(o *train.ForgetOptions) { o.Model = data },
	} {
		o := forgetting(t, data, run)
		change(&o)
		if _, err := train.Forget(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to hold %q", err, want)
		}
	}
}
