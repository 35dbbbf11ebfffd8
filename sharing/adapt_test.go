package sharing

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestHalvesAndTheirSplits(t *testing.T) {
	c := Config{
		Layers: Layers{Scheme: "cycle", Unique: 2, Roles: "ffn"}, Private: []Role{Norm1, Norm2}, Experts: "none",
		Map: []Rule{
			{Layers: []int{0}, Roles: []Role{Up}, Groups: [][]string{{"audio", "text"}, {"image"}}},
			{Layers: []int{1}, Roles: []Role{Up, Down}, Groups: [][]string{{"audio"}, {"image"}, {"text"}}},
			{Layers: []int{2}, Roles: []Role{Norm1}, Groups: [][]string{three}},
		},
	}
	if err := c.Validate(3, three); err != nil {
		t.Fatal(err)
	}
	m := NewMap(c, "trunk", 3, three)
	names, halves := m.Halves()
	want := []string{"trunk/0/attn", "trunk/1/attn", "trunk/2/attn", "trunk/0/ffn@audio+text", "trunk/0/ffn"}
	if !reflect.DeepEqual(names, want) {
		t.Fatalf("halves %v, want %v", names, want)
	}
	for name, roles := range map[string]string{"trunk/1/attn": "[qkv out]", "trunk/2/attn": "[norm1 qkv out]", "trunk/0/ffn": "[down]"} {
		if got := fmt.Sprint(halves[name].Roles); got != roles {
			t.Errorf("%s: roles %s, want %s", name, got, roles)
		}
	}
	// Each split leaves all other places as they were, and its own in parts.
	for _, name := range names {
		h := halves[name]
		parts := Part(h.Group, func(a, b string) float64 { return map[string]float64{"audio text": -1, "audio image": 0.5}[a+" "+b] })
		split := c
		split.Map = append(slices.Clone(c.Map), m.Split(h, parts)...)
		if err := split.Validate(3, three); err != nil {
			t.Fatal(err)
		}
		next := NewMap(split, "trunk", 3, three)
		for _, e := range next.Entries() {
			before := m.Tensor(e.Layer, e.Modality, e.Role)
			if changed := slices.Contains(m.HalfTensors(h), before); changed == (e.Tensor == before) {
				t.Errorf("%s: layer %d %s %s: %s, before %s", name, e.Layer, e.Modality, e.Role, e.Tensor, before)
			}
			if got := next.From(m)[e.Tensor]; got != before {
				t.Errorf("%s: %s begins as %s, want %s", name, e.Tensor, got, before)
			}
		}
	}
	if got := fmt.Sprint(m.Split(halves["trunk/1/attn"], [][]string{{"audio"}, {"image", "text"}})); got != "[1 qkv,out: audio | image+text]" {
		t.Error(got)
	}
}

func TestAdaptIsRefused(t *testing.T) {
	good := Adapt{Every: 5, Checks: 2, Threshold: -0.1}
	for want, change := range map[string]func(c *Config){
		"":                        func(*Config) {},
		"sharing.adapt.every":     func(c *Config) { c.Adapt.Every = 0 },
		"sharing.adapt.checks":    func(c *Config) { c.Adapt.Checks = 0 },
		"sharing.adapt.threshold": func(c *Config) { c.Adapt.Threshold = -2 },
		"sharing.mix":             func(c *Config) { c.Mix = &Mix{Kind: "stitch"} },
		"sharing.phases":          func(c *Config) { c.Phases = []Phase{{}} },
	} {
		c, a := Default(), good
		c.Adapt = &a
		change(&c)
		if err := c.Validate(2, three); (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to hold %q", err, want)
		}
	}
}
