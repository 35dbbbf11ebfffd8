package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// group is vectors of eight elements that instructions treat alike, side by
// side, so that the waits of one are filled with the work of the others.
type group []reg.VecVirtual

// vectors returns a group of count registers that hold nothing yet.
func vectors(count int) group {
	g := make(group, count)
	for i := range g {
		g[i] = YMM()
	}
	return g
}

// zeros returns count vectors of 0.
func zeros(count int) group {
	g := vectors(count)
	for _, v := range g {
		VXORPS(v, v, v)
	}
	return g
}

// like returns as many registers as g has.
func (g group) like() group { return vectors(len(g)) }

// of returns as many vectors as g has, each of eight v.
func (g group) of(v float64) group {
	c := g.like()
	for _, c := range c {
		VMOVUPS(all(v), c)
	}
	return c
}

// constant returns eight v, in a register if g has more vectors than one: with
// many constants, reading each for every vector takes longer than the rest.
func (g group) constant(v float64) Op {
	if len(g) == 1 {
		return all(v)
	}
	return vectors(1).of(v)[0]
}

// each emits an instruction for each vector of the groups among its operands;
// the other operands are the same for all.
func each(instruction any, operands ...any) {
	count := 1
	for _, o := range operands {
		if g, ok := o.(group); ok {
			count = len(g)
		}
	}
	for i := range count {
		ops := make([]Op, len(operands))
		for j, o := range operands {
			if g, ok := o.(group); ok {
				ops[j] = g[i]
			} else {
				ops[j] = o.(Op)
			}
		}
		switch f := instruction.(type) {
		case func(...Op):
			f(ops...)
		case func(_, _ Op):
			f(ops[0], ops[1])
		case func(_, _, _ Op):
			f(ops[0], ops[1], ops[2])
		case func(_, _, _, _ Op):
			f(ops[0], ops[1], ops[2], ops[3])
		default:
			panic(fmt.Sprintf("each: %T", instruction))
		}
	}
}

// polynomial returns c[0] + c[1] x + c[2] x^2 ...
func polynomial(x group, c ...float64) group { return polynomials(x, c)[0] }

// polynomials returns several polynomials of the same x, a step of each in
// turns.
func polynomials(x group, c ...[]float64) []group {
	p := make([]group, len(c))
	degree := 0
	for _, c := range c {
		degree = max(degree, len(c)-1)
	}
	for power := degree; power >= 0; power-- {
		for i, c := range c {
			switch {
			case power == len(c)-1:
				p[i] = x.of(c[power])
			case power < len(c):
				each(VFMADD213PS, x.constant(c[power]), x, p[i])
			}
		}
	}
	return p
}
