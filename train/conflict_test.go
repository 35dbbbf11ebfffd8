package train

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/model"
)

// TestGradientsThroughModalitiesSumToAll: rows of different modalities never mix,
// so the gradients through each one's rows are parts of the whole; those of a
// private tensor come through one.
func TestGradientsThroughModalitiesSumToAll(t *testing.T) {
	r := begun(t, small(t, t.TempDir(), sharings["partial sharing"]+`, "delta": {"kind": "apg", "rank": 2, "of": "tokens"}`, ""))
	whole, _ := gradients(t, r)
	a := newApart(r.dev, r.opt.trained(), len(waves))
	for b, err := range r.loader.Run(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range waves {
			if err := r.fwd.through(r.tape, b, m, a, i); err != nil {
				t.Fatal(err)
			}
		}
		break
	}
	for i, p := range a.params {
		if strings.HasPrefix(p.Name, "temperatures/") {
			continue // each pass has theirs
		}
		var n int
		sum := make([]float32, p.Value.Len())
		for j := range waves {
			if a.of[j][i] == nil || r.dev.SumSquares(a.of[j][i]) == 0 {
				continue
			}
			n++
			x := make([]float32, len(sum))
			r.dev.Read(x, a.of[j][i])
			for k := range x {
				sum[k] += x[k]
			}
		}
		if private := strings.Contains(p.Name, "@") || !strings.HasPrefix(p.Name, "trunk/"); private != (n == 1) {
			t.Errorf("%s: gradients through %d modalities", p.Name, n)
		}
		for k := range sum {
			if math.Abs(float64(sum[k]-whole[p.Name][k])) > 1e-5 {
				t.Errorf("%s: parts sum to %v, the gradient is %v", p.Name, sum, whole[p.Name])
				break
			}
		}
	}
	a.release()
}

func TestConflictMap(t *testing.T) {
	dir := t.TempDir()
	o := small(t, dir, sharings["partial sharing"], "")
	finished(t, o, 0)
	m, err := model.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	before := m.Fingerprint()
	c, err := Conflicts(t.Context(), m, o.Train, ConflictOptions{Batch: 8, Batches: 3, Seed: 2})
	if err != nil {
		t.Fatal(err)
	}
	again, err := Conflicts(t.Context(), m, o.Train, ConflictOptions{Batch: 8, Batches: 3, Seed: 2})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := json.Marshal(again); err != nil || string(second) != string(text) {
		t.Errorf("measured twice: %s\n%s", text, second)
	}
	if model.Checksum(model.Tensors(m.Bank))[:32] != before || slices.ContainsFunc(m.Bank.Params(), (*autograd.Param).Trained) {
		t.Error("measuring changes the model")
	}
	if got := strings.Join(c.Pairs, " "); got != "echo+hum echo+tone hum+tone" || c.Batches != 3 || c.Batch != 8 {
		t.Errorf("pairs %s, %d batches of %d", got, c.Batches, c.Batch)
	}
	seen := map[string]bool{}
	for _, x := range c.Tensors {
		seen[x.Tensor] = true
		shared := len(x.Serves) == 3
		if want := map[bool]int{true: 3, false: 1}[shared]; len(x.Pairs) != want {
			t.Errorf("%s serves %v and has cosines of pairs %v", x.Tensor, x.Serves, x.Pairs)
		}
		if want := map[bool]int{true: 3}[shared]; len(x.Modalities) != want || len(x.ModalityNorms) != len(x.Serves) {
			t.Errorf("%s serves %v and has cosines of modalities %v, norms %v", x.Tensor, x.Serves, x.Modalities, x.ModalityNorms)
		}
		for _, cos := range x.Pairs {
			if math.Abs(cos) > 1.0001 {
				t.Errorf("%s: cosine %g", x.Tensor, cos)
			}
		}
	}
	for _, name := range []string{"trunk/0/attn/qkv", "trunk/1/ffn@hum/up", "trunk/1/norm1"} {
		if want := name != "trunk/1/norm1"; seen[name] != want {
			t.Errorf("%s is measured: %t", name, !want)
		}
	}
}

// embedded returns the vectors of all waves of 5 items.
func embedded(t *testing.T, m *model.Model) (all []float32) {
	t.Helper()
	w := newWorld(5)
	for _, name := range waves {
		for i := range w.items {
			p, err := m.Processor(name)
			if err != nil {
				t.Fatal(err)
			}
			v, err := w.Load(w.items[i].Rows[0].Cells[slices.Index(waves, name)], p)
			if err != nil {
				t.Fatal(err)
			}
			z, err := m.EmbedValue(t.Context(), name, v)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, z...)
		}
	}
	return all
}

// TestSplitChangesNoOutput splits a shared layer within a run, and holds the model
// to the bits that it gave before; what it split learns apart afterwards, and run
// folders open at either side of the split.
func TestSplitChangesNoOutput(t *testing.T) {
	const adapt = `"private": ["norm2"], "adapt": {"warmup": 2, "every": 1, "checks": 3, "threshold": 1}`
	for _, delta := range []string{"", `, "delta": {"kind": "lora", "by": "layer", "rank": 2}`} {
		r := begun(t, small(t, t.TempDir(), adapt+delta, ""))
		for n := range 2 { // moments to copy
			gradientsTo(t, r, n+1)
		}
		before := embedded(t, r.model)
		names, halves := r.model.Weights.Halves()
		if len(names) != 4 {
			t.Fatalf("halves %v", names)
		}
		old, moment := r.model, tensorOf(r, "trunk/0/attn/qkv/weight")
		h := halves["trunk/0/attn"]
		if err := r.split(old.Weights.Split(h, [][]string{{"echo"}, {"hum", "tone"}})); err != nil {
			t.Fatal(err)
		}
		for i, v := range embedded(t, r.model) {
			if v != before[i] {
				t.Fatalf("element %d of the outputs is %g after the split, %g before", i, v, before[i])
			}
		}
		for _, name := range []string{"trunk/0/attn@echo/qkv/weight", "trunk/0/attn@hum+tone/qkv/weight"} {
			if !same(tensorOf(r, name), moment) {
				t.Errorf("the moment of %s is not that of what it was split from", name)
			}
		}
		gradientsTo(t, r, 3)
		if same(r.model.Bank.Read(r.model.Bank.Param("trunk/0/attn@echo/qkv/weight")), r.model.Bank.Read(r.model.Bank.Param("trunk/0/attn@hum+tone/qkv/weight"))) {
			t.Error("the parts of a split learn the same")
		}
	}

	dir := t.TempDir()
	o := small(t, dir, adapt, "")
	o.Val = newWorld(6)
	o.Settings.EvalEvery = 2
	res := finished(t, o, 0)
	if len(res.Splits) == 0 || !strings.HasPrefix(res.Splits[0], "step 5: 0 norm1,qkv,out: ") {
		t.Errorf("splits %v", res.Splits)
	}
	c, err := model.ReadConfig(filepath.Join(dir, "config.json"))
	if err != nil || len(c.Sharing.Map) != len(res.Splits) {
		t.Errorf("config.json has rules %v (%v), splits %v", c.Sharing.Map, err, res.Splits)
	}
	// The best checkpoint may be one from before.
	best, err := model.Marked(dir, "best")
	if err != nil {
		t.Fatal(err)
	}
	last, err := model.Marked(dir, "latest")
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{dir, best, last} {
		if _, err := model.Open(at); err != nil {
			t.Error(err)
		}
	}
	// A run that was killed between the two files goes on by the checkpoint's.
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := model.Open(dir); err != nil {
		t.Error(err)
	}
}

// TestOneLookAStep: a run that is stopped within a step, and goes on with it, has
// looked for conflicts once.
func TestOneLookAStep(t *testing.T) {
	r := begun(t, small(t, t.TempDir(), `"private": [], "adapt": {"every": 1, "checks": 9, "threshold": 1}`, ""))
	for b, err := range r.loader.Run(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := r.adapt(1, b, &stepStats{}); err != nil {
				t.Fatal(err)
			}
		}
		break
	}
	if s := r.state.Streaks["trunk/0/attn"]; s.Checks != 1 || len(s.Sums) != 3 {
		t.Errorf("a streak of %+v after one step", s)
	}
}

// gradientsTo takes step n of a run.
func gradientsTo(t *testing.T, r *run, n int) {
	t.Helper()
	for b, err := range r.loader.Run(t.Context(), n-1) {
		if err != nil {
			t.Fatal(err)
		}
		var s stepStats
		r.opt.begin(n)
		if _, err := r.backward(b, pairsIn(b, r.base), &s); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.opt.finish(); err != nil {
			t.Fatal(err)
		}
		r.state.Step = n
		return
	}
}

// tensorOf returns the first moment of a parameter.
func tensorOf(r *run, name string) []float32 {
	m := r.opt.m[r.opt.index[r.model.Bank.Param(name)]]
	x := make([]float32, m.Len())
	r.dev.Read(x, m)
	return x
}
