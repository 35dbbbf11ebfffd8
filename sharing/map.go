package sharing

import (
	"fmt"
	"slices"
)

// Map names the physical tensor that serves each (layer, modality, role) of a
// trunk.
type Map struct {
	// Trunk is what its tensors' names begin with.
	Trunk string
	// Layers is the number of layers that run, Modalities their names.
	Layers     int
	Modalities []string

	private  map[Role]bool
	physical map[Role][]int // by layer
}

// NewMap builds the map of a valid config for the trunk of that name.
func NewMap(c Config, trunk string, layers int, modalities []string) *Map {
	m := &Map{Trunk: trunk, Layers: layers, Modalities: modalities, private: map[Role]bool{}, physical: map[Role][]int{}}
	for _, r := range c.Private {
		m.private[r] = true
	}
	if c.Experts == "modality" {
		m.private[Up], m.private[Down] = true, true
	}
	own := physicalLayers(Layers{Scheme: "none"}, layers)
	shared := physicalLayers(c.Layers, layers)
	for _, r := range Roles {
		m.physical[r] = own
		if c.Layers.Roles == "all" || (c.Layers.Roles == "attention") == r.attention() {
			m.physical[r] = shared
		}
	}
	return m
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
// trunk/3/attn/qkv, or trunk/3/ffn@audio/up where it is private.
func (m *Map) Tensor(layer int, modality string, r Role) string {
	at := ""
	if m.private[r] {
		at = "@" + modality
	}
	name := fmt.Sprintf("%s/%d/%s%s", m.Trunk, m.physical[r][layer], r.group(), at)
	if r.group() != string(r) {
		name += "/" + string(r)
	}
	return name
}

// Entry is one place of the map and the tensor that serves it.
type Entry struct {
	Layer    int    `json:"layer"`
	Modality string `json:"modality"`
	Role     Role   `json:"role"`
	Tensor   string `json:"tensor"`
}

// Entries lists the whole map: by layer, then role, then modality.
func (m *Map) Entries() []Entry {
	var es []Entry
	for l := range m.Layers {
		for _, r := range Roles {
			for _, mod := range m.Modalities {
				es = append(es, Entry{l, mod, r, m.Tensor(l, mod, r)})
			}
		}
	}
	return es
}

// Tensors lists the physical tensors of a role, each once, in the order of
// their first use.
func (m *Map) Tensors(r Role) []string {
	var names []string
	for _, e := range m.Entries() {
		if e.Role == r && !slices.Contains(names, e.Tensor) {
			names = append(names, e.Tensor)
		}
	}
	return names
}
