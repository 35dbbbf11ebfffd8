package sharing

import (
	"fmt"
	"math"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/tensor"
)

// contexts are, of an APG delta, the rows z that each sample's matrices are made
// of in the block that runs.
type contexts struct {
	layer int
	z     *autograd.Var // [samples, D], or [modalities, D]
	of    []string      // the modality of each row of z
}

// contextName is the parameter of a modality's learned rows for a layer.
func (w *Weights) contextName(layer int) string {
	return fmt.Sprintf("%s/%d/apg/modalities", w.Trunk, layer)
}

// declareAPG puts the delta of a physical tensor [out, in] into the bank:
// U [Rank, in] or U1 [Rank, Inner], U2 [Inner, in]; V as [out, Rank] or V1
// [out, Inner], V2 [Inner, Rank]; and the linear map from z to S. V begins at
// zero, so that the delta does. In the bank the second factors are transposed,
// as products with them want.
func (w *Weights) declareAPG(n string, r Role, out, in int) {
	d, b := w.Config.Delta, w.Bank
	if d.Inner == 0 {
		b.Matrix(n+"/u", d.Rank, in, 1/math.Sqrt(float64(in)))
		b.Matrix(n+"/v", out, d.Rank, 0)
	} else {
		b.Matrix(n+"/u1", d.Rank, d.Inner, 1/math.Sqrt(float64(d.Inner)))
		b.Matrix(n+"/u2", in, d.Inner, 1/math.Sqrt(float64(in)))
		b.Matrix(n+"/v1", out, d.Inner, 0)
		b.Matrix(n+"/v2", d.Rank, d.Inner, 1/math.Sqrt(float64(d.Inner)))
	}
	width := in
	if r == Down {
		width = out // what enters the block, not the hidden units
	}
	b.Matrix(n+"/s/weight", d.Rank*d.Rank, width, 1/math.Sqrt(float64(width*d.Rank)))
	b.Vector(n+"/s/bias", d.Rank*d.Rank, 0)
	if d.Of == "modality" {
		for l := range w.Layers {
			if name := w.contextName(l); !b.Has(name) {
				b.Matrix(name, len(w.Modalities), width, 1)
			}
		}
	}
}

// Enter tells the weights that the block of a layer begins with rows x [T, D] in
// those runs and spans.
func (p *Pass) Enter(layer int, x *autograd.Var, runs []Run, spans []tensor.Span) {
	d := p.Config.Delta
	if d == nil || d.static() || d.Rank == 0 {
		return
	}
	p.contexts = contexts{layer: layer}
	if d.Of == "modality" {
		p.z, p.of = p.Bank.Param(p.contextName(layer)).Var(), p.Modalities
		return
	}
	means, run, end := p.tape.Sparse(), -1, 0
	for _, s := range spans {
		for s.Start >= end && run+1 < len(runs) {
			run++
			end += runs[run].Rows
		}
		for i := range s.Len {
			means.Add(int32(s.Start+i), 1/float32(s.Len))
		}
		means.EndRow()
		p.of = append(p.of, runs[run].Modality)
	}
	p.z = p.tape.Gather(autograd.Term{S: means, X: x})
}

// factor returns a matrix of an APG delta: the one of that name, or the product
// of its two factors.
func (p *Pass) factor(name string) *autograd.Var {
	if v := p.factors[name]; v != nil && !p.tape.Trains() {
		return v
	}
	if p.Bank.Has(name) {
		return p.Bank.Param(name).Var()
	}
	first, second := p.Bank.Param(name+"1").Var(), p.Bank.Param(name+"2").Var()
	return p.tape.Linear(first, []autograd.Part{{Rows: first.Rows(), W: second}}, autograd.LinearOptions{})
}

// perSample returns x U S(z) V [T, out], plus the residual of the product that
// it is added to; spans are x's.
func (p *Pass) perSample(layer int, r Role, x *autograd.Var, runs []Run, spans []tensor.Span, o autograd.LinearOptions) *autograd.Var {
	rank := p.Config.Delta.Rank
	n := p.deltaName(layer, "", r)
	linear := func(x *autograd.Var, w, b *autograd.Var, o autograd.LinearOptions) *autograd.Var {
		return p.tape.Linear(x, []autograd.Part{{Rows: x.Rows(), W: w, B: b}}, o)
	}
	s := linear(p.z, p.Bank.Param(n+"/s/weight").Var(), p.Bank.Param(n+"/s/bias").Var(), autograd.LinearOptions{})
	var lens []int
	if p.Config.Delta.Of == "modality" {
		rows := p.tape.Sparse()
		for _, run := range runs {
			for i, m := range p.Modalities {
				if m == run.Modality {
					rows.Append(int32(i))
				}
			}
			lens = append(lens, run.Rows)
		}
		s = p.tape.Gather(autograd.Term{S: rows, X: s})
	} else {
		for _, span := range spans {
			lens = append(lens, span.Len)
		}
	}
	read := o
	read.Residual = nil
	u := linear(x, p.factor(n+"/u"), nil, read)
	if u.Cols() != rank {
		panic("sharing: apg of another rank")
	}
	return linear(p.tape.SpanMul(u, s, lens), p.factor(n+"/v"), nil, autograd.LinearOptions{Residual: o.Residual})
}
