// Command gen writes the element-wise kernels' assembly.
package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	ConstraintExpr("amd64,!purego")
	masks()
	arithmetic()
	reductions()
	activations()
	softmax()
	layerNorm()
	rmsNorm()
	normGrad()
	adamW()
	Generate()
}

// all returns the address of eight copies of a constant.
func all(v float32) Mem {
	bits := math.Float32bits(v)
	name := fmt.Sprintf("c%08x", bits)
	if m, ok := constants[bits]; ok {
		return m
	}
	m := GLOBL(name, RODATA|NOPTR)
	for i := range 8 {
		DATA(4*i, U32(bits))
	}
	constants[bits] = m
	return m
}

// intAll is all for an integer.
func intAll(v uint32) Mem { return all(math.Float32frombits(v)) }

var constants = map[uint32]Mem{}

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

// round is one run of a loop's body.
type round struct {
	at   int            // which of the vectors that are unrolled
	mask reg.VecVirtual // nil, or the lanes that are left in the last round
}

func (r round) address(p reg.GPVirtual) Mem { return Mem{Base: p}.Offset(32 * r.at) }

// load returns eight elements; those outside the mask are 0.
func (r round) load(p reg.GPVirtual) reg.VecVirtual {
	v := YMM()
	if r.mask != nil {
		VMASKMOVPS(r.address(p), r.mask, v)
	} else {
		VMOVUPS(r.address(p), v)
	}
	return v
}

func (r round) store(v reg.VecVirtual, p reg.GPVirtual) {
	if r.mask != nil {
		VMASKMOVPS(v, r.mask, r.address(p))
	} else {
		VMOVUPS(v, r.address(p))
	}
}

// loop runs body for n elements, eight at a time: as many rounds as unroll
// says while there are enough elements, then one by one, then under a mask.
// body uses the pointers; loop advances them.
func loop(n reg.GPVirtual, unroll int, pointers []reg.GPVirtual, body func(r round)) {
	rounds := func(label, next string, count int) {
		Label(label)
		SUBQ(Imm(uint64(8*count)), n)
		JLT(LabelRef(next))
		for i := range count {
			body(round{at: i})
		}
		for _, p := range pointers {
			ADDQ(Imm(uint64(32*count)), p)
		}
		JMP(LabelRef(label))
		Label(next)
		ADDQ(Imm(uint64(8*count)), n)
	}
	if unroll > 1 {
		rounds("wide", "narrow", unroll)
	}
	rounds("eight", "rest", 1)
	JZ(LabelRef("done"))
	table, mask := GP64(), YMM()
	LEAQ(maskTable.Offset(32), table)
	SHLQ(Imm(2), n)
	SUBQ(n, table)
	VMOVUPS(Mem{Base: table}, mask)
	body(round{mask: mask})
	Label("done")
}

func pointer(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }

// scalar loads a float32 argument into all lanes.
func scalar(name string) reg.VecVirtual {
	v := YMM()
	m, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	VBROADCASTSS(m.Addr, v)
	return v
}

// zeros returns count vectors of 0.
func zeros(count int) []reg.VecVirtual {
	vs := make([]reg.VecVirtual, count)
	for i := range vs {
		vs[i] = YMM()
		VXORPS(vs[i], vs[i], vs[i])
	}
	return vs
}

func zero() reg.VecVirtual { return zeros(1)[0] }

// one returns a vector of 1.
func one() reg.VecVirtual {
	v := YMM()
	VMOVUPS(all(1), v)
	return v
}

// sum adds the lanes of all vs, by halves, and returns the total in lane 0.
func sum(vs ...reg.VecVirtual) reg.VecVirtual {
	for half := len(vs) / 2; half > 0; half /= 2 {
		for i := range half {
			VADDPS(vs[half+i], vs[i], vs[i])
		}
	}
	v, h := vs[0], YMM()
	VEXTRACTF128(Imm(1), v, h.AsX())
	VADDPS(h.AsX(), v.AsX(), v.AsX())
	VHADDPS(v.AsX(), v.AsX(), v.AsX())
	VHADDPS(v.AsX(), v.AsX(), v.AsX())
	return v
}

func end() {
	VZEROUPPER()
	RET()
}
