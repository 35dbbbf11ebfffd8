package gemm

import "unsafe"

// kernel is what the driver is made of. It takes blocks of A as they are
// copied together (rows and columns), or packed in slabs (tile).
type kernel struct {
	name   string
	mr, nr int
	// rows and columns multiply m rows of A with a panel of B [k, nr]: C (+)=
	// A B for C [m, nr] with rows ldc apart. Element (i, p) of A is
	// a[i*lda+p], or a[p*lda+i] by columns.
	rows, columns func(m, k int, a *float32, lda int, b, c *float32, ldc int, acc int)
	// tile, if not nil, stands for both: it multiplies one slab of A, element
	// (i, p) being a[p*mr+i].
	tile func(k int, a, b, c *float32, ldc int, acc int)
	// transpose8 is transpose8Go. copyPanels is copyPanelsGo for panels of nr,
	// copyColumns for the groups in which columns of A are copied together.
	transpose8  func(n8 int, src *float32, stride int, dst *float32, step int)
	copyPanels  func(k, panels int, src *float32, stride int, dst *float32)
	copyColumns func(k, panels int, src *float32, stride int, dst *float32)
}

var generic = kernel{
	name: "go", mr: goRows, nr: goColumns, rows: rowsGo, columns: columnsGo,
	transpose8: transpose8Go,
	copyPanels: func(k, panels int, src *float32, stride int, dst *float32) {
		copyPanelsGo(goColumns, k, panels, src, stride, dst)
	},
	copyColumns: func(k, panels int, src *float32, stride int, dst *float32) {
		copyPanelsGo(columnGroup, k, panels, src, stride, dst)
	},
}

// use is the kernel of this machine.
var use = best()

// Kernel names the instruction set in use: "avx512", "avx2", "neon" or "go".
func Kernel() string { return use.name }

// nothing is where the panels of an empty product lie.
var nothing [1]float32

func at(x []float32, i int) *float32 {
	if i >= len(x) {
		return &nothing[0]
	}
	return &x[i]
}

// multiply is C (+)= block panel, for the first cols columns of C.
func (s *scratch) multiply(a block, panel, c []float32, ldc, cols int, acc bool) {
	nr := use.nr
	add := 0
	if acc {
		add = 1
	}
	if use.tile != nil {
		s.tiles(a, panel, c, ldc, cols, acc)
		return
	}
	to, ld := c, ldc
	if cols < nr {
		to, ld, add = grow(&s.tile, a.rows*nr), nr, 0
	}
	if a.byColumns {
		for i := 0; i < a.rows; i += a.group {
			rows, stride := a.group, a.stride
			if i+rows > a.rows {
				rows, stride = a.rows-i, a.rows-i
			}
			use.columns(rows, a.k, at(a.data, i*a.k), stride, at(panel, 0), &to[i*ld], ld, add)
		}
	} else {
		use.rows(a.rows, a.k, at(a.data, 0), a.stride, at(panel, 0), &to[0], ld, add)
	}
	if cols < nr {
		copyTile(c, ldc, to, nr, a.rows, cols, acc)
	}
}

// tiles is multiply for a kernel that takes A in slabs.
func (s *scratch) tiles(a block, panel, c []float32, ldc, cols int, acc bool) {
	mr, nr := use.mr, use.nr
	add := 0
	if acc {
		add = 1
	}
	for i := 0; i < a.rows; i += mr {
		rows := min(mr, a.rows-i)
		if rows == mr && cols == nr {
			use.tile(a.k, at(a.data, i*a.k), at(panel, 0), &c[i*ldc], ldc, add)
			continue
		}
		tile := grow(&s.tile, mr*nr)
		use.tile(a.k, at(a.data, i*a.k), at(panel, 0), &tile[0], nr, 0)
		copyTile(c[i*ldc:], ldc, tile, nr, rows, cols, acc)
	}
}

func copyTile(c []float32, ldc int, tile []float32, nr, rows, cols int, acc bool) {
	for r := range rows {
		out := c[r*ldc : r*ldc+cols]
		for q, v := range tile[r*nr : r*nr+cols] {
			if acc {
				v += out[q]
			}
			out[q] = v
		}
	}
}

// The shape of the plain tile.
const goRows, goColumns = 4, 8

// rowsGo is the plain kernel: for i < m, j < nr,
//
//	c[i*ldc+j] (+)= sum over p < k of a[i*lda+p] * b[p*nr+j]
func rowsGo(m, k int, a *float32, lda int, b, c *float32, ldc int, acc int) {
	panelGo(goColumns, m, k, a, lda, 1, b, c, ldc, acc)
}

// columnsGo is rowsGo with a[p*lda+i].
func columnsGo(m, k int, a *float32, lda int, b, c *float32, ldc int, acc int) {
	panelGo(goColumns, m, k, a, 1, lda, b, c, ldc, acc)
}

func panelGo(nr, m, k int, a *float32, rs, cs int, b, c *float32, ldc int, acc int) {
	if m == 0 {
		return
	}
	as := unsafe.Slice(a, max((m-1)*rs+(k-1)*cs+1, 0))
	bs := unsafe.Slice(b, nr*k)
	cs0 := unsafe.Slice(c, (m-1)*ldc+nr)
	var sum [32]float32
	for i := range m {
		row := sum[:nr]
		clear(row)
		for p := range k {
			x := as[i*rs+p*cs]
			for j, y := range bs[p*nr : (p+1)*nr] {
				row[j] += x * y
			}
		}
		out := cs0[i*ldc : i*ldc+nr]
		for j, v := range row {
			if acc != 0 {
				v += out[j]
			}
			out[j] = v
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

// copyPanelsGo writes dst[(q*k+p)*nr+j] = src[p*stride+q*nr+j] for p < k, q <
// panels, j < nr.
func copyPanelsGo(nr, k, panels int, src *float32, stride int, dst *float32) {
	s, d := unsafe.Slice(src, (k-1)*stride+panels*nr), unsafe.Slice(dst, panels*k*nr)
	for q := range panels {
		for p := range k {
			copy(d[(q*k+p)*nr:(q*k+p+1)*nr], s[p*stride+q*nr:])
		}
	}
}
