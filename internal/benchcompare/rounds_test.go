package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Every side measures once a round, none always first, and a series holds a
// side's rounds in order.
func TestTurns(t *testing.T) {
	b := &bench{options: options{rounds: 3}}
	var order []string
	fake := func(name string) side {
		return side{name, func(context.Context, float64) (map[string]float64, float64, error) {
			order = append(order, name)
			return map[string]float64{"n": float64(len(order))}, 0, nil
		}}
	}
	if err := b.turns(t.Context(), "c", 1, []side{fake("x"), fake("y")}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"x", "y", "y", "x", "x", "y"}; !slices.Equal(order, want) {
		t.Errorf("turns %v, want %v", order, want)
	}
	if got := b.report.series("c", "y", "n"); !slices.Equal(got, []float64{2, 3, 6}) {
		t.Errorf("series %v", got)
	}
	broken := side{"z", func(context.Context, float64) (map[string]float64, float64, error) {
		return nil, 0, errors.New("no memory")
	}}
	if err := b.turns(t.Context(), "c", 1, []side{broken}); err == nil || err.Error() != "z: no memory" {
		t.Errorf("error %v", err)
	}
}

// A peer answers when it is asked, and what it says when it ends is told.
func TestPeer(t *testing.T) {
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skip("needs /bin/sh")
	}
	dir := t.TempDir()
	t.Chdir(dir)
	script := `echo '{"params": 7, "versions": {"it": "1.2"}}'
while read s; do
	if [ "$s" = 9 ]; then echo out of memory >&2; exit 1; fi
	echo "{\"batch\": 4, \"step_s\": $s, \"args\": \"$*\"}"
done`
	path := filepath.Join("internal", "benchcompare", "fake.sh")
	python := filepath.Join("venv", "bin", "python")
	for _, err := range []error{
		os.MkdirAll(filepath.Dir(path), 0o755),
		os.MkdirAll(filepath.Dir(python), 0o755),
		os.WriteFile(path, []byte(script), 0o644),
		os.Symlink("/bin/sh", python),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	b := &bench{options: options{venv: "venv", threads: 3}, report: report{Versions: map[string]string{}}}
	p, r, err := b.start(t.Context(), nil, "fake.sh", "--fused")
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	if r.Params != 7 || b.report.Versions["it"] != "1.2" {
		t.Errorf("ready with %+v, versions %v", r, b.report.Versions)
	}
	for range 2 {
		figures, _, err := trained(func(to any) (float64, error) { return p.ask(0.5, to) })
		if err != nil || figures["samples_per_s"] != 8 {
			t.Errorf("figures %v (%v)", figures, err)
		}
	}
	if _, err := p.ask(9, &r); err == nil || !strings.Contains(err.Error(), "fake.sh: ") || !strings.Contains(err.Error(), "out of memory") {
		t.Errorf("error %v, want the script and what it said", err)
	}
}

// Texts that are shorter than the context are captions.
func TestEmbedded(t *testing.T) {
	answer := `{"rows": [
		{"modality": "text", "tokens": 10, "batch": 1, "p50_ms": 2, "per_s": 500},
		{"modality": "text", "tokens": 77, "batch": 1, "p50_ms": 8, "per_s": 125},
		{"modality": "image", "tokens": 49, "batch": 32, "p50_ms": 100, "per_s": 320}],
		"first_ms": {"image": 300}, "peak_rss_mb": 64}`
	figures, _, err := embedded(func(to any) (float64, error) { return 0, json.Unmarshal([]byte(answer), to) })
	want := map[string]float64{
		"caption/1 ms": 2, "caption/1 per_s": 500, "text/1 ms": 8, "text/1 per_s": 125,
		"image/32 ms": 100, "image/32 per_s": 320, "image first_ms": 300, "peak_mb": 64,
	}
	if err != nil || !reflect.DeepEqual(figures, want) {
		t.Errorf("%v (%v), want %v", figures, err, want)
	}
}

func TestParse(t *testing.T) {
	if o, err := parse(nil); err != nil || !slices.Equal(o.only, groups) || !slices.Equal(o.configs, configs) {
		t.Errorf("without flags: %+v (%v)", o, err)
	}
	for _, c := range []struct{ arg, want string }{
		{"-only=train,speed", `"speed"`},
		{"-configs=large", `"large"`},
		{"-rounds=0", "-rounds"},
		{"tiny", "tiny"},
	} {
		if _, err := parse([]string{c.arg}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %s", c.arg, err, c.want)
		}
	}
}

// The share of others is what the machine worked beyond the side.
func TestProcessorTime(t *testing.T) {
	if machineCPU() == 0 {
		t.Skip("the system does not say")
	}
	before, own := machineCPU(), processCPU(os.Getpid())
	x := 0.0
	for processCPU(os.Getpid()) < own+0.1 {
		for i := range 1000000 {
			x += float64(i)
		}
	}
	if spent := machineCPU() - before; spent < 0.05 {
		t.Errorf("the machine worked %g s while this process worked 0.1 s (%g)", spent, x)
	}
	if got := others(1, 2, 1); got != 0 {
		t.Errorf("share %g of a machine that worked less than the side", got)
	}
}
