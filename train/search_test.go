package train

import (
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/tensor"
)

const searching = `"private": ["norm1", "norm2"], "mix": {"kind": "partitions",
	"search": {"budget": 4000, "weight": 1, "warmup": 0.25, "tau": [2, 0.5], "rate": 0.05}}`

func TestSearchGoesOn(t *testing.T) {
	whole, stopped := t.TempDir(), t.TempDir()
	finished(t, small(t, whole, searching, ""), 0)
	for _, upTo := range []int{2, 7, 0} { // before the logits move, and after
		finished(t, small(t, stopped, searching, ""), upTo)
	}
	want, got := latest(t, whole), latest(t, stopped)
	for name, data := range want {
		if got[name] != data {
			t.Errorf("%s is another after the run was stopped twice", name)
		}
	}
	if want[policyFile] == "" {
		t.Error("a checkpoint has no moments of the logits")
	}
}

// TestSearchMovesWeightsAndLogitsInTurns looks at what the two kinds of steps
// change, and at the data that each sees.
func TestSearchMovesWeightsAndLogitsInTurns(t *testing.T) {
	logits := func(upTo int) (values []float32) {
		dir := t.TempDir()
		finished(t, small(t, dir, searching, ""), upTo)
		at, err := model.Marked(dir, "latest")
		if err != nil {
			t.Fatal(err)
		}
		m, err := model.OpenOn(at, tensor.CPU(1))
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range m.Weights.Units() {
			values = append(values, m.Bank.Read(m.Bank.Param(u.Policy))...)
		}
		return values
	}
	moved := func(values []float32) (n int) {
		for _, v := range values {
			if v != 0 {
				n++
			}
		}
		return n
	}
	if before := logits(3); moved(before) != 0 { // a quarter of 12 steps
		t.Errorf("the logits moved in the warm-up: %v", before)
	}
	if after := logits(4); moved(after) != len(after) {
		t.Errorf("some logits did not move after the warm-up: %v", after)
	}

	r := begun(t, small(t, t.TempDir(), searching, ""))
	defer r.search.close()
	for _, p := range r.opt.params {
		if strings.HasSuffix(p.Name, "/policy") {
			t.Errorf("the optimizer of the weights moves %s", p.Name)
		}
	}
	if n := len(r.search.opt.params); n != 4 { // attention and feed-forward of two layers
		t.Errorf("the optimizer of the logits moves %d tensors, want 4", n)
	}
	seen := map[string]bool{}
	for _, odd := range []int{0, 1} {
		h := half{r.Train, odd}
		for i := range h.Len() {
			if id := h.Item(i).ID; seen[id] {
				t.Errorf("item %s is in both halves", id)
			} else {
				seen[id] = true
			}
		}
	}
	if len(seen) != r.Train.Len() {
		t.Errorf("the halves hold %d of %d items", len(seen), r.Train.Len())
	}
}
