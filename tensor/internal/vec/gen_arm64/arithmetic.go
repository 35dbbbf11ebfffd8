package main

import (
	"fmt"

	asm "github.com/onetrunk/onetrunk/tensor/internal/arm64asm"
)

func (k *kernels) arithmetic() {
	k.Func("addNEON", "func(dst, a, b *float32, n int)", "addNEON is addGo.", func() {
		dst, a, b, n := k.Arg("dst"), k.Arg("a"), k.Arg("b"), k.Arg("n")
		k.loop(n, 4, []asm.R{dst, a, b}, func(r round) {
			x, y := r.load(a), r.load(b)
			k.FADD(x, x, y)
			r.store(x, dst)
		})
	})

	k.Func("axpyNEON", "func(alpha float32, x, y *float32, n int)", "axpyNEON is axpyGo.", func() {
		alpha := k.Scalar("alpha")
		px, py, n := k.Arg("x"), k.Arg("y"), k.Arg("n")
		k.loop(n, 4, []asm.R{px, py}, func(r round) {
			x, y := r.load(px), r.load(py)
			k.FMLA(y, x, alpha)
			r.store(y, py)
		})
	})

	k.Func("scaleNEON", "func(alpha float32, x *float32, n int)", "scaleNEON is scaleGo.", func() {
		alpha := k.Scalar("alpha")
		px, n := k.Arg("x"), k.Arg("n")
		k.loop(n, 4, []asm.R{px}, func(r round) {
			x := r.load(px)
			k.FMUL(x, x, alpha)
			r.store(x, px)
		})
	})
}

// dotUnroll is the same for one row and for four, so that a row's product
// does not depend on its neighbours.
const dotUnroll = 4

func (k *kernels) reductions() {
	k.Func("dotNEON", "func(x, y *float32, n int) float32", "dotNEON is dotGo.", func() {
		px, py, n := k.Arg("x"), k.Arg("y"), k.Arg("n")
		total := k.zeros(dotUnroll)
		k.loop(n, dotUnroll, []asm.R{px, py}, func(r round) {
			k.FMLA(total[r.at], r.load(px), r.load(py))
		})
		k.Return("ret", k.sum(total...))
	})

	k.Func("dot4NEON", "func(dst, rows *float32, stride int, q *float32, n int)",
		"dot4NEON is dot4Go; a row is summed in the order of dotNEON.", func() {
			dst, rows, stride, q, n := k.Arg("dst"), k.Arg("rows"), k.Arg("stride"), k.Arg("q"), k.Arg("n")
			row := [4]asm.R{rows, k.R(), k.R(), k.R()}
			for i := 1; i < 4; i++ {
				k.Op("ADD", fmt.Sprintf("%v<<2", stride), row[i-1], row[i])
			}
			var totals [4][]asm.V
			for i := range row {
				totals[i] = k.zeros(dotUnroll)
			}
			k.loop(n, dotUnroll, []asm.R{q, row[0], row[1], row[2], row[3]}, func(r round) {
				v := r.load(q)
				for i := range row {
					k.FMLA(totals[i][r.at], v, r.load(row[i]))
				}
			})
			for i := range row {
				k.Store1(fmt.Sprintf("%d(%v)", 4*i, dst), k.sum(totals[i]...))
			}
		})

	k.Func("sumSquaresNEON", "func(x *float32, n int) float64", "sumSquaresNEON is sumSquaresGo.", func() {
		px, n := k.Arg("x"), k.Arg("n")
		const unroll = 4
		total := k.zeros(2 * unroll)
		k.loop(n, unroll, []asm.R{px}, func(r round) {
			x, hi := r.load(px), k.V()
			k.FCVTL2(hi, x)
			k.FCVTL(x, x)
			k.FMLA2(total[2*r.at], x, x)
			k.FMLA2(total[2*r.at+1], hi, hi)
		})
		for half := unroll; half > 0; half /= 2 {
			for i := range half {
				k.FADD2(total[i], total[i], total[half+i])
			}
		}
		k.FADDP2(total[0], total[0], total[0])
		k.Return("ret", total[0])
	})

	k.Func("sumNEON", "func(x *float32, n int) float32", "sumNEON is sumGo with 32 sums in float32.", func() {
		px, n := k.Arg("x"), k.Arg("n")
		total := k.zeros(8)
		k.loop(n, 8, []asm.R{px}, func(r round) {
			k.FADD(total[r.at], total[r.at], r.load(px))
		})
		k.Return("ret", k.sum(total...))
	})

	k.Func("sumDevNEON", "func(x *float32, mean float32, n int) float32", "sumDevNEON is sumDevGo with 32 sums in float32.", func() {
		mean := k.Scalar("mean")
		px, n := k.Arg("x"), k.Arg("n")
		total := k.zeros(8)
		k.loop(n, 8, []asm.R{px}, func(r round) {
			x := r.load(px)
			k.FSUB(x, x, mean)
			r.only(x)
			k.FMLA(total[r.at], x, x)
		})
		k.Return("ret", k.sum(total...))
	})
}
