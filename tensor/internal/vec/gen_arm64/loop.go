package main

import (
	"fmt"

	asm "github.com/onetrunk/onetrunk/tensor/internal/arm64asm"
)

// round is one run of a loop's body.
type round struct {
	k   *kernels
	at  int  // which of the vectors that are unrolled
	one bool // lane 0 alone stands for an element
}

func (r round) address(p asm.R) string { return fmt.Sprintf("%d(%v)", 16*r.at, p) }

// load returns four elements, or one with 0 in the other lanes.
func (r round) load(p asm.R) asm.V {
	v := r.k.V()
	if r.one {
		r.k.Load1(v, r.address(p))
	} else {
		r.k.Load(v, r.address(p))
	}
	return v
}

func (r round) store(v asm.V, p asm.R) {
	if r.one {
		r.k.Store1(r.address(p), v)
	} else {
		r.k.Store(r.address(p), v)
	}
}

// only makes what is not an element 0.
func (r round) only(v asm.V) {
	if r.one {
		r.k.OnlyFirst(v)
	}
}

// loop runs body for n elements, four at a time: as many rounds as unroll says
// while there are enough elements, then one by one, then for single elements.
// body uses the pointers; loop advances them.
func (k *kernels) loop(n asm.R, unroll int, pointers []asm.R, body func(r round)) {
	run := func(r round) { k.Scope(func() { body(r) }) }
	advance := func(bytes int) {
		for _, p := range pointers {
			k.Op("ADD", fmt.Sprintf("$%d", bytes), p)
		}
	}
	rounds := func(label, next string, count int) {
		k.Op("SUBS", fmt.Sprintf("$%d", 4*count), n, n)
		k.Op("BLT", next)
		k.Label(label)
		for i := range count {
			run(round{k: k, at: i})
		}
		advance(16 * count)
		k.Op("SUBS", fmt.Sprintf("$%d", 4*count), n, n)
		k.Op("BGE", label)
		k.Label(next)
		k.Op("ADD", fmt.Sprintf("$%d", 4*count), n)
	}
	if unroll > 1 {
		rounds("wide", "narrow", unroll)
	}
	rounds("four", "rest", 1)
	k.Op("CBZ", n, "done")
	k.Label("one")
	run(round{k: k, one: true})
	advance(4)
	k.Op("SUBS", "$1", n, n)
	k.Op("BNE", "one")
	k.Label("done")
}
