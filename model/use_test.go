package model

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/tensor"
)

// routedConfig has a hidden size that experts do not, and layers 0 and 2 routed.
const routedConfig = `{
  "trunk": {"width": 8, "layers": 3, "heads": 2, "hidden": 16, "embed": 6},
  "modalities": {"signal": {"pool": "class"}, "word": {"pool": "mean"}},
  "sharing": {"router": ROUTER}
}`

func routedModel(t *testing.T, router string) *Model {
	t.Helper()
	c, err := ParseConfig("routed", []byte(strings.Replace(routedConfig, "ROUTER", router, 1)))
	if err != nil {
		t.Fatal(err)
	}
	ps, err := c.OpenProcessors("")
	if err != nil {
		t.Fatal(err)
	}
	return New(c, ps, tensor.CPU(2), 1)
}

// TestExpertUseSeesWhatWasPlanted leads signals to one expert and words to
// another in layer 0, by gates that tell them apart, and both to one in layer 2.
func TestExpertUseSeesWhatWasPlanted(t *testing.T) {
	m := routedModel(t, `{"layers": [0, 2], "experts": 3, "top": 1, "gate": "modality", "capacity": 1}`)
	write := func(name string, x []float32) {
		if err := m.Bank.Write(m.Bank.Param(name), x); err != nil {
			t.Fatal(err)
		}
	}
	for layer, expert := range map[string]map[string]int{"0": {"signal": 2, "word": 0}, "2": {"signal": 1, "word": 1}} {
		for _, modality := range m.Modalities() {
			norm := "trunk/" + layer + "/norm2@" + modality
			write(norm+"/weight", []float32{0, 1, 1, 1, 1, 1, 1, 1})
			write(norm+"/bias", []float32{9, 0, 0, 0, 0, 0, 0, 0})
			gate := make([]float32, 3*8)
			gate[expert[modality]*8] = 9
			write("trunk/"+layer+"/ffn@"+modality+"/gate/weight", gate)
		}
	}
	before, err := m.Embed(t.Context(), "word", words(5))
	if err != nil {
		t.Fatal(err)
	}
	uses, err := m.ExpertUse(t.Context(), []Input{{"signal", signals(4)}, {"word", words(5)}})
	if err != nil {
		t.Fatal(err)
	}
	if len(uses) != 2 || uses[0].Layer != 0 || uses[1].Layer != 2 || !slices.Equal(uses[0].Experts, []string{"0", "1", "2"}) {
		t.Fatalf("uses %+v", uses)
	}
	if !slices.Equal(uses[0].ByModality["signal"], []float64{0, 0, 1}) || !slices.Equal(uses[0].ByModality["word"], []float64{1, 0, 0}) {
		t.Errorf("layer 0: %v", uses[0].ByModality)
	}
	if uses[0].MutualInformation != 1 || uses[1].MutualInformation != 0 {
		t.Errorf("%g bits in layer 0, %g in layer 2; want 1 and 0", uses[0].MutualInformation, uses[1].MutualInformation)
	}
	// In layer 2 all of one row for each signal and the words' want one expert,
	// which has room for a third.
	if d := uses[1].Dropped; math.Abs(d-2.0/3) > 0.05 {
		t.Errorf("a share of %g is dropped in layer 2", d)
	}
	after, err := m.Embed(t.Context(), "word", words(5))
	if err != nil || !slices.Equal(before, after) {
		t.Error("the report changes what the model embeds")
	}
	if _, err := m.ExpertUse(t.Context(), []Input{{"word", signals(1)}}); err == nil || !strings.Contains(err.Error(), "word 0") {
		t.Errorf("a signal as a word: error %v", err)
	}
	if uses, err := tiny(t, 1).ExpertUse(t.Context(), nil); uses != nil || err != nil {
		t.Errorf("a model without a router: %v, %v", uses, err)
	}
}

// TestInspectCountsExperts holds parameters and operations to their closed forms.
func TestInspectCountsExperts(t *testing.T) {
	const d, h = 8, 16
	network := func(f int) int { return 2*f*d + f + d }
	for _, k := range []struct {
		router       string
		unique       int // of layers 0 and 2 together
		active, flop int // of one of them: parameters, multiplications a row
	}{
		{`{"layers": [0, 2], "experts": 4, "top": 2, "gate": "shared"}`, 2 * (4*network(h) + 4*d), 2*network(h) + 4*d, 2*2*d*h + 4*d},
		{`{"layers": [0, 2], "experts": 6, "always": 1, "top": 2, "hidden": 5, "gate": "shared"}`, 2 * (7*network(5) + 6*d), 3*network(5) + 6*d, 3*2*d*5 + 6*d},
		{`{"layers": [0, 2], "experts": 1, "private": 2, "sees": "own", "gate": "modality"}`, 2 * (5*network(h) + 2*3*d), 3*network(h) + 3*d, 3*2*d*h + 3*d},
		{`{"layers": [0, 2], "private": 2, "sees": "all", "gate": "modality", "residual": true}`, 2 * (4*network(h) + 2*4*d + 2*2), 4*network(h) + 4*d + 2, 4*2*d*h + 4*d},
		{`{"layers": [0, 2], "private": 1, "sees": "own", "gate": "modality"}`, 2 * 2 * network(h), network(h), 2 * d * h},
	} {
		m := routedModel(t, k.router)
		dense := routedModel(t, "null")
		got, base := m.Inspect(), dense.Inspect()
		if n, want := got.Parameters.Unique-base.Parameters.Unique, k.unique-2*network(h); n != want {
			t.Errorf("%s: %d more unique parameters than the dense model, want %d", k.router, n, want)
		}
		for _, name := range m.Modalities() {
			if n, want := got.Parameters.Active[name]-base.Parameters.Active[name], 2*(k.active-network(h)); n != want {
				t.Errorf("%s: %s has %d more active parameters, want %d", k.router, name, n, want)
			}
			rows := 2 * got.Tokens[name]
			if name == "signal" {
				rows = got.Tokens[name] + 1 // of the last layer the class row alone
			}
			if n, want := got.FLOPs[name]-base.FLOPs[name], int64(2*rows*(k.flop-2*d*h)); n != want {
				t.Errorf("%s: %s takes %d more operations, want %d", k.router, name, n, want)
			}
		}
	}
}

// TestRoutedRoundTrip saves a model whose one physical layer is routed and serves
// all, and changes an expert of what is opened.
func TestRoutedRoundTrip(t *testing.T) {
	m, run := routedModel(t, `{"experts": 2, "private": 1, "sees": "all", "always": 1, "top": 2, "gate": "shared", "residual": true}, "layers": {"scheme": "universal"}`), t.TempDir()
	dir := CheckpointDir(run, 1)
	for _, err := range []error{m.SaveConfig(run), m.Save(dir), Mark(dir, "latest")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	o, err := Open(run)
	if err != nil {
		t.Fatal(err)
	}
	embed := func(m *Model) []float32 {
		z, err := m.Embed(t.Context(), "word", words(6))
		if err != nil {
			t.Fatal(err)
		}
		return z
	}
	want := embed(m)
	if got := embed(o); !slices.Equal(got, want) {
		t.Errorf("opened: %v, was %v", got[:3], want[:3])
	}
	// Of the three layers that an expert serves, each moves what comes out.
	if n := len(o.Weights.Tensors("norm2")); n != 2 {
		t.Fatalf("%d norms", n)
	}
	for l := range 3 {
		e := o.Weights.Always()[0]
		if n := o.Weights.ExpertTensor(l, e, "up"); n != "trunk/0/ffn#always/up" {
			t.Errorf("layer %d has %s", l, n)
		}
	}
	for _, of := range []*Model{m, o} {
		p := of.Bank.Param("trunk/0/ffn#always/up/weight")
		x := of.Bank.Read(p)
		x[3]++
		if err := of.Bank.Write(p, x); err != nil {
			t.Fatal(err)
		}
	}
	if got := embed(o); slices.Equal(got, want) || !slices.Equal(got, embed(m)) {
		t.Error("the change of an expert is not one of all layers")
	}
	o.Int8()
	if z := embed(o); len(z) != len(want) {
		t.Error("int8")
	}
}
