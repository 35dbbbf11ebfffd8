package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The ways in which the rows of A lie in memory: element (i, p) is
// a[i*lda+p], or a[p*lda+i].
const (
	byRow = iota
	byColumn
)

// panel writes a kernel that multiplies any number of rows of A with a packed
// panel of B, two vectors wide: six rows at a time, then those that are left.
// The tile of C stays in registers over the whole of k.
func panel(name string, order int) {
	TEXT(name, NOSPLIT, "func(m, k int, a *float32, lda int, b, c *float32, ldc int, acc int)")
	Doc(fmt.Sprintf("%s is %s for panels of 16.", name, [...]string{"rowsGo", "columnsGo"}[order]))
	const mr, width, unroll = 6, 32, 4
	m := Load(Param("m"), GP64())
	a := Load(Param("a"), GP64())
	lda := Load(Param("lda"), GP64())
	c := Load(Param("c"), GP64())
	ldc := Load(Param("ldc"), GP64())
	SHLQ(Imm(2), lda) // bytes
	SHLQ(Imm(2), ldc)
	k, b, at, at3, row, acc, ahead := GP64(), GP64(), GP64(), GP64(), GP64(), GP64(), GP64()
	// The panel that follows this one in memory is asked for, so that its first
	// rows need not wait for it.
	Load(Param("k"), ahead)
	SHLQ(Imm(6), ahead)

	tile := func(rows int) {
		label := func(s string) string { return fmt.Sprintf("%s%d", s, rows) }
		Load(Param("k"), k)
		Load(Param("b"), b)
		MOVQ(a, at)
		if order == byRow && rows > 3 {
			LEAQ(Mem{Base: a, Index: lda, Scale: 2}, at3)
			ADDQ(lda, at3)
		}
		y := make([]reg.VecVirtual, 2*rows)
		for i := range y {
			y[i] = YMM()
			VXORPS(y[i], y[i], y[i])
		}
		MOVQ(c, row)
		for range rows {
			PREFETCHT0(Mem{Base: row})
			PREFETCHT0(Mem{Base: row}.Offset(2*width - 4))
			ADDQ(ldc, row)
		}
		b0, b1, t0, t1 := YMM(), YMM(), YMM(), YMM()
		element := func(i, u int) Mem {
			if order == byColumn {
				return Mem{Base: at}.Offset(4 * i)
			}
			base := at
			if i >= 3 {
				base = at3
			}
			switch i % 3 {
			case 0:
				return Mem{Base: base}.Offset(4 * u)
			default:
				return Mem{Base: base, Index: lda, Scale: uint8(i % 3)}.Offset(4 * u)
			}
		}
		next := func(u int) {
			if rows == mr {
				PREFETCHT1(Mem{Base: b, Index: ahead, Scale: 1}.Offset(2 * width * u))
			}
			VMOVUPS(Mem{Base: b}.Offset(2*width*u), b0)
			VMOVUPS(Mem{Base: b}.Offset(2*width*u+width), b1)
			for i := 0; i < rows; i += 2 {
				VBROADCASTSS(element(i, u), t0)
				if i+1 < rows {
					VBROADCASTSS(element(i+1, u), t1)
				}
				VFMADD231PS(t0, b0, y[2*i])
				VFMADD231PS(t0, b1, y[2*i+1])
				if i+1 < rows {
					VFMADD231PS(t1, b0, y[2*i+2])
					VFMADD231PS(t1, b1, y[2*i+3])
				}
			}
			if order == byColumn {
				ADDQ(lda, at)
			}
		}
		advance := func(n int) {
			if order == byRow {
				ADDQ(Imm(uint64(4*n)), at)
				if rows > 3 {
					ADDQ(Imm(uint64(4*n)), at3)
				}
			}
			if n == 1 {
				ADDQ(Imm(2*width), b)
			} else {
				SUBQ(I32(-2*width*int32(n)), b)
			}
		}
		SUBQ(Imm(unroll), k)
		JLT(LabelRef(label("rest")))
		Label(label("four"))
		for u := range unroll {
			next(u)
		}
		advance(unroll)
		SUBQ(Imm(unroll), k)
		JGE(LabelRef(label("four")))
		Label(label("rest"))
		ADDQ(Imm(unroll), k)
		JZ(LabelRef(label("done")))
		Label(label("one"))
		next(0)
		advance(1)
		SUBQ(Imm(1), k)
		JG(LabelRef(label("one")))
		Label(label("done"))
		Load(Param("acc"), acc)
		TESTQ(acc, acc)
		JZ(LabelRef(label("store")))
		MOVQ(c, row)
		for i := range rows {
			VADDPS(Mem{Base: row}, y[2*i], y[2*i])
			VADDPS(Mem{Base: row}.Offset(width), y[2*i+1], y[2*i+1])
			ADDQ(ldc, row)
		}
		Label(label("store"))
		for i := range rows {
			VMOVUPS(y[2*i], Mem{Base: c})
			VMOVUPS(y[2*i+1], Mem{Base: c}.Offset(width))
			ADDQ(ldc, c)
		}
		if order == byRow {
			LEAQ(Mem{Base: a, Index: lda, Scale: 4}, a)
			LEAQ(Mem{Base: a, Index: lda, Scale: 2}, a)
		} else {
			ADDQ(Imm(4*mr), a)
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

// copyPanels writes the packing of rows of B into panels of nr columns.
func copyPanels(name string, nr int) {
	TEXT(name, NOSPLIT, "func(k, panels int, src *float32, stride int, dst *float32)")
	Doc(fmt.Sprintf("%s is copyPanelsGo for panels of %d.", name, nr))
	k := Load(Param("k"), GP64())
	panels := Load(Param("panels"), GP64())
	src := Load(Param("src"), GP64())
	stride := Load(Param("stride"), GP64())
	dst := Load(Param("dst"), GP64())
	SHLQ(Imm(2), stride)
	next := GP64() // bytes from a panel to the next
	IMUL3Q(Imm(uint64(4*nr)), k, next)
	from, to, q := GP64(), GP64(), GP64()
	Label("row")
	SUBQ(Imm(1), k)
	JLT(LabelRef("end"))
	MOVQ(src, from)
	MOVQ(dst, to)
	MOVQ(panels, q)
	Label("panel")
	vs := make([]reg.VecVirtual, nr/8)
	for i := range vs {
		vs[i] = YMM()
		VMOVUPS(Mem{Base: from}.Offset(32*i), vs[i])
	}
	for i, v := range vs {
		VMOVUPS(v, Mem{Base: to}.Offset(32*i))
	}
	ADDQ(Imm(uint64(4*nr)), from)
	ADDQ(next, to)
	SUBQ(Imm(1), q)
	JG(LabelRef("panel"))
	ADDQ(stride, src)
	ADDQ(Imm(uint64(4*nr)), dst)
	JMP(LabelRef("row"))
	Label("end")
	VZEROUPPER()
	RET()
}
