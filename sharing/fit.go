package sharing

import (
	"context"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/tensor"
)

// This file gives compressed tensors the values that come nearest to those of a
// model whose tensors are whole.

// Moments are the second moments x x' of the rows x that products read, summed by
// physical tensor: the metric in which a basis is near.
type Moments struct {
	dev  tensor.Device
	sums map[string]*tensor.Tensor // [in, in]
	rows map[string]int
}

// Observe has every pass add what its products read to the moments that it
// returns, until they are taken off by Observe's stop. Passes must not run at the
// same time.
func (w *Weights) Observe() (m *Moments, stop func()) {
	w.observe = &Moments{dev: w.Bank.dev, sums: map[string]*tensor.Tensor{}, rows: map[string]int{}}
	return w.observe, func() { w.observe = nil }
}

// add adds the rows that a product reads.
func (m *Moments) add(p *Pass, layer int, r Role, x *autograd.Var, runs []Run, o autograd.LinearOptions) {
	switch {
	case o.NormParts != nil:
		x = p.tape.Norm(x, o.NormParts, o.Norm)
	case o.Act != tensor.Identity:
		x = p.tape.Act(x, o.Act)
	}
	lo := 0
	for _, run := range runs {
		hi := lo + run.Rows
		name := p.Tensor(layer, run.Modality, r)
		if m.sums[name] == nil {
			m.sums[name] = m.dev.NewLasting(x.Cols(), x.Cols())
			m.dev.Fill(m.sums[name], 0)
		}
		rows := x.Value.Slice(lo, hi)
		m.dev.MatMul(m.sums[name], rows, rows, true, false, true)
		m.rows[name] += run.Rows
		lo = hi
	}
}

// root returns the lower triangle L of the Cholesky factorisation of the sum of
// some tensors' moments, L L' = sum x x', with a little on the diagonal: what
// rows never show must not be free. The identity stands for no moments.
func (m *Moments) root(names []string, in int) (*mat.TriDense, error) {
	sum := mat.NewSymDense(in, nil)
	mean := 0.0
	if m == nil {
		for i := range in {
			sum.SetSym(i, i, 1)
		}
		mean = 1
	} else {
		x := make([]float32, in*in)
		for _, name := range names {
			t := m.sums[name]
			if t == nil {
				return nil, fmt.Errorf("tensor %q: no row of the data reaches it; take data of all its modalities", name)
			}
			m.dev.Read(x, t)
			for i := range in {
				for j := i; j < in; j++ {
					sum.SetSym(i, j, sum.At(i, j)+float64(x[i*in+j]))
				}
			}
		}
		for i := range in {
			mean += sum.At(i, i) / float64(in)
		}
	}
	if !(mean > 0) || math.IsInf(mean, 0) {
		return nil, fmt.Errorf("tensor %q: the rows that reach it are zero or not finite", names[0])
	}
	for ridge := 1e-6 * mean; ; ridge *= 10 {
		for i := range in {
			sum.SetSym(i, i, sum.At(i, i)+ridge)
		}
		var c mat.Cholesky
		if c.Factorize(sum) {
			var l mat.TriDense
			c.LTo(&l)
			return &l, nil
		}
	}
}

// Compress sets the values of all compressed tensors, for those of a bank in which
// they are whole. moments are those that a basis is to be near in; where they are
// nil it is near in the weights alone. done, where it is not nil, is told of each
// tensor.
func (w *Weights) Compress(ctx context.Context, from *Bank, moments *Moments, done func()) error {
	c := w.Config.Compress
	for _, r := range Products {
		if !c.covers(r) {
			continue
		}
		groups := [][]string{}
		if c.Kind == "basis" {
			groups = w.bases(r)
		} else {
			for _, name := range w.Tensors(r) {
				groups = append(groups, []string{name})
			}
		}
		for _, names := range groups {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := w.compress(names, from, moments); err != nil {
				return err
			}
			if done != nil {
				for range names {
					done()
				}
			}
		}
	}
	return nil
}

// compress sets one tensor, or those that have a basis together.
func (w *Weights) compress(names []string, from *Bank, moments *Moments) error {
	c, b := w.Config.Compress, w.Bank
	var all []float32 // the weights below each other
	out, in := 0, 0
	for _, name := range names {
		p := from.Param(name + "/weight")
		x := from.Read(p)
		for _, v := range x {
			if v-v != 0 {
				return fmt.Errorf("tensor %q holds values that are not finite", p.Name)
			}
		}
		all = append(all, x...)
		out, in = p.Value.Rows, p.Value.Cols
		b.Put(b.Param(name+"/bias"), from.Read(from.Param(name+"/bias")))
	}
	switch name := names[0]; c.Kind {
	case "kmeans":
		codes, book := c.encode(all, out)
		b.coded[name+"/codes"].set(codes)
		b.Put(b.Param(name+"/codebook"), book)
	case "int8":
		codes, scales := c.encode(all, out)
		b.coded[name+"/int8"].set(codes)
		b.Put(b.Param(name+"/scale"), scales)
	case "basis":
		root, err := moments.root(names, in)
		if err != nil {
			return err
		}
		basis := b.Param(w.based[name])
		left, right := factors(all, len(names)*out, in, basis.Value.Cols, root, 0.5)
		b.Put(basis, right)
		for i, name := range names {
			k := b.Param(name + "/coefficients")
			b.Put(k, left[i*k.Value.Len():(i+1)*k.Value.Len()])
		}
	}
	return nil
}

// factors returns left [rows, rank] and right [cols, rank] with left right' as near
// to x [rows, cols] as the rank allows, in the metric root root' [cols, cols] of
// what x multiplies (nil: the identity): the truncated SVD of x root = U S V',
// left = U S^share, right' = S^(1-share) V' inverse(root). Columns that x has no
// more of are zeros.
func factors(x []float32, rows, cols, rank int, root *mat.TriDense, share float64) (left, right []float32) {
	w := mat.NewDense(rows, cols, nil)
	for i, v := range x {
		w.Set(i/cols, i%cols, float64(v))
	}
	scaled := w
	if root != nil {
		scaled = mat.NewDense(rows, cols, nil)
		scaled.Mul(w, root)
	}
	var svd mat.SVD
	if !svd.Factorize(scaled, mat.SVDThin) {
		panic("sharing: the SVD of finite numbers failed")
	}
	var u, v mat.Dense
	svd.UTo(&u)
	svd.VTo(&v)
	if root != nil { // right = inverse(root') V
		var solved mat.Dense
		if err := root.SolveTo(&solved, true, &v); err != nil {
			panic("sharing: a Cholesky factor is singular: " + err.Error())
		}
		v.CloneFrom(&solved)
	}
	left, right = make([]float32, rows*rank), make([]float32, cols*rank)
	for k, s := range svd.Values(nil) {
		if k == rank {
			break
		}
		for i := range rows {
			left[i*rank+k] = float32(u.At(i, k) * math.Pow(s, share))
		}
		for j := range cols {
			right[j*rank+k] = float32(v.At(j, k) * math.Pow(s, 1-share))
		}
	}
	return left, right
}

// encode returns codes for weights x of so many rows, and the codebook or the
// scales that they go with.
func (c *Compress) encode(x []float32, rows int) (codes []uint8, values []float32) {
	if c.Kind == "kmeans" {
		return cluster(x, 1<<c.Bits)
	}
	cols := len(x) / rows
	codes, values = make([]uint8, len(x)), make([]float32, rows)
	for i := range rows {
		row, most := x[i*cols:(i+1)*cols], float32(0)
		for _, v := range row {
			most = max(most, float32(math.Abs(float64(v))))
		}
		values[i] = most / 127
		for j, v := range row {
			q := 0.0
			if values[i] > 0 {
				q = math.Round(float64(v) / float64(values[i]))
			}
			codes[i*cols+j] = uint8(128 + max(min(q, 127), -127))
		}
	}
	return codes, values
}

// clusterRounds bounds the rounds of k-means.
const clusterRounds = 100

// cluster puts values into k clusters by k-means, whose centroids begin evenly
// between the least and the greatest value (the linear initialisation of Han et
// al. 2016, section 3.2), and returns the centroids, ascending, and each value's
// own. A centroid without values stays where it is.
func cluster(x []float32, k int) (codes []uint8, centroids []float32) {
	sorted := slices.Clone(x)
	slices.Sort(sorted)
	sums := make([]float64, len(sorted)+1)
	for i, v := range sorted {
		sums[i+1] = sums[i] + float64(v)
	}
	lo, hi := float64(sorted[0]), float64(sorted[len(sorted)-1])
	at := make([]float64, k)
	for i := range at {
		at[i] = lo + (hi-lo)*float64(i)/float64(k-1)
	}
	edge := func(i int) float32 { return float32((at[i] + at[i+1]) / 2) } // between i and i+1
	for range clusterRounds {
		begin, moved := 0, false
		for i := range at {
			end := len(sorted)
			if i < k-1 {
				end, _ = slices.BinarySearch(sorted, edge(i))
				end = max(end, begin)
			}
			if end > begin {
				mean := (sums[end] - sums[begin]) / float64(end-begin)
				moved = moved || mean != at[i]
				at[i] = mean
			}
			begin = end
		}
		if !moved {
			break
		}
	}
	edges := make([]float32, k-1)
	for i := range edges {
		edges[i] = edge(i)
	}
	codes, centroids = make([]uint8, len(x)), make([]float32, k)
	for i, v := range x {
		n, found := slices.BinarySearch(edges, v)
		if found { // what lies on an edge belongs above it
			for n < len(edges) && edges[n] == v {
				n++
			}
		}
		codes[i] = uint8(n)
	}
	for i, v := range at {
		centroids[i] = float32(v)
	}
	return codes, centroids
}
