package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func arithmetic() {
	TEXT("addAVX2", NOSPLIT, "func(dst, a, b *float32, n int)")
	dst, a, b, n := pointer("dst"), pointer("a"), pointer("b"), pointer("n")
	loop(n, 4, []reg.GPVirtual{dst, a, b}, func(r round) {
		x, y := r.load(a), r.load(b)
		VADDPS(x, y, y)
		r.store(y, dst)
	})
	end()

	TEXT("axpyAVX2", NOSPLIT, "func(alpha float32, x, y *float32, n int)")
	alpha := scalar("alpha")
	px, py, n := pointer("x"), pointer("y"), pointer("n")
	loop(n, 4, []reg.GPVirtual{px, py}, func(r round) {
		x, y := r.load(px), r.load(py)
		VFMADD231PS(x, alpha, y)
		r.store(y, py)
	})
	end()

	TEXT("scaleAVX2", NOSPLIT, "func(alpha float32, x *float32, n int)")
	alpha = scalar("alpha")
	px, n = pointer("x"), pointer("n")
	loop(n, 4, []reg.GPVirtual{px}, func(r round) {
		x := r.load(px)
		VMULPS(alpha, x, x)
		r.store(x, px)
	})
	end()
}

// dotUnroll is the same for one row and for four, so that a row's product
// does not depend on its neighbours.
const dotUnroll = 2

func reductions() {
	TEXT("dotAVX2", NOSPLIT, "func(x, y *float32, n int) float32")
	px, py, n := pointer("x"), pointer("y"), pointer("n")
	total := zeros(dotUnroll)
	loop(n, dotUnroll, []reg.GPVirtual{px, py}, func(r round) {
		x, y := r.load(px), r.load(py)
		VFMADD231PS(x, y, total[r.at])
	})
	Store(sum(total...).AsX(), ReturnIndex(0))
	end()

	TEXT("dot4AVX2", NOSPLIT, "func(dst, rows *float32, stride int, q *float32, n int)")
	Doc("dot4AVX2 writes the products of q with four rows, summed in the order of dotAVX2.")
	var row [4]reg.GPVirtual
	row[0] = pointer("rows")
	stride := pointer("stride")
	SHLQ(Imm(2), stride)
	for i := 1; i < 4; i++ {
		row[i] = GP64()
		LEAQ(Mem{Base: row[i-1], Index: stride, Scale: 1}, row[i])
	}
	q := pointer("q")
	n = pointer("n")
	var totals [4][]reg.VecVirtual
	for i := range row {
		totals[i] = zeros(dotUnroll)
	}
	loop(n, dotUnroll, []reg.GPVirtual{q, row[0], row[1], row[2], row[3]}, func(r round) {
		v := r.load(q)
		for i := range row {
			if r.mask == nil && r.at == 0 { // a line of the four rows that follow
				PREFETCHT0(Mem{Base: row[i], Index: stride, Scale: 4})
			}
			if r.mask == nil {
				VFMADD231PS(r.address(row[i]), v, totals[i][r.at])
			} else {
				VFMADD231PS(r.load(row[i]), v, totals[i][r.at])
			}
		}
	})
	dst := pointer("dst")
	for i := range row {
		VMOVSS(sum(totals[i]...).AsX(), Mem{Base: dst}.Offset(4*i))
	}
	end()

	TEXT("sumSquaresAVX2", NOSPLIT, "func(x *float32, n int) float64")
	Doc("sumSquaresAVX2 sums in float64.")
	px, n = pointer("x"), pointer("n")
	total = zeros(4)
	loop(n, 2, []reg.GPVirtual{px}, func(r round) {
		lo, hi := YMM(), YMM()
		if r.mask == nil {
			VCVTPS2PD(r.address(px), lo)
			VCVTPS2PD(r.address(px).Offset(16), hi)
		} else {
			x := r.load(px)
			VEXTRACTF128(Imm(1), x, hi.AsX())
			VCVTPS2PD(x.AsX(), lo)
			VCVTPS2PD(hi.AsX(), hi)
		}
		VFMADD231PD(lo, lo, total[2*r.at])
		VFMADD231PD(hi, hi, total[2*r.at+1])
	})
	VADDPD(total[2], total[0], total[0])
	VADDPD(total[3], total[1], total[1])
	lo, hi := total[0], total[1]
	VADDPD(hi, lo, lo)
	VEXTRACTF128(Imm(1), lo, hi.AsX())
	VADDPD(hi.AsX(), lo.AsX(), lo.AsX())
	VHADDPD(lo.AsX(), lo.AsX(), lo.AsX())
	Store(lo.AsX(), ReturnIndex(0))
	end()

	TEXT("sumAVX2", NOSPLIT, "func(x *float32, n int) float32")
	px, n = pointer("x"), pointer("n")
	total = zeros(4)
	loop(n, 4, []reg.GPVirtual{px}, func(r round) {
		VADDPS(r.load(px), total[r.at], total[r.at])
	})
	Store(sum(total...).AsX(), ReturnIndex(0))
	end()

	TEXT("sumDevAVX2", NOSPLIT, "func(x *float32, mean float32, n int) float32")
	Doc("sumDevAVX2 returns the sum of (x-mean)^2.")
	mean := scalar("mean")
	px, n = pointer("x"), pointer("n")
	total = zeros(4)
	loop(n, 4, []reg.GPVirtual{px}, func(r round) {
		x := r.load(px)
		VSUBPS(mean, x, x)
		if r.mask != nil {
			VANDPS(r.mask, x, x)
		}
		VFMADD231PS(x, x, total[r.at])
	})
	Store(sum(total...).AsX(), ReturnIndex(0))
	end()
}
