package sharing

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/tensor"
)

// Mask says which entries of a tensor a modality uses: its effective weight is
// the weight times a mask of zeros and ones. A step changes those entries alone
// that a modality of its batch uses, whatever momentum and decay are; an entry
// that no modality uses is zero.
type Mask struct {
	// Kind is one of
	//   random   fixed masks that the seed draws, Keep of each tensor's entries:
	//            the fixed masks that AdaPS has for clusters of agents (Li et al.
	//            2023), here for modalities
	//   dynamic  masks that begin as random ones and then follow the training
	//            (RigL, Evci et al. 2020), see Regrow
	//   sparse   masks that each modality finds by itself before training begins
	//            (Sun et al. 2020, "Learning sparse sharing architectures"):
	//            from the first values, train on the pairs of the modality,
	//            keep the greatest of its weights by magnitude, go back to the
	//            first values, and again. See train
	//   units    masks over the hidden units of the feed-forward networks, which
	//            are chosen once in training and then fixed: feature selection
	Kind string `json:"kind"`
	// Keep is the share of the entries, or units, that are used; 1 masks nothing.
	Keep float64 `json:"keep"`
	// Roles are the products whose weights are masked, not their biases; all four
	// when empty. Not of units.
	Roles []Role `json:"roles,omitempty"`
	// Rounds is, of sparse, the number of prunings: each keeps Keep^(1/Rounds) of
	// what is left. Steps is the length of the training before each.
	Rounds int `json:"rounds,omitempty"`
	Steps  int `json:"steps,omitempty"`
	// Every is, of dynamic, the number of steps from one change of the masks to the
	// next, and Fraction the share of a mask's entries that the first would change.
	Every    int     `json:"every,omitempty"`
	Fraction float64 `json:"fraction,omitempty"`
	// Score says how units are judged: "correlation" by |d loss / d mask|, or
	// "causal" by its agreement with what happens when they are off. See Agreement.
	Score string `json:"score,omitempty"`
	// By says which units have a mask of their own: those of each "modality", or
	// of "all" together.
	By string `json:"by,omitempty"`
	// At is the step after which units are chosen, Batches the number of batches
	// for each of the two figures.
	At      int `json:"at,omitempty"`
	Batches int `json:"batches,omitempty"`
}

// covers reports whether a role is masked.
func (m *Mask) covers(r Role) bool {
	if m == nil || m.Keep == 1 {
		return false
	}
	if m.Kind == "units" {
		return r == Up
	}
	return r.Product() && (len(m.Roles) == 0 || slices.Contains(m.Roles, r))
}

func (m *Mask) validate(c *Config) error {
	if !slices.Contains([]string{"random", "dynamic", "sparse", "units"}, m.Kind) {
		return fmt.Errorf("sharing.mask.kind: %q is not one of random, dynamic, sparse, units", m.Kind)
	}
	if !(m.Keep > 0 && m.Keep <= 1) {
		return fmt.Errorf("sharing.mask.keep: expected a share in (0, 1], found %g", m.Keep)
	}
	for _, k := range []struct {
		key, kind string
		set, good bool
		want      string
	}{
		{"rounds", "sparse", m.Rounds != 0, m.Rounds >= 1, "at least 1"},
		{"steps", "sparse", m.Steps != 0, m.Steps >= 1, "at least 1"},
		{"every", "dynamic", m.Every != 0, m.Every >= 1, "at least 1"},
		{"fraction", "dynamic", m.Fraction != 0, m.Fraction > 0 && m.Fraction < 1, "a share in (0, 1)"},
		{"score", "units", m.Score != "", m.Score == "correlation" || m.Score == "causal", "correlation or causal"},
		{"by", "units", m.By != "", m.By == "modality" || m.By == "all", "modality or all"},
		{"at", "units", m.At != 0, m.At >= 1, "at least 1"},
		{"batches", "units", m.Batches != 0, m.Batches >= 1, "at least 1"},
	} {
		switch {
		case k.set && k.kind != m.Kind:
			return fmt.Errorf("sharing.mask.%s: is of kind %s, not %s", k.key, k.kind, m.Kind)
		case k.kind == m.Kind && !k.good:
			return fmt.Errorf("sharing.mask.%s: expected %s", k.key, k.want)
		}
	}
	if m.Kind == "units" && len(m.Roles) > 0 {
		return fmt.Errorf("sharing.mask.roles: units are those of the feed-forward networks")
	}
	if err := validProducts("sharing.mask.roles", m.Roles); err != nil {
		return err
	}
	return m.compose(c)
}

// compose says why a mask does not go with other parts of the config.
func (m *Mask) compose(c *Config) error {
	if c.Adapt != nil {
		return fmt.Errorf("sharing.mask: does not go with sharing.adapt: a tensor that is split would need the masks of its parts")
	}
	for _, r := range Products {
		switch {
		case !m.covers(r):
		case c.Mix.covers(r):
			return fmt.Errorf("sharing.mask: %q is mixed of several tensors by sharing.mix; a mask is of one", r)
		case c.Router != nil && (r == Up || r == Down):
			return fmt.Errorf("sharing.mask: %q is routed by sharing.router, which chooses by itself what a token uses; name roles beside up and down", r)
		case c.Delta.covers(r) && !c.Delta.static():
			return fmt.Errorf("sharing.mask: what apg adds to %q is another for each sample and passes by the mask", r)
		}
	}
	return nil
}

// String describes the block in a few words.
func (m *Mask) String() string {
	switch m.Kind {
	case "units":
		return fmt.Sprintf("%.3g%% of the units by %s", 100*m.Keep, m.Score)
	default:
		return fmt.Sprintf("%s masks of %.3g%%", m.Kind, 100*m.Keep)
	}
}

// maskName is the parameter of a place's mask: trunk/0/attn@image/qkv/mask, or
// trunk/0/ffn@image/up/units and trunk/0/ffn/up/units.
func (w *Weights) maskName(layer int, modality string, r Role) string {
	at, group := w.physical[r][layer], "@"+modality
	if w.Config.Mask.Kind != "units" {
		return w.name(at, group, r) + "/mask"
	}
	if w.Config.Mask.By == "all" {
		group = ""
	}
	return w.name(at, group, r) + "/units"
}

// declareMasks puts the masks of a role [out, in] into the bank.
func (w *Weights) declareMasks(r Role, out, in int) {
	m := w.Config.Mask
	for l := range w.Layers {
		for _, name := range w.Modalities {
			weight := w.Tensor(l, name, r)
			for _, p := range w.serving(m, weight) {
				p.Masked, p.Sparse = true, true
			}
			mask := w.maskName(l, name, r)
			switch {
			case w.Bank.Has(mask):
			case m.Kind == "units":
				w.Bank.mask(mask, 1, out).Vector = true
			case m.Kind == "sparse":
				w.Bank.mask(mask, out, in)
			default:
				w.Bank.draw(w.Bank.mask(mask, out, in), share(m.Keep, out*in))
			}
		}
	}
	if !w.Bank.empty {
		w.Prune(nil)
	}
}

// serving lists the parameters of a tensor that masks of the kind are about.
func (w *Weights) serving(m *Mask, tensor string) []*autograd.Param {
	ps := []*autograd.Param{w.Bank.Param(tensor + "/weight")}
	if m.Kind == "units" {
		ps = append(ps, w.Bank.Param(tensor+"/bias"))
	}
	return ps
}

// share returns how many of n a share of them is, at least one.
func share(of float64, n int) int { return max(int(math.Round(of*float64(n))), 1) }

// mask adds a mask [rows, cols] of ones.
func (b *Bank) mask(name string, rows, cols int) *autograd.Param {
	p := b.add(name, rows, cols, func(x []float32) {
		for i := range x {
			x[i] = 1
		}
	})
	p.Fixed, p.Sparse = true, true
	return p
}

// draw makes n ones of a mask, by the seed and its name.
func (b *Bank) draw(mask *autograd.Param, n int) {
	if b.empty {
		return
	}
	h := fnv.New64a()
	h.Write([]byte(mask.Name))
	rng := rand.New(rand.NewPCG(b.seed, h.Sum64()))
	x := make([]float32, mask.Value.Len())
	for i := range x {
		x[i] = rng.Float32()
	}
	scores := b.dev.New(mask.Value.Rows, mask.Value.Cols)
	defer b.dev.Free(scores)
	b.dev.Write(scores, x)
	b.dev.Greatest([]*tensor.Tensor{mask.Value}, []*tensor.Tensor{scores}, nil, n)
}

// Masked is a parameter of which a modality uses some entries.
type Masked struct {
	Modality string
	// Param is [rows, cols], Mask of the same shape or, of units, [1, rows].
	Param, Mask *autograd.Param
}

// allow lets the next step change what the mask lets through.
func (m Masked) allow() {
	at := m.Mask.Value
	if rows, cols := m.Param.Value.Rows, m.Param.Value.Cols; at.Rows != rows || at.Cols != cols {
		at = at.Reshape(rows, 1)
	}
	m.Param.Allow(at)
}

// Masked lists what is masked, by role, physical layer and modality.
func (w *Weights) Masked() []Masked {
	var all []Masked
	for _, r := range Products {
		if !w.Config.Mask.covers(r) || !w.Bank.Has(w.maskName(0, w.Modalities[0], r)) {
			continue
		}
		for l := range w.Layers {
			for _, name := range w.Modalities {
				for _, p := range w.serving(w.Config.Mask, w.Tensor(l, name, r)) {
					m := Masked{name, p, w.Bank.Param(w.maskName(l, name, r))}
					if !slices.Contains(all, m) {
						all = append(all, m)
					}
				}
			}
		}
	}
	return all
}

// Prune makes the entries that no modality uses zero, and those of their moments
// [rows, cols], if any.
func (w *Weights) Prune(moments func(p *autograd.Param) []*tensor.Tensor) {
	var params []*autograd.Param
	for _, m := range w.Masked() {
		m.allow()
		if !slices.Contains(params, m.Param) {
			params = append(params, m.Param)
		}
	}
	dev := w.Bank.dev
	for _, p := range params {
		used := p.Allowed(dev)
		zero := dev.New(used.Rows, used.Cols)
		dev.Fill(zero, 0)
		dev.Keep(p.Value, zero, used)
		if moments != nil {
			for _, t := range moments(p) {
				dev.Keep(t, zero, used)
			}
		}
		dev.Free(zero)
		dev.Free(used)
	}
}

// Probe makes the passes to come keep the gradients that choose masks: of each
// masked weight as if nothing were masked, or of the masks of units. Without on
// they are given back.
func (w *Weights) Probe(on bool) {
	for _, p := range w.probes {
		p.Clear(w.Bank.dev)
		if p.Value != w.Bank.Param(p.Name).Value {
			w.Bank.dev.Free(p.Value)
		}
	}
	w.probes = nil
	if on {
		w.probes = map[string]*autograd.Param{}
	}
}

// probe returns what keeps the gradient of a mask, if there is to be one; value
// is its value, or nil for zeros of the mask's shape.
func (w *Weights) probe(mask *autograd.Param, value *tensor.Tensor) *autograd.Var {
	if w.probes == nil {
		return nil
	}
	p := w.probes[mask.Name]
	if p == nil {
		if value == nil {
			value = w.Bank.dev.New(mask.Value.Rows, mask.Value.Cols)
			w.Bank.dev.Fill(value, 0)
		}
		p = autograd.NewParam(mask.Name, value)
		p.Train(true)
		w.probes[mask.Name] = p
	}
	return p.Var()
}

// masked returns a weight with the mask of a place.
func (p *Pass) masked(part autograd.Part, layer int, modality string, r Role) autograd.Part {
	mask := p.Bank.Param(p.maskName(layer, modality, r))
	if p.tape.Trains() {
		for _, of := range p.serving(p.Config.Mask, p.Tensor(layer, modality, r)) {
			Masked{modality, of, mask}.allow()
		}
	}
	if p.Config.Mask.Kind == "units" {
		units := mask.Var()
		if v := p.probe(mask, mask.Value); v != nil && p.tape.Trains() {
			units = v
		}
		part.W = p.tape.ScaleRows(part.W, p.tape.Reshape(units, units.Cols(), 1))
		part.B = p.tape.Mul(part.B, units)
		return part
	}
	part.W = p.tape.Mul(part.W, mask.Var())
	if p.tape.Trains() {
		if v := p.probe(mask, nil); v != nil {
			part.W = p.tape.Sum([]float32{1, 1}, part.W, v)
		}
	}
	return part
}
