package train_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/modalities"
	_ "github.com/onetrunk/onetrunk/modalities/all"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/train"
)

// options describes a run on the traces in data.
func options(data, dir string, change func(*train.Settings)) (train.Options, error) {
	cfg, err := model.ParseConfig("traces", []byte(tracesConfig))
	if err != nil {
		return train.Options{}, err
	}
	s, err := train.ParseSettings("traces", cfg)
	if err != nil {
		return train.Options{}, err
	}
	if change != nil {
		change(&s)
	}
	src, err := datasets.Open(data)
	if err != nil {
		return train.Options{}, err
	}
	return train.Options{Name: "traces", Config: cfg, Settings: s, Train: src, Dir: dir, MaxBad: 0.01, Threads: 2}, nil
}

func traces(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := writeTraces(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func mustRun(t *testing.T, data, dir string, o func(*train.Options), change func(*train.Settings)) train.Result {
	t.Helper()
	opts, err := options(data, dir, change)
	if err != nil {
		t.Fatal(err)
	}
	if o != nil {
		o(&opts)
	}
	r, err := train.Run(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// weights returns the bytes of a run's latest checkpoint: weights, moments.
func weights(t *testing.T, dir string) []byte {
	t.Helper()
	step, err := model.Marked(dir, "latest")
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, name := range []string{"model.safetensors", "optimizer.safetensors"} {
		data, err := os.ReadFile(filepath.Join(step, name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data...)
	}
	return all
}

func short(s *train.Settings) { s.Steps, s.SaveEvery = 24, 4 }

func TestFourthModalityIsLearned(t *testing.T) {
	data, dir := traces(t), t.TempDir()
	r := mustRun(t, data, dir, nil, nil)
	m, err := model.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	src, err := datasets.Open(data + "#test")
	if err != nil {
		t.Fatal(err)
	}
	e, err := train.Evaluate(t.Context(), m, src, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Pairs) != 2 {
		t.Fatalf("directions %v, want trace>text and text>trace", e.Directions())
	}
	for _, d := range e.Directions() {
		if p := e.Pairs[d]; p.N != 24 || p.R1 < 0.6 {
			t.Errorf("%s: R@1 %.2f of %d queries after %d steps, want at least 0.6 (chance is 0.04)", d, p.R1, p.N, r.Step)
		}
	}
}

func TestSameSeedSameBits(t *testing.T) {
	data := traces(t)
	a, b, c := t.TempDir(), t.TempDir(), t.TempDir()
	mustRun(t, data, a, nil, short)
	mustRun(t, data, b, nil, short)
	mustRun(t, data, c, nil, func(s *train.Settings) { short(s); s.Seed++ })
	if !bytes.Equal(weights(t, a), weights(t, b)) {
		t.Error("two runs with the same seed differ")
	}
	if bytes.Equal(weights(t, a), weights(t, c)) {
		t.Error("the seed changes nothing")
	}
}

func TestStoppedRunGoesOn(t *testing.T) {
	data := traces(t)
	whole, parts := t.TempDir(), t.TempDir()
	accumulate := func(s *train.Settings) { short(s); s.Accumulate = 2; s.Batch = 12 }
	mustRun(t, data, whole, nil, accumulate)
	for _, stop := range []int{5, 13, 24} {
		r := mustRun(t, data, parts, func(o *train.Options) { o.Resume, o.MaxSteps = true, stop }, accumulate)
		if r.Step != stop {
			t.Fatalf("stopped at step %d, want %d", r.Step, stop)
		}
	}
	if !bytes.Equal(weights(t, whole), weights(t, parts)) {
		t.Error("a run in three parts differs from one in one piece")
	}
	log, err := os.ReadFile(filepath.Join(parts, train.LogFile))
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(log, []byte(`"loss"`)); n != 24 {
		t.Errorf("the log has %d steps, want 24", n)
	}
}

func TestInterruptedRunIsSaved(t *testing.T) {
	data, whole, dir := traces(t), t.TempDir(), t.TempDir()
	mustRun(t, data, whole, nil, short)
	opts, err := options(data, dir, short)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	opts.Train = &cancelling{Source: opts.Train, after: 150, cancel: cancel}
	if _, err := train.Run(ctx, opts); !errors.Is(err, train.ErrInterrupted) {
		t.Fatalf("error %v, want ErrInterrupted", err)
	}
	mustRun(t, data, dir, func(o *train.Options) { o.Resume = true }, short)
	if !bytes.Equal(weights(t, whole), weights(t, dir)) {
		t.Error("an interrupted run went on differently")
	}
}

// TestKilledRunGoesOn kills a training process at random moments.
func TestKilledRunGoesOn(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	if data := os.Getenv("ONETRUNK_TEST_DATA"); data != "" {
		// This is the process that is killed.
		mustRun(t, data, os.Getenv("ONETRUNK_TEST_RUN"), func(o *train.Options) { o.Resume = true }, short)
		return
	}
	data, whole, dir := traces(t), t.TempDir(), t.TempDir()
	mustRun(t, data, whole, nil, short)
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	for attempt := 0; ; attempt++ {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestKilledRunGoesOn$")
		cmd.Env = append(os.Environ(), "ONETRUNK_TEST_DATA="+data, "ONETRUNK_TEST_RUN="+dir)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		limit := time.Duration(20+rng.IntN(300)) * time.Millisecond
		if attempt >= 12 {
			limit = time.Minute
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("attempt %d: %v\n%s", attempt, err, &out)
			}
			if !bytes.Equal(weights(t, whole), weights(t, dir)) {
				t.Errorf("a run killed %d times differs from one never killed", attempt)
			}
			return
		case <-time.After(limit):
			if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			<-done
		}
	}
}

// cancelling ends a context after a number of values have been read.
type cancelling struct {
	datasets.Source
	after  int64
	cancel func()
	loads  atomic.Int64
}

func (c *cancelling) Load(cell datasets.Cell, p modalities.Processor) (modalities.Value, error) {
	if c.loads.Add(1) == c.after {
		c.cancel()
	}
	return c.Source.Load(cell, p)
}

func TestMistakesAreNamed(t *testing.T) {
	data := traces(t)
	used := t.TempDir()
	mustRun(t, data, used, func(o *train.Options) { o.MaxSteps = 1 }, short)
	for name, c := range map[string]struct {
		dir    string
		change func(*train.Options)
		want   string
	}{
		"a run is there already": {used, nil, "--resume latest"},
		"other data": {used, func(o *train.Options) {
			o.Resume = true
			o.Train = &shortened{o.Train}
		}, "24 items"},
	} {
		opts, err := options(data, c.dir, short)
		if err != nil {
			t.Fatal(err)
		}
		if c.change != nil {
			c.change(&opts)
		}
		if _, err := train.Run(t.Context(), opts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want it to hold %q", name, err, c.want)
		}
	}
}

// shortened is a source without its last item.
type shortened struct{ datasets.Source }

func (s *shortened) Len() int { return s.Source.Len() - 1 }

func TestSettingsNameTheKey(t *testing.T) {
	for block, want := range map[string]string{
		`{"bach": 3}`:                    `did you mean "batch"?`,
		`{"batch": 1}`:                   "train.batch",
		`{"warmup": 2}`:                  "train.warmup",
		`{"positives": "all"}`:           "train.positives",
		`{"pairs": {"trace+text": 1}}`:   "alphabetical order",
		`{"pairs": {"text+trace": -1}}`:  "train.pairs",
		`{"pairs": {"text+picture": 1}}`: "text+picture",
	} {
		cfg, err := model.ParseConfig("c.json", []byte(tracesConfig))
		if err != nil {
			t.Fatal(err)
		}
		cfg.Train = []byte(block)
		if _, err := train.ParseSettings("c.json", cfg); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "c.json: ") {
			t.Errorf("%s: error %v, want it to hold %q", block, err, want)
		}
	}
}
