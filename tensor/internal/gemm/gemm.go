// Package gemm multiplies float32 matrices.
//
// The operands are packed into panels, small pieces of which a micro-kernel
// multiplies with its tile of C in registers (Goto and van de Geijn 2008).
// The kernels are generated assembly; each has a twin in plain Go.
package gemm

import (
	"sync"
	"unsafe"

	"github.com/onetrunk/onetrunk/internal/par"
)

//go:generate sh -c "cd gen && go run . -out ../gemm_amd64.s -stubs ../stubs_amd64.go -pkg gemm"

// Matrix is a view of rows: element (i, j) is Data[i*Stride+j]. Trans says
// that it stands for its transpose.
type Matrix struct {
	Data   []float32
	Stride int
	Trans  bool
}

// kernel is a micro-kernel and the shape of its tile.
type kernel struct {
	name   string
	mr, nr int
	// tile is C (+)= sum over p of a[p*mr+i]*b[p*nr+j] for a tile [mr, nr] of
	// rows that are ldc apart.
	tile func(k int, a, b, c *float32, ldc int, acc int)
	// transpose8 is transpose8Go.
	transpose8 func(n8 int, src *float32, stride int, dst *float32, step int)
}

var generic = kernel{"go", goRows, goColumns, tileGo, transpose8Go}

// use is the kernel of this machine.
var use = best()

// Kernel names the instruction set in use: "avx512", "avx2" or "go".
func Kernel() string { return use.name }

const (
	depth  = 256 // rows of B that are packed at once: a panel of B stays in the first cache
	height = 96  // rows of A that are packed at once: a block of A stays in the second
	// alone is the work, in multiplications, that is not worth a second worker.
	alone = 1 << 17
	// most is the size of a tile of the largest kernel.
	most = 12 * 32
)

// scratch is the packed operands of one worker.
type scratch struct {
	a, b []float32
	tile [most]float32
}

var scratches = sync.Pool{New: func() any { return &scratch{} }}

func grow(s *[]float32, n int) []float32 {
	if cap(*s) < n {
		*s = make([]float32, n)
	}
	return (*s)[:n]
}

// Mul computes C = op(A) op(B), or C += with acc, for C [m, n] with rows ldc
// apart and an inner size of k, on the pool's workers. done, if not nil, is
// called once for every block of rows [i0, i1) and columns [j0, j1) of C when
// it has its final value. Each element is summed in an order that depends on
// the shapes and the number of workers alone.
func Mul(p *par.Pool, m, n, k int, a, b Matrix, c []float32, ldc int, acc bool, done func(i0, i1, j0, j1 int)) {
	if m == 0 || n == 0 {
		return
	}
	workers := p.Workers()
	if m*n*k <= alone {
		workers = 1
	}
	if workers > 1 && done == nil && k >= 4*depth && m*n <= 1<<20 && k >= 2*m {
		mulDeep(p, m, n, k, a, b, c, ldc, acc)
		return
	}
	mr, nr := use.mr, use.nr
	panels := (n + nr - 1) / nr
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	packed := grow(&s.b, panels*nr*min(depth, max(k, 1)))
	rows := height
	if m < rows*2*workers {
		rows = (par.Split(m, 2*workers, 1) + mr - 1) / mr * mr
	}
	blocks := (m + rows - 1) / rows
	for k0 := 0; k0 == 0 || k0 < k; k0 += depth {
		kc := min(depth, k-k0)
		each(p, workers, (panels+7)/8, func(g int) {
			for j := 8 * g; j < min(8*g+8, panels); j++ {
				packB(b, k0, kc, j*nr, min(nr, n-j*nr), packed[j*nr*kc:(j+1)*nr*kc])
			}
		})
		last := k0+kc >= k
		each(p, workers, blocks, func(i int) {
			i0 := i * rows
			mc := min(rows, m-i0)
			w := scratches.Get().(*scratch)
			w.block(a, i0, mc, n, k0, kc, packed, c, ldc, acc || k0 > 0)
			scratches.Put(w)
			if last && done != nil {
				done(i0, i0+mc, 0, n)
			}
		})
	}
}

// each runs f for [0, n) on the pool, or here when one worker is enough.
func each(p *par.Pool, workers, n int, f func(i int)) {
	if workers == 1 {
		for i := range n {
			f(i)
		}
		return
	}
	p.For(n, func(_, i int) { f(i) })
}

// mulDeep is Mul for a small C and a large k: every worker sums its own part
// of k, and the parts are added in their order.
func mulDeep(p *par.Pool, m, n, k int, a, b Matrix, c []float32, ldc int, acc bool) {
	parts := p.Workers()
	step := (k/parts + depth - 1) / depth * depth
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	sums := grow(&s.a, parts*m*n)
	p.For(parts, func(_, i int) {
		k0 := min(i*step, k)
		k1 := min(k0+step, k)
		if i == parts-1 {
			k1 = k
		}
		w := scratches.Get().(*scratch)
		w.single(m, n, k1-k0, a.from(k0, true), b.from(k0, false), sums[i*m*n:(i+1)*m*n], n, false)
		scratches.Put(w)
	})
	rows := par.Split(m, 2*parts, 1)
	p.For((m+rows-1)/rows, func(_, g int) {
		for i := g * rows; i < min((g+1)*rows, m); i++ {
			ci := c[i*ldc : i*ldc+n]
			if !acc {
				clear(ci)
			}
			for q := range parts {
				for j, v := range sums[(q*m+i)*n : (q*m+i+1)*n] {
					ci[j] += v
				}
			}
		}
	})
}

// from returns the operand without the first k0 of its inner indexes; left
// says that it is A.
func (m Matrix) from(k0 int, left bool) Matrix {
	if left == m.Trans {
		k0 *= m.Stride
	}
	m.Data = m.Data[min(k0, len(m.Data)):]
	return m
}

// Small computes C = op(A) op(B), or C += with acc, on the calling goroutine.
func Small(m, n, k int, a, b Matrix, c []float32, ldc int, acc bool) {
	if m == 0 || n == 0 {
		return
	}
	s := scratches.Get().(*scratch)
	s.single(m, n, k, a, b, c, ldc, acc)
	scratches.Put(s)
}

func (s *scratch) single(m, n, k int, a, b Matrix, c []float32, ldc int, acc bool) {
	nr := use.nr
	panels := (n + nr - 1) / nr
	for k0 := 0; k0 == 0 || k0 < k; k0 += depth {
		kc := min(depth, k-k0)
		packed := grow(&s.b, panels*nr*kc)
		for j := range panels {
			packB(b, k0, kc, j*nr, min(nr, n-j*nr), packed[j*nr*kc:(j+1)*nr*kc])
		}
		for i0 := 0; i0 < m; i0 += height {
			s.block(a, i0, min(height, m-i0), n, k0, kc, packed, c, ldc, acc || k0 > 0)
		}
	}
}

// nothing is where the panels of an empty product lie.
var nothing [1]float32

// block multiplies rows [i0, i0+mc) and inner indexes [k0, k0+kc) of A with
// the packed part of B.
func (s *scratch) block(a Matrix, i0, mc, n, k0, kc int, packed, c []float32, ldc int, acc bool) {
	mr, nr := use.mr, use.nr
	slabs := (mc + mr - 1) / mr
	pa := grow(&s.a, slabs*mr*kc+8)
	for i := range slabs {
		packA(a, i0+i*mr, min(mr, mc-i*mr), k0, kc, pa[i*mr*kc:])
	}
	add := 0
	if acc {
		add = 1
	}
	at := func(x []float32, i int) *float32 {
		if kc == 0 {
			return &nothing[0]
		}
		return &x[i]
	}
	for j := 0; j*nr < n; j++ {
		pb := at(packed, j*nr*kc)
		cols := min(nr, n-j*nr)
		for i := range slabs {
			rows := min(mr, mc-i*mr)
			first := (i0+i*mr)*ldc + j*nr
			if rows == mr && cols == nr {
				use.tile(kc, at(pa, i*mr*kc), pb, &c[first], ldc, add)
				continue
			}
			use.tile(kc, at(pa, i*mr*kc), pb, &s.tile[0], nr, 0)
			for r := range rows {
				out := c[first+r*ldc : first+r*ldc+cols]
				for q, v := range s.tile[r*nr : r*nr+cols] {
					if acc {
						v += out[q]
					}
					out[q] = v
				}
			}
		}
	}
}

// packB copies rows [k0, k0+kc) and columns [j, j+cols) of op(B) to
// dst[p*nr+q], with zeros beyond cols.
func packB(b Matrix, k0, kc, j, cols int, dst []float32) {
	pack(Matrix{b.Data, b.Stride, !b.Trans}, j, cols, use.nr, k0, kc, dst)
}

// packA copies rows [i, i+rows) and inner indexes [k0, k0+kc) of op(A) to
// dst[p*mr+r], with zeros beyond rows.
func packA(a Matrix, i, rows, k0, kc int, dst []float32) {
	pack(a, i, rows, use.mr, k0, kc, dst)
}

// pack copies op(X)[i+r, k0+p] to dst[p*width+r] for r < rows and p < kc,
// with zeros for rows <= r < width. What lies behind dst[kc*width] may be
// written.
func pack(x Matrix, i, rows, width, k0, kc int, dst []float32) {
	if kc == 0 {
		return
	}
	if rows < width {
		clear(dst[:kc*width])
	}
	if x.Trans { // r runs along memory
		src := x.Data[min(k0*x.Stride+i, len(x.Data)):]
		switch {
		case rows == 32 && width == 32:
			for p := range kc {
				*(*[32]float32)(dst[p*32:]) = *(*[32]float32)(src[p*x.Stride:])
			}
		case rows == 16 && width == 16:
			for p := range kc {
				*(*[16]float32)(dst[p*16:]) = *(*[16]float32)(src[p*x.Stride:])
			}
		case rows == 12 && width == 12:
			for p := range kc {
				*(*[12]float32)(dst[p*12:]) = *(*[12]float32)(src[p*x.Stride:])
			}
		default:
			for p := range kc {
				copy(dst[p*width:p*width+rows], src[p*x.Stride:])
			}
		}
		return
	}
	k8 := 0
	switch {
	case rows < width:
	case width >= 8:
		// Eight rows at a time are transposed; where they are not a multiple
		// of eight, the last eight overlap those before.
		k8 = kc / 8
		for r := 0; k8 > 0 && r < rows; r += 8 {
			r := min(r, rows-8)
			use.transpose8(k8, &x.Data[(i+r)*x.Stride+k0], x.Stride, &dst[r], width)
		}
	case (i+7)*x.Stride+k0+kc <= len(x.Data) && kc >= 8:
		// A narrower panel takes eight rows too, where there are as many: what
		// is too much is overwritten by the next column.
		k8 = kc / 8
		use.transpose8(k8, &x.Data[i*x.Stride+k0], x.Stride, &dst[0], width)
	}
	for r := range rows {
		src := x.Data[(i+r)*x.Stride+k0 : (i+r)*x.Stride+k0+kc]
		for p := 8 * k8; p < kc; p++ {
			dst[p*width+r] = src[p]
		}
	}
}

// The shape of the plain tile.
const goRows, goColumns = 4, 8

// tileGo is the plain micro-kernel: for i < mr, j < nr,
//
//	c[i*ldc+j] (+)= sum over p < k of a[p*mr+i] * b[p*nr+j]
func tileGo(k int, a, b, c *float32, ldc int, acc int) {
	tileOf(goRows, goColumns, k, a, b, c, ldc, acc)
}

func tileOf(mr, nr, k int, a, b, c *float32, ldc int, acc int) {
	as, bs := unsafe.Slice(a, mr*k), unsafe.Slice(b, nr*k)
	cs := unsafe.Slice(c, (mr-1)*ldc+nr)
	var sum [most]float32
	for p := range k {
		for i, x := range as[p*mr : (p+1)*mr] {
			row := sum[i*nr : (i+1)*nr]
			for j, y := range bs[p*nr : (p+1)*nr] {
				row[j] += x * y
			}
		}
	}
	for i := range mr {
		for j := range nr {
			if acc != 0 {
				sum[i*nr+j] += cs[i*ldc+j]
			}
			cs[i*ldc+j] = sum[i*nr+j]
		}
	}
}

// transpose8Go writes dst[j*step+i] = src[i*stride+j] for i < 8, j < 8*n8.
func transpose8Go(n8 int, src *float32, stride int, dst *float32, step int) {
	if n8 == 0 {
		return
	}
	s, d := unsafe.Slice(src, 7*stride+8*n8), unsafe.Slice(dst, (8*n8-1)*step+8)
	for j := range 8 * n8 {
		for i := range 8 {
			d[j*step+i] = s[i*stride+j]
		}
	}
}
