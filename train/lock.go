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
		for _, e := range of.Entries() {
			if e.Modality == modality && e.Layer >= of.Layers-s.UnlockLast {
				open[e.Tensor] = true
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

// lock freezes what the settings lock or no phase trains, and remembers the
// checksum of what they lock.
func (r *run) lock() {
	bank := r.model.Bank
	match := locked(r.model, &r.Settings)
	bank.Freeze(func(string) bool { return true }, false)
	bank.Freeze(func(name string) bool { return match(name) || r.frozenThroughout(name) }, true)
	if sum, n := checksum(bank, match); n > 0 && r.state.Locked == nil {
		r.state.Locked = &Locked{Tensors: n, SHA256: sum}
	}
}

// unmoved is an error when what is locked has changed since it was, or what a
// phase froze since it began.
func (r *run) unmoved() error {
	check := func(what string, l Locked, match func(name string) bool) error {
		if sum, _ := checksum(r.model.Bank, match); sum != l.SHA256 {
			return fmt.Errorf("step %d: the %d %s tensors have changed: their checksum is %s, it was %s", r.state.Step, l.Tensors, what, sum, l.SHA256)
		}
		return nil
	}
	if l := r.state.Locked; l != nil {
		if err := check("locked", *l, locked(r.model, &r.Settings)); err != nil {
			return err
		}
	}
	if n := len(r.state.Phases); n > 0 && n <= len(r.phases.list) {
		return check("frozen", r.state.Phases[n-1].Locked, r.phases.list[n-1].Frozen)
	}
	return nil
}
