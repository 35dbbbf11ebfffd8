package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func softmax() {
	TEXT("maxAVX2", NOSPLIT, "func(x *float32, n int) float32")
	Doc("maxAVX2 returns the greatest element, -Inf when there is none. NaN is passed over.")
	px, n := pointer("x"), pointer("n")
	low := math.Inf(-1)
	tops := vectors(4).of(low)
	loop(n, len(tops), []reg.GPVirtual{px}, func(r round) {
		x, top := r.load(px), tops[:r.count]
		if r.mask != nil {
			i, none := r.count-1, YMM()
			VMOVUPS(all(low), none)
			VBLENDVPS(r.lanes(), x[i], none, x[i])
		}
		each(VMAXPS, top, x, top) // top for NaN
	})
	each(VMAXPS, tops[2:], tops[:2], tops[:2])
	each(VMAXPS, tops[1:2], tops[:1], tops[:1])
	top, h := tops[0], YMM()
	VEXTRACTF128(Imm(1), top, h.AsX())
	VMAXPS(h.AsX(), top.AsX(), top.AsX())
	VPERMILPS(Imm(0x4e), top.AsX(), h.AsX())
	VMAXPS(h.AsX(), top.AsX(), top.AsX())
	VPERMILPS(Imm(0xb1), top.AsX(), h.AsX())
	VMAXPS(h.AsX(), top.AsX(), top.AsX())
	Store(top.AsX(), ReturnIndex(0))
	end()

	TEXT("expMinusAVX2", NOSPLIT, "func(dst, x *float32, scale, shift float32, n int) float32")
	Doc("expMinusAVX2 writes exp(scale*x - shift) and returns the sum.")
	scale, shift := scalar("scale"), scalar("shift")
	dst, px, n := pointer("dst"), pointer("x"), pointer("n")
	total := zeros(2)
	loop(n, len(total), []reg.GPVirtual{dst, px}, func(r round) {
		x := r.load(px)
		// Not fused: the greatest x must give 0 when shift is its product.
		each(VMULPS, scale, x, x)
		each(VSUBPS, shift, x, x)
		y := exp(x)
		r.keep(y)
		t := total[:r.count]
		each(VADDPS, y, t, t)
		r.store(y, dst)
	})
	Store(sum(total).AsX(), ReturnIndex(0))
	end()

	TEXT("softmaxGradAVX2", NOSPLIT, "func(ds, p, dp *float32, scale, mean float32, n int)")
	Doc("softmaxGradAVX2 writes scale * p * (dp - mean).")
	scale, mean := scalar("scale"), scalar("mean")
	ds, p, dp := pointer("ds"), pointer("p"), pointer("dp")
	n = pointer("n")
	loop(n, 4, []reg.GPVirtual{ds, p, dp}, func(r round) {
		for _, r := range r.apart() {
			d := r.load(dp)
			each(VSUBPS, mean, d, d)
			each(VMULPS, r.load(p), d, d)
			each(VMULPS, scale, d, d)
			r.store(d, ds)
		}
	})
	end()
}
