package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// round is one run of a loop's body: over count vectors side by side. In the
// last round a mask selects the lanes of the last vector that are left, and
// left says how many, 1 to 8.
type round struct {
	at    int // the first of its vectors
	count int
	mask  Op // nil, or where the mask of the last vector stands
	left  reg.GPVirtual
}

// lanes returns the mask of the last vector.
func (r round) lanes() reg.VecVirtual {
	mask := YMM()
	VMOVUPS(r.mask, mask)
	return mask
}

// load returns the elements from p on; those outside the mask are 0.
func (r round) load(p reg.GPVirtual) group {
	g := vectors(r.count)
	for i, v := range g {
		if m := (Mem{Base: p}).Offset(32 * (r.at + i)); r.last(i) {
			VMASKMOVPS(m, r.lanes(), v)
		} else {
			VMOVUPS(m, v)
		}
	}
	return g
}

// apart returns a round for each vector: what does little with each goes
// faster when it is done with one before it reads the next.
func (r round) apart() []round {
	rounds := make([]round, r.count)
	for i := range rounds {
		rounds[i] = round{at: i, count: 1}
		if r.last(i) {
			rounds[i].mask, rounds[i].left = r.mask, r.left
		}
	}
	return rounds
}

// last tells whether vector i is under the mask.
func (r round) last(i int) bool { return r.mask != nil && i == r.count-1 }

// store writes g from p on. Under the mask, elements go out in parts of four,
// two and one, and g is lost: a masked store takes some processors dozens of
// steps.
func (r round) store(g group, p reg.GPVirtual) {
	for i, v := range g {
		m := Mem{Base: p}.Offset(32 * (r.at + i))
		if !r.last(i) {
			VMOVUPS(v, m)
			continue
		}
		stores++
		label := func(part int) string { return fmt.Sprintf("store%dpart%d", stores, part) }
		to := GP64()
		LEAQ(m, to)
		m = Mem{Base: to}
		CMPQ(r.left, Imm(8))
		JNE(LabelRef(label(4)))
		VMOVUPS(v, m)
		JMP(LabelRef(label(0)))
		for _, part := range []int{4, 2, 1} {
			next := label(part / 2)
			Label(label(part))
			TESTQ(U32(part), r.left)
			JZ(LabelRef(next))
			switch x := v.AsX(); part {
			case 4:
				VMOVUPS(x, m)
				VEXTRACTF128(Imm(1), v, x)
			case 2:
				VMOVLPS(x, m)
				VMOVHLPS(x, x, x)
			case 1:
				VMOVSS(x, m)
			}
			if part > 1 {
				ADDQ(Imm(uint64(4*part)), to)
			}
		}
		Label(label(0))
	}
}

// keep clears the lanes of g outside the mask.
func (r round) keep(g group) {
	if r.mask != nil {
		v := g[r.count-1]
		VANDPS(r.mask, v, v)
	}
}

var stores int // under a mask so far, to tell their labels apart

// loop runs body for n elements: for unroll vectors at a time while there are
// enough elements, then once for as many vectors as the rest needs. body uses
// the pointers; loop advances them.
func loop(n reg.GPVirtual, unroll int, pointers []reg.GPVirtual, body func(r round)) {
	whole := uint64(8 * unroll)
	SUBQ(Imm(whole), n)
	JLT(LabelRef("rest"))
	Instruction(&ir.Instruction{Opcode: "PCALIGN", Operands: []Op{Imm(32)}})
	Label("whole")
	body(round{count: unroll})
	for _, p := range pointers {
		ADDQ(Imm(uint64(32*unroll)), p)
	}
	SUBQ(Imm(whole), n)
	JGE(LabelRef("whole"))
	Label("rest")
	ADDQ(Imm(whole), n)
	JZ(LabelRef("done"))
	for count := 1; count <= unroll; count++ {
		next := fmt.Sprintf("rest%d", count+1)
		if count < unroll {
			CMPQ(n, Imm(uint64(8*count)))
			JGT(LabelRef(next))
		}
		if count > 1 {
			SUBQ(Imm(uint64(8*(count-1))), n)
		}
		table, offset := GP64(), GP64()
		LEAQ(maskTable.Offset(32), table)
		MOVQ(n, offset)
		SHLQ(Imm(2), offset)
		SUBQ(offset, table)
		body(round{count: count, mask: Mem{Base: table}, left: n})
		if count < unroll {
			JMP(LabelRef("done"))
			Label(next)
		}
	}
	Label("done")
}

var maskTable Mem

// masks makes a table whose 32 bytes from 4*(8-n) on select n lanes.
func masks() {
	maskTable = GLOBL("masks", RODATA|NOPTR)
	for i := range 8 {
		DATA(4*i, U32(0xffffffff))
	}
	for i := range 8 {
		DATA(32+4*i, U32(0))
	}
}
