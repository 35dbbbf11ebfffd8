package gemm

import (
	"github.com/onetrunk/onetrunk/internal/par"
	"github.com/onetrunk/onetrunk/tensor/internal/vec"
)

// Parts is the number of pieces into which MulDeep cuts a long k. It does not
// depend on the workers, so neither does the result.
const Parts = 4

// deep says whether C is small and k long, so that the workers had better
// share k than C.
func deep(m, n, k int) bool { return k >= 4*depth && m*n <= 1<<19 && 2*k >= m }

// MulDeep is Mul for the gradient of a weight, whose inner index runs over the
// rows of a batch. chunk, if not nil, is called once for all inner indexes,
// in pieces [k0, k1) of a part < Parts, before A's are read: what is to be
// summed over them finds them in cache. One part is the work of one worker at
// a time.
func MulDeep(p *par.Pool, m, n, k int, a, b Matrix, c []float32, ldc int, acc bool, chunk func(part, k0, k1 int)) {
	if m == 0 || n == 0 {
		return
	}
	if deep(m, n, k) {
		mulDeep(p, m, n, k, a, b, c, ldc, acc, chunk)
		return
	}
	if chunk != nil {
		size := par.Split(k, Parts, 1)
		p.For((k+size-1)/size, func(_, i int) { chunk(i, i*size, min((i+1)*size, k)) })
	}
	Mul(p, m, n, k, a, b, c, ldc, acc, nil)
}

// mulDeep sums every part of k into a matrix of its own; they are added in
// their order.
func mulDeep(p *par.Pool, m, n, k int, a, b Matrix, c []float32, ldc int, acc bool, chunk func(part, k0, k1 int)) {
	step := (k/Parts + 7) / 8 * 8
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	sums := grow(&s.sums, Parts*m*n)
	p.For(Parts, func(_, i int) {
		from, to := min(i*step, k), min((i+1)*step, k)
		if i == Parts-1 {
			to = k
		}
		w := scratches.Get().(*scratch)
		w.product(m, n, from, to, a, b, sums[i*m*n:(i+1)*m*n], n, false, func(k0, k1 int) {
			if chunk != nil {
				chunk(i, k0, k1)
			}
		})
		scratches.Put(w)
	})
	rows := par.Split(m, 2*p.Workers(), 1)
	p.For((m+rows-1)/rows, func(_, g int) {
		for i := g * rows; i < min((g+1)*rows, m); i++ {
			ci := c[i*ldc : i*ldc+n]
			if acc {
				vec.Add(ci, ci, sums[i*n:(i+1)*n])
			} else {
				copy(ci, sums[i*n:(i+1)*n])
			}
			for q := 1; q < Parts; q++ {
				vec.Add(ci, ci, sums[(q*m+i)*n:(q*m+i+1)*n])
			}
		}
	})
}
