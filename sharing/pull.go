package sharing

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"

	"github.com/onetrunk/onetrunk/autograd"
)

// Pull draws private tensors together, by a penalty: soft sharing. It is the sum
// of a function of the tensors W_m that serve the modalities (or groups of them)
// at a place, over all physical layers, over the roles, and over weights and
// biases, each by itself.
type Pull struct {
	// Kind is one of
	//   l2        Lambda sum_m |W_m - A|^2, A being the mean over m, or the
	//             tensors' first values (Duong et al. 2015)
	//   trace     Lambda times the sum of the singular values of the matrix whose
	//             rows are the W_m (Yang and Hospedales 2017): few directions
	//             that all are made of. Made smooth at zero: sqrt(s^2 + 1e-8)
	//   adaptive  sum_m l_m |W_m - A|^2, A being the mean weighed by l_m = Lambda
	//             max(0, s_m), with s_m the cosine between W_m and the mean of
	//             the others, as it stands: no gradient goes through l_m. The
	//             share Drop of the tensors whose s_m are the lowest have l_m = 0
	//             and neither pull nor are pulled. The formulas of adaptive soft
	//             sharing (2024) are not public; these are ours
	Kind string `json:"kind"`
	// Lambda weighs the penalty; 0 adds none.
	Lambda float64 `json:"lambda"`
	// Roles are those whose private tensors are drawn together; all products when
	// empty. Each must be private somewhere.
	Roles []Role `json:"roles,omitempty"`
	// Anchor says what l2 draws to: "mean", also where nothing is said, or
	// "first", the first values of the tensors, which then begin equal.
	Anchor string `json:"anchor,omitempty"`
	// Drop is adaptive's, in [0, 1).
	Drop float64 `json:"drop,omitempty"`
	// Common makes the private tensors begin equal, as the one would that all
	// modalities share.
	Common bool `json:"common,omitempty"`
}

// covers reports whether a role's private tensors are drawn together.
func (p *Pull) covers(r Role) bool {
	if p == nil {
		return false
	}
	if len(p.Roles) == 0 {
		return r.Product()
	}
	return slices.Contains(p.Roles, r)
}

// anchored reports whether tensors are drawn to their first values.
func (p *Pull) anchored() bool { return p != nil && p.Anchor == "first" }

func (p *Pull) validate(c *Config) error {
	if !slices.Contains([]string{"l2", "trace", "adaptive"}, p.Kind) {
		return fmt.Errorf("sharing.pull.kind: %q is not one of l2, trace, adaptive", p.Kind)
	}
	if !(p.Lambda >= 0) || math.IsInf(p.Lambda, 0) {
		return fmt.Errorf("sharing.pull.lambda: expected a number of at least 0, found %g", p.Lambda)
	}
	if !slices.Contains([]string{"", "mean", "first"}, p.Anchor) {
		return fmt.Errorf("sharing.pull.anchor: %q is not one of mean, first", p.Anchor)
	}
	if p.Anchor != "" && p.Kind != "l2" {
		return fmt.Errorf("sharing.pull.anchor: is of kind l2, not %s", p.Kind)
	}
	if !(p.Drop >= 0 && p.Drop < 1) {
		return fmt.Errorf("sharing.pull.drop: expected a share in [0, 1), found %g", p.Drop)
	}
	if p.Drop != 0 && p.Kind != "adaptive" {
		return fmt.Errorf("sharing.pull.drop: is of kind adaptive, not %s", p.Kind)
	}
	if err := validRoles("sharing.pull.roles", p.Roles); err != nil {
		return err
	}
	any := false
	for _, r := range Roles {
		private := c.private(r)
		any = any || p.covers(r) && private
		if len(p.Roles) > 0 && p.covers(r) && !private {
			return fmt.Errorf("sharing.pull.roles: %q is not private anywhere, there is nothing to draw together", r)
		}
	}
	if !any {
		return fmt.Errorf("sharing.pull: none of %v is private anywhere (sharing.private, experts, map), there is nothing to draw together", Products)
	}
	return nil
}

// private reports whether modalities have tensors of their own of a role, in
// some layer.
func (c *Config) private(r Role) bool {
	if c.Mix.covers(r) {
		return false
	}
	if slices.Contains(c.Private, r) || c.Experts == "modality" && (r == Up || r == Down) {
		return true
	}
	return slices.ContainsFunc(c.Map, func(rule Rule) bool {
		return len(rule.Groups) > 1 && (len(rule.Roles) == 0 || slices.Contains(rule.Roles, r))
	})
}

// String describes the block in a few words.
func (p *Pull) String() string { return fmt.Sprintf("%s pull of %g", p.Kind, p.Lambda) }

// from returns the name that the first values of a tensor depend on.
func (w *Weights) from(name string, r Role) string {
	p := w.Config.Pull
	if !p.covers(r) || !p.Common && !p.anchored() {
		return name
	}
	for _, g := range w.private(r) {
		if slices.Contains(g.tensors, name) {
			return g.shared
		}
	}
	return name
}

// privates are the private tensors of a place and the name that the one would
// have which all modalities share.
type privates struct {
	shared  string
	tensors []string
}

// private lists the places of a role whose tensors are private, each physical
// layer once.
func (w *Weights) private(r Role) []privates {
	var all []privates
	for l := range w.Layers {
		g := privates{shared: w.name(w.physical[r][l], "", r)}
		for _, m := range w.Modalities {
			if name := w.Tensor(l, m, r); !slices.Contains(g.tensors, name) {
				g.tensors = append(g.tensors, name)
			}
		}
		again := slices.ContainsFunc(all, func(have privates) bool { return have.shared == g.shared })
		if len(g.tensors) > 1 && !again {
			all = append(all, g)
		}
	}
	return all
}

// parts are the parameters that a tensor has.
var parts = []string{"/weight", "/bias"}

// declareAnchors puts the first values of a role's private tensors into the bank.
func (w *Weights) declareAnchors(r Role) {
	if !w.Config.Pull.anchored() || !w.Config.Pull.covers(r) {
		return
	}
	for _, g := range w.private(r) {
		for _, part := range parts {
			if w.Bank.Has(g.tensors[0] + part) {
				like := w.Bank.Param(g.tensors[0] + part)
				p := w.Bank.add(g.shared+"/anchor"+part, like.Value.Rows, like.Value.Cols, func([]float32) {})
				p.Fixed, p.Vector = true, like.Vector
			}
		}
	}
	if !w.Bank.empty {
		w.Anchor()
	}
}

// Anchor makes the values of private tensors those that they are drawn to, where
// they are drawn to their first values; each place's first tensor counts.
func (w *Weights) Anchor() {
	if !w.Config.Pull.anchored() {
		return
	}
	for _, r := range Roles {
		for _, g := range w.private(r) {
			for _, part := range parts {
				if name := g.shared + "/anchor" + part; w.Bank.Has(name) {
					w.Bank.dev.Copy(w.Bank.Param(name).Value, w.Bank.Param(g.tensors[0]+part).Value)
				}
			}
		}
	}
}

// drawTogether is Penalise for private tensors.
func (p *Pass) drawTogether(x *autograd.Var) *autograd.Var {
	pull := p.Config.Pull
	if pull == nil || pull.Lambda == 0 {
		return x
	}
	var all []*autograd.Var
	for _, r := range Roles {
		if !pull.covers(r) {
			continue
		}
		for _, g := range p.private(r) {
			for _, part := range parts {
				if !p.Bank.Has(g.tensors[0] + part) {
					continue
				}
				var ts []*autograd.Var
				for _, name := range g.tensors {
					ts = append(ts, p.Bank.Param(name+part).Var())
				}
				if pull.anchored() {
					ts = append(ts, p.Bank.Param(g.shared+"/anchor"+part).Var())
				}
				all = append(all, p.tape.OfGram(pull.penalty(), ts...))
			}
		}
	}
	ones := make([]float32, len(all))
	for i := range ones {
		ones[i] = 1
	}
	return p.tape.Penalise(x, p.tape.Sum(ones, all...), float32(pull.Lambda))
}

// penalty returns the penalty, without Lambda, as OfGram wants it. Of an anchor
// it is the last of the tensors.
func (p *Pull) penalty() func(gram []float64) (float64, []float64) {
	switch {
	case p.anchored():
		return toAnchor
	case p.Kind == "trace":
		return nuclear
	case p.Kind == "adaptive":
		return func(gram []float64) (float64, []float64) { return toMean(gram, similarities(gram, p.Drop)) }
	default:
		return func(gram []float64) (float64, []float64) { return toMean(gram, nil) }
	}
}

// side returns n of a matrix of n n elements.
func side(gram []float64) int { return int(math.Round(math.Sqrt(float64(len(gram))))) }

// toMean is sum_m l_m |W_m - A|^2 with A the mean weighed by l; nil stands for
// ones. It is sum_m l_m G_mm - sum_mn l_m l_n G_mn / sum_m l_m.
func toMean(gram, l []float64) (value float64, by []float64) {
	n := side(gram)
	if l == nil {
		l = make([]float64, n)
		for i := range l {
			l[i] = 1
		}
	}
	total := 0.0
	for _, v := range l {
		total += v
	}
	by = make([]float64, n*n)
	if total == 0 {
		return 0, by
	}
	for i := range n {
		by[i*n+i] = l[i]
		for j := range n {
			by[i*n+j] -= l[i] * l[j] / total
		}
	}
	return dot(by, gram), by
}

// toAnchor is sum_m |W_m - A|^2, A being the last tensor.
func toAnchor(gram []float64) (value float64, by []float64) {
	n := side(gram)
	by = make([]float64, n*n)
	for i := range n - 1 {
		by[i*n+i] = 1
		by[i*n+n-1] = -2
		by[n*n-1]++
	}
	return dot(by, gram), by
}

// nuclear is the sum of sqrt(s^2 + 1e-8) over the singular values s of the stack
// of the tensors, whose squares are the eigenvalues of their inner products G;
// its derivative is (G + 1e-8)^(-1/2) / 2.
func nuclear(gram []float64) (value float64, by []float64) {
	const smooth = 1e-8
	n := side(gram)
	by = make([]float64, n*n)
	var e mat.EigenSym
	if !e.Factorize(mat.NewSymDense(n, slices.Clone(gram)), true) {
		return math.NaN(), by
	}
	var q mat.Dense
	e.VectorsTo(&q)
	for k, v := range e.Values(nil) {
		s := math.Sqrt(max(v, 0) + smooth)
		value += s
		for i := range n {
			for j := range n {
				by[i*n+j] += q.At(i, k) * q.At(j, k) / (2 * s)
			}
		}
	}
	return value, by
}

// similarities returns max(0, s_m) of each tensor, s_m its cosine with the mean
// of the others, and 0 for the share drop of them whose s_m are the lowest.
func similarities(gram []float64, drop float64) []float64 {
	n := side(gram)
	s, order := make([]float64, n), make([]int, n)
	for m := range n {
		var with, others float64
		for i := range n {
			for j := range n {
				if i != m && j != m {
					others += gram[i*n+j]
				}
			}
			if i != m {
				with += gram[m*n+i]
			}
		}
		if size := math.Sqrt(gram[m*n+m] * others); size > 0 {
			s[m] = with / size
		}
		order[m] = m
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case s[a] < s[b]:
			return -1
		case s[a] > s[b]:
			return 1
		}
		return 0
	})
	for i, m := range order {
		if s[m] = max(s[m], 0); i < int(drop*float64(n)+1e-9) {
			s[m] = 0
		}
	}
	return s
}

func dot(a, b []float64) (sum float64) {
	for i, v := range a {
		sum += v * b[i]
	}
	return sum
}
