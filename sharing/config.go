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

// group is the part of a block that the role belongs to, as it stands in the
// names of tensors.
func (r Role) group() string {
	switch r {
	case Qkv, Out:
		return "attn"
	case Up, Down:
		return "ffn"
	default:
		return string(r)
	}
}

// Product reports whether the role is a matrix that rows are multiplied with.
func (r Role) Product() bool { return r != Norm1 && r != Norm2 }

// attention reports whether the role belongs to the attention half of the
// block, its norm included.
func (r Role) attention() bool { return r == Norm1 || r == Qkv || r == Out }

// Config is the "sharing" block of a config.
type Config struct {
	// Layers says which layers use the same tensors.
	Layers Layers `json:"layers"`
	// Private lists the roles of which each modality has a tensor of its own.
	Private []Role `json:"private"`
	// Experts is "modality" for a feed-forward network of its own for each
	// modality (VLMo's modality experts, Bao et al. 2022), or "none".
	Experts string `json:"experts"`
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
	// Roles says what is shared across layers: "all", "attention" or "ffn".
	Roles string `json:"roles,omitempty"`
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

// Validate checks the block for a trunk of that many layers.
func (c *Config) Validate(layers int) error {
	l := c.Layers
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
	if !slices.Contains([]string{"all", "attention", "ffn"}, l.Roles) {
		return fmt.Errorf("sharing.layers.roles: %q is not one of all, attention, ffn", l.Roles)
	}
	for i, r := range c.Private {
		if !slices.Contains(Roles, r) {
			return fmt.Errorf("sharing.private: %q is not a role %v", r, Roles)
		}
		if slices.Contains(c.Private[:i], r) {
			return fmt.Errorf("sharing.private: %q is listed twice", r)
		}
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
	return nil
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
	return strings.Join(s, ", ")
}
