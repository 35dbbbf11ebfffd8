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

// loop runs body for n elements, eight at a time, and once more for the rest
// with a mask. load and store take the pointer register; they are masked in
// the last round.
func loop(n reg.GPVirtual, pointers []reg.GPVirtual, body func(load func(p reg.GPVirtual) reg.VecVirtual, store func(v reg.VecVirtual, p reg.GPVirtual), mask reg.VecVirtual)) {
	Label("eight")
	SUBQ(Imm(8), n)
	JLT(LabelRef("rest"))
	body(func(p reg.GPVirtual) reg.VecVirtual {
		v := YMM()
		VMOVUPS(Mem{Base: p}, v)
		return v
	}, func(v reg.VecVirtual, p reg.GPVirtual) {
		VMOVUPS(v, Mem{Base: p})
	}, nil)
	for _, p := range pointers {
		ADDQ(Imm(32), p)
	}
	JMP(LabelRef("eight"))
	Label("rest")
	ADDQ(Imm(8), n)
	JZ(LabelRef("done"))
	table, mask := GP64(), YMM()
	LEAQ(maskTable.Offset(32), table)
	SHLQ(Imm(2), n)
	SUBQ(n, table)
	VMOVUPS(Mem{Base: table}, mask)
	body(func(p reg.GPVirtual) reg.VecVirtual {
		v := YMM()
		VMASKMOVPS(Mem{Base: p}, mask, v)
		return v
	}, func(v reg.VecVirtual, p reg.GPVirtual) {
		VMASKMOVPS(v, mask, Mem{Base: p})
	}, mask)
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

func zero() reg.VecVirtual {
	v := YMM()
	VXORPS(v, v, v)
	return v
}

func end() {
	VZEROUPPER()
	RET()
}

type (
	loader = func(p reg.GPVirtual) reg.VecVirtual
	storer = func(v reg.VecVirtual, p reg.GPVirtual)
)

func arithmetic() {
	TEXT("addAVX2", NOSPLIT, "func(dst, a, b *float32, n int)")
	dst, a, b, n := pointer("dst"), pointer("a"), pointer("b"), pointer("n")
	loop(n, []reg.GPVirtual{dst, a, b}, func(load loader, store storer, _ reg.VecVirtual) {
		x, y := load(a), load(b)
		VADDPS(x, y, y)
		store(y, dst)
	})
	end()

	TEXT("axpyAVX2", NOSPLIT, "func(alpha float32, x, y *float32, n int)")
	alpha := scalar("alpha")
	px, py, n := pointer("x"), pointer("y"), pointer("n")
	loop(n, []reg.GPVirtual{px, py}, func(load loader, store storer, _ reg.VecVirtual) {
		x, y := load(px), load(py)
		VFMADD231PS(x, alpha, y)
		store(y, py)
	})
	end()

	TEXT("scaleAVX2", NOSPLIT, "func(alpha float32, x *float32, n int)")
	alpha = scalar("alpha")
	px, n = pointer("x"), pointer("n")
	loop(n, []reg.GPVirtual{px}, func(load loader, store storer, _ reg.VecVirtual) {
		x := load(px)
		VMULPS(alpha, x, x)
		store(x, px)
	})
	end()
}

// sum adds the lanes of v and returns the total in lane 0.
func sum(v reg.VecVirtual) reg.VecVirtual {
	h := YMM()
	VEXTRACTF128(Imm(1), v, h.AsX())
	VADDPS(h.AsX(), v.AsX(), v.AsX())
	VHADDPS(v.AsX(), v.AsX(), v.AsX())
	VHADDPS(v.AsX(), v.AsX(), v.AsX())
	return v
}

func reductions() {
	TEXT("dotAVX2", NOSPLIT, "func(x, y *float32, n int) float32")
	px, py, n := pointer("x"), pointer("y"), pointer("n")
	near, far := zero(), zero()
	Label("wide")
	SUBQ(Imm(16), n)
	JLT(LabelRef("narrow"))
	for i, acc := range []reg.VecVirtual{near, far} {
		x := YMM()
		VMOVUPS(Mem{Base: px}.Offset(32*i), x)
		VFMADD231PS(Mem{Base: py}.Offset(32*i), x, acc)
	}
	ADDQ(Imm(64), px)
	ADDQ(Imm(64), py)
	JMP(LabelRef("wide"))
	Label("narrow")
	ADDQ(Imm(16), n)
	loop(n, []reg.GPVirtual{px, py}, func(load loader, _ storer, _ reg.VecVirtual) {
		x, y := load(px), load(py)
		VFMADD231PS(x, y, near)
	})
	VADDPS(far, near, near)
	Store(sum(near).AsX(), ReturnIndex(0))
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
	var nears, fars [4]reg.VecVirtual
	for i := range row {
		nears[i], fars[i] = zero(), zero()
	}
	Label("wide")
	SUBQ(Imm(16), n)
	JLT(LabelRef("narrow"))
	q0, q1 := YMM(), YMM()
	VMOVUPS(Mem{Base: q}, q0)
	VMOVUPS(Mem{Base: q}.Offset(32), q1)
	for i := range row {
		VFMADD231PS(Mem{Base: row[i]}, q0, nears[i])
		VFMADD231PS(Mem{Base: row[i]}.Offset(32), q1, fars[i])
		ADDQ(Imm(64), row[i])
	}
	ADDQ(Imm(64), q)
	JMP(LabelRef("wide"))
	Label("narrow")
	ADDQ(Imm(16), n)
	loop(n, []reg.GPVirtual{q, row[0], row[1], row[2], row[3]}, func(load loader, _ storer, _ reg.VecVirtual) {
		v := load(q)
		for i := range row {
			VFMADD231PS(load(row[i]), v, nears[i])
		}
	})
	dst := pointer("dst")
	for i := range row {
		VADDPS(fars[i], nears[i], nears[i])
		VMOVSS(sum(nears[i]).AsX(), Mem{Base: dst}.Offset(4*i))
	}
	end()

	TEXT("sumSquaresAVX2", NOSPLIT, "func(x *float32, n int) float64")
	Doc("sumSquaresAVX2 sums in float64.")
	px, n = pointer("x"), pointer("n")
	lo, hi := zero(), zero()
	loop(n, []reg.GPVirtual{px}, func(load loader, _ storer, _ reg.VecVirtual) {
		x := load(px)
		h, a, b := YMM(), YMM(), YMM()
		VEXTRACTF128(Imm(1), x, h.AsX())
		VCVTPS2PD(x.AsX(), a)
		VCVTPS2PD(h.AsX(), b)
		VFMADD231PD(a, a, lo)
		VFMADD231PD(b, b, hi)
	})
	VADDPD(hi, lo, lo)
	VEXTRACTF128(Imm(1), lo, hi.AsX())
	VADDPD(hi.AsX(), lo.AsX(), lo.AsX())
	VHADDPD(lo.AsX(), lo.AsX(), lo.AsX())
	Store(lo.AsX(), ReturnIndex(0))
	end()

	TEXT("sumAVX2", NOSPLIT, "func(x *float32, n int) float32")
	px, n = pointer("x"), pointer("n")
	total := zero()
	loop(n, []reg.GPVirtual{px}, func(load loader, _ storer, _ reg.VecVirtual) {
		VADDPS(load(px), total, total)
	})
	Store(sum(total).AsX(), ReturnIndex(0))
	end()

	TEXT("sumDevAVX2", NOSPLIT, "func(x *float32, mean float32, n int) float32")
	Doc("sumDevAVX2 returns the sum of (x-mean)^2.")
	mean := scalar("mean")
	px, n = pointer("x"), pointer("n")
	total = zero()
	loop(n, []reg.GPVirtual{px}, func(load loader, _ storer, mask reg.VecVirtual) {
		x := load(px)
		VSUBPS(mean, x, x)
		if mask != nil {
			VANDPS(mask, x, x)
		}
		VFMADD231PS(x, x, total)
	})
	Store(sum(total).AsX(), ReturnIndex(0))
	end()
}

// exp returns e^x. n = round(x / ln 2) splits x = n ln 2 + r; a polynomial of
// degree 6 in |r| <= ln(2)/2 is scaled by 2^n. Below -87 the result is 0.
func exp(x reg.VecVirtual) reg.VecVirtual {
	y, n, r, p := YMM(), YMM(), YMM(), YMM()
	// The second operand is returned for NaN.
	VMOVUPS(all(-87.5), y)
	VMAXPS(x, y, y)
	VMOVUPS(all(88.8), r)
	VMINPS(y, r, y)
	VMULPS(all(math.Log2E), y, n)
	VROUNDPS(Imm(8), n, n)
	VMOVAPS(y, r)
	VFNMADD231PS(all(0.693359375), n, r)
	VFNMADD231PS(all(-2.12194440e-4), n, r)
	// exp(r) = 1 + r + r^2 q(r), Cephes' expf.
	VMOVUPS(all(1.9875691500e-4), p)
	for _, c := range []float32{1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1} {
		VFMADD213PS(all(c), r, p)
	}
	VMULPS(r, p, p)
	VFMADD213PS(r, r, p)
	VADDPS(all(1), p, p)
	// 2 * 2^(n-1), so that n = 128 does not overflow before it must.
	VADDPS(p, p, p)
	VCVTPS2DQ(n, n)
	VPADDD(intAll(126), n, n)
	VPSLLD(Imm(23), n, n)
	VMULPS(n, p, p)
	return p
}

// intAll is all for an integer.
func intAll(v uint32) Mem { return all(math.Float32frombits(v)) }

// normal returns, for x, the standard normal distribution's cumulative
// function and exp(-x^2/2). The complementary error function is Abramowitz
// and Stegun's 7.1.26, of absolute error 1.5e-7.
func normal(x reg.VecVirtual) (cdf, e reg.VecVirtual) {
	z, t, p := YMM(), YMM(), YMM()
	VMULPS(x, x, z)
	VMULPS(all(-0.5), z, z)
	e = exp(z)
	VANDPS(intAll(0x7fffffff), x, z)
	VMOVUPS(all(1), t)
	VFMADD231PS(all(0.3275911*math.Sqrt2/2), z, t)
	VMOVUPS(all(1), p)
	VDIVPS(t, p, t)
	VMOVUPS(all(1.061405429), p)
	for _, c := range []float32{-1.453152027, 1.421413741, -0.284496736, 0.254829592} {
		VFMADD213PS(all(c), t, p)
	}
	VMULPS(t, p, p)
	VMULPS(e, p, p)
	VMULPS(all(0.5), p, p) // the tail beyond |x|
	cdf = YMM()
	VMOVUPS(all(1), cdf)
	VSUBPS(p, cdf, cdf)
	VBLENDVPS(x, p, cdf, cdf) // by the sign of x
	return cdf, e
}

// logistic returns 1 / (1 + exp(-1.702 x)).
func logistic(x reg.VecVirtual) reg.VecVirtual {
	z, one := YMM(), YMM()
	VMULPS(all(-1.702), x, z)
	s := exp(z)
	VMOVUPS(all(1), one)
	VADDPS(one, s, s)
	VDIVPS(s, one, s)
	return s
}

func activations() {
	for _, act := range []struct {
		name  string
		value func(x reg.VecVirtual) reg.VecVirtual // the activation
		slope func(x reg.VecVirtual) reg.VecVirtual // its derivative
	}{
		{"gelu", func(x reg.VecVirtual) reg.VecVirtual {
			cdf, _ := normal(x)
			VMULPS(x, cdf, cdf)
			return cdf
		}, func(x reg.VecVirtual) reg.VecVirtual {
			cdf, e := normal(x)
			VMULPS(all(float32(1/math.Sqrt(2*math.Pi))), e, e)
			VFMADD231PS(x, e, cdf)
			return cdf
		}},
		{"quickGELU", func(x reg.VecVirtual) reg.VecVirtual {
			s := logistic(x)
			VMULPS(x, s, s)
			return s
		}, func(x reg.VecVirtual) reg.VecVirtual {
			// s + 1.702 x s (1 - s)
			s, u := logistic(x), YMM()
			VMOVUPS(all(1), u)
			VSUBPS(s, u, u)
			VMULPS(all(1.702), u, u)
			VMULPS(x, u, u)
			VFMADD213PS(s, s, u)
			return u
		}},
	} {
		TEXT(act.name+"AVX2", NOSPLIT, "func(y, x *float32, n int)")
		y, x, n := pointer("y"), pointer("x"), pointer("n")
		loop(n, []reg.GPVirtual{y, x}, func(load loader, store storer, _ reg.VecVirtual) {
			store(act.value(load(x)), y)
		})
		end()

		TEXT(act.name+"GradAVX2", NOSPLIT, "func(dx, dy, x *float32, n int)")
		dx, dy, x := pointer("dx"), pointer("dy"), pointer("x")
		n = pointer("n")
		loop(n, []reg.GPVirtual{dx, dy, x}, func(load loader, store storer, _ reg.VecVirtual) {
			s := act.slope(load(x))
			VMULPS(load(dy), s, s)
			store(s, dx)
		})
		end()
	}
}

func softmax() {
	TEXT("maxAVX2", NOSPLIT, "func(x *float32, n int) float32")
	Doc("maxAVX2 returns the greatest element, -Inf when there is none. NaN is passed over.")
	px, n := pointer("x"), pointer("n")
	inf := float32(math.Inf(-1))
	top := YMM()
	VMOVUPS(all(inf), top)
	loop(n, []reg.GPVirtual{px}, func(load loader, _ storer, mask reg.VecVirtual) {
		x := load(px)
		if mask != nil {
			low := YMM()
			VMOVUPS(all(inf), low)
			VBLENDVPS(mask, x, low, x)
		}
		VMAXPS(top, x, top) // the second operand, top, for NaN
	})
	h := YMM()
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
	loop(n, []reg.GPVirtual{dst, px}, func(load loader, store storer, mask reg.VecVirtual) {
		x := load(px)
		VFMSUB213PS(shift, scale, x)
		y := exp(x)
		if mask != nil {
			VANDPS(mask, y, y)
		}
		VADDPS(y, total, total)
		store(y, dst)
	})
	Store(sum(total).AsX(), ReturnIndex(0))
	end()

	TEXT("softmaxGradAVX2", NOSPLIT, "func(ds, p, dp *float32, scale, mean float32, n int)")
	Doc("softmaxGradAVX2 writes scale * p * (dp - mean).")
	scale, mean := scalar("scale"), scalar("mean")
	ds, p, dp := pointer("ds"), pointer("p"), pointer("dp")
	n = pointer("n")
	loop(n, []reg.GPVirtual{ds, p, dp}, func(load loader, store storer, _ reg.VecVirtual) {
		d := load(dp)
		VSUBPS(mean, d, d)
		VMULPS(load(p), d, d)
		VMULPS(scale, d, d)
		store(d, ds)
	})
	end()
}

func layerNorm() {
	TEXT("normAVX2", NOSPLIT, "func(y, x, gamma, beta *float32, mean, rstd float32, n int)")
	Doc("normAVX2 writes (x-mean)*rstd*gamma + beta.")
	mean, rstd := scalar("mean"), scalar("rstd")
	y, px, gamma, beta := pointer("y"), pointer("x"), pointer("gamma"), pointer("beta")
	n := pointer("n")
	loop(n, []reg.GPVirtual{y, px, gamma, beta}, func(load loader, store storer, _ reg.VecVirtual) {
		x := load(px)
		VSUBPS(mean, x, x)
		VMULPS(rstd, x, x)
		g, b := load(gamma), load(beta)
		VFMADD231PS(x, g, b)
		store(b, y)
	})
	end()

	TEXT("normGradSumsAVX2", NOSPLIT, "func(dgamma, dbeta, dy, x, gamma *float32, mean, rstd float32, n int) (s0, s1 float32)")
	Doc("normGradSumsAVX2 adds dy*h to dgamma and dy to dbeta, h = (x-mean)*rstd, and returns the sums of dy*gamma and dy*gamma*h.")
	mean, rstd = scalar("mean"), scalar("rstd")
	dgamma, dbeta, dy, px, gamma := pointer("dgamma"), pointer("dbeta"), pointer("dy"), pointer("x"), pointer("gamma")
	n = pointer("n")
	s0, s1 := zero(), zero()
	loop(n, []reg.GPVirtual{dgamma, dbeta, dy, px, gamma}, func(load loader, store storer, _ reg.VecVirtual) {
		h, d := load(px), load(dy)
		VSUBPS(mean, h, h)
		VMULPS(rstd, h, h)
		dg, db := load(dgamma), load(dbeta)
		VFMADD231PS(d, h, dg)
		VADDPS(d, db, db)
		store(dg, dgamma)
		store(db, dbeta)
		VMULPS(load(gamma), d, d) // 0 in lanes that are masked
		VADDPS(d, s0, s0)
		VFMADD231PS(d, h, s1)
	})
	Store(sum(s0).AsX(), ReturnIndex(0))
	Store(sum(s1).AsX(), ReturnIndex(1))
	end()

	for _, acc := range []bool{false, true} {
		name := "normGradAVX2"
		if acc {
			name = "normGradAddAVX2"
		}
		TEXT(name, NOSPLIT, "func(dx, dy, x, gamma *float32, mean, rstd, c0, c1 float32, n int)")
		Doc(name + " writes or adds rstd * (dy*gamma - c0 - c1*h), h = (x-mean)*rstd.")
		mean, rstd, c0, c1 := scalar("mean"), scalar("rstd"), scalar("c0"), scalar("c1")
		dx, dy, px, gamma := pointer("dx"), pointer("dy"), pointer("x"), pointer("gamma")
		n := pointer("n")
		loop(n, []reg.GPVirtual{dx, dy, px, gamma}, func(load loader, store storer, _ reg.VecVirtual) {
			h, d := load(px), load(dy)
			VSUBPS(mean, h, h)
			VMULPS(rstd, h, h)
			VFMSUB132PS(load(gamma), c0, d)
			VFNMADD231PS(c1, h, d)
			VMULPS(rstd, d, d)
			if acc {
				VADDPS(load(dx), d, d)
			}
			store(d, dx)
		})
		end()
	}
}

func adamW() {
	TEXT("adamWAVX2", NOSPLIT, "func(p, grad, m, v *float32, beta1, rest1, beta2, rest2, keep, rate, root, eps, gscale float32, n int)")
	Doc("adamWAVX2 is AdamW with keep = 1-lr*decay, rate = lr/c1, root = 1/sqrt(c2), rest = 1-beta.")
	pp, pg, pm, pv := pointer("p"), pointer("grad"), pointer("m"), pointer("v")
	beta1, rest1, beta2, rest2 := scalar("beta1"), scalar("rest1"), scalar("beta2"), scalar("rest2")
	keep, rate, root, eps, gscale := scalar("keep"), scalar("rate"), scalar("root"), scalar("eps"), scalar("gscale")
	n := pointer("n")
	loop(n, []reg.GPVirtual{pp, pg, pm, pv}, func(load loader, store storer, _ reg.VecVirtual) {
		g, m := load(pg), load(pm)
		VMULPS(gscale, g, g)
		VMULPS(beta1, m, m)
		VFMADD231PS(g, rest1, m)
		store(m, pm)
		v := load(pv)
		VMULPS(g, g, g)
		VMULPS(beta2, v, v)
		VFMADD231PS(g, rest2, v)
		store(v, pv)
		VSQRTPS(v, v)
		VFMADD213PS(eps, root, v)
		VDIVPS(v, m, m)
		p := load(pp)
		VMULPS(keep, p, p)
		VFNMADD231PS(m, rate, p)
		store(p, pp)
	})
	end()
}
