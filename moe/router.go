package moe

import (
	"cmp"
	"fmt"
	"math"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

// routing is one pass of rows through the slot of a routed layer.
type routing struct {
	*FFN
	tape    *autograd.Tape
	w       *sharing.Pass
	layer   int
	router  *sharing.Router
	experts []sharing.Expert
	runs    []sharing.Run
}

// forward returns x [T, D] with what the experts make of it.
func (r *routing) forward(x *autograd.Var) *autograd.Var {
	y := x
	for _, e := range r.w.Always() {
		y = r.network(x, y, func(string) sharing.Expert { return e })
	}
	if r.sees() == 1 { // there is nothing to choose: the slot as it is elsewhere
		for _, run := range r.runs {
			chosen := make([]float64, len(r.experts))
			chosen[r.w.Visible(run.Modality)[0]] = float64(run.Rows)
			r.tell(run, chosen, 0)
		}
		return r.network(x, y, func(modality string) sharing.Expert { return r.experts[r.w.Visible(modality)[0]] })
	}
	logits := r.tape.Linear(x, r.gates(), r.read(r.w, r.layer, r.runs))
	noisy := r.noisy(logits)
	p := r.tape.Softmax(noisy)
	columns, values := r.tape.TopK(p, r.top())
	s := r.place(p, columns, values)
	in := r.tape.Gather(autograd.Term{S: s.rows, X: x})
	u := r.tape.Linear(in, s.parts(r, sharing.Up), r.read(r.w, r.layer, s.runs))
	out := r.tape.Linear(u, s.parts(r, sharing.Down), autograd.LinearOptions{Act: r.act})
	out = r.tape.ScaleRows(out, r.tape.Gather(s.weights...))
	all := r.tape.Sparse()
	for i := range x.Rows() {
		all.Append(int32(i))
	}
	y = r.tape.Gather(autograd.Term{S: all, X: y}, autograd.Term{S: s.back, X: out})
	if !r.tape.Trains() || !r.router.Balance.Any() {
		return y
	}
	return r.tape.Penalise(y, r.tape.GateLoss(logits, noisy, columns, r.loss()), 1)
}

// sees is the number of experts that a gate chooses among.
func (r *routing) sees() int {
	_, of := r.w.Running()
	return of
}

// top is the number of experts that a gate chooses.
func (r *routing) top() int { return cmp.Or(r.router.Top, r.sees()) }

// network returns y and what the expert of each modality makes of its rows of x.
func (r *routing) network(x, y *autograd.Var, of func(modality string) sharing.Expert) *autograd.Var {
	parts := func(role sharing.Role) []autograd.Part {
		var parts []autograd.Part
		last := ""
		for _, run := range r.runs {
			name := r.w.ExpertTensor(r.layer, of(run.Modality), role)
			if name == last {
				parts[len(parts)-1].Rows += run.Rows
				continue
			}
			parts = append(parts, r.w.Bank.Part(name, run.Rows))
			last = name
		}
		return parts
	}
	u := r.tape.Linear(x, parts(sharing.Up), r.read(r.w, r.layer, r.runs))
	return r.tape.Linear(u, parts(sharing.Down), autograd.LinearOptions{Act: r.act, Residual: y})
}

// gates returns the weights of the gates, which have no biases.
func (r *routing) gates() []autograd.Part {
	var parts []autograd.Part
	last := ""
	for _, run := range r.runs {
		name := r.w.GateTensor(r.layer, run.Modality)
		if name == last {
			parts[len(parts)-1].Rows += run.Rows
			continue
		}
		parts = append(parts, r.w.Bank.Part(name, run.Rows))
		last = name
	}
	return parts
}

// sigma is the standard deviation of the noise.
func (r *routing) sigma() float64 { return r.router.Noise / float64(r.sees()) }

// noisy returns the logits with noise, in training.
func (r *routing) noisy(logits *autograd.Var) *autograd.Var {
	if r.router.Noise == 0 || r.w.Noise == nil || !r.tape.Trains() {
		return logits
	}
	noise := r.w.Noise(fmt.Sprintf("%s/%d/gate", r.w.Trunk, r.layer), logits.Value.Len())
	return r.tape.Sum([]float32{1, float32(r.sigma())}, logits, r.tape.Input(logits.Rows(), logits.Cols(), noise))
}

// loss weighs what the gates cost.
func (r *routing) loss() tensor.GateLoss {
	b := r.router.Balance
	g := tensor.GateLoss{
		Switch: b.Switch, Importance: b.Importance, Load: b.Load, Sigma: r.sigma(), Local: b.Local, Global: b.Global, Z: b.Z,
		K: r.top(),
	}
	rows := 0
	for _, run := range r.runs {
		rows += run.Rows
		g.Modalities = append(g.Modalities, run.Rows)
		g.Least = append(g.Least, math.Log(float64(cmp.Or(b.Least[run.Modality], r.sees()))))
	}
	g.Gates = g.Modalities
	if r.router.Gate == "shared" {
		g.Gates = []int{rows}
	}
	return g
}

// tell reports where the rows of a run went.
func (r *routing) tell(run sharing.Run, chosen []float64, dropped int) {
	if r.w.Watch != nil {
		r.w.Watch(sharing.Routing{Layer: r.layer, Modality: run.Modality, Rows: run.Rows, Chosen: chosen, Dropped: dropped})
	}
}
