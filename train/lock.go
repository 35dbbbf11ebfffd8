package train

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/onetrunk/onetrunk/checkpoint"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/pretrained"
	"github.com/onetrunk/onetrunk/sharing"
)

// locked reports whether the settings lock a tensor of the model: what is a
// locked modality's own, but for the bridge into the shared space, and for
// "trunk" the shared trunk; not the last blocks that are unlocked.
func locked(m *model.Model, s *Settings) func(name string) bool {
	open := map[string]bool{}
	for _, modality := range m.Modalities() {
		of := m.Trunk(modality)
		for l := max(of.Layers-s.UnlockLast, 0); l < of.Layers; l++ {
			for _, r := range sharing.Roles {
				open[of.Tensor(l, modality, r)] = true
			}
		}
	}
	return func(name string) bool {
		if open[path.Dir(name)] {
			return false
		}
		for _, what := range s.Lock {
			switch {
			case what == pretrained.SharedTrunk && strings.HasPrefix(name, "trunk/"):
				return true
			case name == "heads/"+what+"/bridge/weight":
			case strings.HasPrefix(name, "tokenizers/"+what+"/"), strings.HasPrefix(name, "heads/"+what+"/"),
				strings.Contains(name, "@"+what+"/"):
				return true
			}
		}
		return false
	}
}

// checksum returns the checksum of a bank's tensors that match, and their
// number.
func checksum(b *sharing.Bank, match func(name string) bool) (sum string, n int) {
	ts := slices.DeleteFunc(model.Tensors(b), func(t checkpoint.Tensor) bool { return !match(t.Name) })
	return model.Checksum(ts), len(ts)
}

// Locked says which tensors a run did not train.
type Locked struct {
	Tensors int `json:"tensors"`
	// SHA256 is of their names, shapes and values, the same at the end of the
	// run as when it began.
	SHA256 string `json:"sha256"`
}

// lock freezes what the settings lock, and remembers its checksum.
func (r *run) lock() {
	bank := r.model.Bank
	match := locked(r.model, &r.Settings)
	bank.Freeze(func(string) bool { return true }, false)
	bank.Freeze(match, true)
	if sum, n := checksum(bank, match); n > 0 {
		r.state.Locked = &Locked{Tensors: n, SHA256: sum}
	}
}

// unmoved is an error when what is locked has changed since it was.
func (r *run) unmoved() error {
	if r.state.Locked == nil {
		return nil
	}
	sum, _ := checksum(r.model.Bank, locked(r.model, &r.Settings))
	if sum != r.state.Locked.SHA256 {
		return fmt.Errorf("step %d: the %d locked tensors have changed: their checksum is %s, it was %s", r.state.Step, r.state.Locked.Tensors, sum, r.state.Locked.SHA256)
	}
	return nil
}
