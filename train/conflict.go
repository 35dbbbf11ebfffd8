package train

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/contrastive"
	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

// ConflictOptions say what gradients are measured on.
type ConflictOptions struct {
	// Batch is the number of samples of a batch, 0 for 64; Batches that of
	// batches, 0 for 8.
	Batch, Batches int
	// Seed draws the batches.
	Seed uint64
	// Positives are as in Settings; "" stands for values.
	Positives string
	// MaxBad is as in Options.
	MaxBad float64
}

// ConflictMap says, for each tensor of a model's trunks, how much the gradients
// of its pairs, and of its modalities, agree.
type ConflictMap struct {
	Pairs      []string `json:"pairs"`
	Modalities []string `json:"modalities"`
	// Batches were measured, of Batch samples each.
	Batches int `json:"batches"`
	Batch   int `json:"batch"`
	// Tensors stand in the order of the trunks' maps.
	Tensors []Conflict `json:"tensors"`
}

// Conflict is one physical tensor's: a weight with its bias. Figures are means
// over the batches in which the gradients are not zero; what is zero in all has
// none.
type Conflict struct {
	Tensor string `json:"tensor"`
	// Layer is the first that the tensor serves, Role its place there.
	Layer int          `json:"layer"`
	Role  sharing.Role `json:"role"`
	// Serves lists the modalities that it serves.
	Serves []string `json:"serves"`
	// Pairs are the cosines of the gradients of two pairs' losses:
	// "audio+image|audio+text".
	Pairs map[string]float64 `json:"pairs,omitempty"`
	// Modalities are the cosines of the gradients, of the mean of the pairs' losses,
	// that reach the tensor through the rows of one modality alone:
	// "audio|image". Rows of different modalities meet in the loss only, so these
	// are what a private copy for each modality would get, and they sum to the
	// tensor's gradient. They are a diagnostic: one InfoNCE loss makes both of a
	// pair's, from the same similarities.
	Modalities map[string]float64 `json:"modalities,omitempty"`
	// PairNorms and ModalityNorms are the norms of the gradients.
	PairNorms     map[string]float64 `json:"pair_norms,omitempty"`
	ModalityNorms map[string]float64 `json:"modality_norms,omitempty"`
}

// Conflicts measures a model's gradients on batches of a source, drawn and
// augmented as in training. Each batch costs a forward and a backward pass for
// each pair and for each modality. The model is as before afterwards; it must
// not be used meanwhile.
func Conflicts(ctx context.Context, m *model.Model, src datasets.Source, o ConflictOptions) (ConflictMap, error) {
	if o.Batch == 0 {
		o.Batch = 64
	}
	if o.Batches == 0 {
		o.Batches = 8
	}
	if o.Positives == "" {
		o.Positives = "values"
	}
	if o.MaxBad == 0 {
		o.MaxBad = -1 // the loader's word for none
	}
	loader, err := datasets.NewLoader(src, datasets.LoaderOptions{Processors: m.Processors(), Batch: o.Batch, Seed: o.Seed, MaxBad: o.MaxBad})
	if err != nil {
		return ConflictMap{}, err
	}
	defer keepTrained(m.Bank)()
	c := newConflicts(m, src.Modalities())
	tape := autograd.NewTape(m.Device, true)
	defer tape.Release()
	f := &forward{
		model: m, positives: o.Positives, data: src.Name(),
		objective: contrastive.Objective{LogScale: func(a, b string) *autograd.Var { return m.LogScale(a, b).Var() }},
	}
	var params []*autograd.Param
	for _, p := range m.Bank.Params() {
		if p.Train(c.at[p.Name] != nil && !p.Fixed); p.Trained() {
			params = append(params, p)
		}
	}
	if len(params) == 0 || len(c.of.Pairs) == 0 {
		return ConflictMap{}, fmt.Errorf("%s: has no two modalities of the model's %v", src.Name(), m.Modalities())
	}
	for b, err := range loader.Run(ctx, 0) {
		if err != nil {
			return ConflictMap{}, err
		}
		if err := c.measure(f, tape, b, params); err != nil {
			return ConflictMap{}, err
		}
		if c.of.Batch = len(b.IDs); c.of.Batches == o.Batches {
			break
		}
	}
	return c.mean(), nil
}

// keepTrained returns what makes parameters trained or frozen as they are now.
func keepTrained(b *sharing.Bank) func() {
	was := map[*autograd.Param]bool{}
	for _, p := range b.Params() {
		was[p] = p.Trained()
	}
	return func() {
		for p, on := range was {
			p.Train(on)
		}
	}
}

// conflicts gathers sums over batches.
type conflicts struct {
	of     ConflictMap
	at     map[string]*int // the number of the tensor that a parameter is of
	counts []map[string]int
	dev    tensor.Device
}

// newConflicts lists what is measured: all that serves a place of a trunk, of
// the modalities that there are.
func newConflicts(m *model.Model, have []string) *conflicts {
	c := &conflicts{at: map[string]*int{}, dev: m.Device}
	for _, name := range m.Modalities() {
		if slices.Contains(have, name) {
			c.of.Modalities = append(c.of.Modalities, name)
		}
	}
	for i, a := range c.of.Modalities {
		for _, b := range c.of.Modalities[i+1:] {
			c.of.Pairs = append(c.of.Pairs, a+"+"+b)
		}
	}
	numbers := map[string]*int{}
	for _, w := range m.Trunks() {
		for l := range w.Layers {
			for _, role := range sharing.Roles {
				for _, modality := range w.Modalities {
					for _, name := range w.Serving(l, modality, role) {
						if w.Bank.Param(name).Fixed {
							continue
						}
						tensor := strings.TrimSuffix(strings.TrimSuffix(name, "/weight"), "/bias")
						if numbers[tensor] == nil {
							n := len(c.of.Tensors)
							numbers[tensor] = &n
							c.of.Tensors = append(c.of.Tensors, Conflict{
								Tensor: tensor, Layer: l, Role: role,
								Pairs: map[string]float64{}, Modalities: map[string]float64{},
								PairNorms: map[string]float64{}, ModalityNorms: map[string]float64{},
							})
							c.counts = append(c.counts, map[string]int{})
						}
						c.at[name] = numbers[tensor]
						if t := &c.of.Tensors[*numbers[tensor]]; !slices.Contains(t.Serves, modality) {
							t.Serves = append(t.Serves, modality)
						}
					}
				}
			}
		}
	}
	return c
}

// measure adds the figures of a batch.
func (c *conflicts) measure(f *forward, tape *autograd.Tape, b *datasets.Batch, params []*autograd.Param) error {
	pairs, modalities := newApart(c.dev, params, len(c.of.Pairs)), newApart(c.dev, params, len(c.of.Modalities))
	defer pairs.release()
	defer modalities.release()
	for i, pair := range c.of.Pairs {
		first, second, _ := strings.Cut(pair, "+")
		r, err := f.run(tape, b, selection{only: []string{first, second}})
		if err != nil {
			return err
		}
		pairs.backward(tape, r.Loss, i)
	}
	for i, modality := range c.of.Modalities {
		if err := f.through(tape, b, modality, modalities, i); err != nil {
			return err
		}
	}
	for n := range c.of.Tensors {
		t := &c.of.Tensors[n]
		own := func(p int) bool { return *c.at[params[p].Name] == n }
		c.add(n, c.of.Pairs, pairs.gram(len(c.of.Pairs), own), t.Pairs, t.PairNorms)
		c.add(n, c.of.Modalities, modalities.gram(len(c.of.Modalities), own), t.Modalities, t.ModalityNorms)
	}
	c.of.Batches++
	return nil
}

// add adds the cosines and norms of named gradients to a tensor's sums.
func (c *conflicts) add(tensor int, names []string, gram [][]float64, sums, norms map[string]float64) {
	for two, v := range cosines(names, gram) {
		sums[two] += v
		c.counts[tensor][two]++
	}
	for i, name := range names {
		if v := gram[i][i]; v > 0 {
			norms[name] += math.Sqrt(v)
			c.counts[tensor][name]++
		}
	}
}

// mean makes means of the sums.
func (c *conflicts) mean() ConflictMap {
	for i, t := range c.of.Tensors {
		for _, sums := range []map[string]float64{t.Pairs, t.Modalities, t.PairNorms, t.ModalityNorms} {
			for name := range sums {
				sums[name] /= float64(c.counts[i][name])
			}
		}
	}
	return c.of
}
