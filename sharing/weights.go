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
	rounded map[string]bool          // see Int8, by key or tensor
	based   map[string]string        // of a basis: its name, by physical tensor
	observe *Moments                 // see Observe
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
	return &Weights{
		Map: NewMap(c, trunk, layers, modalities), Bank: bank, Config: c,
		rounded: map[string]bool{}, based: map[string]string{},
	}
}

// Declare puts the tensors of a role that is a matrix [out, in] into the bank,
// with biases; std is the standard deviation of their first values.
func (w *Weights) Declare(r Role, out, in int, std float64) {
	switch {
	case w.Config.Mix.covers(r):
		w.declareMix(r, out, in, std)
	case w.Config.Compress.covers(r):
		w.declareCompressed(r, out, in, std)
	default:
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
	whole  map[string]autograd.Part // by physical tensor, those that are compressed
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
	return slices.ContainsFunc(Products, w.composed)
}

// composed reports whether the weights of a role are made of others.
func (w *Weights) composed(r Role) bool {
	return w.Config.Mix.covers(r) || w.Config.Compress.covers(r) || w.Config.Mask.covers(r) || w.Config.Delta.static() && w.Config.Delta.covers(r)
}

// make makes the weights of a modality that are made of others.
func (p *Pass) make(modality string) {
	for _, r := range Products {
		if !p.composed(r) {
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
				part = p.part(p.Tensor(l, modality, r), r)
			}
			if p.Config.Delta.static() && p.Config.Delta.covers(r) {
				part = p.withDelta(part, l, modality, r)
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
	if p.observe != nil {
		p.observe.add(p, layer, r, x, runs, o)
	}
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

// Made is the weight and the bias that serve a place in products. Places of equal
// keys have the same ones.
type Made struct {
	Entry
	Key string
	autograd.Part
}

// Made returns the weights of all places that are products, without deltas that
// depend on the sample. They live until free is called.
func (w *Weights) Made() (made []Made, free func()) {
	tape := autograd.NewTape(w.Bank.dev, false)
	p := &Pass{Weights: w, tape: tape, made: map[string]autograd.Part{}}
	for _, m := range w.Modalities {
		p.make(m)
	}
	for _, e := range w.Entries() {
		if !e.Role.Product() {
			continue
		}
		key := w.made(e)
		part, ok := p.made[key]
		if !ok {
			part = w.Bank.Part(e.Tensor, 0)
		}
		made = append(made, Made{e, key, part})
	}
	return made, tape.Release
}

// made names what serves an entry of the map: the effective weight of its place,
// or the tensor of an expert.
func (w *Weights) made(e Entry) string {
	if e.Expert != "" {
		return e.Tensor
	}
	return w.key(e.Layer, e.Modality, e.Role)
}

// Fold makes the weights that are made of others, and the products of APG's
// factors, once for all passes on tapes that do not train; those that are kept as
// int8 stay int8. The bank's values must not change afterwards.
func (w *Weights) Fold() {
	if w.folded != nil || w.factors != nil {
		return
	}
	dev := w.Bank.dev
	lasting := func(v *autograd.Var) *autograd.Var {
		if v == nil {
			return nil
		}
		t := dev.NewLasting(v.Rows(), v.Cols())
		dev.Copy(t, v.Value)
		return &autograd.Var{Value: t}
	}
	if w.makes() {
		made, free := w.Made()
		defer free()
		w.folded = map[string]autograd.Part{}
		for _, m := range made {
			if _, done := w.folded[m.Key]; done || !w.composed(m.Role) {
				continue
			}
			part := autograd.Part{B: lasting(m.B)}
			if c := w.Config.Compress; c.covers(m.Role) && c.Kind == "int8" && !(w.Config.Delta.static() && w.Config.Delta.covers(m.Role)) {
				part.W = &autograd.Var{Value: dev.Int8(m.W.Value)}
				w.rounded[m.Key] = true
			} else {
				part.W = lasting(m.W)
			}
			w.folded[m.Key] = part
		}
	}
	if d := w.Config.Delta; d != nil && d.Inner > 0 {
		tape := autograd.NewTape(dev, false)
		defer tape.Release()
		p := &Pass{Weights: w, tape: tape}
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

// Int8 rounds the weights of products to int8, for passes on tapes that do not
// train. Passes that train are not possible afterwards.
func (w *Weights) Int8() {
	w.Fold()
	for _, e := range w.Entries() {
		if !e.Role.Product() {
			continue
		}
		key := w.made(e)
		if w.folded[key].W == nil {
			key = e.Tensor
		}
		if w.rounded[key] {
			continue
		}
		w.rounded[key] = true
		if part, ok := w.folded[key]; ok {
			part.W.Value = w.Bank.dev.Int8(part.W.Value)
		} else {
			p := w.Bank.Param(e.Tensor + "/weight")
			w.Bank.Set(p, w.Bank.dev.Int8(p.Value))
		}
	}
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
	n := w.Tensor(layer, modality, r)
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
	case w.Config.Compress.covers(r):
		add(w.compressedTensors(n)...)
	default:
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
