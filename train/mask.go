package train

import (
	"context"
	"fmt"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/internal/progress"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

// This file holds what training does to masks (see sharing.Mask) beside the
// search for sparse ones.

// begin makes what depends on first values: anchors, and masks before the first
// step.
func (r *run) begin(ctx context.Context) error {
	w := r.model.Weights
	w.Anchor()
	m := r.Config.Sharing.Mask
	if m != nil && m.Kind == "units" && m.At >= r.Settings.Steps {
		return fmt.Errorf("sharing.mask.at: units are chosen after step %d, but training ends at step %d", m.At, r.Settings.Steps)
	}
	switch {
	case r.inner != nil:
		if err := r.inner.masks(w); err != nil {
			return err
		}
	case m != nil && m.Kind == "sparse" && len(w.Masked()) > 0:
		if err := r.findMasks(ctx); err != nil {
			return err
		}
	}
	w.Prune(nil)
	return nil
}

// probe makes step n keep the gradients that dynamic masks follow, if they are to
// change after it.
func (r *run) probe(n int) {
	if r.Config.Sharing.Mask.Changes(n, r.Settings.Steps) > 0 {
		r.model.Weights.Probe(true)
	}
}

// remask changes the masks that are to change after step n.
func (r *run) remask(ctx context.Context, n int) error {
	m, w := r.Config.Sharing.Mask, r.model.Weights
	if share := m.Changes(n, r.Settings.Steps); share > 0 {
		w.Regrow(share, r.opt.moments)
		w.Probe(false)
	}
	if m == nil || m.Kind != "units" || n != m.At {
		return nil
	}
	err := r.selectUnits(ctx)
	if ctx.Err() != nil { // the step is not whole, and not to be saved
		return fmt.Errorf("%w at step %d, where units are chosen; step %d is saved: go on with --resume latest", ErrInterrupted, n, r.saved)
	}
	return err
}

// moments lists the moments of a parameter.
func (o *optimizer) moments(p *autograd.Param) []*tensor.Tensor {
	i, ok := o.index[p]
	if !ok {
		return nil
	}
	return []*tensor.Tensor{o.m[i], o.v[i]}
}

// hold remembers a masked parameter with its moments. What it returns puts back
// what the step may not have changed.
func (o *optimizer) hold(p *autograd.Param) (release func()) {
	if !p.Masked {
		return func() {}
	}
	allowed := p.Allowed(o.dev)
	all := append(o.moments(p), p.Value)
	var old []*tensor.Tensor
	for _, t := range all {
		c := o.dev.New(t.Rows, t.Cols)
		o.dev.Copy(c, t)
		old = append(old, c)
	}
	return func() {
		for i, t := range all {
			o.dev.Keep(t, old[i], allowed)
			o.dev.Free(old[i])
		}
		o.dev.Free(allowed)
	}
}

// selectUnits chooses the units of every mask by the batches that come next, half
// of them for importance, half for effect. Nothing but the masks changes: a run
// that is resumed before chooses the same.
func (r *run) selectUnits(ctx context.Context) error {
	m, w := r.Config.Sharing.Mask, r.model.Weights
	masks := w.MaskedUnits()
	if len(masks) == 0 {
		return nil
	}
	batches, err := r.upcoming(ctx, 2*m.Batches)
	if err != nil {
		return err
	}
	importance, err := r.importance(batches[:m.Batches])
	if err != nil {
		return err
	}
	bar := progress.New(r.Out, "units", len(masks))
	defer bar.Done()
	for i, mask := range masks {
		score := importance[mask.Name]
		if score == nil {
			return fmt.Errorf("step %d: units %s: the modality is in none of %d batches", r.state.Step, mask.Name, m.Batches)
		}
		if m.Score == "causal" {
			effect, err := r.effects(ctx, mask, batches[m.Batches:])
			if err != nil {
				return err
			}
			score = sharing.Agreement(score, effect)
		}
		importance[mask.Name] = score
		bar.Set(i + 1)
	}
	for _, mask := range masks {
		w.Select(mask, importance[mask.Name])
	}
	w.Prune(r.opt.moments)
	return nil
}

// upcoming returns the n batches that training takes next.
func (r *run) upcoming(ctx context.Context, n int) ([]*datasets.Batch, error) {
	l, err := datasets.NewLoader(r.Train, datasets.LoaderOptions{
		Processors: r.model.Processors(), Batch: r.Settings.Batch, Seed: r.Settings.Seed, MaxBad: 1,
	})
	if err != nil {
		return nil, err
	}
	var batches []*datasets.Batch
	for b, err := range l.Run(ctx, r.state.Step*r.Settings.Accumulate) {
		if err != nil {
			return nil, err
		}
		if batches = append(batches, b); len(batches) == n {
			break
		}
	}
	return batches, nil
}

// importance returns, by mask, the sum over batches of |d loss / d mask| of each
// unit.
func (r *run) importance(batches []*datasets.Batch) (map[string][]float64, error) {
	w := r.model.Weights
	w.Probe(true)
	defer w.Probe(false)
	tape := autograd.NewTape(r.dev, true)
	sums := map[string][]float64{}
	for _, b := range batches {
		c, err := r.fwd.run(tape, b, selection{only: r.reads()})
		if err != nil {
			return nil, err
		}
		if c.Loss == nil {
			tape.Release()
			continue
		}
		tape.Backward(c.Loss, nil)
		for _, p := range r.model.Bank.Params() {
			p.Clear(r.dev)
		}
		for _, mask := range w.MaskedUnits() {
			of := w.Importance(mask)
			if sums[mask.Name] == nil {
				sums[mask.Name] = of
				continue
			}
			for i, v := range of {
				sums[mask.Name][i] += v
			}
		}
	}
	return sums, nil
}

// effects returns what the mean loss over batches rises by when each unit of a
// mask is off.
func (r *run) effects(ctx context.Context, mask *autograd.Param, batches []*datasets.Batch) ([]float64, error) {
	tape := autograd.NewTape(r.dev, false)
	loss := func() (sum float64, err error) {
		for _, b := range batches {
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			c, err := r.fwd.run(tape, b, selection{only: r.reads()})
			if err != nil {
				return 0, err
			}
			if c.Loss != nil {
				sum += float64(tape.Scalar(c.Loss))
			}
			tape.Release()
		}
		return sum / float64(len(batches)), nil
	}
	whole, err := loss()
	if err != nil {
		return nil, err
	}
	effect := make([]float64, mask.Value.Len())
	for unit := range effect {
		r.model.Weights.Switch(mask, unit, false)
		off, err := loss()
		r.model.Weights.Switch(mask, unit, true)
		if err != nil {
			return nil, err
		}
		effect[unit] = off - whole
	}
	return effect, nil
}
