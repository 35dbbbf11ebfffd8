package sharing

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Phase is a stretch of training. What it does not train stays as it is, bit for
// bit: values, moments and all, whatever momentum and decay are.
type Phase struct {
	// Name is what messages call it.
	Name string `json:"name,omitempty"`
	// Steps is its length: a number of steps or, below 1, a share of train.steps.
	// The last phase may leave it out, and takes the rest.
	Steps float64 `json:"steps,omitempty"`
	// Freeze lists what is not trained, and Except what of that is trained all the
	// same: names of tensors, in which * stands for any run of characters.
	Freeze []string `json:"freeze,omitempty"`
	Except []string `json:"except,omitempty"`
	// Pairs weighs the losses in place of train.pairs. Modalities that are in no
	// pair are not read.
	Pairs map[string]float64 `json:"pairs,omitempty"`
}

// validPhases checks the phases as far as they are a matter of themselves; train
// checks pairs, and patterns against the tensors that there are.
func (c *Config) validPhases() error {
	for i, p := range c.Phases {
		at := fmt.Sprintf("sharing.phases[%d]", i)
		last := i == len(c.Phases)-1
		switch {
		case p.Steps == 0 && last:
		case p.Steps == 0:
			return fmt.Errorf("%s.steps: only the last phase may leave it out", at)
		case !(p.Steps > 0) || p.Steps >= 1 && p.Steps != math.Trunc(p.Steps) || math.IsInf(p.Steps, 0):
			return fmt.Errorf("%s.steps: expected a whole number of steps, or a share of train.steps below 1, found %g", at, p.Steps)
		}
		for _, pattern := range slices.Concat(p.Freeze, p.Except) {
			if pattern == "" {
				return fmt.Errorf("%s: a pattern is empty", at)
			}
		}
		if len(p.Except) > 0 && len(p.Freeze) == 0 {
			return fmt.Errorf("%s.except: nothing is frozen that it could be an exception of", at)
		}
		if m := c.Mask; len(p.Freeze) > 0 && m != nil && (m.Kind == "dynamic" || m.Kind == "units") {
			return fmt.Errorf("%s.freeze: does not go with sharing.mask of kind %s, which changes tensors that a phase would freeze", at, m.Kind)
		}
	}
	return nil
}

// Frozen reports whether the phase keeps the tensor of that name as it is.
func (p *Phase) Frozen(name string) bool { return matches(p.Freeze, name) && !matches(p.Except, name) }

// Check is an error when a pattern of the phase, which is the i-th, matches none
// of the names.
func (p *Phase) Check(i int, names []string) error {
	for _, list := range []struct {
		key      string
		patterns []string
	}{{"freeze", p.Freeze}, {"except", p.Except}} {
		for _, pattern := range list.patterns {
			if !slices.ContainsFunc(names, func(n string) bool { return match(pattern, n) }) {
				return fmt.Errorf("sharing.phases[%d].%s: %q matches no tensor (there is %q, for one)", i, list.key, pattern, names[0])
			}
		}
	}
	return nil
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return match(p, name) })
}

// match reports whether a name fits a pattern, in which * stands for any run of
// characters.
func match(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	rest, ok := strings.CutPrefix(name, parts[0])
	if !ok {
		return false
	}
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		i := strings.Index(rest, part)
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
	return strings.HasSuffix(rest, parts[last])
}

// Ends returns the step with which each phase ends in a training of so many
// steps; the last ends with it.
func Ends(phases []Phase, steps int) ([]int, error) {
	var ends []int
	at := 0
	for i, p := range phases {
		last := i == len(phases)-1
		n := Steps(p.Steps, steps)
		if p.Steps == 0 {
			n = steps - at
		}
		at += n
		switch {
		case n < 1:
			return nil, fmt.Errorf("sharing.phases[%d]: has no step left of the %d of train.steps", i, steps)
		case at > steps || last && at < steps:
			return nil, fmt.Errorf("sharing.phases[%d]: ends with step %d, and training with step %d (train.steps)", i, at, steps)
		}
		ends = append(ends, at)
	}
	return ends, nil
}

// Steps returns a number of steps that is given as such or, below 1, as a share
// of all.
func Steps(n float64, all int) int {
	if n < 1 {
		return int(math.Round(n * float64(all)))
	}
	return int(n)
}
