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
		for _, r := range r.apart() {
			x, y := r.load(a), r.load(b)
			each(VADDPS, x, y, y)
			r.store(y, dst)
		}
	})
	end()

	TEXT("axpyAVX2", NOSPLIT, "func(alpha float32, x, y *float32, n int)")
	alpha := scalar("alpha")
	px, py, n := pointer("x"), pointer("y"), pointer("n")
	loop(n, 4, []reg.GPVirtual{px, py}, func(r round) {
		for _, r := range r.apart() {
			x, y := r.load(px), r.load(py)
			each(VFMADD231PS, x, alpha, y)
			r.store(y, py)
		}
	})
	end()

	TEXT("scaleAVX2", NOSPLIT, "func(alpha float32, x *float32, n int)")
	alpha = scalar("alpha")
	px, n = pointer("x"), pointer("n")
	loop(n, 4, []reg.GPVirtual{px}, func(r round) {
		for _, r := range r.apart() {
			x := r.load(px)
			each(VMULPS, alpha, x, x)
			r.store(x, px)
		}
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
		each(VFMADD231PS, r.load(px), r.load(py), total[:r.count])
	})
	Store(sum(total).AsX(), ReturnIndex(0))
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
	var totals [4]group
	for i := range row {
		totals[i] = zeros(dotUnroll)
	}
	loop(n, dotUnroll, []reg.GPVirtual{q, row[0], row[1], row[2], row[3]}, func(r round) {
		for i, v := range r.load(q) {
			for j, p := range row {
				if i == 0 && r.mask == nil { // a line of the four rows that follow
					PREFETCHT0(Mem{Base: p, Index: stride, Scale: 4})
				}
				from := Mem{Base: p}.Offset(32 * i)
				if r.last(i) {
					w := YMM()
					VMASKMOVPS(from, r.lanes(), w)
					VFMADD231PS(w, v, totals[j][i])
				} else {
					VFMADD231PS(from, v, totals[j][i])
				}
			}
		}
	})
	dst := pointer("dst")
	for i := range row {
		VMOVSS(sum(totals[i]).AsX(), Mem{Base: dst}.Offset(4*i))
	}
	end()

	TEXT("sumSquaresAVX2", NOSPLIT, "func(x *float32, n int) float64")
	Doc("sumSquaresAVX2 sums in float64.")
	px, n = pointer("x"), pointer("n")
	total = zeros(4)
	loop(n, 2, []reg.GPVirtual{px}, func(r round) {
		for i := range r.count {
			lo, hi := YMM(), YMM()
			from := Mem{Base: px}.Offset(32 * i)
			if r.last(i) {
				x := YMM()
				VMASKMOVPS(from, r.lanes(), x)
				VEXTRACTF128(Imm(1), x, hi.AsX())
				VCVTPS2PD(x.AsX(), lo)
				VCVTPS2PD(hi.AsX(), hi)
			} else {
				VCVTPS2PD(from, lo)
				VCVTPS2PD(from.Offset(16), hi)
			}
			VFMADD231PD(lo, lo, total[2*i])
			VFMADD231PD(hi, hi, total[2*i+1])
		}
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
		t := total[:r.count]
		each(VADDPS, r.load(px), t, t)
	})
	Store(sum(total).AsX(), ReturnIndex(0))
	end()

	TEXT("sumDevAVX2", NOSPLIT, "func(x *float32, mean float32, n int) float32")
	Doc("sumDevAVX2 returns the sum of (x-mean)^2.")
	mean := scalar("mean")
	px, n = pointer("x"), pointer("n")
	total = zeros(4)
	loop(n, 4, []reg.GPVirtual{px}, func(r round) {
		x := r.load(px)
		each(VSUBPS, mean, x, x)
		r.keep(x)
		each(VFMADD231PS, x, x, total[:r.count])
	})
	Store(sum(total).AsX(), ReturnIndex(0))
	end()
}
