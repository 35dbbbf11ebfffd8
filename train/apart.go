package train

import (
	"math"
	"slices"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/tensor"
)

// apart keeps several gradients of the same parameters apart.
type apart struct {
	dev    tensor.Device
	params []*autograd.Param
	of     [][]*tensor.Tensor // by number and parameter; nil stands for zero
}

func newApart(dev tensor.Device, params []*autograd.Param, n int) *apart {
	a := &apart{dev: dev, params: params, of: make([][]*tensor.Tensor, n)}
	for i := range a.of {
		a.of[i] = make([]*tensor.Tensor, len(params))
	}
	return a
}

// begin makes what Backward finds part of the gradient of that number, until end.
// The parameters have no gradients then.
func (a *apart) begin(n int) {
	for i, p := range a.params {
		p.Give(a.of[n][i])
		a.of[n][i] = nil
	}
}

func (a *apart) end(n int) {
	for i, p := range a.params {
		a.of[n][i] = p.Take()
	}
}

// gram returns the inner products of the first n gradients over those parameters
// that are kept: g_i.g_j at [i][j].
func (a *apart) gram(n int, keep func(param int) bool) [][]float64 {
	g := make([][]float64, n)
	for i := range g {
		g[i] = make([]float64, n)
	}
	for p := range a.params {
		if !keep(p) {
			continue
		}
		for i := range n {
			for j := range i + 1 {
				if x, y := a.of[i][p], a.of[j][p]; x != nil && y != nil {
					g[i][j] += a.dev.Dot(x, y)
				}
			}
		}
	}
	for i := range n {
		for j := range i {
			g[j][i] = g[i][j]
		}
	}
	return g
}

// reached returns the number of the first n gradients that are not zero for a
// parameter.
func (a *apart) reached(n, param int) (count int) {
	for i := range n {
		if a.of[i][param] != nil {
			count++
		}
	}
	return count
}

// merge gives each parameter the sum of its gradients, times coef, and keeps none.
func (a *apart) merge(coef func(n, param int) float64) {
	for p, param := range a.params {
		var sum *tensor.Tensor
		for n := range a.of {
			g := a.of[n][p]
			a.of[n][p] = nil
			switch c := float32(coef(n, p)); {
			case g == nil:
			case sum == nil:
				if c != 1 {
					a.dev.Scale(g, c)
				}
				sum = g
			default:
				a.dev.Axpy(sum, c, g)
				a.dev.Free(g)
			}
		}
		param.Give(sum)
	}
}

// release gives all memory back.
func (a *apart) release() {
	for n := range a.of {
		for p, g := range a.of[n] {
			if g != nil {
				a.dev.Free(g)
				a.of[n][p] = nil
			}
		}
	}
}

// cosines returns the cosines of each two of the named gradients, by their inner
// products, where neither is zero: those of b and a under "a|b".
func cosines(names []string, gram [][]float64) map[string]float64 {
	of := map[string]float64{}
	for i := range names {
		for j := range i {
			if n := gram[i][i] * gram[j][j]; n > 0 {
				of[names[j]+"|"+names[i]] = gram[i][j] / math.Sqrt(n)
			}
		}
	}
	return of
}

// through makes the gradients that reach parameters through the rows of one
// modality those of number n. There are none where nothing of a batch depends on
// them.
func (f *forward) through(tape *autograd.Tape, b *datasets.Batch, modality string, a *apart, n int) error {
	c, err := f.run(tape, b, selection{through: modality})
	if err != nil {
		return err
	}
	a.backward(tape, c.Loss, n)
	return nil
}

// backward makes the gradients of a loss alone those of number n.
func (a *apart) backward(tape *autograd.Tape, loss *autograd.Var, n int) {
	if loss == nil || !loss.Wants() {
		tape.Release()
		return
	}
	tape.Ready, tape.PenaltyScale = nil, 0
	a.begin(n)
	tape.Backward(loss, nil)
	a.end(n)
}

// backwardApart is backward with the gradients of the pairs kept apart until the
// step's last pass, which makes one of them. What penalises weights or routing
// counts once: it has a gradient of its own, behind those of the pairs.
func (r *run) backwardApart(b *datasets.Batch, pairs []pairIn, s *stepStats) (float64, error) {
	all := r.pairNames()
	penalty := len(all)
	if s.passes == 0 {
		r.apart = newApart(r.dev, r.opt.trained(), len(all)+1)
	}
	acc := float32(r.Settings.Accumulate)
	r.tape.Ready, r.tape.PenaltyScale = nil, 0
	loss, penalised := 0.0, false
	for i, pair := range pairs {
		c, err := r.fwd.run(r.tape, b, selection{only: []string{pair.a, pair.b}})
		if err != nil {
			return 0, err
		}
		of := s.observe(r.tape, pairs, i, c.Pairs[0], r.Settings.Accumulate)
		loss += pair.share * of
		penalised = penalised || r.tape.Penalty != 0
		if !c.Loss.Wants() { // the phase trains nothing of the pair
			r.tape.Release()
			continue
		}
		if err := r.sound(of, c.Loss, b); err != nil {
			return 0, err
		}
		n := slices.Index(all, pair.name)
		r.apart.begin(n)
		r.tape.Backward(c.Loss, []float32{float32(pair.share) / acc})
		r.apart.end(n)
	}
	if penalised {
		c, err := r.fwd.run(r.tape, b, selection{only: r.reads()})
		if err != nil {
			return 0, err
		}
		r.tape.PenaltyScale = 1 / acc
		s.penalty += r.tape.Penalty / float64(acc)
		r.apart.begin(penalty)
		r.tape.Backward(c.Loss, []float32{0})
		r.apart.end(penalty)
	}
	if s.passes == r.Settings.Accumulate-1 {
		r.balance.merge(r.apart, all, r.state.Step+1, s, r.model)
		r.apart = nil
	}
	return loss, nil
}
