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
	low := all(float32(math.Inf(-1)))
	var tops [4]reg.VecVirtual
	for i := range tops {
		tops[i] = YMM()
		VMOVUPS(low, tops[i])
	}
	loop(n, len(tops), []reg.GPVirtual{px}, func(r round) {
		x, top := r.load(px), tops[r.at]
		if r.mask != nil {
			none := YMM()
			VMOVUPS(low, none)
			VBLENDVPS(r.mask, x, none, x)
		}
		VMAXPS(top, x, top) // top for NaN
	})
	VMAXPS(tops[2], tops[0], tops[0])
	VMAXPS(tops[3], tops[1], tops[1])
	VMAXPS(tops[1], tops[0], tops[0])
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
	total := zero()
	loop(n, 1, []reg.GPVirtual{dst, px}, func(r round) {
		x := r.load(px)
		// Not fused: the greatest x must give 0 when shift is its product.
		VMULPS(scale, x, x)
		VSUBPS(shift, x, x)
		y := exp(x)
		if r.mask != nil {
			VANDPS(r.mask, y, y)
		}
		VADDPS(y, total, total)
		r.store(y, dst)
	})
	Store(sum(total).AsX(), ReturnIndex(0))
	end()

	TEXT("softmaxGradAVX2", NOSPLIT, "func(ds, p, dp *float32, scale, mean float32, n int)")
	Doc("softmaxGradAVX2 writes scale * p * (dp - mean).")
	scale, mean := scalar("scale"), scalar("mean")
	ds, p, dp := pointer("ds"), pointer("p"), pointer("dp")
	n = pointer("n")
	loop(n, 1, []reg.GPVirtual{ds, p, dp}, func(r round) {
		d := r.load(dp)
		VSUBPS(mean, d, d)
		VMULPS(r.load(p), d, d)
		VMULPS(scale, d, d)
		r.store(d, ds)
	})
	end()
}
