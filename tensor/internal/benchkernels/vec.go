package main

import "github.com/onetrunk/onetrunk/tensor/internal/vec"

// vectors times the element-wise kernels on one thread, by rows of matrices
// that the second cache does not hold, and exact search over a larger one.
func (r *result) vectors(budget float64) {
	const rows, cols = 4096, 1024
	x, y, z, w := fill(rows*cols), fill(rows*cols), fill(rows*cols), fill(rows*cols)
	for i, v := range w { // second moments
		w[i] = v * v
	}
	gamma, beta, dgamma, dbeta := fill(cols), fill(cols), fill(cols), fill(cols)
	// add measures f, which moves bytes for each element.
	add := func(name string, bytes int, f func(x, y, z, w []float32)) {
		t := median(budget, func() {
			for i := 0; i < rows*cols; i += cols {
				f(x[i:i+cols], y[i:i+cols], z[i:i+cols], w[i:i+cols])
			}
		})
		r.add(name, float64(bytes)*rows*cols/t)
	}
	add("copy", 8, func(x, y, _, _ []float32) { copy(y, x) })
	add("Add", 12, func(x, y, z, _ []float32) { vec.Add(y, x, z) })
	add("Axpy", 12, func(x, y, _, _ []float32) { vec.Axpy(0.001, x, y) })
	add("Scale", 8, func(_, y, _, _ []float32) { vec.Scale(0.999, y) })
	add("Dot", 8, func(x, y, _, _ []float32) { vec.Dot(x, y) })
	add("SumSquares", 4, func(x, _, _, _ []float32) { vec.SumSquares(x) })
	add("SumRows", 4, func(x, _, _, _ []float32) { vec.SumRows(dbeta, x, 1, cols) })
	for _, a := range []struct {
		name string
		act  vec.Act
	}{{"GELU", vec.GELU}, {"QuickGELU", vec.QuickGELU}, {"GELUTanh", vec.GELUTanh}, {"ReLU", vec.ReLU}} {
		add("BiasAct "+a.name, 8, func(x, y, _, _ []float32) { vec.BiasAct(y, nil, x, beta, a.act) })
		add("ActGrad "+a.name, 12, func(x, y, z, _ []float32) { vec.ActGrad(y, z, x, a.act) })
	}
	add("Exp", 8, func(x, y, _, _ []float32) { vec.Exp(y, x) })
	add("Tanh", 8, func(x, y, _, _ []float32) { vec.Tanh(y, x) })
	add("Erf", 8, func(x, y, _, _ []float32) { vec.Erf(y, x) })
	add("Log", 8, func(_, y, _, w []float32) { vec.Log(y, w) })
	add("Max", 4, func(x, _, _, _ []float32) { vec.Max(x) })
	add("Softmax", 8, func(_, y, _, _ []float32) { vec.Softmax(y, 1) })
	add("ExpMinus", 8, func(x, y, _, _ []float32) { vec.ExpMinus(y, x, 1, 7) })
	add("SoftmaxGrad", 12, func(x, y, z, _ []float32) { vec.SoftmaxGrad(y, x, z, 0.5) })
	add("LayerNorm", 8, func(x, y, _, _ []float32) { vec.LayerNorm(y, x, gamma, beta, 1e-5) })
	add("LayerNormGrad", 12, func(x, y, z, _ []float32) { vec.LayerNormGrad(y, dgamma, dbeta, z, x, gamma, 0, 1, false) })
	add("RMSNorm", 8, func(x, y, _, _ []float32) { vec.RMSNorm(y, x, gamma, 1e-5) })
	add("RMSNormGrad", 12, func(x, y, z, _ []float32) { vec.RMSNormGrad(y, dgamma, z, x, gamma, 1, false) })
	step := vec.AdamWStep{LR: 1e-9, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Decay: 0.1, Correct1: 1, Correct2: 1, GradScale: 1}
	add("AdamW", 28, func(x, y, z, w []float32) { vec.AdamW(x, y, z, w, step) })

	const vectors, dim = 100000, 512
	index, query, scores := fill(vectors*dim), fill(dim), make([]float32, vectors)
	const bytes = 4 * vectors * dim
	// The same vector twice comes from memory once.
	r.add("read 100000,512", bytes/median(budget, func() { vec.Dot(index, index) }))
	r.add("DotRows 100000,512", bytes/median(budget, func() { vec.DotRows(scores, index, query) }))
}

// add appends what was measured; the first is copy, which the others are
// shares of.
func (r *result) add(name string, bytesPerSecond float64) {
	v := vector{Name: name, GBs: bytesPerSecond / 1e9}
	if len(r.Vectors) == 0 {
		r.CopyGBs = v.GBs
	}
	v.Share = v.GBs / r.CopyGBs
	r.Vectors = append(r.Vectors, v)
}
