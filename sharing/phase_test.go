package sharing

import (
	"fmt"
	"strings"
	"testing"
)

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"trunk/*", "trunk/0/attn/qkv/weight", true},
		{"trunk/*", "trunk@text/0/attn/qkv/weight", false},
		{"*/taps/*", "trunk/0/attn@audio/qkv/taps/delta", true},
		{"*/taps/*", "trunk/0/attn@audio/qkv/weight", false},
		{"trunk/1/norm1/weight", "trunk/1/norm1/weight", true},
		{"trunk/1/norm1", "trunk/1/norm1/weight", false},
		{"*", "anything", true},
		{"a*a", "a", false}, // the two ends do not overlap
		{"a*a", "aa", true},
		{"a*b*c", "abbc", true},
		{"a*b*c", "acb", false},
	} {
		if got := match(c.pattern, c.name); got != c.want {
			t.Errorf("%q matches %q: %t", c.pattern, c.name, got)
		}
	}
	p := Phase{Freeze: []string{"trunk/*"}, Except: []string{"*/taps/*", "nowhere/*"}}
	if !p.Frozen("trunk/0/x") || p.Frozen("trunk/0/taps/x") || p.Frozen("heads/x") {
		t.Error("what is frozen is not what freeze matches and except does not")
	}
	if err := p.Check(2, []string{"trunk/0/x", "trunk/0/taps/x"}); err == nil || !strings.Contains(err.Error(), `sharing.phases[2].except: "nowhere/*" matches no tensor`) {
		t.Errorf("a pattern without a tensor: %v", err)
	}
}

func TestEnds(t *testing.T) {
	of := func(steps ...float64) (ps []Phase) {
		for _, s := range steps {
			ps = append(ps, Phase{Steps: s})
		}
		return ps
	}
	for _, c := range []struct {
		phases []Phase
		steps  int
		want   string // or a part of the error
	}{
		{nil, 10, "[]"},
		{of(0), 10, "[10]"},
		{of(3, 2, 0), 10, "[3 5 10]"},
		{of(0.5, 0.25, 0), 8, "[4 6 8]"},
		{of(0.5, 5), 10, "[5 10]"},
		{of(3, 10), 10, "ends with step 13"},
		{of(3, 2), 10, "ends with step 5, and training with step 10"},
		{of(10, 0), 10, "sharing.phases[1]: has no step left"},
		{of(0.01, 0), 10, "sharing.phases[0]: has no step"},
	} {
		got, err := Ends(c.phases, c.steps)
		if text := fmt.Sprint(got, err); !strings.Contains(text, c.want) {
			t.Errorf("%v in %d steps: %s, want %s", c.phases, c.steps, text, c.want)
		}
	}
	for _, c := range []struct {
		phases []Phase
		want   string
	}{
		{of(0, 5), "sharing.phases[0].steps: only the last"},
		{of(-1, 0), "sharing.phases[0].steps"},
		{of(1.5, 0), "sharing.phases[0].steps"},
		{[]Phase{{Except: []string{"x"}}}, "sharing.phases[0].except"},
		{[]Phase{{Freeze: []string{""}}}, "a pattern is empty"},
	} {
		if err := (&Config{Phases: c.phases}).validPhases(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %s", c.phases, err, c.want)
		}
	}
	masked := Config{Mask: &Mask{Kind: "dynamic"}, Phases: []Phase{{Freeze: []string{"*"}}}}
	if err := masked.validPhases(); err == nil || !strings.Contains(err.Error(), "sharing.mask of kind dynamic") {
		t.Errorf("masks that change within a phase: %v", err)
	}
}
