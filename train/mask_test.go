package train_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/tokenizers"
	"github.com/onetrunk/onetrunk/train"
)

// numbers are three modalities whose cells hold four patches of six numbers: left
// and right are two views of what an item is, static is noise.
type numbers struct{ name string }

func init() {
	for _, n := range []string{"left", "right", "static"} {
		modalities.Register(numbers{n})
	}
}

func (n numbers) Name() string                                               { return n.name }
func (numbers) Inline() bool                                                 { return true }
func (numbers) Recognise(string, []byte) bool                                { return false }
func (n numbers) Open(json.RawMessage, string) (modalities.Processor, error) { return n, nil }
func (numbers) Augments() bool                                               { return false }
func (numbers) Augment(v modalities.Value, _ *rand.Rand) modalities.Value    { return v }
func (numbers) Layout() tokenizers.Layout {
	return tokenizers.Layout{Patch: 6, Grid: [2]int{1, 4}}
}
func (numbers) Config() json.RawMessage { return json.RawMessage("{}") }

func (numbers) Decode(r io.Reader, name string) (modalities.Value, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var x []float32
	for _, f := range strings.Fields(string(data)) {
		v, err := strconv.ParseFloat(f, 32)
		if err != nil {
			return nil, fmt.Errorf("%s: expected a number, found %q", name, f)
		}
		x = append(x, float32(v))
	}
	return x, nil
}

func (numbers) Tokenize(v modalities.Value) (tokenizers.Tokens, error) {
	return tokenizers.Tokens{Patches: v.([]float32), Grid: [2]int{1, 4}}, nil
}

// writeNumbers makes a folder of 24 things, each seen eight times for training and
// once for validation.
func writeNumbers(t *testing.T) string {
	t.Helper()
	rng := rand.New(rand.NewPCG(7, 1))
	draw := func(around []float64, noise float64) string {
		var s []string
		for _, v := range around {
			s = append(s, strconv.FormatFloat(v+noise*rng.NormFloat64(), 'f', 3, 64))
		}
		return strings.Join(s, " ")
	}
	var m strings.Builder
	m.WriteString("id\tleft\tright\tstatic\tsplit\n")
	for i := range 24 {
		thing := make([]float64, 24)
		for j := range thing {
			thing[j] = rng.NormFloat64()
		}
		for k := range 9 {
			split := "train"
			if k == 8 {
				split = "val"
			}
			fmt.Fprintf(&m, "thing-%d\t%s\t%s\t%s\t%s\n", i, draw(thing, 0.25), draw(thing, 0.25), draw(make([]float64, 24), 1), split)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "manifest.tsv"), []byte(m.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// numbersRun describes a run on numbers with a sharing block.
func numbersRun(t *testing.T, data, dir, sharing string, steps int) train.Options {
	t.Helper()
	cfg, err := model.ParseConfig("numbers", fmt.Appendf(nil, `{
		"trunk": {"width": 16, "layers": 2, "heads": 2, "hidden": 32, "embed": 16},
		"modalities": {"left": {}, "right": {}, "static": {}},
		"sharing": {%s},
		"train": {"batch": 24, "steps": %d, "lr": 0.004, "decay": 0.05, "seed": 3, "positives": "ids", "save_every": 1000, "eval_every": 1000}}`, sharing, steps))
	if err != nil {
		t.Fatal(err)
	}
	s, err := train.ParseSettings("numbers", cfg)
	if err != nil {
		t.Fatal(err)
	}
	src, err := datasets.Open(data + "#train")
	if err != nil {
		t.Fatal(err)
	}
	val, err := datasets.Open(data + "#val")
	if err != nil {
		t.Fatal(err)
	}
	return train.Options{Name: "numbers", Config: cfg, Settings: s, Train: src, Val: val, Dir: dir, Threads: 1}
}

func mustTrain(t *testing.T, o train.Options) train.Result {
	t.Helper()
	r, err := train.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const (
	dynamic = `"mask": {"kind": "dynamic", "keep": 0.3, "every": 5, "fraction": 0.3}`
	sparse  = `"mask": {"kind": "sparse", "keep": 0.3, "rounds": 2, "steps": 25}`
	units   = `"mask": {"kind": "units", "keep": 0.5, "score": "causal", "by": "modality", "at": 12, "batches": 1}`
	towers  = `"private": ["norm1", "qkv", "out", "norm2", "up", "down"], `
)

// TestMaskedAndPulledRunsTrain: every kind learns what is there to be learned, and
// goes on after a stop in its middle as if there had been none.
func TestMaskedAndPulledRunsTrain(t *testing.T) {
	if testing.Short() {
		t.Skip("trains many models")
	}
	data := writeNumbers(t)
	for name, c := range map[string]struct {
		sharing string
		stops   []int
	}{
		"random":   {`"mask": {"kind": "random", "keep": 0.5}`, []int{7, 60}},
		"dynamic":  {dynamic, []int{5, 13, 60}},
		"sparse":   {strings.Replace(sparse, `"rounds": 2`, `"rounds": 1`, 1), []int{1, 60}},
		"units":    {units, []int{11, 12, 60}},
		"l2":       {towers + `"pull": {"kind": "l2", "lambda": 0.01, "anchor": "first"}`, []int{20, 60}},
		"trace":    {towers + `"pull": {"kind": "trace", "lambda": 0.002}`, []int{20, 60}},
		"adaptive": {towers + `"pull": {"kind": "adaptive", "lambda": 0.02, "drop": 0.34, "common": true}`, []int{20, 60}},
	} {
		t.Run(name, func(t *testing.T) {
			whole, parts := t.TempDir(), t.TempDir()
			r := mustTrain(t, numbersRun(t, data, whole, c.sharing, 60))
			for _, d := range []string{"left>right", "right>left"} {
				if got := r.Eval.Pairs[d]; got.R1 < 0.5 {
					t.Errorf("%s: R@1 %.2f of %d queries, want at least 0.5 (chance is 0.04)", d, got.R1, got.N)
				}
			}
			for _, stop := range c.stops {
				o := numbersRun(t, data, parts, c.sharing, 60)
				o.Resume, o.MaxSteps = true, stop
				mustTrain(t, o)
			}
			if !bytes.Equal(weights(t, whole), weights(t, parts)) {
				t.Error("a run in parts differs from one in one piece")
			}
			m, err := model.Open(whole)
			if err != nil {
				t.Fatal(err)
			}
			o := numbersRun(t, data, whole, c.sharing, 60)
			e, err := train.Evaluate(t.Context(), m, o.Val, 0, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := e.Pairs["left>right"].R1, r.Eval.Pairs["left>right"].R1; m.Fingerprint() == "" || r.BestStep == r.Step && got != want {
				t.Errorf("the opened run has R@1 %g, it was %g", got, want)
			}
		})
	}
}

// overlap returns the share of a modality's entries that another uses too.
func overlap(all map[string][]float32, a, b string) float64 {
	both, own := 0.0, 0.0
	for name, x := range all {
		if !strings.HasSuffix(name, "@"+a+"/qkv/mask") && !strings.Contains(name, "@"+a+"/") {
			continue
		}
		y := all[strings.Replace(name, "@"+a+"/", "@"+b+"/", 1)]
		if !strings.HasSuffix(name, "/mask") {
			continue
		}
		for i, v := range x {
			own += float64(v)
			both += float64(v * y[i])
		}
	}
	return both / own
}

// TestSparseSharing holds the masks that a search finds to their exact size, to
// the search's folders, and to what is related: two views of a thing share more
// than either shares with noise.
func TestSparseSharing(t *testing.T) {
	if testing.Short() {
		t.Skip("trains many models")
	}
	data, dir := writeNumbers(t), t.TempDir()
	search := func(dir string) train.Options {
		o := numbersRun(t, data, dir, sparse, 20)
		o.Val = nil // the last pruning counts
		o.Settings.LR = 0.02
		return o
	}
	o := search(dir)
	ctx, cancel := context.WithCancel(t.Context())
	o.Train = &cancelling{Source: o.Train, after: 1900, cancel: cancel}
	if _, err := train.Run(ctx, o); !errors.Is(err, train.ErrInterrupted) || !strings.Contains(err.Error(), "search") {
		t.Fatalf("error %v, want ErrInterrupted in the search", err)
	}
	o = search(dir)
	o.Resume = true
	mustTrain(t, o)
	whole := t.TempDir()
	o = search(whole)
	mustTrain(t, o)
	if !bytes.Equal(weights(t, dir), weights(t, whole)) {
		t.Error("a search that was stopped ends with other weights")
	}
	all := values(t, whole)
	const total = 2 * (3*16*16 + 16*16 + 2*16*32)
	for _, m := range []string{"left", "right", "static"} {
		kept := 0
		for name, x := range all {
			if strings.Contains(name, "@"+m+"/") && strings.HasSuffix(name, "/mask") {
				for _, v := range x {
					kept += int(v)
				}
			}
		}
		if want := int(math.Round(0.3 * total)); kept != want {
			t.Errorf("%s uses %d entries, want %d of %d", m, kept, want, total)
		}
		for round := range 2 {
			if _, err := os.Stat(filepath.Join(whole, "search", fmt.Sprintf("%s-%d", m, round), "config.json")); err != nil {
				t.Error(err)
			}
		}
	}
	related := overlap(all, "left", "right")
	for _, m := range []string{"left", "right"} {
		if noise := overlap(all, m, "static"); noise >= related-0.01 {
			t.Errorf("left and right share %.3f of their entries, %s and noise %.3f", related, m, noise)
		}
	}
	// A search of another config is not taken for this one's.
	o = search(t.TempDir())
	if err := os.CopyFS(filepath.Join(o.Dir, "search"), os.DirFS(filepath.Join(whole, "search"))); err != nil {
		t.Fatal(err)
	}
	o.Settings.LR /= 2
	if _, err := train.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "search.json") {
		t.Errorf("error %v, want it to name the search of another config", err)
	}
}

// TestDynamicMasksKeepTheirSize follows the masks of a run through its checkpoints.
func TestDynamicMasksKeepTheirSize(t *testing.T) {
	data, dir := writeNumbers(t), t.TempDir()
	var was map[string][]float32
	for _, stop := range []int{1, 20, 40, 45, 50, 60} { // changes stop after 45 of 60 steps
		o := numbersRun(t, data, dir, dynamic, 60)
		o.Resume, o.MaxSteps = true, stop
		mustTrain(t, o)
		now := values(t, dir)
		changed := 0
		for name, x := range now {
			if !strings.HasSuffix(name, "/mask") {
				continue
			}
			kept := 0
			for _, v := range x {
				kept += int(v)
			}
			if want := int(math.Round(0.3 * float64(len(x)))); kept != want {
				t.Errorf("step %d: %s has %d entries, want %d", stop, name, kept, want)
			}
			if was != nil && !slices.Equal(was[name], x) {
				changed++
			}
		}
		if was != nil && (changed > 0) != (stop <= 40) {
			t.Errorf("up to step %d %d masks changed", stop, changed)
		}
		was = now
	}
}

// TestSpuriousUnit plants, in a trained model, a hidden unit that the loss looks at
// a great deal and falls without. By correlation it is kept, by its effect not.
func TestSpuriousUnit(t *testing.T) {
	data, begun := writeNumbers(t), t.TempDir()
	config := func(score string) string {
		return fmt.Sprintf(`"mask": {"kind": "units", "keep": 0.25, "score": %q, "by": "all", "at": 41, "batches": 2}`, score)
	}
	for _, score := range []string{"correlation", "causal"} {
		dir := filepath.Join(begun, score)
		o := numbersRun(t, data, dir, config(score), 60)
		o.MaxSteps = 40
		mustTrain(t, o)
		step, err := model.Marked(dir, "latest")
		if err != nil {
			t.Fatal(err)
		}
		m, err := model.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Load(filepath.Join(step, "model.safetensors")); err != nil {
			t.Fatal(err)
		}
		// Unit 3 of layer 1 adds noise to what the heads read.
		rng := rand.New(rand.NewPCG(5, 1))
		up, down := m.Bank.Param("trunk/1/ffn/up/weight"), m.Bank.Param("trunk/1/ffn/down/weight")
		x, y := m.Bank.Read(up), m.Bank.Read(down)
		for i := range 16 {
			x[3*16+i] = float32(rng.NormFloat64())
			y[i*32+3] = float32(2 * rng.NormFloat64())
		}
		for p, x := range map[string][]float32{up.Name: x, down.Name: y} {
			if err := m.Bank.Write(m.Bank.Param(p), x); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Save(step); err != nil {
			t.Fatal(err)
		}
		o = numbersRun(t, data, dir, config(score), 60)
		o.Resume, o.MaxSteps = true, 42
		mustTrain(t, o)
		got := values(t, dir)["trunk/1/ffn/up/units"]
		kept := 0
		for _, v := range got {
			kept += int(v)
		}
		if kept != 8 {
			t.Errorf("%s: %d units of 32, want 8", score, kept)
		}
		if keeps := got[3] == 1; keeps != (score == "correlation") {
			t.Errorf("%s: the spurious unit is kept: %t", score, keeps)
		}
	}
	o := numbersRun(t, data, t.TempDir(), config("causal"), 40)
	if _, err := train.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "sharing.mask.at") {
		t.Errorf("units that are chosen after the last step: %v", err)
	}
}
