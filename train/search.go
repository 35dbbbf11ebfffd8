package train

import (
	"context"
	"fmt"
	"hash/fnv"
	"iter"
	"math"
	"math/rand/v2"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/sharing"
)

// search is a differentiable search over maps beside the training of its
// weights (sharing.Search): after each step of the weights on one half of the
// data, a step of the policy's logits on the other half, with the weights as
// they are (first order; AdaShare, Sun et al. 2020; DARTS, Liu et al. 2019).
type search struct {
	*sharing.Search
	run    *run
	units  map[string]bool  // the parameters of the logits
	opt    *optimizer       // of the logits
	warmup int              // steps before the logits move
	other  *datasets.Loader // of the half for the logits
	next   func() (*datasets.Batch, error, bool)
	stop   func()
}

// newSearch prepares the search of a run, nil where its config asks for none.
// The weights stay as they are trained, the logits are frozen.
func newSearch(r *run, o datasets.LoaderOptions) (*search, error) {
	if r.Config.Sharing.Mix == nil || r.Config.Sharing.Mix.Search == nil {
		return nil, nil
	}
	s := &search{Search: r.Config.Sharing.Mix.Search, run: r, units: map[string]bool{}}
	for _, u := range r.model.Weights.Units() {
		s.units[u.Policy] = true
	}
	s.warmup = int(s.Warmup * float64(r.Settings.Steps))
	set := r.Settings
	set.LR, set.Warmup, set.FinalLR, set.Decay, set.Clip = s.Rate, 0, 1, 0, 0
	s.turn(true)
	s.opt = newOptimizer(r.dev, r.model.Bank, &set)
	s.turn(false)
	r.opt = newOptimizer(r.dev, r.model.Bank, &r.Settings)
	o.OnBad = nil
	var err error
	s.other, err = datasets.NewLoader(half{r.Train, 1}, o)
	return s, err
}

// turn lets the logits move and holds the weights, or the other way round.
func (s *search) turn(policy bool) {
	b := s.run.model.Bank
	b.Freeze(func(string) bool { return true }, true)
	b.Freeze(func(name string) bool { return s.units[name] == policy }, false)
}

// half is the items of a source of even or of odd number.
type half struct {
	datasets.Source
	odd int
}

func (h half) Len() int                  { return (h.Source.Len() + 1 - h.odd) / 2 }
func (h half) Item(i int) *datasets.Item { return h.Source.Item(2*i + h.odd) }

// sample sets the policy of the pass that comes: of a step, for the weights or
// for the logits.
func (s *search) sample(step int, policy bool) {
	if s == nil {
		return
	}
	done := float64(step-1) / float64(max(s.run.Settings.Steps-1, 1))
	p := &sharing.Policy{
		Tau:    s.Tau[0] * math.Pow(s.Tau[1]/s.Tau[0], done),
		Budget: float64(s.Budget),
		Noise: func(unit string, n int) []float32 {
			h := fnv.New64a()
			fmt.Fprintf(h, "%d %t %s", step, policy, unit)
			rng := rand.New(rand.NewPCG(s.run.Settings.Seed, h.Sum64()))
			g := make([]float32, n)
			for i := range g {
				g[i] = float32(-math.Log(rng.ExpFloat64())) // Gumbel's distribution
			}
			return g
		},
	}
	if policy {
		p.Weight = s.Weight
	}
	s.run.model.Weights.SetPolicy(p)
}

// step moves the logits, after step n of the weights.
func (s *search) step(ctx context.Context, n int) error {
	if s == nil {
		return nil
	}
	defer s.run.model.Weights.SetPolicy(nil)
	if n <= s.warmup {
		return nil
	}
	if s.next == nil {
		s.next, s.stop = iter.Pull2(s.other.Run(ctx, n-1-s.warmup))
	}
	batch, err, ok := s.next()
	if err != nil || !ok {
		return err
	}
	s.turn(true)
	defer s.turn(false)
	s.sample(n, true)
	r := s.run
	c, err := r.fwd.run(r.tape, batch, selection{})
	if err != nil || c.Loss == nil {
		return err
	}
	if err := r.sound(float64(r.tape.Scalar(c.Loss)), c.Loss, batch); err != nil {
		return err
	}
	s.opt.begin(n - s.warmup)
	r.tape.Ready, r.tape.PenaltyScale = s.opt.ready, 1
	r.tape.Backward(c.Loss, nil)
	_, _, err = s.opt.finish()
	return err
}

// close ends the search's loader.
func (s *search) close() {
	if s != nil && s.stop != nil {
		s.stop()
	}
}
