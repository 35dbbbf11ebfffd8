// Package blas puts the project's float32 matrix product behind gonum's BLAS
// interfaces.
package blas

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
	"gonum.org/v1/gonum/blas/gonum"

	"github.com/onetrunk/onetrunk/internal/par"
	"github.com/onetrunk/onetrunk/tensor/internal/gemm"
)

// Implementation is gonum's implementation with Sgemm replaced.
type Implementation struct {
	gonum.Implementation
	pool *par.Pool
}

// New makes an implementation that multiplies on the given number of threads
// (0: one for each processor).
func New(threads int) Implementation {
	return Implementation{pool: par.New(par.Threads(threads))}
}

// Use makes an implementation of New the one that blas32 calls.
func Use(threads int) { blas32.Use(New(threads)) }

// Sgemm computes C = alpha op(A) op(B) + beta C, C [m, n] with an inner size
// of k, as gonum's does, and panics where it does.
func (impl Implementation) Sgemm(tA, tB blas.Transpose, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	if m <= 0 || n <= 0 || k <= 0 || alpha == 0 || !valid(tA) || !valid(tB) {
		// Nothing to multiply, or a mistake that gonum names.
		impl.Implementation.Sgemm(tA, tB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
		return
	}
	transA, transB := tA != blas.NoTrans, tB != blas.NoTrans
	if !fits(transA, m, k, lda, len(a)) || !fits(transB, k, n, ldb, len(b)) || !fits(false, m, n, ldc, len(c)) {
		impl.Implementation.Sgemm(tA, tB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
		return
	}
	scale := beta / alpha
	for i := range m {
		row := c[i*ldc : i*ldc+n]
		switch {
		case beta == 0:
			clear(row)
		case scale != 1:
			for j := range row {
				row[j] *= scale
			}
		}
	}
	gemm.Mul(impl.pool, m, n, k,
		gemm.Matrix{Data: a, Stride: lda, Trans: transA},
		gemm.Matrix{Data: b, Stride: ldb, Trans: transB}, c, ldc, beta != 0, func(b gemm.Block) {
			if alpha == 1 {
				return
			}
			for i := b.I0; i < b.I1; i++ {
				row := b.Row(i)
				for j := range row {
					row[j] *= alpha
				}
			}
		})
}

func valid(t blas.Transpose) bool {
	return t == blas.NoTrans || t == blas.Trans || t == blas.ConjTrans
}

// fits says whether op(X) [rows, cols] lies within a slice.
func fits(trans bool, rows, cols, ld, length int) bool {
	if trans {
		rows, cols = cols, rows
	}
	return ld >= max(1, cols) && length >= (rows-1)*ld+cols
}
