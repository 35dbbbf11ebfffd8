// Package model joins the parts into what a run folder becomes: processors,
// stems, the trunk and heads. It opens, saves and embeds.
package model

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/encoder"
	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// Model is a trunk with everything around it. Embedding is safe for
// concurrent use; training is for one goroutine.
type Model struct {
	Config Config
	Device tensor.Device
	// Bank holds all tensors, Weights says which serve where in the shared trunk.
	Bank    *sharing.Bank
	Weights *sharing.Weights

	names       []string // of the modalities, sorted
	processors  map[string]modalities.Processor
	stems       map[string]*tokenizers.Stem
	branches    map[string]*tokenizers.Branch // of modalities that have one
	heads       map[string]*encoder.Head
	trunks      map[string]*encoder.Trunk // by modality
	fingerprint string
	hashing     sync.Mutex // of the fingerprint
	tapes       sync.Pool
}

// New makes a model with first values by the seed. Its parameters are frozen
// until the bank unfreezes them.
func New(cfg Config, processors map[string]modalities.Processor, dev tensor.Device, seed uint64) *Model {
	return build(cfg, processors, dev, sharing.NewBank(dev, seed))
}

// NewEmpty makes a model whose weights are all to be set, in its Bank: none
// have values, and none take memory.
func NewEmpty(cfg Config, processors map[string]modalities.Processor, dev tensor.Device) *Model {
	return build(cfg, processors, dev, sharing.NewEmptyBank(dev))
}

// build makes a model over a bank.
func build(cfg Config, processors map[string]modalities.Processor, dev tensor.Device, bank *sharing.Bank) *Model {
	m := &Model{
		Config: cfg, Device: dev, Bank: bank,
		names: cfg.names(), processors: processors,
		stems: map[string]*tokenizers.Stem{}, branches: map[string]*tokenizers.Branch{}, heads: map[string]*encoder.Head{}, trunks: map[string]*encoder.Trunk{},
	}
	for _, name := range m.names {
		layout := processors[name].Layout()
		m.stems[name] = tokenizers.NewStem(m.Bank, name, layout, cfg.stem(name))
		if cfg.Modalities[name].Branch != nil {
			m.branches[name] = tokenizers.NewBranch(m.Bank, name, layout, cfg.branch(name))
		}
	}
	m.Weights = sharing.NewWeights(cfg.Sharing, m.Bank, "trunk", cfg.Trunk.Layers, cfg.together())
	shared := encoder.NewTrunk(cfg.Trunk, m.Weights)
	for _, name := range m.names {
		m.trunks[name] = shared
		if own := cfg.Modalities[name].Trunk; own != nil {
			layers := sharing.Config{Layers: cfg.Sharing.Layers, Compress: cfg.Sharing.Compress}
			m.trunks[name] = encoder.NewTrunk(*own, sharing.NewWeights(layers, m.Bank, "trunk@"+name, own.Layers, []string{name}))
		}
		m.heads[name] = encoder.NewHead(cfg.trunk(name), m.Bank, name, cfg.Modalities[name].Sequence, cfg.Trunk.Embed)
	}
	for i, a := range m.names {
		for _, b := range m.names[i+1:] {
			m.Bank.Vector(temperatureName(a, b), 1, float32(-math.Log(cfg.Temperature.Initial)))
			if cfg.Temperature.Bias {
				m.Bank.Vector(biasName(a, b), 1, 0)
			}
		}
	}
	m.tapes.New = func() any { return autograd.NewTape(dev, false) }
	return m
}

func temperatureName(a, b string) string {
	if b < a {
		a, b = b, a
	}
	return "temperatures/" + a + "+" + b
}

// LogScale returns the parameter [1] of a pair of modalities: the logarithm
// of 1/temperature, by which its similarities are scaled.
func (m *Model) LogScale(a, b string) *autograd.Param { return m.Bank.Param(temperatureName(a, b)) }

func biasName(a, b string) string { return temperatureName(a, b) + "/bias" }

// LogitBias returns the parameter [1] that is added to the scaled similarities
// of a pair of modalities, in a model that has it.
func (m *Model) LogitBias(a, b string) *autograd.Param { return m.Bank.Param(biasName(a, b)) }

// Logit returns what a similarity of a pair of modalities becomes: scaled by
// the pair's temperature, and with its bias where the model has one.
func (m *Model) Logit(a, b string, similarity float64) float64 {
	x := math.Exp(float64(m.Bank.Read(m.LogScale(a, b))[0])) * similarity
	if m.Config.Temperature.Bias {
		x += float64(m.Bank.Read(m.LogitBias(a, b))[0])
	}
	return x
}

// Trunk returns the map of the trunk that a modality runs through.
func (m *Model) Trunk(modality string) *sharing.Map { return m.trunks[modality].Weights().Map }

// Trunks returns the weights of every trunk, the shared one's first.
func (m *Model) Trunks() []*sharing.Weights {
	all := []*sharing.Weights{m.Weights}
	for _, name := range m.names {
		if w := m.trunks[name].Weights(); w != m.Weights {
			all = append(all, w)
		}
	}
	return all
}

// ClampTemperatures keeps the temperatures within [least, 1], after a step of
// the optimizer.
func (m *Model) ClampTemperatures() {
	hi := float32(-math.Log(m.Config.Temperature.Least))
	for i, a := range m.names {
		for _, b := range m.names[i+1:] {
			m.Device.Clamp(m.LogScale(a, b).Value, 0, hi)
		}
	}
}

// Int8 rounds the weights of the trunks' products to int8, for embedding
// alone: faster, a quarter of the memory, and a little off.
func (m *Model) Int8() {
	m.Fingerprint() // of the weights as they were
	for _, w := range m.weights() {
		w.Int8()
	}
}

// fold makes weights that are made of others once, of values that do not change.
func (m *Model) fold() {
	for _, w := range m.weights() {
		w.Fold()
	}
}

// weights lists those of all trunks, the shared one's first.
func (m *Model) weights() []*sharing.Weights {
	all := []*sharing.Weights{m.Weights}
	for _, name := range m.names {
		if w := m.trunks[name].Weights(); w != m.Weights {
			all = append(all, w)
		}
	}
	return all
}

// Dim returns E, the length of an embedding.
func (m *Model) Dim() int { return m.Config.Trunk.Embed }

// Modalities lists what the model reads, sorted.
func (m *Model) Modalities() []string { return m.names }

// Processors returns the processor of every modality.
func (m *Model) Processors() map[string]modalities.Processor { return m.processors }

// Processor returns the processor of one modality.
func (m *Model) Processor(modality string) (modalities.Processor, error) {
	p, ok := m.processors[modality]
	if !ok {
		return nil, fmt.Errorf("the model reads %v, not %q", m.names, modality)
	}
	return p, nil
}

// Fingerprint identifies the weights that a model was opened or saved with.
func (m *Model) Fingerprint() string {
	m.hashing.Lock()
	defer m.hashing.Unlock()
	if m.fingerprint == "" {
		m.fingerprint = fingerprint(Tensors(m.Bank), codes(m.Bank))
	}
	return m.fingerprint
}

// Input is the samples of one modality in a batch.
type Input struct {
	Modality string
	Tokens   []tokenizers.Tokens
}

// Check says whether the model can take a sample.
func (m *Model) Check(modality string, t tokenizers.Tokens) error {
	s, ok := m.stems[modality]
	if !ok {
		return fmt.Errorf("the model reads %v, not %q", m.names, modality)
	}
	return s.Check(t)
}

// Forward embeds samples of several modalities at once. It returns, for each
// input, their vectors of unit length [n, E]. The samples have passed Check
// and each modality stands in one input.
func (m *Model) Forward(tape *autograd.Tape, inputs []Input) []*autograd.Var {
	out := make([]*autograd.Var, len(inputs))
	for i, in := range inputs {
		if out[i] == nil {
			m.through(tape, m.trunks[in.Modality], inputs, out)
		}
	}
	return out
}

// through embeds the inputs that run through one trunk, all at once.
func (m *Model) through(tape *autograd.Tape, t *encoder.Trunk, inputs []Input, out []*autograd.Var) {
	var runs []sharing.Run
	var spans []tensor.Span
	var rows []*autograd.Var
	var pools []string
	var late []encoder.Late
	start := 0
	for _, in := range inputs {
		if m.trunks[in.Modality] != t {
			continue
		}
		stem := m.stems[in.Modality]
		x := stem.Forward(tape, in.Tokens)
		runs = append(runs, sharing.Run{Modality: in.Modality, Rows: x.Rows()})
		rows = append(rows, x)
		late = append(late, m.late(tape, in, start)...)
		for _, s := range in.Tokens {
			n := stem.Length(s)
			spans = append(spans, tensor.Span{Start: start, Len: n, Causal: m.Config.Modalities[in.Modality].Causal})
			pools = append(pools, m.Config.Modalities[in.Modality].Pool)
			start += n
		}
	}
	x, spans := t.ForwardPooled(tape, pack(tape, rows), runs, spans, pools, late...)
	for i, in := range inputs {
		if m.trunks[in.Modality] != t {
			continue
		}
		n := len(in.Tokens)
		out[i] = m.heads[in.Modality].Forward(tape, x, spans[:n])
		spans = spans[n:]
	}
}

// late returns what a modality's branch adds to the rows of its samples, which
// begin at row start.
func (m *Model) late(tape *autograd.Tape, in Input, start int) []encoder.Late {
	b := m.branches[in.Modality]
	if b == nil {
		return nil
	}
	of := m.Config.Modalities[in.Modality]
	classes := of.Classes()
	var rows []int
	for _, s := range in.Tokens {
		start += classes
		for range s.Len() {
			rows = append(rows, start)
			start++
		}
	}
	var late []encoder.Late
	for i, x := range b.Forward(tape, in.Tokens) {
		late = append(late, encoder.Late{Layer: of.Branch.Layers[i], X: x, Rows: rows})
	}
	return late
}

// pack puts matrices of one width below each other.
func pack(tape *autograd.Tape, xs []*autograd.Var) *autograd.Var {
	if len(xs) == 1 {
		return xs[0]
	}
	terms := make([]autograd.Term, len(xs))
	for i := range xs {
		s := tape.Sparse()
		for j, x := range xs {
			for r := range x.Rows() {
				if i == j {
					s.Append(int32(r))
				} else {
					s.Append()
				}
			}
		}
		terms[i] = autograd.Term{S: s, X: xs[i]}
	}
	return tape.Gather(terms...)
}

// embedRows bounds the packed rows of one pass of Embed, and so its memory.
const embedRows = 4096

// Embed returns the vectors of a batch [n, E], row-major, of unit length. The
// context is heeded between passes.
func (m *Model) Embed(ctx context.Context, modality string, batch []tokenizers.Tokens) ([]float32, error) {
	stem, ok := m.stems[modality]
	if !ok {
		return nil, fmt.Errorf("the model reads %v, not %q", m.names, modality)
	}
	for i, t := range batch {
		if err := stem.Check(t); err != nil {
			return nil, fmt.Errorf("%s %d of the batch: %w", modality, i, err)
		}
	}
	tape := m.tapes.Get().(*autograd.Tape)
	defer m.tapes.Put(tape)
	out := make([]float32, 0, len(batch)*m.Dim())
	for len(batch) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, rows := 1, stem.Length(batch[0])
		for n < len(batch) && rows+stem.Length(batch[n]) <= embedRows {
			rows += stem.Length(batch[n])
			n++
		}
		z := m.Forward(tape, []Input{{modality, batch[:n]}})[0]
		at := len(out)
		out = slices.Grow(out, n*m.Dim())[:at+n*m.Dim()]
		m.Device.Read(out[at:], z.Value)
		tape.Release()
		batch = batch[n:]
	}
	return out, nil
}

// EmbedValue embeds one decoded value.
func (m *Model) EmbedValue(ctx context.Context, modality string, v modalities.Value) ([]float32, error) {
	p, err := m.Processor(modality)
	if err != nil {
		return nil, err
	}
	t, err := p.Tokenize(v)
	if err != nil {
		return nil, err
	}
	return m.Embed(ctx, modality, []tokenizers.Tokens{t})
}
