package sharing

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Router puts several feed-forward networks, the experts, in one slot, with a
// gate: p = softmax(W h) over the experts that a modality sees, and a token gets
// sum_e p_e FFN_e(h) over the Top greatest p_e. h is what a lone network would
// read, the modality's own tokens. Some that this makes:
//
//	V-MoE, Switch, LIMoE  shared experts, Top of them
//	DeepSeekMoE           Always and many small experts (Dai et al. 2024)
//	MMoE                  shared experts, all run, a gate by modality (Ma et al. 2018)
//	PLE                   shared and private experts, each modality sees its own (Tang et al. 2020)
//	AdaTT                 private experts, each modality sees all, with the
//	                      residual (Li et al. 2023)
//
// MMoE, PLE and AdaTT have towers behind their experts and outputs of each task
// in the next layer; here the experts of a layer stand in a block, whose tokens
// stay the modality's own.
type Router struct {
	// Layers are the physical layers that are routed; all where nothing is
	// listed.
	Layers []int `json:"layers,omitempty"`
	// Experts is the number of experts of all modalities, Private that of each
	// modality's own.
	Experts int `json:"experts,omitempty"`
	Private int `json:"private,omitempty"`
	// Always is the number of experts that every token runs through beside, with
	// weight one and no gate.
	Always int `json:"always,omitempty"`
	// Sees says which private experts a modality may use: its "own", or those of
	// "all".
	Sees string `json:"sees,omitempty"`
	// Gate is "shared", one for all modalities, or "modality", one for each.
	Gate string `json:"gate"`
	// Top is the number of experts that run for a token; 0 runs all.
	Top int `json:"top,omitempty"`
	// Residual adds to what the gate makes a learned sum of the modality's own
	// experts, which then always run. A lone one has weight one; of several, each
	// begins with an equal part, where the published code draws the weights.
	Residual bool `json:"residual,omitempty"`
	// Hidden is the inner size of an expert, 0 for the trunk's.
	Hidden int `json:"hidden,omitempty"`
	// Equal begins all gated experts with the same values, as V-MoE does.
	Equal bool `json:"equal,omitempty"`
	// Noise is, times one over the number of experts, the standard deviation of
	// what is added to a gate's logits in training; V-MoE has 1.
	Noise float64 `json:"noise,omitempty"`
	// Capacity bounds the tokens that an expert takes in a pass of training, times
	// its even share; 0 does not. The tokens of least p_e are dropped: they get
	// nothing of that expert. In use nothing is dropped, so that a vector does not
	// depend on what is embedded beside it.
	Capacity float64 `json:"capacity,omitempty"`
	// Balance keeps experts in use.
	Balance Balancing `json:"balance,omitzero"`
}

// Balancing weighs what is added to the loss for each routed layer. All but Load
// read the gate without its noise.
type Balancing struct {
	// Switch is of E sum_e f_e mean(p_e), f_e the share of the choices that are
	// e: GShard's and Switch's loss, which count a token's first choice alone.
	Switch float64 `json:"switch,omitempty"`
	// Importance and Load are V-MoE's: the squared coefficient of variation of
	// sum p_e, and of the expected number of tokens that choose e under the noise.
	Importance float64 `json:"importance,omitempty"`
	Load       float64 `json:"load,omitempty"`
	// Local and Global are LIMoE's, for each modality: the mean entropy of a
	// token's p, and what the entropy of the mean p has less than log(Least).
	Local  float64 `json:"local,omitempty"`
	Global float64 `json:"global,omitempty"`
	// Least is the number of experts that Global wants a modality to use, all
	// that it sees where it is not named.
	Least map[string]int `json:"least,omitempty"`
	// Z is of the mean square of a gate's log-sum-exp (Zoph et al. 2022).
	Z float64 `json:"z,omitempty"`
}

// Any reports whether anything is weighed.
func (b *Balancing) Any() bool {
	return b.Switch+b.Importance+b.Load+b.Local+b.Global+b.Z > 0
}

// The roles that a router adds to its layers: the gate's matrix [experts, D], and
// the weights of a residual of several experts.
const (
	Gate     Role = "gate"
	Residual Role = "residual"
)

// sees is the number of experts that a gate chooses among, in a trunk of that many
// modalities.
func (r *Router) sees(modalities int) int {
	if r.Sees == "all" {
		return r.Experts + r.Private*modalities
	}
	return r.Experts + r.Private
}

func (r *Router) validate(c *Config, layers int, modalities []string) error {
	for _, v := range []struct {
		key   string
		value int
	}{
		{"experts", r.Experts}, {"private", r.Private}, {"always", r.Always}, {"top", r.Top}, {"hidden", r.Hidden},
	} {
		if v.value < 0 {
			return fmt.Errorf("sharing.router.%s: expected at least 0, found %d", v.key, v.value)
		}
	}
	if r.Experts+r.Private == 0 {
		return fmt.Errorf("sharing.router: expected some \"experts\" or \"private\" ones")
	}
	switch {
	case r.Private == 0 && r.Sees != "":
		return fmt.Errorf("sharing.router.sees: is about private experts, of which there are none")
	case r.Private > 0 && r.Sees != "own" && r.Sees != "all":
		return fmt.Errorf("sharing.router.sees: %q is not one of own, all", r.Sees)
	case r.Gate != "shared" && r.Gate != "modality":
		return fmt.Errorf("sharing.router.gate: %q is not one of shared, modality", r.Gate)
	case r.Gate == "shared" && r.Sees == "own":
		return fmt.Errorf("sharing.router.gate: one that is shared sees the same experts for all modalities, not each one's own")
	}
	sees := r.sees(len(modalities))
	switch {
	case r.Top > sees:
		return fmt.Errorf("sharing.router.top: a modality sees %d experts, %d cannot run", sees, r.Top)
	case r.Residual && r.Sees != "all":
		return fmt.Errorf("sharing.router.residual: is for a gate that sees all modalities' experts (\"sees\": \"all\")")
	case r.Residual && sees == 1:
		return fmt.Errorf("sharing.router.residual: a modality sees its own expert alone")
	}
	if err := r.weights(sees); err != nil {
		return err
	}
	if err := r.Balance.least(sees, modalities); err != nil {
		return err
	}
	if err := r.places(c, layers); err != nil {
		return err
	}
	return r.composes(c)
}

// weights checks what has no sense where too few experts are seen, or all run.
func (r *Router) weights(sees int) error {
	b := &r.Balance
	for _, v := range []struct {
		key   string
		value float64
		top   bool // whether it is about which experts are chosen
	}{
		{"balance.switch", b.Switch, true},
		{"balance.importance", b.Importance, false},
		{"balance.load", b.Load, true},
		{"balance.local", b.Local, false},
		{"balance.global", b.Global, false},
		{"balance.z", b.Z, false},
		{"noise", r.Noise, true},
		{"capacity", r.Capacity, true},
	} {
		switch {
		case !(v.value >= 0) || math.IsInf(v.value, 0):
			return fmt.Errorf("sharing.router.%s: expected at least 0, found %g", v.key, v.value)
		case v.value > 0 && sees == 1:
			return fmt.Errorf("sharing.router.%s: a modality sees one expert, there is nothing to balance", v.key)
		case v.value > 0 && v.top && (r.Top == 0 || r.Top == sees):
			return fmt.Errorf("sharing.router.%s: is about which experts run; all %d do (\"top\": %d)", v.key, sees, r.Top)
		}
	}
	if b.Load > 0 && r.Noise == 0 {
		return fmt.Errorf("sharing.router.balance.load: is an expectation under the router's noise, of which there is none")
	}
	return nil
}

// least checks Least.
func (b *Balancing) least(sees int, modalities []string) error {
	if len(b.Least) > 0 && b.Global == 0 {
		return fmt.Errorf("sharing.router.balance.least: is about \"global\", which weighs nothing")
	}
	for _, m := range slices.Sorted(maps.Keys(b.Least)) {
		if !slices.Contains(modalities, m) {
			return fmt.Errorf("sharing.router.balance.least: %q is not one of the trunk's modalities %v", m, modalities)
		}
		if n := b.Least[m]; n < 1 || n > sees {
			return fmt.Errorf("sharing.router.balance.least.%s: expected 1..%d, found %d", m, sees, n)
		}
	}
	return nil
}

// places checks the layers.
func (r *Router) places(c *Config, layers int) error {
	shared := c.Layers
	if shared.Roles == "attention" {
		shared = Layers{Scheme: "none"}
	}
	physical := physicalLayers(shared, layers)
	for i, l := range r.Layers {
		if !slices.Contains(physical, l) {
			return fmt.Errorf("sharing.router.layers: no physical layer %d has a feed-forward network; there are %v", l, slices.Compact(slices.Sorted(slices.Values(physical))))
		}
		if slices.Contains(r.Layers[:i], l) {
			return fmt.Errorf("sharing.router.layers: %d is listed twice", l)
		}
	}
	return nil
}

// composes refuses what else a config may say about the slot.
func (r *Router) composes(c *Config) error {
	const why = "; a router has the feed-forward slot to itself"
	if c.Experts == "modality" {
		return fmt.Errorf("sharing.router: does not go with \"experts\": \"modality\"%s: \"private\": 1, \"sees\": \"own\" is the same", why)
	}
	for _, role := range []Role{Up, Down} {
		if slices.Contains(c.Private, role) {
			return fmt.Errorf("sharing.router: does not go with private %q%s: \"private\": 1, \"sees\": \"own\" is the same", role, why)
		}
		for i, rule := range c.Map {
			if len(rule.Roles) == 0 || slices.Contains(rule.Roles, role) {
				return fmt.Errorf("sharing.router: does not go with sharing.map[%d] on %q%s", i, role, why)
			}
		}
		if c.Mix.covers(role) {
			return fmt.Errorf("sharing.router: does not go with sharing.mix on %q%s; list the mix's roles", role, why)
		}
		if c.Delta.covers(role) {
			return fmt.Errorf("sharing.router: does not go with sharing.delta on %q%s; list the delta's roles", role, why)
		}
	}
	if c.Adapt != nil {
		return fmt.Errorf("sharing.router: does not go with sharing.adapt%s", why)
	}
	return nil
}

// String describes the block in a few words.
func (r *Router) String() string {
	var s []string
	add := func(n int, what string) {
		if n > 0 {
			s = append(s, fmt.Sprintf("%d %s", n, what))
		}
	}
	add(r.Experts, "shared")
	add(r.Private, "private")
	add(r.Always, "that always run")
	top := "all"
	if r.Top > 0 {
		top = fmt.Sprintf("the top %d", r.Top)
	}
	by := "one gate"
	if r.Gate == "modality" {
		by = "gates by modality"
	}
	return fmt.Sprintf("routed experts (%s; %s run, by %s)", strings.Join(s, ", "), top, by)
}
