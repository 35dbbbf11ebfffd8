package sharing

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/tensor"
)

var three = []string{"audio", "image", "text"}

func TestLayerTables(t *testing.T) {
	for _, c := range []struct {
		layers Layers
		n      int
		want   []int
	}{
		{Layers{Scheme: "none"}, 4, []int{0, 1, 2, 3}},
		{Layers{Scheme: "universal"}, 4, []int{0, 0, 0, 0}},
		{Layers{Scheme: "sequence", Unique: 3}, 6, []int{0, 0, 1, 1, 2, 2}},
		{Layers{Scheme: "sequence", Unique: 2}, 5, []int{0, 0, 0, 1, 1}},
		{Layers{Scheme: "cycle", Unique: 3}, 6, []int{0, 1, 2, 0, 1, 2}},
		{Layers{Scheme: "cycle", Unique: 3}, 5, []int{0, 1, 2, 0, 1}},
		{Layers{Scheme: "cycle_rev", Unique: 3}, 6, []int{0, 1, 2, 2, 1, 0}},
		{Layers{Scheme: "cycle_rev", Unique: 3}, 9, []int{0, 1, 2, 0, 1, 2, 2, 1, 0}},
		{Layers{Scheme: "cycle_rev", Unique: 3}, 5, []int{0, 1, 2, 2, 1}},
		{Layers{Scheme: "cycle_rev", Unique: 4}, 4, []int{0, 1, 2, 3}},
		{Layers{Scheme: "cycle_rev", Unique: 1}, 3, []int{0, 0, 0}},
	} {
		if got := physicalLayers(c.layers, c.n); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v over %d layers: %v, want %v", c.layers, c.n, got, c.want)
		}
	}
}

func TestTensorNames(t *testing.T) {
	c := Config{Layers: Layers{Scheme: "cycle", Unique: 2, Roles: "ffn"}, Private: []Role{Norm1}, Experts: "modality"}
	if err := c.Validate(4, three); err != nil {
		t.Fatal(err)
	}
	m := NewMap(c, "trunk", 4, []string{"audio", "text"})
	for _, p := range []struct {
		layer    int
		modality string
		role     Role
		want     string
	}{
		{3, "audio", Qkv, "trunk/3/attn/qkv"},
		{3, "audio", Norm1, "trunk/3/norm1@audio"},
		{3, "text", Norm2, "trunk/1/norm2"},
		{3, "text", Up, "trunk/1/ffn@text/up"},
		{2, "audio", Down, "trunk/0/ffn@audio/down"},
	} {
		if got := m.Tensor(p.layer, p.modality, p.role); got != p.want {
			t.Errorf("layer %d, %s, %s: tensor %s, want %s", p.layer, p.modality, p.role, got, p.want)
		}
	}
	// The closed form: 4 layers of attention, 2 of each modality's FFN.
	for role, want := range map[Role]int{Qkv: 4, Norm1: 8, Norm2: 2, Up: 4} {
		if got := len(m.Tensors(role)); got != want {
			t.Errorf("%d physical tensors of %s, want %d", got, role, want)
		}
	}
}

func TestPartsMergeWhatIsShared(t *testing.T) {
	dev := tensor.CPU(1)
	w := NewWeights(Config{Layers: Layers{Scheme: "none", Roles: "all"}, Private: []Role{Up}, Experts: "none"}, NewBank(dev, 1), "trunk", 1, three)
	w.Declare(Qkv, 2, 2, 1)
	w.Declare(Up, 2, 2, 1)
	runs := []Run{{"audio", 3}, {"image", 4}, {"text", 5}}
	p := w.On(autograd.NewTape(dev, false), runs)
	if ps := p.Parts(0, Qkv, runs); len(ps) != 1 || ps[0].Rows != 12 {
		t.Errorf("a shared weight sees %d parts, want one of 12 rows", len(ps))
	}
	ps := p.Parts(0, Up, runs)
	if len(ps) != 3 || ps[1].Rows != 4 || ps[1].W != w.Bank.Param("trunk/0/ffn@image/up/weight").Var() {
		t.Errorf("private weights: %+v", ps)
	}
}

func TestValidateNamesTheKey(t *testing.T) {
	for want, change := range map[string]func(*Config){
		`"unique" in 1..4, found 5`: func(c *Config) { c.Layers = Layers{Scheme: "cycle", Unique: 5, Roles: "all"} },
		`"cylce" is not one of`:     func(c *Config) { c.Layers.Scheme = "cylce" },
		`takes no "unique"`:         func(c *Config) { c.Layers.Unique = 2 },
		`sharing.layers.roles`:      func(c *Config) { c.Layers.Roles = "attn" },
		`"norm3" is not a role`:     func(c *Config) { c.Private = []Role{"norm3"} },
		`listed twice`:              func(c *Config) { c.Private = []Role{Up, Up} },
		`"up" is private already`:   func(c *Config) { c.Experts, c.Private = "modality", []Role{Up} },
		`sharing.experts`:           func(c *Config) { c.Experts = "topk" },
	} {
		c := Default()
		change(&c)
		if err := c.Validate(4, three); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to hold %q", err, want)
		}
	}
}

func TestFirstValuesDependOnSeedAndNameAlone(t *testing.T) {
	dev := tensor.CPU(1)
	a, b := NewBank(dev, 7), NewBank(dev, 7)
	a.Matrix("x", 3, 3, 1)
	xa := a.Read(a.Matrix("y", 3, 3, 1))
	xb := b.Read(b.Matrix("y", 3, 3, 1))
	other := NewBank(dev, 8)
	if fmt.Sprint(xa) != fmt.Sprint(xb) {
		t.Error("a tensor's first values depend on what was made before it")
	}
	if fmt.Sprint(xa) == fmt.Sprint(other.Read(other.Matrix("y", 3, 3, 1))) {
		t.Error("the seed changes nothing")
	}
}
