package export

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/onetrunk/onetrunk/checkpoint"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// trio reads all modalities through one trunk, two layers of which are one.
const trio = `{
	"trunk": {"width": 32, "layers": 3, "heads": 4, "hidden": 48, "embed": 16, "activation": "gelu_tanh"},
	"modalities": {
		"image": {"pool": "classes", "input": {"size": 32, "patch": 8}},
		"audio": {"pool": "first", "head_norm": "none", "projection": "bias", "input": {"mels": 32, "patch": [16, 4], "seconds": 1}},
		"text": {"pool": "class", "stem_norm": true, "head_norm": "rows", "input": {"vocab": 280, "length": 20}}
	},
	"sharing": {"layers": {"scheme": "cycle", "unique": 2, "roles": "all"}, "private": ["norm1", "norm2"], "experts": "modality"}
}`

// other has what trio does not: RMS norm after the sums, a mean, a causal
// mean, a convolution, ReLU and bridges.
const other = `{
	"trunk": {"width": 32, "layers": 2, "heads": 4, "hidden": 48, "embed": 16, "norm": "rms", "norm_place": "post", "activation": "relu"},
	"modalities": {
		"image": {"pool": "last", "causal": true, "trunk": {"width": 24, "layers": 2, "heads": 3, "hidden": 40, "embed": 20}, "input": {"size": 32, "patch": 8, "fit": "squash"}},
		"audio": {"pool": "attention", "stem": "conv", "input": {"mels": 32, "patch": [32, 2], "seconds": 0.5}},
		"text": {"pool": "mean", "causal": true, "input": {"vocab": 280, "length": 20}}
	}
}`

// exported are models of all kinds of towers.
func exported(t *testing.T) map[string]*model.Model {
	ms := map[string]*model.Model{
		"trio": ours(t, trio), "other": ours(t, other),
		"attention": ours(t, strings.ReplaceAll(trio, `"pool": "class",`, `"pool": "attention",`)),
	}
	for _, name := range []string{"clip", "siglip", "minilm", "minilm-cls"} {
		ms[name] = foreign(t, name)
	}
	return ms
}

// What a node reads is there before it.
func TestONNXStructure(t *testing.T) {
	inputs := map[string][]string{"image": {"pixel_values"}, "audio": {"patches"}, "text": {"input_ids", "attention_mask"}}
	for name, m := range exported(t) {
		dir := t.TempDir()
		if err := ONNX(m, dir); err != nil {
			t.Fatal(err)
		}
		for _, modality := range m.Modalities() {
			g := readGraph(t, filepath.Join(dir, modality+".onnx"))
			if !slices.Equal(g.inputs, inputs[modality]) || !slices.Equal(g.outputs, []string{"embedding"}) {
				t.Errorf("%s: %s has inputs %v and outputs %v", name, modality, g.inputs, g.outputs)
			}
			there := map[string]bool{}
			for _, n := range append(slices.Clone(g.inputs), g.tensors...) {
				if there[n] {
					t.Errorf("%s: %s has %q twice", name, modality, n)
				}
				there[n] = true
			}
			for _, n := range g.nodes {
				for _, in := range n.inputs {
					if !there[in] {
						t.Errorf("%s: node %v of %s reads %q, which is not there", name, n.outputs, modality, in)
					}
				}
				for _, out := range n.outputs {
					if there[out] {
						t.Errorf("%s: %s makes %q twice", name, modality, out)
					}
					there[out] = true
				}
			}
			if !there["embedding"] {
				t.Errorf("%s: no node of %s makes the output", name, modality)
			}
		}
	}
	// Layers that are one have one tensor.
	dir := t.TempDir()
	if err := ONNX(ours(t, trio), dir); err != nil {
		t.Fatal(err)
	}
	g := readGraph(t, filepath.Join(dir, "image.onnx"))
	n := 0
	for _, name := range g.tensors {
		if strings.HasSuffix(name, "attn/qkv/weight") {
			n++
		}
	}
	if n != 2 {
		t.Errorf("3 layers of 2 have %d tensors", n)
	}
}

// onnxGraph is what the test reads of a file.
type onnxGraph struct {
	inputs, outputs, tensors []string
	nodes                    []onnxNode
}

type onnxNode struct{ inputs, outputs []string }

func readGraph(t *testing.T, path string) (g onnxGraph) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	name := func(field protowire.Number, message []byte) (s string) {
		fields(t, message, func(n protowire.Number, v []byte) {
			if n == field {
				s = string(v)
			}
		})
		return s
	}
	fields(t, data, func(n protowire.Number, v []byte) {
		if n != 7 {
			return
		}
		fields(t, v, func(n protowire.Number, v []byte) {
			switch n {
			case 1:
				var node onnxNode
				fields(t, v, func(n protowire.Number, v []byte) {
					switch n {
					case 1:
						node.inputs = append(node.inputs, string(v))
					case 2:
						node.outputs = append(node.outputs, string(v))
					}
				})
				g.nodes = append(g.nodes, node)
			case 5:
				g.tensors = append(g.tensors, name(8, v))
			case 11:
				g.inputs = append(g.inputs, name(1, v))
			case 12:
				g.outputs = append(g.outputs, name(1, v))
			}
		})
	})
	return g
}

// fields visits the fields of a message that have a length.
func fields(t *testing.T, data []byte, visit func(n protowire.Number, v []byte)) {
	t.Helper()
	for len(data) > 0 {
		field, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		data = data[n:]
		if kind == protowire.BytesType {
			v, n := protowire.ConsumeBytes(data)
			if n < 0 {
				t.Fatal(protowire.ParseError(n))
			}
			visit(field, v)
			data = data[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(field, kind, data); n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		data = data[n:]
	}
}

func TestONNXRefuses(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{`"size": 32`, `"size": 32, "fit": "keep"`, "modalities.image.input.fit"},
		{`"pool": "classes"`, `"stem": "residual"`, "modalities.image.stem: residual"},
		{`"pool": "classes"`, `"branch": {"layers": [1]}`, "modalities.image.branch"},
		{`"text": {`, `"text": {"factor": 4, `, "modalities.text.factor"},
		{`"unique": 2`, `"unique": 2, "depth": true`, "sharing.layers.depth"},
	} {
		config := strings.Replace(trio, c.from, c.to, 1)
		if config == trio {
			t.Fatalf("%q is not in the config", c.from)
		}
		if err := ONNX(ours(t, config), t.TempDir()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.to, err, c.want)
		}
	}
}

func TestONNXFits(t *testing.T) {
	for rows, fits := range map[int]bool{1<<14 - 1: true, 1 << 14: false} { // of 128 kB
		g := newGraph("g")
		g.tensor("x", nil, rows, 1<<15)
		if err := g.fits(); (err == nil) != fits {
			t.Errorf("%d rows: %v", rows, err)
		}
	}
}

// onnxruntime computes the same of the files.
func TestONNXEqualsOnnxruntime(t *testing.T) {
	models := exported(t)
	for _, name := range []string{"clip-bf16", "vit", "vit-pooler", "timm", "openclip", "whisper", "ast"} {
		models[name] = foreign(t, name)
	}
	for name, m := range models {
		dir := t.TempDir()
		if err := ONNX(m, dir); err != nil {
			t.Fatal(err)
		}
		want := map[string][]float32{}
		var inputs []checkpoint.Tensor
		rng := rand.New(rand.NewPCG(1, 1))
		for _, modality := range m.Modalities() {
			run := func(name string, samples ...tokenizers.Tokens) {
				inputs = append(inputs, fed(m, modality, name, samples)...)
				want[name] = embed(t, m, modality, samples)
			}
			some := func(n int) tokenizers.Tokens { return sample(m, modality, n, rng) }
			switch full := m.Processors()[modality].Layout().Grid[1]; modality {
			case "image":
				run("image", some(0), some(0), some(0))
			case "audio":
				run("audio", some(0), some(0))
				run("audio.2", some(full/2), some(full/2))
				run("audio.3", some(7))
			case "text":
				run("text", some(5), some(full), some(1), some(11))
				run("text.2", some(3))
			}
		}
		if err := checkpoint.Write(filepath.Join(dir, "inputs.safetensors"), inputs, nil); err != nil {
			t.Fatal(err)
		}
		var answer map[string]map[string]struct {
			Shape  []int
			Values []float32
		}
		python(t, &answer, script, "--check-onnx", dir)
		for run, z := range want {
			got := answer[run]["embedding"]
			if !slices.Equal(got.Shape, []int{len(z) / m.Dim(), m.Dim()}) {
				t.Errorf("%s: %s has the shape %v", name, run, got.Shape)
				continue
			}
			d := furthest(t, z, got.Values)
			t.Logf("%s: %s differs by %.1e", name, run, d)
			if !(d < 1e-5) {
				t.Errorf("%s: %s differs by %g", name, run, d)
			}
		}
	}
}

// fed returns a run's inputs of the graph for samples.
func fed(m *model.Model, modality, run string, samples []tokenizers.Tokens) []checkpoint.Tensor {
	l := m.Processors()[modality].Layout()
	rows := 0
	for _, s := range samples {
		rows = max(rows, s.Len())
	}
	n := len(samples)
	var x []float32
	switch modality {
	case "text":
		id, mask := make([]float32, n*rows), make([]float32, n*rows)
		for i, s := range samples {
			for j, v := range s.IDs {
				id[i*rows+j], mask[i*rows+j] = float32(v), 1
			}
		}
		return []checkpoint.Tensor{
			{Name: run + "/input_ids", Shape: []int{n, rows}, Data: id},
			{Name: run + "/attention_mask", Shape: []int{n, rows}, Data: mask},
		}
	case "audio":
		for _, s := range samples {
			x = append(x, s.Patches...)
		}
		return []checkpoint.Tensor{{Name: run + "/patches", Shape: []int{n, rows, l.Patch}, Data: x}}
	case "image":
		side := patchSide(newTower(m, modality))
		h, w := l.Grid[0]*side, l.Grid[1]*side
		for _, s := range samples {
			for c := range 3 {
				for y := range h {
					for at := range w {
						patch := y/side*l.Grid[1] + at/side
						x = append(x, s.Patches[patch*l.Patch+(c*side+y%side)*side+at%side])
					}
				}
			}
		}
		return []checkpoint.Tensor{{Name: run + "/pixel_values", Shape: []int{n, 3, h, w}, Data: x}}
	}
	panic(fmt.Sprintf("no inputs for %s", modality))
}
