package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/configs"
	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/retrieval"
	"github.com/onetrunk/onetrunk/tensor"
)

func mmembed(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = program.Run(t.Context(), &app{}, args, &out, &errs)
	return code, out.String(), errs.String()
}

// run makes a run folder of the demo's model, untrained.
func run(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	data, err := configs.Read("demo")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := model.ParseConfig("demo", data)
	if err != nil {
		t.Fatal(err)
	}
	ps, err := cfg.OpenProcessors("")
	if err != nil {
		t.Fatal(err)
	}
	err = ps["text"].(modalities.Fitter).Fit(slices.Values([]modalities.Value{"one small red circle", "two large red rings"}))
	if err != nil {
		t.Fatal(err)
	}
	m := model.New(cfg, ps, tensor.CPU(0), 1)
	step := model.CheckpointDir(dir, 1)
	for _, err := range []error{m.SaveConfig(dir), m.Save(step), model.Mark(step, "latest")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestEmbedAndSearch(t *testing.T) {
	model, out := run(t), filepath.Join(t.TempDir(), "emb")
	embed := []string{"embed", "--model", model, "--input", "demo:#test", "--out", out, "--json"}
	var rep retrieval.EmbedReport
	code, stdout, errs := mmembed(t, embed...)
	if err := json.Unmarshal([]byte(stdout), &rep); code != 0 || err != nil || rep.Vectors["image"] != 500 {
		t.Fatalf("exit %d, %q, %s", code, errs, stdout)
	}
	for _, name := range []string{"image_emb/image_emb_0.npy", "audio_emb/audio_emb_0.npy", "text_emb/text_emb_0.npy", "metadata/metadata_0.parquet"} {
		if _, err := os.Stat(filepath.Join(out, name)); err != nil {
			t.Error(err)
		}
	}
	search := func(args ...string) (hits []map[string]any) {
		t.Helper()
		code, stdout, errs := mmembed(t, append([]string{"search", "--model", model, "--index", out, "--json"}, args...)...)
		if err := json.Unmarshal([]byte(stdout), &hits); code != 0 || err != nil {
			t.Fatalf("exit %d, %q, %s", code, errs, stdout)
		}
		return hits
	}
	hits := search("--text", "one small red circle", "--modality", "image", "-k", "3")
	if len(hits) != 3 || hits[0]["modality"] != "image" || hits[0]["score"].(float64) < hits[2]["score"].(float64) {
		t.Errorf("answers %v", hits)
	}
	for _, key := range []string{"id", "score", "modality", "path", "text"} {
		if _, ok := hits[0][key]; !ok {
			t.Errorf("an answer lacks %q: %v", key, hits[0])
		}
	}
	// A text finds itself.
	caption := hits[0]["text"].(string)
	if own := search("--text", caption, "--modality", "text", "-k", "1"); own[0]["text"] != caption {
		t.Errorf("%q finds %v", caption, own)
	}
	// So does a value of a modality that is named.
	if own := search("--query", "text="+caption, "--modality", "text", "-k", "1"); own[0]["text"] != caption {
		t.Errorf("--query text=%q finds %v", caption, own)
	}
	if code, stdout, errs := mmembed(t, embed[:len(embed)-1]...); code != 0 || !strings.Contains(stdout, "already") {
		t.Errorf("a rerun: exit %d, %q, %s", code, errs, stdout)
	}
	if code, stdout, _ := mmembed(t, "search", "--model", model, "--index", out, "--text", "a ring"); code != 0 || !strings.Contains(stdout, "score") {
		t.Errorf("a table: exit %d\n%s", code, stdout)
	}
}

func TestMistakes(t *testing.T) {
	model, dir := run(t), t.TempDir()
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"serach"}, 2, "serach"},
		{[]string{"embed", "--model", model}, 2, "--input"},
		{[]string{"embed", "--model", dir, "--input", "demo:", "--out", dir}, 1, dir},
		{[]string{"embed", "--model", model, "--input", "demo:#nope", "--out", dir}, 1, "nope"},
		{[]string{"search", "--model", model, "--index", dir}, 2, "--text"},
		{[]string{"search", "--model", model, "--index", dir, "--text", "x"}, 1, dir},
		{[]string{"search", "--model", model, "--index", dir, "--text", "x", "-k", "0"}, 2, "-k"},
		{[]string{"search", "--model", model, "--index", dir, "--text", "x", "--image", "y"}, 2, "--image"},
		{[]string{"search", "--model", model, "--index", dir, "--query", "ring.png"}, 2, "MODALITY=VALUE"},
		{[]string{"embed", "--model", model, "--input", "demo:", "--out", dir, "--max-bad", "2"}, 2, "--max-bad"},
	} {
		code, _, errs := mmembed(t, c.args...)
		if code != c.code || !strings.Contains(errs, c.want) || !strings.HasPrefix(errs, "mmembed: ") || strings.Count(errs, "\n") != 1 {
			t.Errorf("%v: exit %d, %q; want exit %d and one line that holds %q", c.args, code, errs, c.code, c.want)
		}
	}
}

func TestHelpTeaches(t *testing.T) {
	for _, command := range []string{"embed", "search"} {
		code, stdout, _ := mmembed(t, command, "--help")
		if code != 0 || !strings.Contains(stdout, "Examples:\n\n    mmembed "+command+" --model") {
			t.Errorf("%s --help: exit %d\n%s", command, code, stdout)
		}
	}
}

// What Ctrl-C leaves is whole partitions and nothing else.
func TestInterrupted(t *testing.T) {
	out := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, errs bytes.Buffer
	code := program.Run(ctx, &app{}, []string{"embed", "--model", run(t), "--input", "demo:#test", "--out", out}, &stdout, &errs)
	if code != 1 || !strings.HasPrefix(errs.String(), "mmembed: stopped; ") || strings.Count(errs.String(), "\n") != 1 {
		t.Errorf("exit %d, %q", code, errs.String())
	}
	files, err := os.ReadDir(out)
	if err != nil || len(files) != 1 || files[0].Name() != "embed.json" {
		t.Errorf("left behind: %v (%v)", files, err)
	}
}
