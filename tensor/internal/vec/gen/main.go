// Command gen writes the element-wise kernels' assembly. The coefficients of
// polynomials are those that fit prints under the names that comments give.
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
	functions()
	Generate()
}

// all returns the address of eight copies of a constant.
func all(v float64) Mem {
	bits := math.Float32bits(float32(v))
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
func intAll(v uint32) Mem { return all(float64(math.Float32frombits(v))) }

var constants = map[uint32]Mem{}

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

// sum adds the lanes of all vectors of g, by halves, and returns the total in
// lane 0. The number of vectors is a power of two.
func sum(g group) reg.VecVirtual {
	for half := len(g) / 2; half > 0; half /= 2 {
		for i := range half {
			VADDPS(g[half+i], g[i], g[i])
		}
	}
	v, x, h := g[0], g[0].AsX(), XMM()
	VEXTRACTF128(Imm(1), v, h)
	VADDPS(h, x, x)
	VMOVSHDUP(x, h)
	VADDPS(h, x, x)
	VMOVHLPS(x, x, h)
	VADDSS(h, x, x)
	return v
}

func end() {
	VZEROUPPER()
	RET()
}
