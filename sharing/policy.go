package sharing

import (
	"fmt"
	"slices"
	"strings"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/tensor"
)

// Policy is what a search over maps sets from step to step. A search mixes, for
// each physical layer's attention and each one's feed-forward network, all the
// ways to group the modalities: a is the softmax of (logits + noise) / Tau, a
// sample of the Gumbel-softmax (Jang et al. 2017) when the noise is Gumbel's.
// All tensors begin equal, so that a search begins as hard sharing.
type Policy struct {
	Tau float64
	// Budget is the number of parameters that the units may take, in
	// expectation; what is above it costs Weight for each Budget.
	Budget, Weight float64
	// Noise returns n numbers for the unit of that name; nil adds none.
	Noise func(unit string, n int) []float32
}

// SetPolicy gives a search its temperature and noise for the passes to come; nil
// stands for a temperature of 1 and no noise.
func (w *Weights) SetPolicy(p *Policy) { w.policy = p }

// Partitions lists the ways to split names into groups, all together first and
// all apart last; groups and their members stand in the order of names.
func Partitions(names []string) [][][]string {
	if len(names) == 0 {
		return [][][]string{nil}
	}
	last := names[len(names)-1]
	var out [][][]string
	for _, p := range Partitions(names[:len(names)-1]) {
		for i := range p {
			with := slices.Clone(p)
			with[i] = append(slices.Clone(p[i]), last)
			out = append(out, with)
		}
		out = append(out, append(slices.Clone(p), []string{last}))
	}
	slices.SortStableFunc(out, func(a, b [][]string) int { return len(a) - len(b) })
	return out
}

// partitionTerm is a tensor that serves a modality in a search: that of a group,
// and the partitions which hold the group.
type partitionTerm struct {
	group      string
	partitions []int
}

// partitionTerms lists the groups that a modality may be in.
func partitionTerms(names []string, modality string) []partitionTerm {
	var terms []partitionTerm
	for i, p := range Partitions(names) {
		for _, g := range p {
			if !slices.Contains(g, modality) {
				continue
			}
			name := groupName(g, names)
			at := slices.IndexFunc(terms, func(t partitionTerm) bool { return t.group == name })
			if at < 0 {
				at = len(terms)
				terms = append(terms, partitionTerm{group: name})
			}
			terms[at].partitions = append(terms[at].partitions, i)
		}
	}
	return terms
}

// policyName is the parameter of a unit's logits: trunk/0/attn/policy.
func (w *Weights) policyName(layer int, r Role) string {
	return strings.TrimSuffix(w.name(layer, "", r), "/"+string(r)) + "/policy"
}

// choices returns the weights [1, P] of the partitions of the unit that a role
// belongs to, in this pass.
func (p *Pass) choices(layer int, r Role) *autograd.Var {
	unit := p.policyName(layer, r)
	if v := p.chosen[unit]; v != nil {
		return v
	}
	logits := p.Bank.Param(unit).Var()
	tau, n := float32(1), logits.Cols()
	terms := []*autograd.Var{logits}
	if s := p.policy; s != nil {
		tau = float32(s.Tau)
		if s.Noise != nil {
			terms = append(terms, p.tape.Input(1, n, s.Noise(unit, n)))
		}
	}
	scale := make([]float32, len(terms))
	for i := range scale {
		scale[i] = 1 / tau
	}
	v := p.tape.Softmax(p.tape.Sum(scale, terms...))
	if p.chosen == nil {
		p.chosen = map[string]*autograd.Var{}
	}
	p.chosen[unit] = v
	return v
}

// String writes a rule in a line: 0 qkv,out: audio+text | image.
func (r Rule) String() string {
	var groups []string
	for _, g := range r.Groups {
		groups = append(groups, strings.Join(g, "+"))
	}
	layers, roles := "all", "all"
	if len(r.Layers) > 0 {
		layers = strings.Trim(fmt.Sprint(r.Layers), "[]")
	}
	if len(r.Roles) > 0 {
		roles = strings.ReplaceAll(strings.Trim(fmt.Sprint(r.Roles), "[]"), " ", ",")
	}
	return fmt.Sprintf("%s %s: %s", layers, roles, strings.Join(groups, " | "))
}

// overBudget returns what the policy's expected parameters cost, [1, 1].
func (p *Pass) overBudget() *autograd.Var {
	ways := Partitions(p.Modalities)
	var expected []*autograd.Var
	var sizes []float32
	for _, u := range p.Units() {
		var counts []autograd.MixTerm // the number of tensors, in expectation
		for i, way := range ways {
			counts = append(counts, autograd.MixTerm{Coefs: []int{i}, X: p.tape.Input(1, 1, []float32{float32(len(way))})})
		}
		expected = append(expected, p.tape.Mix(p.choices(u.Layer, u.Roles[0]), counts...))
		sizes = append(sizes, float32(float64(u.Size)/p.policy.Budget))
	}
	expected = append(expected, p.tape.Input(1, 1, []float32{-1}))
	return p.tape.Act(p.tape.Sum(append(sizes, 1), expected...), tensor.ReLU)
}
