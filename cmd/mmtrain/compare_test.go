package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/compare"
)

// tinyText is a config of pictures and captions of the built-in world.
const tinyText = `{"trunk": {"width": 8, "layers": 1, "heads": 1, "hidden": 8, "embed": 8},
	"modalities": {"image": {"input": {"size": 8, "patch": 8}}, "text": {"input": {"vocab": 260, "length": 8}}},
	"train": {"batch": 4, "steps": 3, "save_every": 3, "eval_every": 3}}`

func TestCompare(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a := write("a.json", tinyText)
	b := write("b.json", `{"base": "a.json", "sharing": {"private": []}}`)
	wild := write("wild.json", `{"base": "a.json", "train": {"decay": 1e30, "clip": 0}}`)
	out := filepath.Join(dir, "out")
	args := func(more ...string) []string {
		return append([]string{"compare", "--data", "demo:", "--seeds", "1", "--out", out}, more...)
	}
	var r compare.Report
	if err := json.Unmarshal([]byte(must(t, args("--configs", a+","+b, "--alone", "all", "--json")...)), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Configs) != 2 || r.Configs[0].Config != "a" || r.Configs[1].R1.N != 1 || len(r.Configs[0].Transfer) != 2 || r.Data.Test != "demo:#test (500 items)" || r.Budget.Steps != 3 {
		t.Errorf("report %+v", r)
	}
	table := filepath.Join(dir, "table.md")
	text := must(t, args("--configs", a+","+b, "--markdown", table)...)
	for _, want := range []string{"to the first", " a ", " b ", filepath.Join(out, "report.html")} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if md, err := os.ReadFile(table); err != nil || !strings.HasPrefix(string(md), "| config | R@1 |") {
		t.Errorf("table %.60s (%v)", md, err)
	}
	if page, err := os.ReadFile(filepath.Join(out, "report.html")); err != nil || !strings.Contains(string(page), "2 configs under one budget") {
		t.Errorf("page of %d bytes (%v)", len(page), err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{args("--configs", a, "--steps", "4"), 1, "not 4 steps"},
		{args("--configs", a+","+wild), 1, "1 of the runs failed; the first, wild with seed 1"},
		{args("--configs", a, "--steps", "4", "--samples", "4"), 2, "--samples"},
		{args("--configs", a, "--seeds", "0"), 2, "--seeds"},
		{args("--configs", a, "--alone", "c"), 1, `"c"`},
		{[]string{"compare", "--configs", a, "--data", dir, "--out", out}, 2, "--test-data"},
		{args("--configs", "demmo"), 1, "demo"},
	} {
		code, _, errs := mmtrain(t, c.args...)
		if code != c.code || !strings.Contains(errs, c.want) || !strings.Contains(errs, "mmtrain: ") {
			t.Errorf("%v: exit %d, %q; want exit %d and a line that holds %q", c.args, code, errs, c.code, c.want)
		}
	}
}
