package design

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/compare"
	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/datasets/demo"
	_ "github.com/onetrunk/onetrunk/modalities/all"
	"github.com/onetrunk/onetrunk/model"
)

const base = `{
	"trunk": {"width": 8, "layers": 2, "heads": 2, "hidden": 16, "embed": 8},
	"modalities": {
		"image": {"input": {"size": 32, "patch": 16}},
		"audio": {"input": {"rate": 8000, "window": 256, "fft": 256, "hop": 160, "mels": 16, "fmax": 4000, "seconds": 1, "patch": [16, 16]}},
		"text":  {"input": {"vocab": 300, "length": 16}}
	},
	"sharing": {SHARING},
	"train": {"batch": 8, "steps": 4, "lr": 0.01}
}`

func options(t *testing.T, sharing string) Options {
	t.Helper()
	o := Options{
		Base: compare.Config{Name: "base", Data: []byte(strings.Replace(base, "SHARING", sharing, 1))}, Share: 0.93, SearchSteps: 6, Random: 3,
		Compare: compare.Options{Seeds: 1, Jobs: 1, Dir: t.TempDir()},
	}
	for split, src := range map[string]*datasets.Source{"train": &o.Compare.Train, "val": &o.Compare.Val, "test": &o.Compare.Test} {
		s, err := demo.Open(split, demo.Options{Train: 64, Val: 24, Test: 24})
		if err != nil {
			t.Fatal(err)
		}
		*src = s
	}
	return o
}

func TestDesign(t *testing.T) {
	o := options(t, `"private": ["norm1", "norm2"]`)
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	unique := map[string]int{}
	for _, c := range r.Comparison.Configs {
		unique[c.Config] = c.Unique
	}
	if want := int(0.93 * float64(unique["separate"])); r.Budget != want || len(unique) != 3+2+3 {
		t.Errorf("a budget of %d, want %d; configs %v", r.Budget, want, unique)
	}
	for name, n := range unique {
		if n > r.Budget && name != "separate" && name != "experts" {
			t.Errorf("%s has %d parameters, the budget is %d", name, n, r.Budget)
		}
	}
	for _, d := range r.Designs {
		if d.Unique != unique[d.Config] || d.Above == nil || d.R1.N != 1 {
			t.Errorf("%+v: trained with %d parameters", d, unique[d.Config])
		}
		// The file is a plain config of that map.
		c, err := model.ReadConfig(filepath.Join(o.Compare.Dir, d.File))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(c.Sharing.Map, d.Map) || c.Sharing.Mix != nil {
			t.Errorf("%s holds %v, want %v", d.File, c.Sharing, d.Map)
		}
	}
	// What is done is not done again, and the report is written whole.
	before, err := os.Stat(filepath.Join(o.Compare.Dir, "search", "mixture", "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(filepath.Join(o.Compare.Dir, "search", "mixture", "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if !after.ModTime().Equal(before.ModTime()) || !reflect.DeepEqual(again.Designs, r.Designs) {
		t.Error("a finished design is another when it is asked for again")
	}
	data, err := os.ReadFile(filepath.Join(o.Compare.Dir, "design.json"))
	if err != nil {
		t.Fatal(err)
	}
	var written Report
	if err := json.Unmarshal(data, &written); err != nil || !reflect.DeepEqual(written.Designs, r.Designs) {
		t.Errorf("design.json: %v", err)
	}
}

func TestDesignMistakes(t *testing.T) {
	for sharing, want := range map[string]string{
		`"mix": {"kind": "stitch"}`: "a design is of layers and private norms",
		`"private": []`:             "expected at least",
	} {
		o := options(t, sharing)
		o.Budget, o.SearchSteps = 100, 1
		if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want it to hold %q", sharing, err, want)
		}
	}
}
