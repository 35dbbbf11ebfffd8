package train

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/contrastive"
	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/model"
)

// forward takes batches through a model up to the loss.
type forward struct {
	model     *model.Model
	objective contrastive.Objective
	positives string      // see Settings
	data      string      // what errors call the source
	forgets   *forgetting // nil where nothing is to be forgotten
}

// selection says what of a batch takes part; the zero value takes all.
type selection struct {
	// only lists the modalities that are read, where it is not nil.
	only []string
	// through, where it is not empty, lets gradients reach what is trained through
	// the vectors of that modality alone. Rows of different modalities never mix
	// before the loss, so these are the gradients through its rows.
	through string
}

// run returns the objective on a batch, on a tape.
func (f *forward) run(tape *autograd.Tape, b *datasets.Batch, s selection) (contrastive.Result, error) {
	var inputs []model.Input
	var groups []datasets.Group
	for _, g := range b.Groups {
		if s.only != nil && !slices.Contains(s.only, g.Modality) {
			continue
		}
		for j, t := range g.Tokens {
			if err := f.model.Check(g.Modality, t); err != nil {
				return contrastive.Result{}, fmt.Errorf("%s: item %s: %s: %w", f.data, b.IDs[g.Rows[j]], g.Modality, err)
			}
		}
		groups = append(groups, g)
		inputs = append(inputs, model.Input{Modality: g.Modality, Tokens: g.Tokens})
	}
	vectors := make([]contrastive.Vectors, len(inputs))
	for i, z := range f.model.Forward(tape, inputs) {
		if s.through != "" && s.through != groups[i].Modality {
			z = z.Constant()
		}
		vectors[i] = contrastive.Vectors{Modality: groups[i].Modality, Z: z, Rows: groups[i].Rows}
	}
	if f.forgets != nil {
		return f.objective.Forget(tape, vectors, f.groups(b), f.forgets.first), nil
	}
	return f.objective.Forward(tape, vectors, f.groups(b)), nil
}

// groups numbers a batch's rows by what the settings call positives.
func (f *forward) groups(b *datasets.Batch) []int32 {
	return contrastive.Groups(len(b.IDs), func(join func(key string, row int)) {
		if f.positives == "rows" {
			return
		}
		for i, id := range b.IDs {
			join("id:"+id, i)
		}
		if f.positives == "ids" {
			return
		}
		for _, g := range b.Groups {
			for i, ref := range g.Refs {
				join(g.Modality+":"+ref, g.Rows[i])
			}
		}
	})
}

// pairIn is a pair of modalities in a batch, and its share in the loss before
// any balance.
type pairIn struct {
	name, a, b string
	share      float64
}

// pairsIn lists the pairs that weigh something and of which a batch has at
// least two samples with both modalities.
func pairsIn(b *datasets.Batch, weight func(a, b string) float64) []pairIn {
	var pairs []pairIn
	total := 0.0
	for i, g := range b.Groups {
		for _, h := range b.Groups[i+1:] {
			both := 0
			for _, row := range g.Rows {
				if _, ok := slices.BinarySearch(h.Rows, row); ok {
					both++
				}
			}
			if w := weight(g.Modality, h.Modality); w > 0 && both > 1 {
				pairs = append(pairs, pairIn{g.Modality + "+" + h.Modality, g.Modality, h.Modality, w})
				total += w
			}
		}
	}
	for i := range pairs {
		pairs[i].share /= total
	}
	return pairs
}

// stepStats gathers the figures of the passes of one step.
type stepStats struct {
	passes, samples, tokens, cut, epoch int
	loss, hits, penalty                 float64
	pairs                               map[string]*pairStats
	weights                             map[string]float64 // by pair
	conflicts                           map[string]float64 // cosines, by two pairs
	checks                              map[string]float64 // see adapt
	splits                              []string
	ids                                 []string
	began                               time.Time
}

// pairStats sums a pair's figures over the passes that it is in.
type pairStats struct {
	loss, hits, share float64
	passes            int
}

// pass runs one batch forward and backward.
func (r *run) pass(b *datasets.Batch, s *stepStats) error {
	reads := r.reads()
	for _, g := range b.Groups {
		if reads != nil && !slices.Contains(reads, g.Modality) {
			continue
		}
		for _, t := range g.Tokens {
			s.tokens += t.Len()
			s.cut += t.Cut
		}
	}
	pairs := pairsIn(b, r.base)
	if len(pairs) == 0 {
		return fmt.Errorf("%s: step %d: no two samples of the batch have the same two modalities (items %v)", r.Train.Name(), r.state.Step+1, b.IDs)
	}
	r.model.Weights.Noise = r.noise(s.passes)
	loss, err := r.backward(b, pairs, s)
	if err != nil {
		return err
	}
	s.passes++
	s.samples += len(b.IDs)
	s.epoch = b.Epoch
	s.loss += loss / float64(r.Settings.Accumulate)
	s.ids = append(s.ids, b.IDs...)
	return nil
}

// backward makes the gradients of a batch and returns its loss.
func (r *run) backward(b *datasets.Batch, pairs []pairIn, s *stepStats) (float64, error) {
	if r.Config.Sharing.Balance.Apart() {
		return r.backwardApart(b, pairs, s)
	}
	acc := float32(r.Settings.Accumulate)
	c, err := r.fwd.run(r.tape, b, selection{only: r.reads()})
	if err != nil {
		return 0, err
	}
	loss := float64(r.tape.Scalar(c.Loss))
	if r.balance != nil { // the log compares losses of equal weights
		loss = 0
	}
	for _, p := range c.Pairs {
		i := slices.IndexFunc(pairs, func(in pairIn) bool { return in.a == p.A && in.b == p.B })
		of := s.observe(r.tape, pairs, i, p, r.Settings.Accumulate)
		if r.balance != nil {
			loss += pairs[i].share * of
		}
	}
	if err := r.sound(loss, c.Loss, b); err != nil {
		return 0, err
	}
	r.tape.Ready = nil
	if s.passes == r.Settings.Accumulate-1 {
		r.tape.Ready = r.opt.ready
	}
	r.tape.PenaltyScale = 1 / acc
	s.penalty += r.tape.Penalty / float64(acc)
	r.tape.Backward(c.Loss, []float32{1 / acc})
	return loss, nil
}

// sound is an error when a loss cannot be trained on.
func (r *run) sound(loss float64, v *autograd.Var, b *datasets.Batch) error {
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return fmt.Errorf("step %d: the loss is %v (samples %v); the last checkpoint is of step %d", r.state.Step+1, loss, b.IDs, r.saved)
	}
	if !v.Wants() {
		return fmt.Errorf("step %d: nothing is trained that the loss depends on: see train.lock and sharing.phases", r.state.Step+1)
	}
	return nil
}

// observe adds the figures of the pair i of a pass of a step of acc passes, and
// returns its loss.
func (s *stepStats) observe(t *autograd.Tape, pairs []pairIn, i int, p contrastive.Pair, acc int) float64 {
	hits := float64(t.Scalar(p.HitsAB) + t.Scalar(p.HitsBA))
	s.hits += hits / float64(2*len(pairs)*acc)
	if s.pairs == nil {
		s.pairs = map[string]*pairStats{}
	}
	of := s.pairs[pairs[i].name]
	if of == nil {
		of = &pairStats{}
		s.pairs[pairs[i].name] = of
	}
	loss := float64(t.Scalar(p.Loss))
	of.loss += loss
	of.hits += hits / 2
	of.share += pairs[i].share / float64(acc)
	of.passes++
	return loss
}

func (s *stepStats) record(n int, rate, norm float64, temperatures map[string]float64) record {
	seconds := max(time.Since(s.began).Seconds(), 1e-9)
	return record{
		Step: n, Epoch: s.epoch, Loss: s.loss, R1: s.hits, Penalty: s.penalty, Rate: rate, GradNorm: norm, Temperature: temperatures,
		SamplesPerS: math.Round(float64(s.samples) / seconds), TokensPerS: math.Round(float64(s.tokens) / seconds), Cut: s.cut,
		Conflicts: s.conflicts, Checks: s.checks, Splits: s.splits,
	}
}

// base returns the weight of a pair as the settings or the phase give it, before
// any balance.
func (r *run) base(a, b string) float64 {
	if p := r.phase(); p != nil && p.Pairs != nil {
		return p.Pairs[a+"+"+b]
	}
	return r.Settings.weight(a, b)
}

// reads lists the modalities that the phase reads, where it names its pairs;
// otherwise it is nil, for all.
func (r *run) reads() []string {
	p := r.phase()
	if p == nil || p.Pairs == nil {
		return nil
	}
	var names []string
	for pair, w := range p.Pairs {
		if w > 0 {
			a, b, _ := strings.Cut(pair, "+")
			names = append(names, a, b)
		}
	}
	return names
}
