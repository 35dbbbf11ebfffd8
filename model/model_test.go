package model

import (
	"encoding/json"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/checkpoint"
	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/tensor"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// signal, word and picture are modalities of tests: patches of 3 values, ids, and
// patches [2, 4, 4] of pictures.
type fake struct{ name string }

func init() {
	modalities.Register(fake{"signal"})
	modalities.Register(fake{"word"})
	modalities.Register(fake{"picture"})
}

func (f fake) Name() string                                               { return f.name }
func (f fake) Inline() bool                                               { return f.name == "word" }
func (f fake) Recognise(string, []byte) bool                              { return false }
func (f fake) Open(json.RawMessage, string) (modalities.Processor, error) { return f, nil }

func (f fake) Decode(io.Reader, string) (modalities.Value, error)        { return nil, nil }
func (f fake) Augments() bool                                            { return false }
func (f fake) Augment(v modalities.Value, _ *rand.Rand) modalities.Value { return v }
func (f fake) Tokenize(v modalities.Value) (tokenizers.Tokens, error) {
	return v.(tokenizers.Tokens), nil
}
func (f fake) Config() json.RawMessage { return json.RawMessage("{}") }
func (f fake) Layout() tokenizers.Layout {
	switch f.name {
	case "picture":
		return tokenizers.Layout{Patch: 32, Planes: 2, Grid: [2]int{2, 2}, Stretch: true}
	case "word":
		return tokenizers.Layout{Vocab: 20, Grid: [2]int{1, 6}}
	}
	return tokenizers.Layout{Patch: 3, Grid: [2]int{2, 4}}
}

const tinyConfig = `{
  "trunk": {"width": 8, "layers": 4, "heads": 2, "hidden": 16, "embed": 6},
  "modalities": {"signal": {"pool": "class"}, "word": {"pool": "last", "causal": true}},
  "sharing": {"layers": {"scheme": "cycle", "unique": 2, "roles": "all"}, "experts": "modality"}
}`

func tiny(t *testing.T, seed uint64) *Model {
	t.Helper()
	c, err := ParseConfig("tiny", []byte(tinyConfig))
	if err != nil {
		t.Fatal(err)
	}
	ps, err := c.OpenProcessors("")
	if err != nil {
		t.Fatal(err)
	}
	return New(c, ps, tensor.CPU(2), seed)
}

func signals(n int) []tokenizers.Tokens {
	rng := rand.New(rand.NewPCG(1, 1))
	ts := make([]tokenizers.Tokens, n)
	for i := range ts {
		ts[i] = tokenizers.Tokens{Grid: [2]int{1 + i%2, 1 + i%4}}
		ts[i].Patches = make([]float32, 3*ts[i].Len())
		for j := range ts[i].Patches {
			ts[i].Patches[j] = float32(rng.NormFloat64())
		}
	}
	return ts
}

func words(n int) []tokenizers.Tokens {
	ts := make([]tokenizers.Tokens, n)
	for i := range ts {
		ts[i] = tokenizers.Tokens{Grid: [2]int{1, 1 + i%6}}
		for j := range ts[i].Len() {
			ts[i].IDs = append(ts[i].IDs, int32((i*7+j*3)%20))
		}
	}
	return ts
}

func TestEmbedIsForwardAlone(t *testing.T) {
	m := tiny(t, 1)
	tape := autograd.NewTape(m.Device, false)
	out := m.Forward(tape, []Input{{"signal", signals(5)}, {"word", words(7)}})
	want := append(tape.Read(out[0]), tape.Read(out[1])...)
	var got []float32
	for _, in := range []Input{{"signal", signals(5)}, {"word", words(7)}} {
		z, err := m.Embed(t.Context(), in.Modality, in.Tokens)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, z...)
	}
	for i := range want {
		if math.Abs(float64(got[i]-want[i])) > 1e-5 {
			t.Fatalf("element %d: %g when embedded alone, %g in a batch of two modalities", i, got[i], want[i])
		}
	}
}

func TestEmbedIsSafeForConcurrentUse(t *testing.T) {
	m := tiny(t, 1)
	want, err := m.Embed(t.Context(), "word", words(40))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				got, err := m.Embed(t.Context(), "word", words(40))
				if err != nil {
					t.Error(err)
					return
				}
				for i := range want {
					if got[i] != want[i] {
						t.Errorf("element %d: %g, alone %g", i, got[i], want[i])
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestRunFolderRoundTrip(t *testing.T) {
	m, run := tiny(t, 1), t.TempDir()
	if err := m.SaveConfig(run); err != nil {
		t.Fatal(err)
	}
	dir := CheckpointDir(run, 3)
	if err := m.Save(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(run); err == nil {
		t.Error("a run without a marked checkpoint was opened")
	}
	if err := Mark(dir, "latest"); err != nil {
		t.Fatal(err)
	}
	want, err := m.Embed(t.Context(), "signal", signals(3))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{run, dir, dir + "/"} {
		o, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := o.Embed(t.Context(), "signal", signals(3))
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("opened from %s: element %d is %g, was %g", path, i, got[i], want[i])
			}
		}
		if o.Fingerprint() != m.Fingerprint() || o.Fingerprint() == "" {
			t.Errorf("fingerprint %q, was %q", o.Fingerprint(), m.Fingerprint())
		}
		// An alias stays one: layers 1 and 3 are one physical layer.
		name := o.Weights.Tensor(3, "signal", "qkv")
		if name != o.Weights.Tensor(1, "signal", "qkv") || name != "trunk/1/attn/qkv" {
			t.Errorf("layer 3 uses %s", name)
		}
	}
	if f, err := checkpoint.Open(filepath.Join(dir, weightsFile)); err != nil {
		t.Error(err)
	} else {
		for _, name := range f.Names() {
			if strings.HasPrefix(name, "trunk/2") {
				t.Errorf("%s is stored, though layer 0 serves layer 2", name)
			}
		}
		f.Close()
	}
}

func TestLoadNamesTheTensor(t *testing.T) {
	m, run := tiny(t, 1), t.TempDir()
	good := Tensors(m.Bank)
	for name, c := range map[string]struct {
		tensors []checkpoint.Tensor
		want    string
	}{
		"missing":    {good[1:], good[0].Name},
		"extra":      {append([]checkpoint.Tensor{{Name: "trunk/9/norm1", Shape: []int{1}, Data: []float32{0}}}, good...), "trunk/9/norm1"},
		"mis-shaped": {append([]checkpoint.Tensor{{Name: good[0].Name, Shape: []int{2, 2}, Data: make([]float32, 4)}}, good[1:]...), good[0].Name},
	} {
		path := filepath.Join(run, name+".safetensors")
		if err := checkpoint.Write(path, c.tensors, nil); err != nil {
			t.Fatal(err)
		}
		if err := m.Load(path); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s tensor: error %v, want it to name %s and %s", name, err, path, c.want)
		}
	}
}

func TestOpenNamesWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("an empty folder: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "checkpoints"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "checkpoints", "latest"), []byte("../../etc\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("a mark that leads out of the run was followed")
	}
}

func TestConfigNamesTheKey(t *testing.T) {
	for in, want := range map[string]string{
		strings.Replace(tinyConfig, `"width"`, `"widht"`, 1):                                                                                                    `unknown key "trunk.widht" (did you mean "width"?)`,
		strings.Replace(tinyConfig, `"heads": 2`, `"heads": 3`, 1):                                                                                              "trunk.heads: 3 does not divide the width 8",
		strings.Replace(tinyConfig, `"last"`, `"first"`, 1):                                                                                                     "modalities.word.pool",
		strings.Replace(tinyConfig, `"class"`, `"class", "causal": true`, 1):                                                                                    "modalities.signal.pool",
		strings.Replace(tinyConfig, `"signal"`, `"smell"`, 1):                                                                                                   `no modality "smell"`,
		strings.Replace(tinyConfig, `"unique": 2`, `"unique": 9`, 1):                                                                                            "sharing.layers",
		strings.Replace(tinyConfig, `"layers": 4`, `"layers": 0`, 1):                                                                                            "trunk.layers",
		strings.Replace(tinyConfig, `"sharing"`, `"temperature": {"initial": 2}, "sharing"`, 1):                                                                 "temperature",
		strings.Replace(tinyConfig, `"word": {`, `"word": {"trunk": {"width": 9, "layers": 2, "heads": 2, "hidden": 8}, `, 1):                                   "modalities.word.trunk.heads: 2 does not divide the width 9",
		strings.Replace(tinyConfig, `"word": {`, `"word": {"projection": "none", "trunk": {"width": 8, "layers": 2, "heads": 2, "hidden": 8, "embed": 5}, `, 1): `modalities.word.projection: "none" needs a trunk whose embed (5) is its width (8)`,
		strings.Replace(tinyConfig, `"word": {`, `"word": {"stem": "conv1d", `, 1):                                                                              "modalities.word.stem",
		strings.Replace(tinyConfig, `"width"`, `"norm_place": "middle", "width"`, 1):                                                                            "trunk.norm_place",
	} {
		_, err := ParseConfig("c.json", []byte(in))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "c.json: ") {
			t.Errorf("error %v, want it to hold %q", err, want)
		}
	}
}

// TestInt8IsNear fails when rounded weights embed another thing, or are not
// used.
func TestInt8IsNear(t *testing.T) {
	m := tiny(t, 1)
	want, err := m.Embed(t.Context(), "signal", signals(9))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a second time changes nothing
		m.Int8()
		got, err := m.Embed(t.Context(), "signal", signals(9))
		if err != nil {
			t.Fatal(err)
		}
		equal := true
		for i := 0; i < len(want); i += m.Dim() {
			var cos float64
			for j := i; j < i+m.Dim(); j++ {
				cos += float64(got[j]) * float64(want[j])
				equal = equal && got[j] == want[j]
			}
			if cos < 0.999 {
				t.Errorf("sample %d has a cosine of %g to float32", i/m.Dim(), cos)
			}
		}
		if equal {
			t.Error("the weights were not rounded")
		}
	}
}

// TestTrunkOfItsOwn gives words a trunk of other sizes: nothing of the shared
// one serves them, and a batch of both is what each is alone.
func TestTrunkOfItsOwn(t *testing.T) {
	in := strings.Replace(tinyConfig, `"word": {`, `"word": {"trunk": {"width": 12, "layers": 2, "heads": 3, "hidden": 20}, "stem_norm": true, `, 1)
	c, err := ParseConfig("own", []byte(in))
	if err != nil {
		t.Fatal(err)
	}
	ps, err := c.OpenProcessors("")
	if err != nil {
		t.Fatal(err)
	}
	m := New(c, ps, tensor.CPU(2), 1)
	for _, name := range []string{"trunk@word/1/ffn/up/weight", "tokenizers/word/norm/weight", "trunk/0/ffn@signal/up/weight"} {
		if !m.Bank.Has(name) {
			t.Errorf("there is no tensor %s", name)
		}
	}
	if m.Bank.Has("trunk/0/ffn@word/up/weight") {
		t.Error("the shared trunk has an expert for words")
	}
	if p := m.Bank.Param("trunk@word/0/attn/qkv/weight"); p.Value.Rows != 36 || p.Value.Cols != 12 {
		t.Errorf("words' qkv is %v", p.Value)
	}
	tape := autograd.NewTape(m.Device, false)
	out := m.Forward(tape, []Input{{"signal", signals(5)}, {"word", words(7)}})
	for i, alone := range []Input{{"signal", signals(5)}, {"word", words(7)}} {
		want, err := m.Embed(t.Context(), alone.Modality, alone.Tokens)
		if err != nil {
			t.Fatal(err)
		}
		for j, v := range tape.Read(out[i]) {
			if math.Abs(float64(v-want[j])) > 1e-5 {
				t.Fatalf("%s: element %d is %g in a batch, %g alone", alone.Modality, j, v, want[j])
			}
		}
	}
	block := func(q int) int { return 6*3*12*12 + q*(12*12+2*12*20) + 2*q*6*12 }
	want := int64(2 * (block(6) + block(1) + 12*6)) // the last word alone is asked for
	if got := m.Inspect().FLOPs["word"]; got != want {
		t.Errorf("%d FLOPs of a word, want %d", got, want)
	}
}

func TestInspect(t *testing.T) {
	m, dir := tiny(t, 1), t.TempDir()
	r := m.Inspect()
	const d, f, e = 8, 16, 6
	norm, attn, ffn := 2*d, 4*d*d+4*d, 2*d*f+f+d
	trunk := 2 * (4*norm + attn + 2*ffn) // 2 unique layers, norms and FFN private to 2 modalities
	signal := 3*d + d + d + 9*d + norm + e*d
	word := 20*d + 6*d + norm + e*d
	if got, want := r.Parameters.Unique, trunk+signal+word+1; got != want {
		t.Errorf("%d unique parameters, want %d", got, want)
	}
	if got, want := r.Parameters.Active["signal"], 2*(2*norm+attn+ffn)+signal; got != want {
		t.Errorf("%d active parameters of a signal, want %d", got, want)
	}
	if got, want := r.Parameters.Applied["signal"], 4*(2*norm+attn+ffn)+signal; got != want {
		t.Errorf("%d applied parameters of a signal, want %d", got, want)
	}
	if len(r.Map) != 4*6*2 || r.Tokens["signal"] != 9 {
		t.Errorf("%d entries, %d tokens", len(r.Map), r.Tokens["signal"])
	}
	if err := m.Save(dir); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, weightsFile)); err != nil || r.Bytes != info.Size() || r.Bytes < int64(4*r.Parameters.Unique) {
		t.Errorf("%d bytes in a checkpoint, the file has %v", r.Bytes, info.Size())
	}
	block := func(q int) int { return 9*3*d*d + q*(d*d+2*d*f) + 2*q*9*d }
	want := int64(2 * (3*block(9) + block(1) + 8*3*d + d*e)) // the class token alone is asked for
	if r.FLOPs["signal"] != want {
		t.Errorf("%d FLOPs of a signal, want %d", r.FLOPs["signal"], want)
	}
}
