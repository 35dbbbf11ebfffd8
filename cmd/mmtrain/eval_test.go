package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/evaluate"
	"github.com/onetrunk/onetrunk/internal/wavfile"
	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/tensor"
)

// untrained saves a run of a small model that knows nothing; without text it
// reads pictures alone.
func untrained(t *testing.T, text bool) string {
	t.Helper()
	block := ""
	if text {
		block = `, "text": {"input": {"vocab": 300, "length": 32}}, "audio": {"input": {"rate": 8000, "mels": 32, "seconds": 1, "patch": [32, 8]}}`
	}
	cfg, err := model.ParseConfig("small", []byte(`{
		"trunk": {"width": 32, "layers": 2, "heads": 2, "hidden": 64, "embed": 16},
		"modalities": {"image": {"input": {"size": 16, "patch": 4}}`+block+`}
	}`))
	if err != nil {
		t.Fatal(err)
	}
	ps, err := cfg.OpenProcessors("")
	if err != nil {
		t.Fatal(err)
	}
	if text {
		if err := ps["text"].(modalities.Fitter).Fit(slices.Values([]modalities.Value{"a photo of a dark red", "the sound of pale green"})); err != nil {
			t.Fatal(err)
		}
	}
	m, run := model.New(cfg, ps, tensor.CPU(0), 1), t.TempDir()
	dir := model.CheckpointDir(run, 0)
	for _, err := range []error{m.SaveConfig(run), m.Save(dir), model.Mark(dir, "latest")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return run
}

// colours makes a folder of classes with n pictures, or tones, in each.
func colours(t *testing.T, modality string, n int, folders ...string) string {
	t.Helper()
	shades := map[string]color.NRGBA{"dark_red": {120, 10, 10, 255}, "pale_green": {180, 250, 180, 255}, "blue": {20, 30, 220, 255}}
	dir := t.TempDir()
	for at, folder := range folders {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			name, data := fmt.Sprintf("%02d.png", i), []byte(nil)
			if modality == "image" {
				p := image.NewNRGBA(image.Rect(0, 0, 16, 16))
				for j := range p.Pix {
					p.Pix[j] = 255
				}
				for j := range 256 - i {
					p.SetNRGBA(j%16, j/16, shades[folder])
				}
				var b bytes.Buffer
				if err := png.Encode(&b, p); err != nil {
					t.Fatal(err)
				}
				data = b.Bytes()
			} else {
				samples := make([]float32, 8000)
				for j := range samples {
					samples[j] = float32(0.5 * math.Sin(float64(j*(at+1))/8+float64(i)))
				}
				var err error
				if data, err = wavfile.Encode(samples, 8000); err != nil {
					t.Fatal(err)
				}
				name = fmt.Sprintf("%02d.wav", i)
			}
			if err := os.WriteFile(filepath.Join(dir, folder, name), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func TestEvalOfClasses(t *testing.T) {
	run := untrained(t, true)
	all := []string{"blue", "dark_red", "pale_green"}
	for _, modality := range []string{"image", "audio"} {
		labelled, data := colours(t, modality, 12, all...), colours(t, modality, 5, all...)
		eval := func(task string, more ...string) (r classified) {
			t.Helper()
			args := append([]string{"eval", "--model", run, "--task", task, "--data", data}, more...)
			if err := json.Unmarshal([]byte(must(t, append(args, "--json")...)), &r); err != nil {
				t.Fatal(err)
			}
			if r.Task != task || r.Modality != modality || len(r.Bad) != 0 {
				t.Errorf("%+v", r)
			}
			table := must(t, args...)
			for _, want := range []string{"15 " + modality + " files of 3 classes", "top-1", "mean of classes"} {
				if !strings.Contains(table, want) {
					t.Errorf("%s: the table lacks %q:\n%s", task, want, table)
				}
			}
			return r
		}
		zero := eval("zero-shot")
		if s := zero.ZeroShot; s == nil || s.N != 15 || s.Top5 != 1 || zero.KNN != nil || zero.Probe != nil || !slices.Equal(zero.Templates, evaluate.Templates(modality)) {
			t.Errorf("%+v", zero)
		}
		if s := zero.ZeroShot; s.Top1 < 1 && len(s.Confusions) == 0 {
			t.Errorf("%+v", s)
		}
		near := eval("knn", "--train-data", labelled)
		if len(near.KNN) != 3 || near.KNN[1].K != 5 || near.KNN[1].Top1 < 0.9 || near.ZeroShot != nil {
			t.Errorf("%+v", near)
		}
		fitted := eval("probe", "--train-data", labelled, "--modality", modality, "--int8", "--seed", "3")
		if p := fitted.Probe; p == nil || p.Top1 < 0.9 || len(p.HeldOut) < 3 || p.L2 == 0 {
			t.Errorf("%+v", fitted)
		}
	}
}

func TestEvalTemplatesAndNames(t *testing.T) {
	run, data := untrained(t, true), colours(t, "image", 3, "blue", "dark_red")
	for name, content := range map[string]string{"classes.json": `{"blue": "the sea", "dark_red": "a brick"}`, "t.txt": "{}\nit is {}.\n"} {
		if err := os.WriteFile(filepath.Join(data, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var r classified
	out := must(t, "eval", "--model", run, "--task", "zero-shot", "--data", data, "--templates", filepath.Join(data, "t.txt"), "--json")
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.Templates, []string{"{}", "it is {}."}) || len(r.ZeroShot.Classes) != 2 || r.ZeroShot.Classes[0].Class != "the sea" {
		t.Errorf("%s", out)
	}
}

func TestEvalListsWhatCannotBeRead(t *testing.T) {
	run, labelled, data := untrained(t, false), colours(t, "image", 3, "blue", "dark_red"), colours(t, "image", 3, "blue", "dark_red")
	bad := filepath.Join(data, "blue", "01.png")
	if err := os.WriteFile(bad, []byte("not a picture"), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"eval", "--model", run, "--task", "knn", "--train-data", labelled, "--data", data}
	if table := must(t, args...); !strings.Contains(table, "5 image files") || !strings.Contains(table, "\n1 files could not be read:\n"+bad) {
		t.Errorf("table:\n%s", table)
	}
	var r classified
	if err := json.Unmarshal([]byte(must(t, append(args, "--json")...)), &r); err != nil || len(r.Bad) != 1 || r.Bad[0].File != bad || r.Bad[0].Error == "" {
		t.Errorf("%+v (%v)", r.Bad, err)
	}
	if code, _, errs := mmtrain(t, append(args, "--max-bad", "0")...); code != 1 || !strings.Contains(errs, bad) || !strings.Contains(errs, "--max-bad") {
		t.Errorf("none may be bad: exit %d, %q", code, errs)
	}
}

func TestEvalMistakes(t *testing.T) {
	run, mute := untrained(t, true), untrained(t, false)
	two, three := colours(t, "image", 2, "blue", "dark_red"), colours(t, "image", 2, "blue", "dark_red", "pale_green")
	one, sounds := colours(t, "image", 2, "blue"), colours(t, "audio", 2, "blue", "dark_red")
	noSlot := filepath.Join(t.TempDir(), "t.txt")
	if err := os.WriteFile(noSlot, []byte("a photo\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--model", run, "--data", two, "--task", "smell"}, 2, "smell"},
		{[]string{"--model", run, "--data", two, "--task", "knn"}, 2, "--train-data"},
		{[]string{"--model", run, "--data", two, "--task", "probe"}, 2, "--train-data"},
		{[]string{"--model", run, "--data", "demo:", "--train-data", two}, 2, "--train-data is for --task knn and probe, not for retrieval"},
		{[]string{"--model", run, "--data", "demo:", "--modality", "image"}, 2, "--modality"},
		{[]string{"--model", run, "--data", two, "--task", "knn", "--train-data", two, "--templates", noSlot}, 2, "--templates"},
		{[]string{"--model", run, "--data", two, "--task", "knn", "--train-data", two, "--seed", "1"}, 2, "--seed"},
		{[]string{"--model", run, "--data", "demo:", "--max-bad", "2"}, 2, "--max-bad"},
		{[]string{"--model", run, "--data", two, "--task", "zero-shot", "--templates", noSlot}, 1, noSlot + ": line 1"},
		{[]string{"--model", run, "--data", two, "--task", "zero-shot", "--templates", noSlot + "x"}, 1, noSlot + "x"},
		{[]string{"--model", run, "--data", two, "--task", "zero-shot", "--modality", "smell"}, 1, "smell"},
		{[]string{"--model", run, "--data", one, "--task", "zero-shot"}, 1, "at least two classes"},
		{[]string{"--model", run, "--data", "demo:", "--task", "zero-shot"}, 1, "demo:"},
		{[]string{"--model", mute, "--data", two, "--task", "zero-shot"}, 1, "needs a model that reads text"},
		{[]string{"--model", mute, "--data", sounds, "--train-data", sounds, "--task", "knn"}, 1, `not "audio"`},
		{[]string{"--model", run, "--data", three, "--train-data", two, "--task", "knn"}, 1, two + " lacks: pale_green"},
		{[]string{"--model", run, "--data", two, "--train-data", sounds, "--task", "probe"}, 1, "no image files"},
		{[]string{"--model", two, "--data", two, "--train-data", two, "--task", "probe"}, 1, two},
	} {
		code, _, errs := mmtrain(t, append([]string{"eval"}, c.args...)...)
		if code != c.code || !strings.Contains(errs, c.want) || !strings.HasPrefix(errs, "mmtrain: ") || strings.Count(errs, "\n") != 1 {
			t.Errorf("%v: exit %d, %q; want exit %d and one line that holds %q", c.args, code, errs, c.code, c.want)
		}
	}
}

func TestEvalInterrupted(t *testing.T) {
	run, data := untrained(t, true), colours(t, "image", 3, "blue", "dark_red")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, task := range []string{"zero-shot", "knn", "probe"} {
		args := []string{"eval", "--model", run, "--task", task, "--data", data}
		if task != "zero-shot" {
			args = append(args, "--train-data", data)
		}
		var out, errs bytes.Buffer
		if code := program.Run(ctx, &app{}, args, &out, &errs); code != 1 || out.Len() > 0 || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%s: exit %d, %q, %q", task, code, out.String(), errs.String())
		}
	}
}

func TestEvalHelpTeaches(t *testing.T) {
	code, out, _ := mmtrain(t, "eval", "--help")
	if code != 0 || !strings.Contains(out, "Examples:\n\n    mmtrain eval --model") || !strings.Contains(out, "--task zero-shot") {
		t.Errorf("exit %d\n%s", code, out)
	}
}
