// Package gemm multiplies float32 matrices.
package gemm

import "github.com/onetrunk/onetrunk/tensor/internal/par"

type Matrix struct {
	Data   []float32
	Stride int
	Trans  bool
}
type Scratch struct{}

func Kernel() string { return "go" }
func (m Matrix) at(i, j int) float32 {
	if m.Trans {
		i, j = j, i
	}
	return m.Data[i*m.Stride+j]
}
func Mul(p *par.Pool, m, n, k int, a, b Matrix, c []float32, ldc int, acc bool, done func(i0, i1, j0, j1 int)) {
	Small(nil, m, n, k, 1, a, b, c, ldc, acc)
	if done != nil {
		done(0, m, 0, n)
	}
}
func Small(s *Scratch, m, n, k int, alpha float32, a, b Matrix, c []float32, ldc int, acc bool) {
	for i := 0; i < m; i++ {
		for j := 0; j < n; j++ {
			var x float32
			for q := 0; q < k; q++ {
				x += a.at(i, q) * b.at(q, j)
			}
			if acc {
				c[i*ldc+j] += alpha * x
			} else {
				c[i*ldc+j] = alpha * x
			}
		}
	}
}
