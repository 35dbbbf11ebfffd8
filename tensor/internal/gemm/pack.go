package gemm

import "github.com/onetrunk/onetrunk/internal/par"

// Packed is an operand B [k, n] in panels: for every piece of k, panels of nr
// columns, element (p, j) of a panel at p*nr+j, with zeros beyond n.
type Packed struct {
	n, k int
	data []float32
}

// Len returns the number of floats that it holds.
func (b *Packed) Len() int { return len(b.data) }

// Pack packs op(B) [k, n] on the pool's workers, in the memory of what was
// packed before.
func (b *Packed) Pack(p *par.Pool, n, k int, m Matrix) {
	nr, step := use.nr, chunk(k)
	panels := (n + nr - 1) / nr
	b.n, b.k = n, k
	b.data = grow(&b.data, panels*nr*max(k, 1))
	const group = 8
	groups, pieces := (panels+group-1)/group, (k+step-1)/step
	workers := p.Workers()
	if n*k <= 1<<14 {
		workers = 1
	}
	each(p, workers, pieces*groups, func(i int) {
		k0, q0 := i/groups*step, i%groups*group
		kc, q1 := min(step, k-k0), min(q0+group, panels)
		s := scratches.Get().(*scratch)
		s.packB(m, k0, kc, q0*nr, min(q1*nr, n)-q0*nr, b.data[panels*nr*k0+q0*nr*kc:])
		scratches.Put(s)
	})
}

// panel returns panel q of the inner indexes [k0, k0+kc).
func (b *Packed) panel(k0, kc, q int) []float32 {
	nr := use.nr
	panels := (b.n + nr - 1) / nr
	at := panels*nr*k0 + q*nr*kc
	return b.data[at : at+nr*kc]
}

// view returns rows [i0, i1) and columns [j0, j1) of the matrix that op
// transposes: its data, or what Load writes to tmp.
func (m Matrix) view(i0, i1, j0, j1 int, tmp *[]float32) (data []float32, stride int) {
	if m.Load != nil {
		data, stride = grow(tmp, (i1-i0)*(j1-j0)), j1-j0
		m.Load(data, stride, i0, i1, j0, j1)
		return data, stride
	}
	return m.Data[i0*m.Stride+j0 : (i1-1)*m.Stride+j1], m.Stride
}

// packB packs rows [k0, k0+kc) and columns [j0, j0+cols) of op(B) into panels.
func (s *scratch) packB(b Matrix, k0, kc, j0, cols int, dst []float32) {
	if kc == 0 {
		return
	}
	nr := use.nr
	if b.Trans { // columns of op(B) are rows
		x, stride := b.view(j0, j0+cols, k0, k0+kc, &s.rows)
		for j := 0; j < cols; j += nr {
			transpose(x, stride, j, min(nr, cols-j), nr, kc, dst[j*kc:(j+nr)*kc])
		}
		return
	}
	x, stride := b.view(k0, k0+kc, j0, j0+cols, &s.rows)
	full := cols / nr
	if full > 0 {
		use.copyPanels(kc, full, &x[0], stride, &dst[0])
	}
	if j := full * nr; j < cols {
		d := dst[j*kc : (j+nr)*kc]
		clear(d)
		for p := range kc {
			copy(d[p*nr:p*nr+cols-j], x[p*stride+j:])
		}
	}
}

// columnGroup is the number of columns that are copied together: four slabs of
// a kernel for six rows. Whole rows of a block would be so far apart that most
// of what a slab touches falls into a few sets of the first cache.
const columnGroup = 24

// block is rows of A for one piece of k, as the kernel wants them.
type block struct {
	rows, k int
	data    []float32
	// Element (i, p) is data[i*stride+p]; by columns, it is data[p*stride+i]
	// for groups of i that follow each other, of which the last has the stride
	// of what it holds. Slabs of a kernel that takes them packed follow each
	// other too.
	stride    int
	byColumns bool
	group     int
}

// block copies rows [i0, i1) and inner indexes [k0, k0+kc) of op(A) together.
func (s *scratch) block(a Matrix, i0, i1, k0, kc int) block {
	mc := i1 - i0
	if kc == 0 {
		return block{rows: mc}
	}
	if use.tile != nil {
		return s.slabs(a, i0, i1, k0, kc)
	}
	out := block{rows: mc, k: kc, byColumns: a.Trans}
	if !a.Trans {
		// Rows a power of two apart would be in each other's way in the first
		// cache, at three quarters of the speed.
		out.stride = kc + 8
		out.data = grow(&s.a, mc*out.stride)
		if a.Load != nil {
			a.Load(out.data, out.stride, i0, i1, k0, k0+kc)
			return out
		}
		for i := range mc {
			copy(out.data[i*out.stride:i*out.stride+kc], a.Data[(i0+i)*a.Stride+k0:])
		}
		return out
	}
	out.stride, out.group = columnGroup, columnGroup
	out.data = grow(&s.a, mc*kc)
	x, stride := a.view(k0, k0+kc, i0, i1, &s.rows)
	full := mc / columnGroup
	if full > 0 {
		use.copyColumns(kc, full, &x[0], stride, &out.data[0])
	}
	if i := full * columnGroup; i < mc {
		rest := mc - i
		for p := range kc {
			copy(out.data[i*kc+p*rest:i*kc+(p+1)*rest], x[p*stride+i:])
		}
	}
	return out
}

// slabs is block for a kernel that takes A packed: slabs of mr rows, element
// (i, p) of a slab at p*mr+i, with zeros beyond the rows.
func (s *scratch) slabs(a Matrix, i0, i1, k0, kc int) block {
	mr := use.mr
	mc := i1 - i0
	n := (mc + mr - 1) / mr
	out := block{rows: mc, k: kc, data: grow(&s.a, n*mr*kc)}
	if a.Trans {
		x, stride := a.view(k0, k0+kc, i0, i1, &s.rows)
		for i := range n {
			rows := min(mr, mc-i*mr)
			d := out.data[i*mr*kc : (i+1)*mr*kc]
			if rows < mr {
				clear(d)
			}
			for p := range kc {
				copy(d[p*mr:p*mr+rows], x[p*stride+i*mr:])
			}
		}
		return out
	}
	x, stride := a.view(i0, i1, k0, k0+kc, &s.rows)
	for i := range n {
		transpose(x, stride, i*mr, min(mr, mc-i*mr), mr, kc, out.data[i*mr*kc:(i+1)*mr*kc])
	}
	return out
}

// transpose copies x[(i+r)*stride+p] to dst[p*width+r] for r < rows and p < k,
// with zeros for rows <= r < width.
func transpose(x []float32, stride, i, rows, width, k int, dst []float32) {
	if rows < width {
		clear(dst)
	}
	k8 := 0
	if rows >= 8 && width >= 8 && k >= 8 {
		// Eight rows at a time; where they are not a multiple of eight, the
		// last eight overlap those before.
		k8 = k / 8
		for r := 0; r < rows; r += 8 {
			r := min(r, rows-8)
			use.transpose8(k8, &x[(i+r)*stride], stride, &dst[r], width)
		}
	}
	for r := range rows {
		src := x[(i+r)*stride : (i+r)*stride+k]
		for p := 8 * k8; p < k; p++ {
			dst[p*width+r] = src[p]
		}
	}
}
