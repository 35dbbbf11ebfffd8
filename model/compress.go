package model

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/onetrunk/onetrunk/sharing"
)

// Compressed returns a model of the same sizes with the block to in place of its
// own: one with a "compress" block, or one that sharing.Config.Recursive gave.
// Its weights are those that come nearest to the model's, what is not compressed is
// the same. moments, by modality's trunk, are what a basis is to be near in; see
// Observe. report is told of progress in tensors.
func (m *Model) Compressed(ctx context.Context, to sharing.Config, moments Moments, report func(done, total int)) (*Model, error) {
	cfg := m.Config
	cfg.Sharing = to
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if m.Config.Sharing.Compress != nil {
		return nil, fmt.Errorf("sharing.compress: the model is compressed already (%s)", m.Config.Sharing.Compress)
	}
	recursive := to.Compress == nil
	for name, of := range cfg.Modalities {
		if recursive && of.Trunk != nil {
			return nil, fmt.Errorf("modalities.%s.trunk: layers would be shared in it too, without loras; only a model of one shared trunk becomes recursive", name)
		}
	}
	c := NewEmpty(cfg, m.processors, m.Device)
	for _, p := range c.Bank.Params() {
		if m.Bank.Has(p.Name) {
			if from := m.Bank.Param(p.Name); slices.Equal(from.Shape(), p.Shape()) {
				c.Bank.Put(p, m.Bank.Read(from))
			}
		}
	}
	total, done := 0, 0
	trunks := c.weights()
	for _, w := range trunks {
		for _, r := range sharing.Products {
			total += len(w.Tensors(r))
		}
	}
	one := func() {
		done++
		if report != nil {
			report(done, total)
		}
	}
	for i, w := range trunks {
		var err error
		if recursive {
			err = w.Recurse(ctx, m.weights()[i], one)
		} else {
			err = w.Compress(ctx, m.Bank, moments[w.Trunk], one)
		}
		if err != nil {
			return nil, err
		}
	}
	c.fold()
	return c, nil
}

// Moments are what the products of each trunk read, by the trunk's name.
type Moments map[string]*sharing.Moments

// Observe has embedding add what products read to the moments that it returns,
// until stop is called. Embed must not run several times at once meanwhile.
func (m *Model) Observe() (of Moments, stop func()) {
	of = Moments{}
	var stops []func()
	for _, w := range m.weights() {
		moments, stop := w.Observe()
		of[w.Trunk] = moments
		stops = append(stops, stop)
	}
	return of, func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// Distance returns how far the weights of the products of another model of the
// same sizes are from this one's: the norm of all differences over the norm of all
// weights, those that serve a place once for each of its layers and modalities.
func (m *Model) Distance(other *Model) float64 {
	var far, all float64
	for i, w := range m.weights() {
		a, freeA := w.Made()
		b, freeB := other.weights()[i].Made()
		seen := map[[2]string]bool{}
		for j := range a {
			if keys := [2]string{a[j].Key, b[j].Key}; !seen[keys] {
				seen[keys] = true
				x, y := a[j].W.Value, b[j].W.Value
				d := m.Device.New(x.Rows, x.Cols)
				m.Device.Copy(d, x)
				all += m.Device.SumSquares(d)
				m.Device.Axpy(d, -1, y)
				far += m.Device.SumSquares(d)
				m.Device.Free(d)
			}
		}
		freeA()
		freeB()
	}
	return math.Sqrt(far / max(all, math.SmallestNonzeroFloat64))
}

// Whole returns a model that embeds as this one does and whose places are served
// by whole tensors alone: no mixtures, deltas or compressed ones. It is the model
// itself where that is so already. What a delta adds for each sample cannot become
// a tensor, and is an error.
func (m *Model) Whole() (*Model, error) {
	s := m.Config.Sharing
	if s.Mix == nil && s.Delta == nil && s.Mask == nil && s.Compress == nil {
		return m, nil
	}
	if s.Delta != nil && s.Delta.Kind == "apg" && s.Delta.Rank > 0 {
		return nil, fmt.Errorf("sharing.delta.kind: apg makes weights for each sample, there is no tensor of them")
	}
	cfg := m.Config
	to := s.Trained()
	to.Mix, to.Delta, to.Mask, to.Compress, to.Map = nil, nil, nil, nil, nil
	to.Layers = sharing.Layers{Scheme: "none", Roles: "all", Depth: s.Layers.Depth}
	to.Experts, to.Private = "none", sharing.Roles
	cfg.Sharing = to
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	c := NewEmpty(cfg, m.processors, m.Device)
	for _, p := range c.Bank.Params() {
		if m.Bank.Has(p.Name) {
			c.Bank.Put(p, m.Bank.Read(m.Bank.Param(p.Name)))
		}
	}
	for i, w := range c.weights() {
		from := m.weights()[i]
		made, free := from.Made()
		for _, p := range made {
			name := w.Tensor(p.Layer, p.Modality, p.Role)
			x := make([]float32, p.W.Value.Len())
			m.Device.Read(x, p.W.Value)
			c.Bank.Put(c.Bank.Param(name+"/weight"), x)
			x = make([]float32, p.B.Value.Len())
			m.Device.Read(x, p.B.Value)
			c.Bank.Put(c.Bank.Param(name+"/bias"), x)
		}
		free()
		for _, e := range w.Entries() {
			if e.Role.Product() {
				continue
			}
			for _, of := range []string{"/weight", "/bias"} {
				if c.Bank.Has(e.Tensor + of) {
					c.Bank.Put(c.Bank.Param(e.Tensor+of), m.Bank.Read(m.Bank.Param(from.Tensor(e.Layer, e.Modality, e.Role)+of)))
				}
			}
		}
	}
	return c, nil
}
