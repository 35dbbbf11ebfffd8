package sharing

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/tensor"
)

func TestRouterIsRefusedWithTheReason(t *testing.T) {
	good := Router{Experts: 4, Top: 2, Gate: "shared"}
	for want, change := range map[string]func(c *Config, r *Router){
		"some \"experts\" or \"private\"":            func(_ *Config, r *Router) { *r = Router{Always: 1, Gate: "shared"} },
		"router.experts: expected at least 0":        func(_ *Config, r *Router) { r.Experts = -1 },
		"router.gate: \"\" is not one of":            func(_ *Config, r *Router) { r.Gate = "" },
		"sees: is about private experts":             func(_ *Config, r *Router) { r.Sees = "own" },
		"sees: \"\" is not one of own, all":          func(_ *Config, r *Router) { r.Private = 1 },
		"not each one's own":                         func(_ *Config, r *Router) { r.Private, r.Sees = 1, "own" },
		"sees 4 experts, 5 cannot run":               func(_ *Config, r *Router) { r.Top = 5 },
		"residual: is for a gate that sees all":      func(_ *Config, r *Router) { r.Residual = true },
		"router.noise: is about which experts run":   func(_ *Config, r *Router) { r.Top, r.Noise = 0, 1 },
		"balance.switch: is about which experts run": func(_ *Config, r *Router) { r.Top, r.Balance.Switch = 4, 1 },
		"balance.z: a modality sees one expert":      func(_ *Config, r *Router) { r.Experts, r.Top, r.Balance.Z = 1, 1, 1 },
		"balance.load: is an expectation":            func(_ *Config, r *Router) { r.Balance.Load = 1 },
		"balance.local: expected at least 0":         func(_ *Config, r *Router) { r.Balance.Local = -1 },
		"least: is about \"global\"":                 func(_ *Config, r *Router) { r.Balance.Least = map[string]int{"text": 1} },
		"least: \"sound\" is not one of": func(_ *Config, r *Router) {
			r.Balance.Global, r.Balance.Least = 1, map[string]int{"sound": 1}
		},
		"least.text: expected 1..4, found 5": func(_ *Config, r *Router) {
			r.Balance.Global, r.Balance.Least = 1, map[string]int{"text": 5}
		},
		"no physical layer 2": func(c *Config, r *Router) {
			c.Layers, r.Layers = Layers{Scheme: "cycle", Unique: 2, Roles: "all"}, []int{2}
		},
		"layers: 1 is listed twice":          func(_ *Config, r *Router) { r.Layers = []int{1, 1} },
		"with \"experts\": \"modality\"":     func(c *Config, _ *Router) { c.Experts = "modality" },
		"with private \"down\"":              func(c *Config, _ *Router) { c.Private = []Role{Down} },
		"with sharing.map[0] on \"up\"":      func(c *Config, _ *Router) { c.Map = []Rule{{Groups: [][]string{three}}} },
		"with sharing.mix on \"up\"":         func(c *Config, _ *Router) { c.Mix = &Mix{Kind: "stitch"} },
		"with sharing.delta on \"up\"":       func(c *Config, _ *Router) { c.Delta = &Delta{Kind: "lora", By: "layer", Rank: 1} },
		"router: does not go with sharing.a": func(c *Config, _ *Router) { c.Adapt = &Adapt{} },
	} {
		c, r := Default(), good
		change(&c, &r)
		c.Router = &r
		if err := c.Validate(4, three); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to hold %q", err, want)
		}
	}
	for _, change := range []func(c *Config, r *Router){
		func(*Config, *Router) {},
		func(c *Config, _ *Router) { c.Private = []Role{Norm1, Qkv, Out, Norm2} },
		func(c *Config, _ *Router) {
			c.Delta = &Delta{Kind: "lora", By: "modality", Rank: 2, Roles: []Role{Qkv}}
		},
		func(c *Config, _ *Router) { c.Map = []Rule{{Roles: []Role{Out}, Groups: [][]string{three}}} },
		func(c *Config, r *Router) {
			c.Layers, r.Layers = Layers{Scheme: "cycle", Unique: 2, Roles: "attention"}, []int{2}
		},
	} {
		c, r := Default(), good
		change(&c, &r)
		c.Router = &r
		if err := c.Validate(4, three); err != nil {
			t.Error(err)
		}
	}
}

func TestExpertNames(t *testing.T) {
	r := Router{Layers: []int{1}, Experts: 2, Private: 2, Always: 2, Sees: "own", Gate: "modality", Equal: true}
	c := Config{Layers: Layers{Scheme: "cycle", Unique: 2, Roles: "all"}, Experts: "none", Router: &r}
	if err := c.Validate(4, []string{"audio", "text"}); err != nil {
		t.Fatal(err)
	}
	w := NewWeights(c, NewBank(tensor.CPU(1), 3), "trunk", 4, []string{"audio", "text"})
	w.Declare(Up, 3, 2, 1)
	w.Declare(Down, 2, 3, 1)
	w.DeclareExperts(2, 5, 1)
	var names []string
	for _, p := range w.Bank.Params() {
		if n, ok := strings.CutSuffix(p.Name, "/up/weight"); ok {
			names = append(names, strings.TrimPrefix(n, "trunk/"))
		}
	}
	want := []string{
		"0/ffn", "1/ffn#always", "1/ffn#always#1", "1/ffn", "1/ffn#1", "1/ffn@audio", "1/ffn#1@audio", "1/ffn@text", "1/ffn#1@text",
	}
	if !slices.Equal(names, want) {
		t.Errorf("networks %v, want %v", names, want)
	}
	read := func(n string) string { return fmt.Sprint(w.Bank.Read(w.Bank.Param("trunk/" + n + "/up/weight"))) }
	if read("1/ffn") != read("1/ffn#1@text") || read("1/ffn") == read("1/ffn#always") {
		t.Error("experts of a gate begin equal, and those that always run do not")
	}
	if got := w.Visible("text"); !slices.Equal(got, []int{0, 1, 4, 5}) {
		t.Errorf("text sees %v", got)
	}
	if got, want := w.Serving(3, "text", Gate), []string{"trunk/1/ffn@text/gate/weight"}; !slices.Equal(got, want) {
		t.Errorf("gate %v", got)
	}
	if got := w.Serving(3, "audio", Down); len(got) != 2*6 || got[4] != "trunk/1/ffn/down/weight" {
		t.Errorf("audio is served by %v", got)
	}
	if got := w.Serving(2, "audio", Down); !slices.Equal(got, []string{"trunk/0/ffn/down/weight", "trunk/0/ffn/down/bias"}) {
		t.Errorf("layer 2 is served by %v", got)
	}
}
