package moe

import (
	"cmp"
	"math"
	"slices"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

// slot is a row that an expert reads.
type slot struct {
	row, run int
	column   int     // of the gate, or -1 where it is not chosen
	p        float32 // where it is chosen
	own      int     // the expert's number among the modality's own, or -1 without a residual
}

// slots says which rows the experts read, one expert after the other, and what
// becomes of the R results.
type slots struct {
	rows    *tensor.Sparse  // [R, T]
	weights []autograd.Term // [R, 1]
	back    *tensor.Sparse  // [T, R], sums a row's results
	runs    []sharing.Run   // of the R rows
	counts  []int           // by expert
}

// parts returns the experts' weights for their rows.
func (s *slots) parts(r *routing, role sharing.Role) []autograd.Part {
	var parts []autograd.Part
	for e, n := range s.counts {
		if n > 0 {
			parts = append(parts, r.w.Bank.Part(r.w.ExpertTensor(r.layer, r.experts[e], role), n))
		}
	}
	return parts
}

// place returns where the rows of gates p [T, E] are computed, of which the
// columns are chosen, with these values.
func (r *routing) place(p *autograd.Var, columns []int32, values []float32) *slots {
	by, chosen := r.assign(columns, values)
	dropped := make([]int, len(r.runs))
	if r.router.Capacity > 0 && (r.tape.Trains() || r.w.Watch != nil) {
		by = r.drop(by, dropped)
	}
	for i, run := range r.runs {
		r.tell(run, chosen[i], dropped[i])
	}
	s := &slots{rows: r.tape.Sparse(), back: r.tape.Sparse(), counts: make([]int, len(by))}
	gate := autograd.Term{S: r.tape.Sparse(), X: r.tape.Reshape(p, p.Value.Len(), 1)}
	own := r.residuals()
	ends := make([]int, p.Rows()+1) // of the results of each row
	for e, in := range by {
		s.counts[e] = len(in)
		run := -1
		for _, at := range in {
			if at.run != run {
				run = at.run
				s.runs = append(s.runs, sharing.Run{Modality: r.runs[run].Modality})
			}
			s.runs[len(s.runs)-1].Rows++
			s.rows.Append(int32(at.row))
			if at.column >= 0 {
				gate.S.Add(int32(at.row*p.Cols()+at.column), 1)
			}
			gate.S.EndRow()
			for i, term := range own {
				if at.own >= 0 && (i == at.run || len(own) == 1) {
					term.S.Add(int32(at.own), 1)
				}
				term.S.EndRow()
			}
			ends[at.row+1]++
		}
	}
	s.weights = append(own, gate)
	// Sort the results by row; those of a row stand in the order of the experts.
	for i := range p.Rows() {
		ends[i+1] += ends[i]
	}
	of, next, n := make([]int32, s.rows.Rows()), slices.Clone(ends), 0
	for _, in := range by {
		for _, at := range in {
			of[next[at.row]] = int32(n)
			next[at.row]++
			n++
		}
	}
	for i := range p.Rows() {
		s.back.Append(of[ends[i]:ends[i+1]]...)
	}
	return s
}

// assign lists, for each expert, the rows that it reads in their order, and for
// each run what its rows chose, by expert.
func (r *routing) assign(columns []int32, values []float32) (by [][]slot, chosen [][]float64) {
	by = make([][]slot, len(r.experts))
	k, row := r.top(), 0
	for i, run := range r.runs {
		visible := r.w.Visible(run.Modality)
		counts := make([]float64, len(r.experts))
		for range run.Rows {
			for c := row * k; c < (row+1)*k; c++ {
				e := visible[columns[c]]
				by[e] = append(by[e], slot{row: row, run: i, column: int(columns[c]), p: values[c], own: -1})
				if k == len(visible) {
					counts[e] += float64(values[c])
				} else {
					counts[e]++
				}
			}
			if r.router.Residual {
				r.keep(by, row, i)
			}
			row++
		}
		chosen = append(chosen, counts)
	}
	return by, chosen
}

// keep has the own experts of a row's modality run for it.
func (r *routing) keep(by [][]slot, row, run int) {
	own := 0
	for e, x := range r.experts {
		if x.Of != r.runs[run].Modality {
			continue
		}
		if n := len(by[e]); n == 0 || by[e][n-1].row != row {
			by[e] = append(by[e], slot{row: row, run: run, column: -1})
		}
		by[e][len(by[e])-1].own = own
		own++
	}
}

// residuals returns the terms that add the weights of a residual, without rows
// yet: one for each run, or one for all where the weights are ones.
func (r *routing) residuals() []autograd.Term {
	var terms []autograd.Term
	if !r.router.Residual {
		return nil
	}
	for _, run := range r.runs {
		name := r.w.ResidualTensor(r.layer, run.Modality)
		if name == "" {
			return []autograd.Term{{S: r.tape.Sparse(), X: r.tape.Input(1, 1, []float32{1})}}
		}
		v := r.w.Bank.Param(name).Var()
		terms = append(terms, autograd.Term{S: r.tape.Sparse(), X: r.tape.Reshape(v, v.Cols(), 1)})
	}
	return terms
}

// drop takes what experts have no room for out of by, but for rows that they read
// for a residual, and adds to each run how much it was. Where nothing is to be
// dropped, it counts.
func (r *routing) drop(by [][]slot, dropped []int) [][]slot {
	share := make([]float64, len(r.experts))
	for _, run := range r.runs {
		for _, e := range r.w.Visible(run.Modality) {
			share[e] += float64(run.Rows*r.top()) / float64(r.sees())
		}
	}
	left := slices.Clone(by)
	for e, in := range by {
		room := int(math.Ceil(r.router.Capacity * share[e]))
		var asked []int
		for i, at := range in {
			if at.column >= 0 {
				asked = append(asked, i)
			}
		}
		if len(asked) <= room {
			continue
		}
		slices.SortStableFunc(asked, func(a, b int) int { return cmp.Compare(in[b].p, in[a].p) })
		out := map[int]bool{}
		for _, i := range asked[room:] {
			out[i] = true
			dropped[in[i].run]++
		}
		left[e] = nil
		for i, at := range in {
			if out[i] {
				at.column = -1
			}
			if at.column >= 0 || at.own >= 0 {
				left[e] = append(left[e], at)
			}
		}
	}
	if !r.tape.Trains() {
		return by
	}
	return left
}
