package sharing

import (
	"fmt"
	"slices"
	"strings"
)

// Adapt gives modalities private copies of what they disagree about, while they
// train (ours; of the published adaptive hard sharing the abstract alone is
// public, which counts differing signs of gradients). Every so many steps after a
// warm-up, the gradients that reach the tensors of a Half through the rows of
// each modality are held against each other. Where the cosine of two of them is
// below Threshold in Checks checks in a row, the group is split in two: the two
// modalities that agree least, in the mean of those checks, and each other one
// with the one of the two that it agrees with more. Both parts get the values and
// moments of what they shared, so that no output changes, and the config a rule.
type Adapt struct {
	// Warmup is the number of steps before the first check or, below 1, a share of
	// train.steps.
	Warmup float64 `json:"warmup,omitempty"`
	// Every is the number of steps from a check to the next. A check costs a
	// forward and a backward pass for each modality.
	Every int `json:"every"`
	// Checks is the number of checks in a row that must show a conflict.
	Checks int `json:"checks"`
	// Threshold is the cosine below which two gradients conflict.
	Threshold float64 `json:"threshold"`
}

func (a *Adapt) validate(c *Config) error {
	switch {
	case !(a.Warmup >= 0):
		return fmt.Errorf("sharing.adapt.warmup: expected at least 0, found %g", a.Warmup)
	case a.Every < 1:
		return fmt.Errorf("sharing.adapt.every: expected at least 1, found %d", a.Every)
	case a.Checks < 1:
		return fmt.Errorf("sharing.adapt.checks: expected at least 1, found %d", a.Checks)
	case !(a.Threshold >= -1 && a.Threshold <= 1):
		return fmt.Errorf("sharing.adapt.threshold: expected a cosine in [-1, 1], found %g", a.Threshold)
	case c.Mix != nil:
		return fmt.Errorf("sharing.adapt: does not go with sharing.mix; a place is either mixed or mapped")
	case c.Mask != nil:
		return fmt.Errorf("sharing.adapt: does not go with sharing.mask; a tensor that is split would need the masks of its parts")
	case c.Router != nil:
		return fmt.Errorf("sharing.adapt: does not go with sharing.router; routed networks are not the map's")
	case c.Pull != nil:
		return fmt.Errorf("sharing.adapt: does not go with sharing.pull, which would draw together what was split")
	case len(c.Phases) > 0:
		return fmt.Errorf("sharing.adapt: does not go with sharing.phases; their patterns name tensors, and a split renames some")
	}
	return nil
}

// String describes the block in a few words.
func (a *Adapt) String() string {
	return fmt.Sprintf("split where the cosine of gradients is below %g", a.Threshold)
}

// Half is the tensors of the attention or of the feed-forward network of a
// physical layer that a group of modalities shares.
type Half struct {
	Layer int
	// Roles are those of which the group has a tensor in common, and no other
	// modality has it: one or both products, perhaps their norm.
	Roles []Role
	Group []string
}

// String names the half as its tensors are: trunk/0/attn, trunk/0/ffn@audio+text.
func (m *Map) halfName(h Half) string {
	name := m.name(h.Layer, groupName(h.Group, m.Modalities), h.Roles[len(h.Roles)-1])
	return name[:strings.LastIndexByte(name, '/')]
}

// Halves lists the halves that a group of at least two modalities shares, by
// their names.
func (m *Map) Halves() (names []string, halves map[string]Half) {
	halves = map[string]Half{}
	for _, half := range [][]Role{{Norm1, Qkv, Out}, {Norm2, Up, Down}} {
		for l := range m.Layers {
			for _, r := range half[1:] {
				at := m.physical[r][l]
				for _, g := range m.grouping(at, r) {
					h := Half{Layer: at, Group: g}
					for _, other := range half {
						if slices.Contains(m.physical[other], at) && slices.ContainsFunc(m.grouping(at, other), func(o []string) bool { return slices.Equal(o, g) }) {
							h.Roles = append(h.Roles, other)
						}
					}
					name := m.halfName(h)
					if _, ok := halves[name]; len(g) > 1 && !ok {
						names = append(names, name)
						halves[name] = h
					}
				}
			}
		}
	}
	return names, halves
}

// grouping returns the lists of modalities that share a tensor of a physical
// layer and role.
func (m *Map) grouping(at int, r Role) [][]string {
	var names []string
	by := map[string][]string{}
	for _, mod := range m.Modalities {
		g := m.groups[r][at][mod]
		if by[g] == nil {
			names = append(names, g)
		}
		by[g] = append(by[g], mod)
	}
	var groups [][]string
	for _, n := range names {
		groups = append(groups, by[n])
	}
	return groups
}

// HalfTensors returns the names of the tensors of a half.
func (m *Map) HalfTensors(h Half) []string {
	var names []string
	for _, r := range h.Roles {
		names = append(names, m.name(h.Layer, groupName(h.Group, m.Modalities), r))
	}
	return names
}

// Split returns the rules by which the group of a half is those parts instead.
func (m *Map) Split(h Half, parts [][]string) []Rule {
	var rules []Rule
	for _, r := range h.Roles {
		var groups [][]string
		for _, g := range m.grouping(h.Layer, r) {
			if slices.Equal(g, h.Group) {
				groups = append(groups, parts...)
			} else {
				groups = append(groups, g)
			}
		}
		same := slices.IndexFunc(rules, func(o Rule) bool { return slices.EqualFunc(o.Groups, groups, slices.Equal) })
		if same < 0 {
			rules = append(rules, Rule{Layers: []int{h.Layer}, Groups: groups})
			same = len(rules) - 1
		}
		rules[same].Roles = append(rules[same].Roles, r)
	}
	return rules
}

// Part divides a group in two by how well its members agree: the two that agree
// least, and every other one with the one of them that it agrees with more.
func Part(group []string, agree func(a, b string) float64) [][]string {
	var a, b string
	for i, x := range group {
		for _, y := range group[i+1:] {
			if a == "" || agree(x, y) < agree(a, b) {
				a, b = x, y
			}
		}
	}
	parts := [][]string{nil, nil}
	for _, x := range group {
		i := 0
		if x == b || x != a && agree(x, b) > agree(x, a) {
			i = 1
		}
		parts[i] = append(parts[i], x)
	}
	return parts
}

// From returns, for the name of each tensor of the map, that of the tensor that
// serves its places in a map before.
func (m *Map) From(before *Map) map[string]string {
	from := map[string]string{}
	for _, e := range m.Entries() {
		from[e.Tensor] = before.Tensor(e.Layer, e.Modality, e.Role)
	}
	return from
}
