package train

import (
	"fmt"

	"github.com/onetrunk/onetrunk/sharing"
)

// PhaseState says which tensors a phase keeps as they are.
type PhaseState struct {
	Name string `json:"name,omitempty"`
	// From is the step before the phase's first.
	From int `json:"from"`
	Locked
}

// phases are the phases of a run.
type phases struct {
	list []sharing.Phase
	ends []int // the last step of each
	at   int   // which holds; -1 before the first step
}

// newPhases checks the phases of a run's config against its length and tensors.
func (r *run) newPhases() error {
	r.phases = phases{list: r.Config.Sharing.Phases, at: -1}
	var err error
	if r.phases.ends, err = sharing.Ends(r.phases.list, r.Settings.Steps); err != nil {
		return fmt.Errorf("%s: %w", r.Name, err)
	}
	var names []string
	for _, p := range r.model.Bank.Params() {
		names = append(names, p.Name)
	}
	for i, p := range r.phases.list {
		if err := p.Check(i, names); err != nil {
			return fmt.Errorf("%s: %w", r.Name, err)
		}
	}
	return nil
}

// phase returns the phase that holds, nil where there are none.
func (r *run) phase() *sharing.Phase {
	if len(r.phases.list) == 0 {
		return nil
	}
	return &r.phases.list[max(r.phases.at, 0)]
}

// enter makes the phase of step n hold. What the one before froze is checked
// first.
func (r *run) enter(n int) error {
	if len(r.phases.list) == 0 {
		return nil
	}
	at := 0
	for at < len(r.phases.ends)-1 && n > r.phases.ends[at] {
		at++
	}
	if at == r.phases.at {
		return nil
	}
	from := 0
	if at > 0 {
		from = r.phases.ends[at-1]
	}
	p := &r.phases.list[at]
	if at == len(r.state.Phases) && from == n-1 {
		if err := r.unmoved(); err != nil {
			return err
		}
		sum, tensors := checksum(r.model.Bank, p.Frozen)
		r.state.Phases = append(r.state.Phases, PhaseState{p.Name, from, Locked{tensors, sum}})
	}
	if at != len(r.state.Phases)-1 || r.state.Phases[at].From != from {
		return fmt.Errorf("%s: sharing.phases[%d] begins with step %d; the run in %s had other phases", r.Name, at, from+1, r.dir)
	}
	r.phases.at = at
	lock := locked(r.model, &r.Settings)
	r.model.Bank.Freeze(func(name string) bool { return !lock(name) && !p.Frozen(name) }, false)
	r.model.Bank.Freeze(p.Frozen, true)
	return nil
}

// frozenThroughout reports whether no phase trains a tensor.
func (r *run) frozenThroughout(name string) bool {
	for _, p := range r.phases.list {
		if !p.Frozen(name) {
			return false
		}
	}
	return len(r.phases.list) > 0
}

// updates returns how many of the first n steps have trained a tensor.
func (r *run) updates(name string, n int) (count int) {
	if len(r.phases.list) == 0 {
		return n
	}
	from := 0
	for i, p := range r.phases.list {
		if !p.Frozen(name) && n > from {
			count += min(n, r.phases.ends[i]) - from
		}
		from = r.phases.ends[i]
	}
	return count
}
