// Command gen writes the int8 product's assembly.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	ConstraintExpr("amd64,!purego")
	panel()
	absMax()
	round()
	Generate()
}

// panel writes a kernel that multiplies any number of rows of activations with
// a panel of 16 rows of weights: six rows at a time, then those that are left.
// The sums stay in registers over the whole of k.
func panel() {
	TEXT("panelAVX2", NOSPLIT, "func(m, k int, a *int16, lda int, b *int8, sx, sw, y *float32, ldy int)")
	Doc("panelAVX2 is panelGo.")
	const mr, unroll = 6, 4 // unroll pairs of k
	m := Load(Param("m"), GP64())
	a := Load(Param("a"), GP64())
	lda := Load(Param("lda"), GP64())
	sx := Load(Param("sx"), GP64())
	sw := Load(Param("sw"), GP64())
	y := Load(Param("y"), GP64())
	ldy := Load(Param("ldy"), GP64())
	SHLQ(Imm(1), lda) // bytes
	SHLQ(Imm(2), ldy)
	k, b, at, at3, row := GP64(), GP64(), GP64(), GP64(), GP64()

	tile := func(rows int) {
		label := func(s string) string { return fmt.Sprintf("%s%d", s, rows) }
		Load(Param("k"), k)
		Load(Param("b"), b)
		MOVQ(a, at)
		if rows > 3 {
			LEAQ(Mem{Base: a, Index: lda, Scale: 2}, at3)
			ADDQ(lda, at3)
		}
		sum := make([]reg.VecVirtual, 2*rows)
		for i := range sum {
			sum[i] = YMM()
			VPXOR(sum[i], sum[i], sum[i])
		}
		MOVQ(y, row)
		for range rows {
			PREFETCHT0(Mem{Base: row})
			PREFETCHT0(Mem{Base: row}.Offset(60))
			ADDQ(ldy, row)
		}
		pair := func(i, u int) Mem {
			base := at
			if i >= 3 {
				base = at3
			}
			if i%3 == 0 {
				return Mem{Base: base}.Offset(4 * u)
			}
			return Mem{Base: base, Index: lda, Scale: uint8(i % 3)}.Offset(4 * u)
		}
		b0, b1, t0, t1 := YMM(), YMM(), YMM(), YMM()
		SUBQ(Imm(2*unroll), k)
		JLT(LabelRef(label("done")))
		Label(label("four"))
		for u := range unroll {
			VPMOVSXBW(Mem{Base: b}.Offset(32*u), b0)
			VPMOVSXBW(Mem{Base: b}.Offset(32*u+16), b1)
			for i := range rows {
				// Both products before both sums: the other order is a
				// fourteenth slower.
				VPBROADCASTD(pair(i, u), t1)
				VPMADDWD(b0, t1, t0)
				VPMADDWD(b1, t1, t1)
				VPADDD(t0, sum[2*i], sum[2*i])
				VPADDD(t1, sum[2*i+1], sum[2*i+1])
			}
		}
		ADDQ(Imm(4*unroll), at)
		if rows > 3 {
			ADDQ(Imm(4*unroll), at3)
		}
		SUBQ(I32(-32*unroll), b)
		SUBQ(Imm(2*unroll), k)
		JGE(LabelRef(label("four")))
		Label(label("done"))
		VMOVUPS(Mem{Base: sw}, b0)
		VMOVUPS(Mem{Base: sw}.Offset(32), b1)
		for i := range rows {
			VBROADCASTSS(Mem{Base: sx}.Offset(4*i), t0)
			for h, s := range []reg.VecVirtual{b0, b1} {
				v := sum[2*i+h]
				VCVTDQ2PS(v, v)
				VMULPS(t0, v, v)
				VMULPS(s, v, v)
				VMOVUPS(v, Mem{Base: y}.Offset(32*h))
			}
			ADDQ(ldy, y)
		}
		if rows == mr {
			ADDQ(Imm(4*mr), sx)
			LEAQ(Mem{Base: a, Index: lda, Scale: 4}, a)
			LEAQ(Mem{Base: a, Index: lda, Scale: 2}, a)
		}
	}
	SUBQ(Imm(mr), m)
	JLT(LabelRef("tail"))
	Label("slab")
	tile(mr)
	SUBQ(Imm(mr), m)
	JGE(LabelRef("slab"))
	Label("tail")
	ADDQ(Imm(mr), m)
	for rows := 1; rows < mr; rows++ {
		CMPQ(m, Imm(uint64(rows)))
		JEQ(LabelRef(fmt.Sprintf("tail%d", rows)))
	}
	JMP(LabelRef("end"))
	for rows := 1; rows < mr; rows++ {
		Label(fmt.Sprintf("tail%d", rows))
		tile(rows)
		if rows < mr-1 {
			JMP(LabelRef("end"))
		}
	}
	Label("end")
	VZEROUPPER()
	RET()
}

// absMax writes the largest magnitude. Without its sign a float orders as an
// integer, infinities and then NaNs above all others.
func absMax() {
	TEXT("absMaxAVX2", NOSPLIT, "func(n int, x *float32) uint32")
	Doc("absMaxAVX2 is absMaxGo for n a multiple of 16.")
	n := Load(Param("n"), GP64())
	x := Load(Param("x"), GP64())
	mask, v0, v1, m0, m1 := YMM(), YMM(), YMM(), YMM(), YMM()
	VPCMPEQD(mask, mask, mask)
	VPSRLD(Imm(1), mask, mask)
	VPXOR(m0, m0, m0)
	VPXOR(m1, m1, m1)
	Label("loop")
	SUBQ(Imm(16), n)
	JLT(LabelRef("end"))
	VPAND(Mem{Base: x}, mask, v0)
	VPAND(Mem{Base: x}.Offset(32), mask, v1)
	VPMAXUD(v0, m0, m0)
	VPMAXUD(v1, m1, m1)
	ADDQ(Imm(64), x)
	JMP(LabelRef("loop"))
	Label("end")
	VPMAXUD(m1, m0, m0)
	VEXTRACTI128(Imm(1), m0, v0.AsX())
	VPMAXUD(v0.AsX(), m0.AsX(), m0.AsX())
	VPSHUFD(Imm(0b01_00_11_10), m0.AsX(), v0.AsX())
	VPMAXUD(v0.AsX(), m0.AsX(), m0.AsX())
	VPSHUFD(Imm(0b10_11_00_01), m0.AsX(), v0.AsX())
	VPMAXUD(v0.AsX(), m0.AsX(), m0.AsX())
	out := GP32()
	VMOVD(m0.AsX(), out)
	Store(out, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// round writes the rounding to int16.
func round() {
	TEXT("roundAVX2", NOSPLIT, "func(n int, x *float32, scale float32, q *int16)")
	Doc("roundAVX2 is roundGo for n a multiple of 16.")
	n := Load(Param("n"), GP64())
	x := Load(Param("x"), GP64())
	q := Load(Param("q"), GP64())
	s, v0, v1 := YMM(), YMM(), YMM()
	scale, err := Param("scale").Resolve()
	if err != nil {
		panic(err)
	}
	VBROADCASTSS(scale.Addr, s)
	Label("loop")
	SUBQ(Imm(16), n)
	JLT(LabelRef("end"))
	VMULPS(Mem{Base: x}, s, v0)
	VMULPS(Mem{Base: x}.Offset(32), s, v1)
	VCVTPS2DQ(v0, v0)
	VCVTPS2DQ(v1, v1)
	VPACKSSDW(v1, v0, v0)
	VPERMQ(Imm(0b11_01_10_00), v0, v0) // the halves in order
	VMOVDQU(v0, Mem{Base: q})
	ADDQ(Imm(64), x)
	ADDQ(Imm(32), q)
	JMP(LabelRef("loop"))
	Label("end")
	VZEROUPPER()
	RET()
}
