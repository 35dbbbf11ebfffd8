package train

import (
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/checkpoint"
	"github.com/onetrunk/onetrunk/model"
)

// tensors reads a file of a run's latest checkpoint.
func tensors(t *testing.T, dir, file string) map[string][]float32 {
	t.Helper()
	step, err := model.Marked(dir, "latest")
	if err != nil {
		t.Fatal(err)
	}
	f, err := checkpoint.Open(step + "/" + file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string][]float32{}
	for _, name := range f.Names() {
		shape, _ := f.Shape(name)
		n := 1
		for _, d := range shape {
			n *= d
		}
		all[name] = make([]float32, n)
		if err := f.Read(name, all[name], shape); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func same(a, b []float32) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// TestFrozenTensorsStay holds what a phase freezes, moments and all, to its bits
// before and after the phase, whatever momentum and decay are, and what it trains
// to a change; modalities that are in no pair get nothing but decay.
func TestFrozenTensorsStay(t *testing.T) {
	const phases = `, "phases": [{"steps": 4}, {"name": "heads", "steps": 4, "freeze": ["trunk/*", "tokenizers/*"], "except": ["trunk/1/*"], "pairs": {"echo+hum": 1}}, {"freeze": ["heads/*"]}]`
	for name, keys := range sharings {
		for _, clip := range []string{`"clip": 1`, `"clip": 0`} {
			dir := t.TempDir()
			o := small(t, dir, keys+phases, clip)
			finished(t, o, 4)
			w, m := tensors(t, dir, "model.safetensors"), tensors(t, dir, "optimizer.safetensors")
			res := finished(t, o, 8)
			if n := len(res.Phases); n != 2 || res.Phases[1].Name != "heads" || res.Phases[1].From != 4 || res.Phases[1].Tensors == 0 {
				t.Errorf("%s: phases %+v", name, res.Phases)
			}
			after, afterM := tensors(t, dir, "model.safetensors"), tensors(t, dir, "optimizer.safetensors")
			for n := range w {
				frozen := (strings.HasPrefix(n, "trunk/") || strings.HasPrefix(n, "tokenizers/")) && !strings.HasPrefix(n, "trunk/1/")
				if same(w[n], after[n]) != frozen {
					t.Errorf("%s, %s: %s moved %t, frozen %t", name, clip, n, !frozen, frozen)
				}
				if frozen && (!same(m["m/"+n], afterM["m/"+n]) || !same(m["v/"+n], afterM["v/"+n])) {
					t.Errorf("%s, %s: moments of %s moved", name, clip, n)
				}
			}
			finished(t, o, 12)
			end := tensors(t, dir, "model.safetensors")
			for n := range w {
				if frozen := strings.HasPrefix(n, "heads/"); same(after[n], end[n]) != frozen {
					t.Errorf("%s, %s: %s moved %t in the last phase", name, clip, n, !frozen)
				}
			}
		}
	}
}

// TestFirstUpdateIsCorrected: what is trained from a later phase on takes its
// first step as one from the first step on does, by about the learning rate.
func TestFirstUpdateIsCorrected(t *testing.T) {
	dir := t.TempDir()
	o := small(t, dir, `"phases": [{"steps": 6, "freeze": ["trunk/0/attn/qkv/bias"]}, {}]`, `"final_lr": 1`)
	o.Settings.Decay = 0
	finished(t, o, 7)
	for _, v := range tensors(t, dir, "model.safetensors")["trunk/0/attn/qkv/bias"][16:] { // of the values; those of the keys have none
		if v < 0 {
			v = -v
		}
		if v < 0.0095 || v > 0.0101 {
			t.Errorf("the first update is %g, want the learning rate 0.01", v)
		}
	}
}

func TestPhaseMistakesAreNamed(t *testing.T) {
	for phases, want := range map[string]string{
		`[{"steps": 5, "freeze": ["trunk/9/*"]}, {}]`: `small: sharing.phases[0].freeze: "trunk/9/*" matches no tensor`,
		`[{"steps": 5}, {"steps": 3}]`:                "sharing.phases[1]: ends with step 8",
		`[{"freeze": ["*"]}]`:                         "nothing is trained",
	} {
		o := small(t, t.TempDir(), `"phases": `+phases, "")
		if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want it to hold %q", phases, err, want)
		}
	}
	o := small(t, "", `"phases": [{}]`, "")
	for pairs, want := range map[string]string{"hum+echo": "sharing.phases[0].pairs", "echo+hum": ""} {
		o.Config.Sharing.Phases[0].Pairs = map[string]float64{pairs: 1}
		if err := o.Settings.Validate(o.Config); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", pairs, err)
		}
	}
	// A run whose phases are others than before is told so.
	dir := t.TempDir()
	finished(t, small(t, dir, `"phases": [{"steps": 4}, {}]`, ""), 6)
	o = small(t, dir, `"phases": [{"steps": 2}, {"steps": 2}, {}]`, "")
	o.Resume = true
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "had other phases") {
		t.Errorf("other phases: %v", err)
	}
}
