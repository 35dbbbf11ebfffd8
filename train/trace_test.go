package train_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/onetrunk/onetrunk/internal/strictjson"
	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// trace is a fourth modality, a one-dimensional sensor recording, made of
// nothing but this file: one number a line in a .trace file, cut into patches.
type trace struct{}

func init() { modalities.Register(trace{}) }

func (trace) Name() string                         { return "trace" }
func (trace) Inline() bool                         { return false }
func (trace) Recognise(name string, _ []byte) bool { return strings.HasSuffix(name, ".trace") }

func (trace) Open(config json.RawMessage, _ string) (modalities.Processor, error) {
	p := &traceProcessor{Length: 64, Patch: 8}
	if len(config) > 0 {
		if err := strictjson.Unmarshal("trace", config, p); err != nil {
			return nil, err
		}
	}
	return p, nil
}

type traceProcessor struct {
	Length int     `json:"length"`
	Patch  int     `json:"patch"`
	Noise  float64 `json:"noise"`
}

func (p *traceProcessor) Decode(r io.Reader, name string) (modalities.Value, error) {
	var x []float32
	for s := bufio.NewScanner(r); s.Scan(); {
		v, err := strconv.ParseFloat(s.Text(), 32)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: expected a number, found %q", name, len(x)+1, s.Text())
		}
		x = append(x, float32(v))
	}
	if len(x) == 0 {
		return nil, fmt.Errorf("%s: no values", name)
	}
	return x, nil
}

func (p *traceProcessor) Augments() bool { return p.Noise > 0 }

func (p *traceProcessor) Augment(v modalities.Value, rng *rand.Rand) modalities.Value {
	x := append([]float32(nil), v.([]float32)...)
	for i := range x {
		x[i] += float32(p.Noise * rng.NormFloat64())
	}
	return x
}

func (p *traceProcessor) Tokenize(v modalities.Value) (tokenizers.Tokens, error) {
	x := v.([]float32)
	n := min(len(x), p.Length) / p.Patch
	return tokenizers.Tokens{Patches: x[:n*p.Patch], Grid: [2]int{1, n}, Cut: max(len(x)-p.Length, 0) / p.Patch}, nil
}

func (p *traceProcessor) Layout() tokenizers.Layout {
	return tokenizers.Layout{Patch: p.Patch, Grid: [2]int{1, p.Length / p.Patch}}
}

func (p *traceProcessor) Config() json.RawMessage {
	data, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return data
}

var (
	speeds = []string{"still", "slow", "steady", "brisk", "fast", "rapid"}
	shapes = []string{"sine", "square", "saw", "pulse"}
)

// writeTraces makes a folder of recordings with captions: every speed and
// shape as an item with sixteen recordings for training and one for testing.
func writeTraces(dir string) error {
	rng := rand.New(rand.NewPCG(1, 1))
	var manifest strings.Builder
	manifest.WriteString("id\ttrace\ttext\tsplit\n")
	for i, speed := range speeds {
		for j, shape := range shapes {
			for k := range 17 {
				split := "train"
				if k == 16 {
					split = "test"
				}
				name := fmt.Sprintf("%s-%s-%d.trace", speed, shape, k)
				var data strings.Builder
				start := rng.Float64()
				for t := range 64 {
					x := start + float64(t)*(float64(i)+0.5)/64
					x -= math.Floor(x)
					v := []float64{math.Sin(2 * math.Pi * x), math.Copysign(1, x-0.5), 2*x - 1, map[bool]float64{true: 2}[x < 0.15]}[j]
					fmt.Fprintf(&data, "%.4f\n", v+0.05*rng.NormFloat64())
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(data.String()), 0o644); err != nil {
					return err
				}
				caption := fmt.Sprintf([]string{"a %s %s wave", "%s motion in a %s pattern", "the sensor shows a %s %s"}[k%3], speed, shape)
				fmt.Fprintf(&manifest, "%s-%s\t%s\t%s\t%s\n", speed, shape, name, caption, split)
			}
		}
	}
	return os.WriteFile(filepath.Join(dir, "manifest.tsv"), []byte(manifest.String()), 0o644)
}

// tracesConfig is a small model of traces and text.
const tracesConfig = `{
  "trunk": {"width": 32, "layers": 2, "heads": 2, "hidden": 64, "embed": 32},
  "modalities": {"trace": {"input": {"noise": 0.05}}, "text": {"input": {"vocab": 300, "length": 24}}},
  "sharing": {"experts": "modality"},
  "train": {"batch": 24, "steps": 400, "lr": 0.003, "decay": 0.05, "seed": 3, "save_every": 10}
}`
