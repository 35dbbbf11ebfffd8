package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/train"
)

// mmtrain runs a command line.
func mmtrain(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = program.Run(t.Context(), &app{}, args, &out, &errs)
	return code, out.String(), errs.String()
}

func must(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errs := mmtrain(t, args...)
	if code != 0 {
		t.Fatalf("mmtrain %v: exit %d\n%s", args, code, errs)
	}
	return out
}

func TestTheMainJob(t *testing.T) {
	logs := t.TempDir()
	run := filepath.Join(logs, "r")
	base := []string{"train", "--config", "demo", "--train-data", "demo:", "--val-data", "demo:#val", "--logs", logs, "--name", "r", "--json"}
	var res train.Result
	if err := json.Unmarshal([]byte(must(t, append(base, "--max-steps", "2")...)), &res); err != nil || res.Step != 2 || res.Eval == nil {
		t.Fatalf("result %+v (%v), want step 2 with an evaluation", res, err)
	}
	if code, _, errs := mmtrain(t, base...); code != 1 || !strings.Contains(errs, "--resume latest") {
		t.Errorf("a second run of the same name: exit %d, %q", code, errs)
	}
	must(t, append(base, "--max-steps", "3", "--resume", "latest")...)
	if _, err := os.Stat(filepath.Join(model.CheckpointDir(run, 3), "model.safetensors")); err != nil {
		t.Error(err)
	}

	var ev train.Evaluation
	if err := json.Unmarshal([]byte(must(t, "eval", "--model", run, "--data", "demo:#test", "--json")), &ev); err != nil {
		t.Fatal(err)
	}
	if len(ev.Pairs) != 6 || ev.Pairs["image>text"].N != 500 || ev.Pairs["text>audio"].R10 > 0.5 {
		t.Errorf("evaluation of an untrained model: %+v", ev)
	}
	if table := must(t, "eval", "--model", run, "--data", "demo:#test"); !strings.Contains(table, "image>text") || !strings.Contains(table, "worst direction") {
		t.Errorf("table:\n%s", table)
	}

	var rep model.Report
	if err := json.Unmarshal([]byte(must(t, "inspect", "--model", run, "--json")), &rep); err != nil {
		t.Fatal(err)
	}
	var on inspected
	if err := json.Unmarshal([]byte(must(t, "inspect", "--model", run, "--json")), &on); err != nil || on.DiskBytes < on.Bytes {
		t.Errorf("%d bytes on disk of %d (%v)", on.DiskBytes, on.Bytes, err)
	}
	if rep.Parameters.Trunk != 151488 || len(rep.Map) != 3*6*3 || rep.FLOPs["image"] == 0 {
		t.Errorf("report %+v", rep.Parameters)
	}
}

func TestInspectPresets(t *testing.T) {
	for _, preset := range []string{"demo", "tiny", "small"} {
		if out := must(t, "inspect", "--model", preset); !strings.Contains(out, "unique parameters") || !strings.Contains(out, "trunk/0/attn/qkv") {
			t.Errorf("%s:\n%s", preset, out)
		}
	}
}

func TestInspectDrawsTheMap(t *testing.T) {
	dir := t.TempDir()
	config, svg := filepath.Join(dir, "c.json"), filepath.Join(dir, "map.svg")
	if err := os.WriteFile(config, []byte(`{"base": "demo", "sharing": {"delta": {"kind": "lora", "by": "modality", "rank": 2, "roles": ["up"]}}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	out := must(t, "inspect", "--model", config, "--svg", svg)
	for _, want := range []string{"layer 0     A  B  C    D  D  D    E  E  E    F  G  H    I+  I+  I+    J  J  J", "+ lora: a low-rank delta", "A trunk/0/norm1@audio", "242243 unique parameters"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Error("colours are printed where there is no terminal")
	}
	if data, err := os.ReadFile(svg); err != nil || !strings.HasPrefix(string(data), "<svg ") || !strings.Contains(string(data), "trunk/2/ffn@text/up/lora/a") {
		t.Errorf("drawing %.80s (%v)", data, err)
	}
	var r inspected
	if err := json.Unmarshal([]byte(must(t, "inspect", "--model", config, "--json")), &r); err != nil {
		t.Fatal(err)
	}
	// Layers times modalities times the rank times [64 in + 256 out].
	if added := 3 * 3 * 2 * (64 + 256); r.Parameters.Unique != 236483+added || r.Tensors["trunk/0/ffn@text/up/lora/b"] != 512 || r.DiskBytes != 0 {
		t.Errorf("%d unique parameters, want %d", r.Parameters.Unique, 236483+added)
	}
}

func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	wrongKey := write("wrong.json", `{"trunk": {"widht": 3}}`)
	noColumn := write("m.csv", "pictures,words\na,b\n")
	args := func(more ...string) []string {
		return append([]string{"train", "--logs", dir, "--name", "x"}, more...)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"trian"}, 2, "trian"},
		{args("--config", "demo"), 2, "--train-data"},
		{args("--config", "demo", "--train-data", "demo:", "--batch-size", "1"), 2, "train.batch"},
		{args("--config", "demo", "--train-data", "demo:", "--steps", "5", "--epochs", "2"), 2, "--epochs"},
		{args("--config", "demmo", "--train-data", "demo:"), 1, `did you mean the preset "demo"`},
		{args("--config", wrongKey, "--train-data", "demo:"), 1, `did you mean "width"`},
		{args("--config", "demo", "--train-data", "demo:#tset"), 1, "tset"},
		{args("--config", "demo", "--train-data", filepath.Join(dir, "none.csv")), 1, "none.csv"},
		{args("--config", "demo", "--train-data", noColumn), 1, "pictures"},
		{[]string{"eval", "--model", dir, "--data", "demo:"}, 1, dir},
		{[]string{"inspect", "--model", "hugee"}, 1, "hugee"},
	} {
		code, _, errs := mmtrain(t, c.args...)
		if code != c.code || !strings.Contains(errs, c.want) || !strings.HasPrefix(errs, "mmtrain: ") || strings.Count(errs, "\n") != 1 {
			t.Errorf("%v: exit %d, %q; want exit %d and one line that holds %q", c.args, code, errs, c.code, c.want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "x")); err == nil {
		t.Error("a run folder was left behind by a mistake")
	}
}

func TestHelpTeaches(t *testing.T) {
	for _, cmd := range [][]string{nil, {"train"}, {"eval"}, {"inspect"}, {"compare"}, {"design"}, {"data"}, {"bench"}, {"compress"}, {"forget"}} {
		code, out, _ := mmtrain(t, append(cmd, "--help")...)
		if code != 0 || !strings.Contains(out, "Usage: mmtrain") {
			t.Errorf("%v --help: exit %d\n%s", cmd, code, out)
		}
	}
}
