package tensor

import (
	"fmt"

	"github.com/onetrunk/onetrunk/internal/par"
)

// codesMemory is the memory of a matrix of Codes.
type codesMemory struct{ codes []uint8 }

func (m *codesMemory) Len() int { return len(m.codes) }

func (d *cpu) Codes(rows, cols int, codes []uint8) *Tensor {
	if len(codes) != rows*cols {
		panic(fmt.Sprintf("tensor: Codes of %d values as [%d, %d]", len(codes), rows, cols))
	}
	return &Tensor{Rows: rows, Cols: cols, Mem: &codesMemory{codes}}
}

// codesOf returns the codes of a tensor, after a check of what is looked up in
// what.
func codesOf(op string, y, table, codes *Tensor) []uint8 {
	want(op, "y", y, codes.Rows, codes.Cols)
	want(op, "table", table, 1, table.Cols)
	m, ok := codes.Mem.(*codesMemory)
	if !ok {
		panic("tensor: " + op + " by a tensor that Codes did not return")
	}
	return m.codes
}

func (d *cpu) Lookup(y, table, codes *Tensor) {
	of := codesOf("Lookup", y, table, codes)
	to, values := written(y), data(table)
	d.pieces(len(to), 1<<14, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			to[i] = values[of[i]]
		}
	})
}

func (d *cpu) LookupGrad(dtable, dy, codes *Tensor) {
	of := codesOf("LookupGrad", dy, dtable, codes)
	g, to := data(dy), written(dtable)
	// Each piece has sums of its own, which are added in order.
	size := par.Split(len(g), d.pool.Workers(), 1<<14)
	sums := make([][256]float64, (len(g)+size-1)/size)
	d.pool.For(len(sums), func(_, p int) {
		for i := p * size; i < min((p+1)*size, len(g)); i++ {
			sums[p][of[i]] += float64(g[i])
		}
	})
	for k := range to {
		var sum float64
		for p := range sums {
			sum += sums[p][k]
		}
		to[k] += float32(sum)
	}
}
