package gemm

// Panels is an operand B [k, n] that one goroutine packs for products of its
// own, in one piece of k: attention's keys and values. A piece of up to depth
// inner indexes is fast.
type Panels struct {
	n, k int
	data []float32
	s    scratch
}

// Pack packs op(B) [k, n] in the memory of what was packed before.
func (b *Panels) Pack(n, k int, m Matrix) {
	nr := use.nr
	b.n, b.k = n, k
	b.data = grow(&b.data, (n+nr-1)/nr*nr*k)
	b.s.packB(m, 0, k, 0, n, b.data)
}

// Mul computes the first n columns of C = op(A) B, or C += with acc, for C [m,
// n] with rows ldc apart, with the first k rows of B. A is read where it lies.
// padded says that C's rows have room for columns up to a multiple of 32,
// which may be written too.
func (b *Panels) Mul(m, n, k int, a Matrix, c []float32, ldc int, acc, padded bool) {
	if m == 0 || n == 0 {
		return
	}
	nr := use.nr
	block := block{rows: m, k: k, data: a.Data, stride: a.Stride, byColumns: a.Trans, group: m}
	if use.tile != nil {
		block = b.s.slabs(a, 0, m, 0, k)
	}
	for j := 0; j < n; j += nr {
		cols := nr
		if !padded {
			cols = min(nr, n-j)
		}
		b.s.multiply(block, b.data[j*b.k:j*b.k+nr*k], c[j:], ldc, cols, acc)
	}
}
