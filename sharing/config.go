// Package sharing holds the trunk's weights and says which of them serve
// where. The trunk owns none: it asks for the weights of (layer, modality,
// role) and the map answers with a physical tensor of the bank. Every way of
// sharing is another map over the same trunk.
package sharing

import (
	"fmt"
	"slices"
	"strings"
)

// Role is a place in a block that a weight serves.
type Role string

// The roles of a block. Qkv and Out belong to attention, Up and Down to the
// feed-forward network, and each norm stands before one of the two.
const (
	Norm1 Role = "norm1"
	Qkv   Role = "qkv"
	Out   Role = "out"
	Norm2 Role = "norm2"
	Up    Role = "up"
	Down  Role = "down"
)

// Roles lists the roles in the order in which a block uses them.
var Roles = []Role{Norm1, Qkv, Out, Norm2, Up, Down}

// Products lists the roles that are matrices.
var Products = []Role{Qkv, Out, Up, Down}

// group is the part of a block that the role belongs to, as it stands in the
// names of tensors.
func (r Role) group() string {
	switch r {
	case Qkv, Out:
		return "attn"
	case Up, Down, Gate, Residual:
		return "ffn"
	default:
		return string(r)
	}
}

// Product reports whether the role is one of Products.
func (r Role) Product() bool { return slices.Contains(Products, r) }

// attention reports whether the role belongs to the attention half of the
// block, its norm included.
func (r Role) attention() bool { return r == Norm1 || r == Qkv || r == Out }

// Config is the "sharing" block of a config: the one language in which every
// way of sharing is written. What it describes is implemented where the concept
// stands: map, mix, delta, mask, pull and compress here, router in moe, balance
// and phases in train.
type Config struct {
	// Layers says which layers use the same tensors.
	Layers Layers `json:"layers"`
	// Private lists the roles of which each modality has a tensor of its own.
	Private []Role `json:"private"`
	// Experts is "modality" for a feed-forward network of its own for each
	// modality (VLMo's modality experts, Bao et al. 2022), or "none".
	Experts string `json:"experts"`
	// Map lists exceptions to Private and Experts; of several rules for a place
	// the last one holds.
	Map []Rule `json:"map,omitempty"`
	// Mix makes the tensors of some roles of several, by learned coefficients.
	Mix *Mix `json:"mix,omitempty"`
	// Delta adds to the tensors of some roles.
	Delta *Delta `json:"delta,omitempty"`
	// Mask says which entries of shared tensors a modality uses.
	Mask *Mask `json:"mask,omitempty"`
	// Router puts several feed-forward networks in one slot, with gates.
	Router *Router `json:"router,omitempty"`
	// Pull draws private tensors together.
	Pull *Pull `json:"pull,omitempty"`
	// Compress says in what form the tensors of products are kept.
	Compress *Compress `json:"compress,omitempty"`
	// Balance makes one update of the losses of the pairs.
	Balance *Balance `json:"balance,omitempty"`
	// Adapt gives layers private tensors while they train.
	Adapt *Adapt `json:"adapt,omitempty"`
	// Phases follow each other in training.
	Phases []Phase `json:"phases,omitempty"`
}

// Rule says which modalities share a tensor at some places.
type Rule struct {
	// Layers are the physical layers, Roles the roles that it holds for; all
	// where nothing is listed.
	Layers []int  `json:"layers,omitempty"`
	Roles  []Role `json:"roles,omitempty"`
	// Groups are lists of modalities: those of a list share a tensor. Each
	// modality of the trunk stands in one.
	Groups [][]string `json:"groups"`
}

// Layers is cross-layer sharing: M unique layers serve all N.
type Layers struct {
	// Scheme is one of
	//   none       every layer has its own tensors
	//   universal  one layer serves all (Universal Transformer, ALBERT)
	//   sequence   layer i uses floor(i / ceil(N/M))
	//   cycle      layer i uses i mod M
	//   cycle_rev  as cycle, with the last round in reverse order
	// The last three are Takase and Kiyono 2021, algorithm 1.
	Scheme string `json:"scheme"`
	// Unique is M, for sequence, cycle and cycle_rev.
	Unique int `json:"unique,omitempty"`
	// Roles says what is shared across layers: "all", "attention" or "ffn", each
	// with its norm, or "products": all but the norms.
	Roles string `json:"roles,omitempty"`
	// Depth adds a learned row of each layer to what the layer reads, so that
	// layers which share all tensors may differ (Universal Transformer,
	// Dehghani et al. 2019).
	Depth bool `json:"depth,omitempty"`
}

// Default is hard sharing over modalities with private norms (MS-CLIP, You et
// al. 2022), every layer with its own tensors.
func Default() Config {
	return Config{
		Layers:  Layers{Scheme: "none", Roles: "all"},
		Private: []Role{Norm1, Norm2},
		Experts: "none",
	}
}

// Validate checks the block for a trunk of that many layers that those
// modalities run through, and fills in what is left out.
func (c *Config) Validate(layers int, modalities []string) error {
	c.Balance.defaults()
	if err := c.Layers.Validate(layers); err != nil {
		return err
	}
	if err := validRoles("sharing.private", c.Private); err != nil {
		return err
	}
	switch c.Experts {
	case "none":
	case "modality":
		for _, r := range []Role{Up, Down} {
			if slices.Contains(c.Private, r) {
				return fmt.Errorf("sharing.private: %q is private already by \"experts\": \"modality\"", r)
			}
		}
	default:
		return fmt.Errorf("sharing.experts: %q is not one of none, modality", c.Experts)
	}
	for i, r := range c.Map {
		if err := r.validate(fmt.Sprintf("sharing.map[%d]", i), layers, modalities); err != nil {
			return err
		}
	}
	for _, part := range []struct {
		here     bool
		validate func(c *Config) error
	}{
		{c.Mix != nil, c.Mix.validate},
		{c.Delta != nil, c.Delta.validate},
		{c.Mask != nil, c.Mask.validate},
		{c.Router != nil, func(c *Config) error { return c.Router.validate(c, layers, modalities) }},
		{c.Pull != nil, c.Pull.validate},
		{c.Compress != nil, c.Compress.validate},
		{c.Balance != nil, c.Balance.validate},
		{c.Adapt != nil, c.Adapt.validate},
	} {
		if part.here {
			if err := part.validate(c); err != nil {
				return err
			}
		}
	}
	return c.validPhases()
}

// Validate checks the block for a trunk of that many layers.
func (l Layers) Validate(layers int) error {
	switch l.Scheme {
	case "none", "universal":
		if l.Unique != 0 {
			return fmt.Errorf("sharing.layers: scheme %q takes no \"unique\", found %d", l.Scheme, l.Unique)
		}
	case "sequence", "cycle", "cycle_rev":
		if l.Unique < 1 || l.Unique > layers {
			return fmt.Errorf("sharing.layers: scheme %q needs \"unique\" in 1..%d, found %d", l.Scheme, layers, l.Unique)
		}
	default:
		return fmt.Errorf("sharing.layers.scheme: %q is not one of none, universal, sequence, cycle, cycle_rev", l.Scheme)
	}
	if !slices.Contains([]string{"all", "attention", "ffn", "products"}, l.Roles) {
		return fmt.Errorf("sharing.layers.roles: %q is not one of all, attention, ffn, products", l.Roles)
	}
	return nil
}

// covers reports whether a role is shared across layers.
func (l Layers) covers(r Role) bool {
	switch l.Roles {
	case "all":
		return true
	case "products":
		return r.Product()
	}
	return (l.Roles == "attention") == r.attention()
}

func (r *Rule) validate(at string, layers int, modalities []string) error {
	for _, l := range r.Layers {
		if l < 0 || l >= layers {
			return fmt.Errorf("%s.layers: expected numbers in 0..%d, found %d", at, layers-1, l)
		}
	}
	if err := validRoles(at+".roles", r.Roles); err != nil {
		return err
	}
	var all []string
	for _, g := range r.Groups {
		if len(g) == 0 {
			return fmt.Errorf("%s.groups: a list is empty", at)
		}
		all = append(all, g...)
	}
	slices.Sort(all)
	if !slices.Equal(all, modalities) {
		return fmt.Errorf("%s.groups: expected each of %v once, found %v", at, modalities, all)
	}
	return nil
}

// validRoles checks a list of roles; errors call it at.
func validRoles(at string, roles []Role) error {
	for i, r := range roles {
		if !slices.Contains(Roles, r) {
			return fmt.Errorf("%s: %q is not a role %v", at, r, Roles)
		}
		if slices.Contains(roles[:i], r) {
			return fmt.Errorf("%s: %q is listed twice", at, r)
		}
	}
	return nil
}

// validProducts checks a list of roles that are matrices.
func validProducts(at string, roles []Role) error {
	for _, r := range roles {
		if slices.Contains(Roles, r) && !r.Product() {
			return fmt.Errorf("%s: %q is a norm, expected some of %v", at, r, Products)
		}
	}
	return validRoles(at, roles)
}

// String describes the block in a line.
func (c Config) String() string {
	var s []string
	switch c.Layers.Scheme {
	case "none":
		s = append(s, "no sharing across layers")
	case "universal":
		s = append(s, "one layer for all")
	default:
		s = append(s, fmt.Sprintf("%d unique layers (%s)", c.Layers.Unique, c.Layers.Scheme))
	}
	if c.Layers.Scheme != "none" && c.Layers.Roles != "all" {
		s = append(s, c.Layers.Roles+" alone")
	}
	if c.Experts == "modality" {
		s = append(s, "modality experts")
	}
	if len(c.Private) > 0 {
		s = append(s, fmt.Sprintf("private %v", c.Private))
	}
	if len(c.Map) > 0 {
		s = append(s, plural(len(c.Map), "rule"))
	}
	for _, part := range []struct {
		here bool
		text func() string
	}{
		{c.Mix != nil, func() string { return c.Mix.String() }},
		{c.Delta != nil, func() string { return c.Delta.String() }},
		{c.Mask != nil, func() string { return c.Mask.String() }},
		{c.Router != nil, func() string { return c.Router.String() }},
		{c.Pull != nil, func() string { return c.Pull.String() }},
		{c.Compress != nil, func() string { return c.Compress.String() }},
		{c.Balance != nil, func() string { return c.Balance.String() }},
		{c.Adapt != nil, func() string { return c.Adapt.String() }},
		{len(c.Phases) > 0, func() string { return plural(len(c.Phases), "phase") }},
	} {
		if part.here {
			s = append(s, part.text())
		}
	}
	return strings.Join(s, ", ")
}

// plural writes a number of things.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
