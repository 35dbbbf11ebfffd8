package sharing

import (
	"fmt"
	"slices"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/tensor"
)

// Weights answers for every place (layer, modality, role) of a trunk: with the
// physical tensor that the map names, or with one that is made of several, with
// a delta on top. The trunk sees none of it.
type Weights struct {
	*Map
	Bank   *Bank
	Config Config

	folded  map[string]autograd.Part // see Fold
	factors map[string]*autograd.Var // of an APG delta, see Fold
	rounded bool                     // whether what is folded is int8
	policy  *Policy                  // of a search

	// Noise returns n draws of N(0, 1) for a routed layer of that name in a pass of
	// training; nil adds none to what gates say. A pass that is computed again
	// asks again, and is to get the same.
	Noise func(unit string, n int) []float32
	// Watch, where it is not nil, is told of every pass through a routed layer
	// where the rows of each modality went.
	Watch  func(Routing)
	probes map[string]*autograd.Param // by mask, see Probe
}

// NewWeights makes the weights of a valid config for the trunk of that name.
// Declare puts their tensors into the bank.
func NewWeights(c Config, bank *Bank, trunk string, layers int, modalities []string) *Weights {
	return &Weights{Map: NewMap(c, trunk, layers, modalities), Bank: bank, Config: c}
}

// Declare puts the tensors of a role that is a matrix [out, in] into the bank,
// with biases; std is the standard deviation of their first values.
func (w *Weights) Declare(r Role, out, in int, std float64) {
	if w.Config.Mix.covers(r) {
		w.declareMix(r, out, in, std)
	} else {
		for _, name := range w.Tensors(r) {
			w.declare(name, w.from(name, r), out, in, std)
		}
	}
	if w.Config.Mask.covers(r) {
		w.declareMasks(r, out, in)
	}
	w.declareAnchors(r)
	if w.Config.Delta.covers(r) {
		w.declareDelta(r, out, in)
	}
}

// declare puts a matrix with a bias into the bank; drawn from is the name that
// its first values depend on.
func (w *Weights) declare(name, from string, out, in int, std float64) {
	w.Bank.matrix(name+"/weight", from+"/weight", out, in, std)
	w.Bank.Vector(name+"/bias", out, 0)
}

// DeclareNorm puts the norms of a role over n columns into the bank.
func (w *Weights) DeclareNorm(r Role, n int, rms bool) {
	for _, name := range w.Tensors(r) {
		w.Bank.Norm(name, n, rms)
	}
	w.declareAnchors(r)
}

// Pass is the weights of one pass over a trunk.
type Pass struct {
	*Weights
	tape   *autograd.Tape
	made   map[string]autograd.Part // by place, those that are no physical tensor
	chosen map[string]*autograd.Var // of a search, by unit
	contexts
}

// On returns the weights for packed rows in runs of one modality. What is made
// of several tensors is made here, once, before the blocks that use it.
func (w *Weights) On(tape *autograd.Tape, runs []Run) *Pass {
	p := &Pass{Weights: w, tape: tape}
	if !w.makes() {
		return p
	}
	if w.folded != nil && !tape.Trains() {
		p.made = w.folded
		return p
	}
	p.made = map[string]autograd.Part{}
	for _, run := range runs {
		p.make(run.Modality)
	}
	return p
}

// makes reports whether any weight is made of others.
func (w *Weights) makes() bool {
	return w.Config.Mix != nil || w.Config.Delta.static() || w.Config.Mask != nil
}

// make makes the weights of a modality that are made of others.
func (p *Pass) make(modality string) {
	for _, r := range Products {
		if !p.Config.Mix.covers(r) && !(p.Config.Delta.static() && p.Config.Delta.covers(r)) && !p.Config.Mask.covers(r) {
			continue
		}
		for l := range p.Layers {
			key := p.key(l, modality, r)
			if _, ok := p.made[key]; ok {
				continue
			}
			var part autograd.Part
			if p.Config.Mix.covers(r) {
				part = p.mixed(l, modality, r)
			} else {
				part = p.Bank.Part(p.Tensor(l, modality, r), 0)
			}
			if p.Config.Delta.static() && p.Config.Delta.covers(r) {
				part.W = p.withDelta(part.W, l, modality, r)
			}
			if p.Config.Mask.covers(r) {
				part = p.masked(part, l, modality, r)
			}
			p.made[key] = part
		}
	}
}

// key names the effective weight of a place: places with equal keys have the
// same.
func (w *Weights) key(layer int, modality string, r Role) string {
	key := w.Tensor(layer, modality, r)
	if w.Config.Mix.covers(r) {
		key = fmt.Sprintf("%d %s %s", w.physical[r][layer], modality, r)
	}
	if d := w.Config.Delta; d.static() && d.covers(r) {
		key += " " + w.deltaName(layer, modality, r)
	}
	if w.Config.Mask.covers(r) {
		key += " " + w.maskName(layer, modality, r)
	}
	return key
}

// Parts returns the weights of a role of a layer for packed rows: one part for
// each run, with neighbours that the same weight serves made one, so that a
// shared tensor sees one large product.
func (p *Pass) Parts(layer int, r Role, runs []Run) []autograd.Part {
	var parts []autograd.Part
	last := ""
	for _, run := range runs {
		key := p.key(layer, run.Modality, r)
		if key == last {
			parts[len(parts)-1].Rows += run.Rows
			continue
		}
		part, ok := p.made[key]
		if !ok {
			part = p.Bank.Part(p.Tensor(layer, run.Modality, r), 0)
		}
		part.Rows = run.Rows
		parts = append(parts, part)
		last = key
	}
	return parts
}

// Linear returns the product of rows x [T, in] with the weights of a role of a
// layer, [T, out], with what a delta that depends on the sample adds.
// spans are those of the rows.
func (p *Pass) Linear(layer int, r Role, x *autograd.Var, runs []Run, spans []tensor.Span, o autograd.LinearOptions) *autograd.Var {
	if d := p.Config.Delta; d.covers(r) && !d.static() {
		o.Residual = p.perSample(layer, r, x, runs, spans, o)
	}
	return p.tape.Linear(x, p.Parts(layer, r, runs), o)
}

// Penalise adds what the weights cost to the loss of rows x, which it returns.
func (p *Pass) Penalise(x *autograd.Var) *autograd.Var {
	if !p.tape.Trains() {
		return x
	}
	if d := p.Config.Delta; d != nil && d.Kind == "taps" && d.Lambda > 0 {
		x = p.tape.Penalise(x, p.tapsPenalty(), float32(d.Lambda))
	}
	x = p.drawTogether(x)
	if p.policy != nil && p.policy.Weight > 0 {
		x = p.tape.Penalise(x, p.overBudget(), float32(p.policy.Weight))
	}
	return x
}

// Fold makes the weights that are made of others, and the products of APG's
// factors, once for all passes on tapes that do not train. The bank's values must
// not change afterwards.
func (w *Weights) Fold() {
	if w.folded != nil || w.factors != nil {
		return
	}
	tape := autograd.NewTape(w.Bank.dev, false)
	defer tape.Release()
	lasting := func(v *autograd.Var) *autograd.Var {
		if v == nil {
			return nil
		}
		t := w.Bank.dev.NewLasting(v.Rows(), v.Cols())
		w.Bank.dev.Copy(t, v.Value)
		return &autograd.Var{Value: t}
	}
	p := &Pass{Weights: w, tape: tape, made: map[string]autograd.Part{}}
	if w.makes() {
		for _, m := range w.Modalities {
			p.make(m)
		}
		for key, part := range p.made {
			p.made[key] = autograd.Part{W: lasting(part.W), B: lasting(part.B)}
		}
		w.folded = p.made
	}
	if d := w.Config.Delta; d != nil && d.Inner > 0 {
		products := map[string]*autograd.Var{}
		for _, r := range Products {
			for l := range w.Layers {
				for _, of := range []string{"/u", "/v"} {
					if n := w.deltaName(l, "", r) + of; d.covers(r) && products[n] == nil {
						products[n] = lasting(p.factor(n))
					}
				}
			}
		}
		w.factors = products
	}
}

// Int8 folds the weights and rounds those that are made of others to int8, as
// Device.Int8 does.
func (w *Weights) Int8() {
	w.Fold()
	if w.rounded {
		return
	}
	for key, part := range w.folded {
		part.W = &autograd.Var{Value: w.Bank.dev.Int8(part.W.Value)}
		w.folded[key] = part
	}
	w.rounded = true
}

// Folded reports whether the weight of a place is one that Fold made.
func (w *Weights) Folded(layer int, modality string, r Role) bool {
	_, ok := w.folded[w.key(layer, modality, r)]
	return ok
}

// Serving lists the names of the parameters that serve a place, the physical
// tensor's first; of a routed layer's networks those of all experts that the
// modality sees.
func (w *Weights) Serving(layer int, modality string, r Role) []string {
	var names []string
	add := func(ns ...string) {
		for _, n := range ns {
			if w.Bank.Has(n) && !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	switch {
	case w.Routed(layer) && (r == Up || r == Down || r == Gate || r == Residual):
		for _, e := range w.routedEntries(layer, modality) {
			if e.Role == r {
				add(e.Tensor, e.Tensor+"/weight", e.Tensor+"/bias")
			}
		}
	case w.Config.Mix.covers(r):
		for _, n := range w.mixTensors(layer, modality, r) {
			add(n+"/weight", n+"/bias")
		}
		add(w.mixName(layer, modality, r))
	default:
		n := w.Tensor(layer, modality, r)
		add(n+"/weight", n+"/bias")
	}
	if w.Config.Delta.covers(r) {
		add(w.deltaTensors(layer, modality, r)...)
	}
	if w.Config.Mask.covers(r) {
		add(w.maskName(layer, modality, r))
	}
	return names
}

// Extra returns the multiplications that a sample of so many rows costs beside
// its product with the weights [out, in] of a role: those of a delta of its own.
// Weights that are made of others are made once, and cost a sample nothing.
func (w *Weights) Extra(r Role, rows, out, in int64) int64 {
	d := w.Config.Delta
	if !d.covers(r) || d.static() {
		return 0
	}
	k, width := int64(d.Rank), in
	if r == Down {
		width = out // as in declareAPG
	}
	return rows*(in*k+k*k+k*out) + k*k*width
}
