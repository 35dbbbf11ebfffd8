package tensor

import (
	"fmt"
	"math"

	"github.com/onetrunk/onetrunk/tensor/internal/vec"
)

func (d *cpu) Contrast(loss, hits, dsim, dscale, sim, logScale *Tensor, rows, cols []int32) {
	n, m := sim.Rows, sim.Cols
	want("Contrast", "loss", loss, 1, 1)
	want("Contrast", "hits", hits, 1, 1)
	want("Contrast", "dsim", dsim, n, m)
	want("Contrast", "dscale", dscale, 1, 1)
	want("Contrast", "logScale", logScale, 1, 1)
	if len(rows) != n || len(cols) != m {
		panic(fmt.Sprintf("tensor: Contrast: %d and %d groups for sim %v", len(rows), len(cols), sim))
	}
	scale := float32(math.Exp(float64(data(logScale)[0])))
	var total, dtotal float64
	var hit int
	for i := range n {
		s, p := row(sim, i), row(dsim, i)
		copy(p, s)
		lse := float64(vec.Softmax(p, scale))
		// The gradient by the logits is p - q with q uniform over positives.
		positives, best := 0, 0
		for j := range m {
			if cols[j] == rows[i] {
				positives++
			}
			if s[j] > s[best] {
				best = j
			}
		}
		if positives == 0 {
			panic(fmt.Sprintf("tensor: Contrast: row %d has no positive", i))
		}
		if cols[best] == rows[i] {
			hit++
		}
		q := 1 / float32(positives)
		for j := range m {
			if cols[j] == rows[i] {
				total += float64(q) * (lse - float64(scale)*float64(s[j]))
				p[j] -= q
			}
		}
		dtotal += float64(scale) * float64(vec.Dot(p, s))
		vec.Scale(scale/float32(n), p)
	}
	data(loss)[0] = float32(total / float64(n))
	data(dscale)[0] = float32(dtotal / float64(n))
	data(hits)[0] = float32(hit) / float32(n)
}

func (d *cpu) SumSquares(t *Tensor) float64 {
	x := data(t)
	const size = 1 << 16
	if len(x) <= size {
		return vec.SumSquares(x)
	}
	parts := make([]float64, (len(x)+size-1)/size)
	d.pool.For(len(parts), func(_, i int) {
		parts[i] = vec.SumSquares(x[i*size : min((i+1)*size, len(x))])
	})
	var sum float64
	for _, p := range parts {
		sum += p
	}
	return sum
}

func (d *cpu) AdamW(p, g, m, v *Tensor, s AdamWStep) {
	for _, t := range []*Tensor{g, m, v} {
		want("AdamW", "operand", t, p.Rows, p.Cols)
	}
	pp, gg, mm, vv := written(p), data(g), written(m), written(v)
	d.chunks(len(pp), func(lo, hi int) {
		vec.AdamW(pp[lo:hi], gg[lo:hi], mm[lo:hi], vv[lo:hi], s)
	})
}
