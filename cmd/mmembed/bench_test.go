package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// TestMain lets the test binary be mmembed when a benchmark, which starts
// itself to time a start, calls it so.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "bench" {
		main()
	}
	os.Exit(m.Run())
}

func bench(t *testing.T, args ...string) benchResult {
	t.Helper()
	var r benchResult
	code, stdout, errs := mmembed(t, append([]string{"bench", "--seconds", "0.001", "--threads", "1", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(stdout), &r); code != 0 || err != nil {
		t.Fatalf("exit %d, %q, %s", code, errs, stdout)
	}
	return r
}

// Texts are measured as captions and at full length, each alone and in a
// batch, and a model's first embedding is timed for every modality.
func TestBench(t *testing.T) {
	r := bench(t, "--model", run(t))
	if len(r.Rows) != 8 || len(r.FirstMS) != 3 || r.PeakRSSMB < 1 || !strings.Contains(r.Device, "1 thread") {
		t.Errorf("%+v", r)
	}
	seen := map[[2]int]bool{}
	for _, row := range r.Rows {
		if row.P50MS <= 0 || row.PerS <= 0 || row.Runs < 5 {
			t.Errorf("%+v", row)
		}
		if row.Modality == "text" {
			seen[[2]int{row.Tokens, row.Batch}] = true
		}
	}
	for _, want := range [][2]int{{10, 1}, {10, 32}, {40, 1}, {40, 32}} {
		if !seen[want] {
			t.Errorf("no row for texts of %d tokens in batches of %d: %v", want[0], want[1], seen)
		}
	}
	for name, ms := range r.FirstMS {
		if ms <= 0 {
			t.Errorf("first %s after %g ms", name, ms)
		}
	}
	if r := bench(t, "--config", "demo"); len(r.Rows) != 8 || r.FirstMS != nil {
		t.Errorf("with random weights: %+v", r)
	}
}

// A random model that is saved opens with all of its vocabulary.
func TestSaveRandom(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	if code, _, errs := mmembed(t, "bench", "--config", "demo", "--save", dir); code != 0 {
		t.Fatal(errs)
	}
	m, err := model.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	p, err := m.Processor("text")
	if err != nil || p.Layout().Vocab != 512 {
		t.Errorf("a vocabulary of %d (%v), want the config's 512", p.Layout().Vocab, err)
	}
	if _, err := m.EmbedValue(t.Context(), "text", "one small red circle"); err != nil {
		t.Error(err)
	}
}

func TestBenchMistakes(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 2, "--config"},
		{[]string{"--model", "x", "--config", "y"}, 2, "together"},
		{[]string{"--config", "dmeo"}, 1, `"demo"`},
		{[]string{"--model", t.TempDir()}, 1, "not a run folder"},
		{[]string{"--config", "demo", "--first", "smell"}, 1, "smell"},
	} {
		code, _, errs := mmembed(t, append([]string{"bench"}, c.args...)...)
		if code != c.code || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%v: exit %d, %q; want exit %d and %q", c.args, code, errs, c.code, c.want)
		}
	}
}

// TestInt8OfViTB32 holds embeddings with int8 weights to those in float32, at
// the sizes that people use.
func TestInt8OfViTB32(t *testing.T) {
	if testing.Short() {
		t.Skip("150 million random weights take some seconds")
	}
	m, err := (&benchCmd{Config: "clip-vitb32"}).open()
	if err != nil {
		t.Fatal(err)
	}
	samples, want := map[string][]tokenizers.Tokens{}, map[string][]float32{}
	for _, name := range m.Modalities() {
		p, err := m.Processor(name)
		if err != nil {
			t.Fatal(err)
		}
		if samples[name], err = randomBatch(m, name, p.Layout().Grid, 4); err != nil {
			t.Fatal(err)
		}
		if want[name], err = m.Embed(t.Context(), name, samples[name]); err != nil {
			t.Fatal(err)
		}
	}
	m.Int8()
	for name := range samples {
		got, err := m.Embed(t.Context(), name, samples[name])
		if err != nil {
			t.Fatal(err)
		}
		least := 1.0
		for i := 0; i < len(got); i += m.Dim() {
			var cos float64
			for j := i; j < i+m.Dim(); j++ {
				cos += float64(got[j]) * float64(want[name][j])
			}
			least = min(least, cos)
		}
		t.Logf("%s: cosine %.5f at least", name, least)
		if least < 0.999 {
			t.Errorf("%s: a cosine of %g to float32", name, least)
		}
	}
}
