package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/internal/command"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/train"
)

// TestMain lets the test binary be mmtrain when a test of the table, which
// runs itself, calls it so.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "bench" {
		main()
	}
	os.Exit(m.Run())
}

// Short texts are fewer tokens.
func TestBenchLengths(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lengths.json")
	if err := os.WriteFile(path, []byte(`{"lengths": {"4": 1}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	tokens := func(args ...string) float64 {
		t.Helper()
		var r train.BenchResult
		args = append([]string{"bench", "--config", "demo", "--batch-size", "2", "--seconds", "0.001", "--json"}, args...)
		if err := json.Unmarshal([]byte(must(t, args...)), &r); err != nil || r.Steps < 3 || r.PeakRSSMB < 1 {
			t.Fatalf("%+v (%v)", r, err)
		}
		return r.TokensPerS / r.SamplesPerS
	}
	if full, short := tokens(), tokens("--lengths", path); full-short < 4 {
		t.Errorf("%.1f tokens a sample at full length, %.1f with texts of 4", full, short)
	}
}

// Each row differs from the base in one setting, and can be measured.
func TestWorks(t *testing.T) {
	base, _, err := readConfig("clip-tiny")
	if err != nil {
		t.Fatal(err)
	}
	ws, err := works(base)
	if err != nil {
		t.Fatal(err)
	}
	var plain *work
	for i := range ws {
		if reflect.DeepEqual(ws[i].config, base) && ws[i].varied == "layers" {
			plain = &ws[i]
		}
	}
	if plain == nil {
		t.Fatal("the base is not among the rows that vary the layers")
	}
	values := map[string]map[int]bool{}
	for _, w := range ws {
		data, err := json.Marshal(w.config)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := model.ParseConfig(w.varied, data); err != nil {
			t.Errorf("%d: %v", w.value, err)
		}
		if values[w.varied] == nil {
			values[w.varied] = map[int]bool{}
		}
		values[w.varied][w.value] = true
		c := w.config
		switch w.varied { // put back what the row varies
		case "width":
			c.Trunk.Width, c.Trunk.Heads, c.Trunk.Hidden = base.Trunk.Width, base.Trunk.Heads, base.Trunk.Hidden
		case "layers":
			c.Trunk.Layers = base.Trunk.Layers
		case "tokens":
			c.Modalities = base.Modalities
		case "unique layers":
			c.Sharing = base.Sharing
		}
		if !reflect.DeepEqual(c, base) || w.varied != "batch" && w.batch != plain.batch || w.varied != "threads" && w.threads != plain.threads {
			t.Errorf("%s %d changes something else", w.varied, w.value)
		}
	}
	for varied, want := range map[string]int{"width": 3, "layers": 3, "tokens": 4, "batch": 3, "unique layers": 4} {
		if len(values[varied]) != want {
			t.Errorf("%s has the values %v, want %d different ones", varied, values[varied], want)
		}
	}
	// 64 pixels in patches of 8, a class token, 32 tokens of text.
	if !values["tokens"][64+1+32] {
		t.Errorf("tokens %v do not hold the base's", values["tokens"])
	}
}

func TestMeasureWork(t *testing.T) {
	base, _, err := readConfig("clip-tiny")
	if err != nil {
		t.Fatal(err)
	}
	base.Trunk.Layers = 1
	w := work{config: base, batch: 3, threads: 1}
	e := &command.Env{Ctx: t.Context(), Stderr: new(bytes.Buffer)}
	path := filepath.Join(t.TempDir(), "config.json")
	r, err := w.measure(e, path, 0.001)
	if err != nil || r.Batch != 3 || r.SamplesPerS <= 0 || !strings.Contains(r.Device, "1 thread") {
		t.Errorf("%+v (%v)", r, err)
	}
	// What the other process says is in the error.
	w.config.Trunk.Layers = 0
	if _, err := w.measure(e, path, 0.001); err == nil || !strings.Contains(err.Error(), "trunk.layers") {
		t.Errorf("error %v, want the key", err)
	}
}

func TestBenchMistakes(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--table", "--config", "demo"}, 2, "--config"},
		{[]string{"--table", "--threads", "1"}, 2, "--threads"},
		{[]string{"--config", "demo", "--lengths", "none.json"}, 1, "none.json"},
	} {
		code, _, errs := mmtrain(t, append([]string{"bench"}, c.args...)...)
		if code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%v: exit %d, %q; want exit %d and %q", c.args, code, errs, c.code, c.want)
		}
	}
}

// The presets clip-* have what OpenCLIP's CLIP has of their sizes, and a bias
// of the patch projection more.
func TestPresetsOfThePeers(t *testing.T) {
	tower := func(width, layers, embed int) int {
		block := 12*width*width + 9*width + 2*2*width // products with their biases, two norms
		return layers*block + 2*width + width*embed   // the last norm, the projection
	}
	for preset, want := range map[string]int{
		"clip-tiny":   clip(128, 3*8*8, 64+1, 8192, 128, 32) + 2*tower(128, 6, 128),
		"clip-small":  clip(256, 3*8*8, 144+1, 8192, 256, 32) + 2*tower(256, 8, 256),
		"clip-vitb32": clip(768, 3*32*32, 49+1, 49408, 512, 77) + tower(768, 12, 512) + tower(512, 12, 512),
	} {
		var rep model.Report
		if err := json.Unmarshal([]byte(must(t, "inspect", "--model", preset, "--json")), &rep); err != nil {
			t.Fatal(err)
		}
		if rep.Parameters.Unique != want {
			t.Errorf("%s has %d parameters, want %d", preset, rep.Parameters.Unique, want)
		}
		_, s, err := readConfig(preset)
		if err != nil || s.Clip != 0 || s.Positives != "rows" || s.Decay != 0.2 {
			t.Errorf("%s trains with %+v (%v)", preset, s, err)
		}
	}
}

// clip counts what stands around CLIP's towers: patches [width, patch] with a
// bias, the class token, positions and the norm behind them; ids and their
// positions; the temperature.
func clip(width, patch, rows, vocab, textWidth, context int) int {
	return width*patch + width + width + rows*width + 2*width + (vocab+context)*textWidth + 1
}
