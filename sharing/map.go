package sharing

import (
	"fmt"
	"slices"
	"strings"
)

// Map names the physical tensor that serves each (layer, modality, role) of a
// trunk.
type Map struct {
	// Trunk is what its tensors' names begin with.
	Trunk string
	// Layers is the number of layers that run, Modalities their names.
	Layers     int
	Modalities []string

	physical map[Role][]int               // by layer
	router   *Router                      // nil for none
	groups   map[Role][]map[string]string // by physical layer: each modality's group
}

// NewMap builds the map of a valid config for the trunk of that name.
func NewMap(c Config, trunk string, layers int, modalities []string) *Map {
	m := &Map{Trunk: trunk, Layers: layers, Modalities: modalities, router: c.Router, physical: map[Role][]int{}, groups: map[Role][]map[string]string{}}
	own := physicalLayers(Layers{Scheme: "none"}, layers)
	shared := physicalLayers(c.Layers, layers)
	for _, r := range Roles {
		m.physical[r] = own
		if c.Layers.covers(r) {
			m.physical[r] = shared
		}
		private := slices.Contains(c.Private, r) || c.Experts == "modality" && (r == Up || r == Down)
		for range layers {
			of := map[string]string{}
			if private {
				for _, name := range modalities {
					of[name] = "@" + name
				}
			}
			m.groups[r] = append(m.groups[r], of)
		}
	}
	for _, rule := range c.Map {
		rule.apply(m)
	}
	return m
}

// apply makes the rule hold in a map.
func (r *Rule) apply(m *Map) {
	for _, role := range Roles {
		if len(r.Roles) > 0 && !slices.Contains(r.Roles, role) {
			continue
		}
		for l, of := range m.groups[role] {
			if len(r.Layers) > 0 && !slices.Contains(r.Layers, l) {
				continue
			}
			for _, group := range r.Groups {
				for _, name := range group {
					of[name] = groupName(group, m.Modalities)
				}
			}
		}
	}
}

// groupName is what a group's tensors are called by: "@audio+text", and nothing
// for all modalities.
func groupName(group, all []string) string {
	if len(group) == len(all) {
		return ""
	}
	return "@" + strings.Join(slices.Sorted(slices.Values(group)), "+")
}

// physicalLayers returns, for each of n layers, the number of the physical
// layer that serves it.
func physicalLayers(l Layers, n int) []int {
	table := make([]int, n)
	for i := range table {
		m := l.Unique
		switch l.Scheme {
		case "none":
			table[i] = i
		case "universal":
			table[i] = 0
		case "sequence":
			table[i] = i / ((n + m - 1) / m)
		case "cycle":
			table[i] = i % m
		case "cycle_rev":
			table[i] = i % m
			if i >= m && i >= m*((n+m-1)/m-1) {
				table[i] = m - 1 - i%m
			}
		default:
			panic("sharing: scheme " + l.Scheme)
		}
	}
	return table
}

// Tensor returns the name of the physical tensor that serves a place:
// trunk/3/attn/qkv, trunk/3/ffn@audio/up where it is private, or
// trunk/3/ffn@audio+text/up where a group shares it. The networks of a routed
// layer are no such tensors: see Experts.
func (m *Map) Tensor(layer int, modality string, r Role) string {
	at := m.physical[r][layer]
	return m.name(at, m.groups[r][at][modality], r)
}

// name returns the name of a tensor of a layer, a group and a role.
func (m *Map) name(layer int, group string, r Role) string {
	name := fmt.Sprintf("%s/%d/%s%s", m.Trunk, layer, r.group(), group)
	if r.group() != string(r) {
		name += "/" + string(r)
	}
	return name
}

// Entry is one place of the map and the tensor that serves it. A routed layer has
// several for Up and for Down, one for each expert that the modality sees.
type Entry struct {
	Layer    int    `json:"layer"`
	Modality string `json:"modality"`
	Role     Role   `json:"role"`
	Tensor   string `json:"tensor"`
	// Expert is the name of an expert, and Share the part that run for a token of
	// those that it is one of.
	Expert string  `json:"expert,omitempty"`
	Share  float64 `json:"share,omitempty"`
}

// Entries lists the whole map: by layer, then role, then modality.
func (m *Map) Entries() []Entry {
	var es []Entry
	for l := range m.Layers {
		for _, r := range Roles {
			if (r == Up || r == Down) && m.Routed(l) {
				continue
			}
			for _, mod := range m.Modalities {
				es = append(es, Entry{Layer: l, Modality: mod, Role: r, Tensor: m.Tensor(l, mod, r)})
			}
		}
		if m.Routed(l) {
			for _, mod := range m.Modalities {
				es = append(es, m.routedEntries(l, mod)...)
			}
		}
	}
	return es
}

// Tensors lists the physical tensors of a role, each once, in the order of
// their first use, but for experts.
func (m *Map) Tensors(r Role) []string {
	var names []string
	for _, e := range m.Entries() {
		if e.Role == r && e.Expert == "" && !slices.Contains(names, e.Tensor) {
			names = append(names, e.Tensor)
		}
	}
	return names
}
