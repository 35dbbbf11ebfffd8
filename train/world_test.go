package train

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// wave is a modality of tests without files: a value is its seed's numbers, two
// patches of four.
type wave struct{ name string }

func init() {
	for _, name := range waves {
		modalities.Register(wave{name})
	}
}

var waves = []string{"echo", "hum", "tone"}

func (w wave) Name() string                                               { return w.name }
func (w wave) Inline() bool                                               { return true }
func (w wave) Recognise(string, []byte) bool                              { return false }
func (w wave) Open(json.RawMessage, string) (modalities.Processor, error) { return w, nil }
func (w wave) Decode(io.Reader, string) (modalities.Value, error)         { return nil, nil }
func (w wave) Augments() bool                                             { return false }
func (w wave) Augment(v modalities.Value, _ *rand.Rand) modalities.Value  { return v }
func (w wave) Config() json.RawMessage                                    { return json.RawMessage("{}") }
func (w wave) Layout() tokenizers.Layout                                  { return tokenizers.Layout{Patch: 4, Grid: [2]int{1, 2}} }
func (w wave) Tokenize(v modalities.Value) (tokenizers.Tokens, error) {
	return tokenizers.Tokens{Patches: v.([]float32), Grid: [2]int{1, 2}}, nil
}

// world has items of three waves, in each a turn of the item's own numbers.
type world struct{ items []datasets.Item }

func newWorld(n int) *world {
	w := &world{}
	for i := range n {
		var row datasets.Row
		for _, name := range waves {
			row.Cells = append(row.Cells, datasets.Cell{Modality: name, Ref: fmt.Sprintf("%s %d", name, i)})
		}
		w.items = append(w.items, datasets.Item{ID: fmt.Sprint(i), Rows: []datasets.Row{row}})
	}
	return w
}

func (w *world) Name() string              { return "world" }
func (w *world) Modalities() []string      { return waves }
func (w *world) Len() int                  { return len(w.items) }
func (w *world) Item(i int) *datasets.Item { return &w.items[i] }
func (w *world) Load(c datasets.Cell, _ modalities.Processor) (modalities.Value, error) {
	var name string
	var item uint64
	if _, err := fmt.Sscan(c.Ref, &name, &item); err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(item, 5))
	x := make([]float32, 8)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	turn := map[string]int{"echo": 0, "hum": 3, "tone": 5}[name]
	return append(append([]float32{}, x[turn:]...), x[:turn]...), nil
}

// The three ways to share that every mechanism of training must pass.
var sharings = map[string]string{
	"no sharing":      `"private": ["norm1", "qkv", "out", "norm2", "up", "down"]`,
	"partial sharing": `"private": ["norm1", "norm2"], "experts": "modality"`,
	"full sharing":    `"private": []`,
}

// small returns options of a run of a few steps on a world of 16 items, with
// these keys of "sharing" and of "train".
func small(t *testing.T, dir, sharing, train string) Options {
	t.Helper()
	if train != "" {
		train = ", " + train
	}
	cfg, err := model.ParseConfig("small", fmt.Appendf(nil, `{
		"trunk": {"width": 8, "layers": 2, "heads": 2, "hidden": 16, "embed": 8},
		"modalities": {"echo": {}, "hum": {}, "tone": {}},
		"sharing": {%s},
		"train": {"batch": 8, "steps": 12, "lr": 0.01, "warmup": 0, "decay": 0.1, "save_every": 100%s}
	}`, sharing, train))
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseSettings("small", cfg)
	if err != nil {
		t.Fatal(err)
	}
	return Options{Name: "small", Config: cfg, Settings: s, Train: newWorld(16), Dir: dir, Threads: 1}
}

// finished runs to the end, or to a step.
func finished(t *testing.T, o Options, upTo int) Result {
	t.Helper()
	o.MaxSteps, o.Resume = upTo, true
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// begun returns a run that has taken no step.
func begun(t *testing.T, o Options) *run {
	t.Helper()
	r := &run{Options: o, dir: o.Dir, dev: device}
	if err := r.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.log.Close() })
	return r
}

// latest returns the files of a run's latest checkpoint.
func latest(t *testing.T, dir string) map[string]string {
	t.Helper()
	step, err := model.Marked(dir, "latest")
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(step)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(step, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[f.Name()] = string(data)
	}
	return all
}
