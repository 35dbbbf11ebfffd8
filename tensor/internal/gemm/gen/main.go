// Command gen writes the matrix product's assembly.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	ConstraintExpr("amd64,!purego")
	panel("rowsAVX2", byRow)
	panel("columnsAVX2", byColumn)
	tile("tileAVX512", 12, 64)
	copyPanels("copyPanels16AVX2", 16)
	copyPanels("copyPanels24AVX2", 24)
	copyPanels("copyPanels32AVX2", 32)
	transpose()
	peak("peakAVX2", YMM)
	peak("peakAVX512", ZMM)
	Generate()
}

// zero clears a vector of either width without AVX512DQ.
func zero(v reg.VecVirtual) {
	if v.Size() == 64 {
		VPXORQ(v, v, v)
	} else {
		VXORPS(v, v, v)
	}
}

// tile writes a micro-kernel for mr packed rows and two vectors of columns,
// width bytes each: C (+)= sum over k of a[k*mr+i] * b[k*nr+j].
func tile(name string, mr, width int) {
	vector := ZMM
	TEXT(name, NOSPLIT, "func(k int, a, b, c *float32, ldc int, acc int)")
	Doc(fmt.Sprintf("%s is columnsGo for %d rows that are packed and a panel of %d.", name, mr, 2*width/4))
	k := Load(Param("k"), GP64())
	a := Load(Param("a"), GP64())
	b := Load(Param("b"), GP64())
	c := Load(Param("c"), GP64())
	ldc := Load(Param("ldc"), GP64())
	acc := Load(Param("acc"), GP64())
	SHLQ(Imm(2), ldc) // bytes

	y := make([]reg.VecVirtual, 2*mr)
	for i := range y {
		y[i] = vector()
		zero(y[i])
	}
	row := GP64()
	MOVQ(c, row)
	for range mr {
		PREFETCHT0(Mem{Base: row})
		PREFETCHT0(Mem{Base: row}.Offset(2*width - 4))
		ADDQ(ldc, row)
	}
	b0, b1, t0, t1 := vector(), vector(), vector(), vector()
	step := func(u int) {
		VMOVUPS(Mem{Base: b}.Offset(2*width*u), b0)
		VMOVUPS(Mem{Base: b}.Offset(2*width*u+width), b1)
		for i := 0; i < mr; i += 2 {
			VBROADCASTSS(Mem{Base: a}.Offset(4*(mr*u+i)), t0)
			VBROADCASTSS(Mem{Base: a}.Offset(4*(mr*u+i+1)), t1)
			VFMADD231PS(t0, b0, y[2*i])
			VFMADD231PS(t0, b1, y[2*i+1])
			VFMADD231PS(t1, b0, y[2*i+2])
			VFMADD231PS(t1, b1, y[2*i+3])
		}
	}
	advance := func(n int) {
		ADDQ(U32(uint32(4*mr*n)), a)
		ADDQ(U32(uint32(2*width*n)), b)
	}
	const unroll = 4
	Label("four")
	SUBQ(Imm(unroll), k)
	JLT(LabelRef("rest"))
	for u := range unroll {
		step(u)
	}
	advance(unroll)
	JMP(LabelRef("four"))
	Label("rest")
	ADDQ(Imm(unroll), k)
	Label("one")
	SUBQ(Imm(1), k)
	JLT(LabelRef("done"))
	step(0)
	advance(1)
	JMP(LabelRef("one"))
	Label("done")
	TESTQ(acc, acc)
	JZ(LabelRef("store"))
	MOVQ(c, row)
	for i := range mr {
		VADDPS(Mem{Base: row}, y[2*i], y[2*i])
		VADDPS(Mem{Base: row}.Offset(width), y[2*i+1], y[2*i+1])
		ADDQ(ldc, row)
	}
	Label("store")
	for i := range mr {
		VMOVUPS(y[2*i], Mem{Base: c})
		VMOVUPS(y[2*i+1], Mem{Base: c}.Offset(width))
		ADDQ(ldc, c)
	}
	VZEROUPPER()
	RET()
}

// transpose writes the packing of eight rows.
func transpose() {
	TEXT("transpose8AVX2", NOSPLIT, "func(n8 int, src *float32, stride int, dst *float32, step int)")
	Doc("transpose8AVX2 is transpose8Go for n8*8 columns.")
	n := Load(Param("n8"), GP64())
	s := Load(Param("src"), GP64())
	r := Load(Param("stride"), GP64())
	d := Load(Param("dst"), GP64())
	ds := Load(Param("step"), GP64())
	SHLQ(Imm(2), r)
	SHLQ(Imm(2), ds)
	r3, s4 := GP64(), GP64()
	LEAQ(Mem{Base: r, Index: r, Scale: 2}, r3)
	LEAQ(Mem{Base: s, Index: r, Scale: 4}, s4)
	row := func(i int) Mem {
		base := s
		if i >= 4 {
			base = s4
		}
		switch i % 4 {
		case 0:
			return Mem{Base: base}
		case 3:
			return Mem{Base: base, Index: r3, Scale: 1}
		default:
			return Mem{Base: base, Index: r, Scale: uint8(i % 4)}
		}
	}
	Label("loop")
	SUBQ(Imm(1), n)
	JLT(LabelRef("end"))
	var x, z [8]reg.VecVirtual
	for i := range 4 { // rows i and i+4 side by side: columns 0..3, then 4..7
		x[i], x[i+4] = YMM(), YMM()
		VMOVUPS(row(i), x[i].AsX())
		VINSERTF128(Imm(1), row(i+4), x[i], x[i])
		VMOVUPS(row(i).Offset(16), x[i+4].AsX())
		VINSERTF128(Imm(1), row(i+4).Offset(16), x[i+4], x[i+4])
	}
	for h := 0; h < 8; h += 4 {
		for j := range 4 {
			z[h+j] = YMM()
		}
		VUNPCKLPS(x[h+1], x[h+0], z[h+0])
		VUNPCKHPS(x[h+1], x[h+0], z[h+1])
		VUNPCKLPS(x[h+3], x[h+2], z[h+2])
		VUNPCKHPS(x[h+3], x[h+2], z[h+3])
		VUNPCKLPD(z[h+2], z[h+0], x[h+0])
		VUNPCKHPD(z[h+2], z[h+0], x[h+1])
		VUNPCKLPD(z[h+3], z[h+1], x[h+2])
		VUNPCKHPD(z[h+3], z[h+1], x[h+3])
		for j := range 4 {
			VMOVUPS(x[h+j], Mem{Base: d})
			ADDQ(ds, d)
		}
	}
	ADDQ(Imm(32), s)
	ADDQ(Imm(32), s4)
	JMP(LabelRef("loop"))
	Label("end")
	VZEROUPPER()
	RET()
}

// peak writes a loop of independent multiply-adds, to measure what the
// processor can do.
func peak(name string, vector func() reg.VecVirtual) {
	TEXT(name, NOSPLIT, "func(n int)")
	Doc(name + " runs n rounds of 12 independent multiply-adds of a vector.")
	n := Load(Param("n"), GP64())
	var acc [12]reg.VecVirtual
	for i := range acc {
		acc[i] = vector()
		zero(acc[i])
	}
	m := vector()
	zero(m)
	Label("loop")
	for i := range acc {
		VFMADD231PS(m, m, acc[i])
	}
	SUBQ(Imm(1), n)
	JGT(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
