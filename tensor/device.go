package tensor

import "github.com/onetrunk/onetrunk/tensor/internal/vec"

// Device computes on tensors in its own memory. Shapes are stated with each
// operation; a wrong one panics. Outputs must not overlap inputs unless it is
// said that they may. "acc" says that the result is added to what the output
// holds. All methods are safe for concurrent use on different outputs, and
// their results are a function of the operands and the number of threads.
type Device interface {
	// String names the device: "cpu (avx2, 2 threads)".
	String() string

	// New returns a tensor [rows, cols] whose elements are undefined, reusing
	// memory given back by Free.
	New(rows, cols int) *Tensor
	// NewLasting is New for a tensor that lives long, a parameter or a moment:
	// it takes no more memory than it needs, which is not used again.
	NewLasting(rows, cols int) *Tensor
	// Hold returns a tensor of values that the caller does not change any more
	// and that live as long as owner: weights in a file that is mapped. It may
	// use them where they are; a tensor that is written to gets memory of its
	// own first.
	Hold(rows, cols int, values []float32, owner any) *Tensor
	// Free gives back a tensor that came from the device. Views of it die with
	// it.
	Free(t *Tensor)
	// Write copies the pieces of src one after the other from the host; their
	// lengths sum to t.Len().
	Write(t *Tensor, src ...[]float32)
	// Read copies t to the host, len(dst) = t.Len(), once it is computed.
	Read(dst []float32, t *Tensor)
	Copy(dst, src *Tensor)
	Fill(t *Tensor, v float32)
	// Scale is t *= alpha.
	Scale(t *Tensor, alpha float32)
	// Axpy is y += alpha x, same shapes.
	Axpy(y *Tensor, alpha float32, x *Tensor)
	// Clamp holds every element of t within [lo, hi].
	Clamp(t *Tensor, lo, hi float32)
	// Mul is y = a b, element by element, or += with acc.
	Mul(y, a, b *Tensor, acc bool)
	// ScaleRows is y = x with row i times s[i], x and y [T, D], s [T, 1], or +=
	// with acc.
	ScaleRows(y, x, s *Tensor, acc bool)
	// RowDots is d[i] += the product of the rows i of a and b [T, D], d [T, 1].
	RowDots(d, a, b *Tensor)
	// Above is y = 1 where x >= at, and 0 elsewhere.
	Above(y, x *Tensor, at float32)
	// AddSign is y += alpha where x > 0, and -= alpha where x < 0.
	AddSign(y *Tensor, alpha float32, x *Tensor)
	// Keep puts back old where mask is 0, same shapes.
	Keep(t, old, mask *Tensor)
	// Greatest makes masks 1 at the n elements of scores that are greatest by
	// magnitude, over all the tensors together, and 0 elsewhere; of equal ones
	// the first. Elements where within is 0 are not chosen, nor more than there
	// are; a nil within has all. Masks may be those of within.
	Greatest(masks, scores, within []*Tensor, n int)

	// Linear is y = in(x) w' + b + residual for x.X [T, I], w [O, I], b [1, O]
	// or nil, residual [T, O] or nil, y [T, O].
	Linear(y *Tensor, x Input, w, b, residual *Tensor)
	// Int8 returns a weight [O, I] for Linear alone: products with it round it
	// to int8, each row of it to a scale of its own, and rows of x to integers.
	Int8(w *Tensor) *Tensor
	// Codes returns a matrix of small whole numbers, row-major, for Lookup alone. The
	// caller does not change them any more.
	Codes(rows, cols int, codes []uint8) *Tensor
	// Lookup is y = table[codes] element by element, table [1, K], codes of Codes
	// and below K, y of their shape. LookupGrad is its gradient by the table:
	// dtable += the sums of the elements of dy that each value serves.
	Lookup(y, table, codes *Tensor)
	LookupGrad(dtable, dy, codes *Tensor)
	// LinearInputGrad is the gradient of Linear by its input: dx [T, I] = or,
	// with acc, += in'(x) (dy w), with what the parts of a norm want.
	LinearInputGrad(dx, dy, w *Tensor, x Input, acc bool)
	// LinearWeightGrad is the gradient of Linear by its weight and its bias, of
	// which either may be nil: dw [O, I] = dy' in(x), db [1, O] = the sum of
	// dy's rows, or += with accW and accB.
	LinearWeightGrad(dw, db, dy *Tensor, x Input, accW, accB bool)
	// Act is y = act(x), ActGrad its gradient: dx = or, with acc, +=
	// act'(x) dy.
	Act(y, x *Tensor, act Act)
	ActGrad(dx, dy, x *Tensor, act Act, acc bool)
	// MatMul is c = op(a) op(b), or c += with acc; op transposes when asked.
	MatMul(c, a, b *Tensor, transA, transB, acc bool)

	// Softmax is y = softmax of each row of x [T, E], SoftmaxGrad its gradient:
	// dx = or, with acc, += y (dy - y.dy).
	Softmax(y, x *Tensor)
	SoftmaxGrad(dx, dy, y *Tensor, acc bool)
	// TopK writes, to the host, the columns of the k greatest elements of each row
	// of x [T, E] and their values, the greatest first and of equals the first
	// column: T k of each.
	TopK(columns []int32, values []float32, x *Tensor, k int)
	// GateLoss is what the logits [T, E] of gates cost: loss [1, 1], and its
	// gradient dlogits [T, E] =. noisy is the logits by which each row's g.K
	// columns were chosen (T K, the best first).
	GateLoss(loss, dlogits, logits, noisy *Tensor, chosen []int32, g GateLoss)
	// SpanMul is y = x with each run of rows times a matrix of its own: run i is
	// the next lens[i] rows of x [T, R], its matrix is row i of s [N, R R].
	// SpanMulGrad is its gradient, dx = and ds =.
	SpanMul(y, x, s *Tensor, lens []int)
	SpanMulGrad(dx, ds, dy, x, s *Tensor, lens []int)
	// GRU is one step of gated recurrent units, from states prev to y [N, D]:
	//   r = sigmoid(x_r + p_r), z = sigmoid(x_z + p_z), n = tanh(x_n + r p_n)
	//   y = (1 - z) n + z prev
	// with x [N, 3D] what the inputs and p [N, 3D] what the states say to r, z
	// and n, side by side. gates [N, 3D] receives r, z and n.
	GRU(y, gates, x, p, prev *Tensor)
	// GRUGrad is its gradient: dx [N, 3D] =, dp [N, 3D] =, dprev [N, D] =.
	GRUGrad(dx, dp, dprev, dy, gates, p, prev *Tensor)

	// Norm normalises each row of x [T, D] into y [T, D] with gamma [1, D]
	// and, for LayerNorm, beta [1, D]; stats [T, 2] receives mean and 1/std.
	Norm(y, stats, x, gamma, beta *Tensor, o Norm)
	// NormGrad is the gradient of Norm: dx (acc), dgamma += , dbeta += .
	NormGrad(dx, dgamma, dbeta, dy, x, stats, gamma *Tensor, o Norm, acc bool)

	// Attention runs within each span of the packed qkv [T, 3D] (queries,
	// keys, values side by side, each of heads blocks of D/heads columns):
	// y [R, D] = softmax(q k' / sqrt(D/heads)) v, with a row for each query of
	// the spans, R = Queries(spans). lse [R, heads] receives the logarithm of
	// each softmax's denominator.
	Attention(y, lse, qkv *Tensor, spans []Span, heads int)
	// AttentionGrad is the gradient of Attention, dqkv [T, 3D] = .
	AttentionGrad(dqkv, dy, y, lse, qkv *Tensor, spans []Span, heads int)

	// Gather is y = S x, or += with acc: y [S.Rows(), D], x [N, D].
	Gather(y *Tensor, s *Sparse, x *Tensor, acc bool)
	// Scatter is dx += S' dy, the gradient of Gather.
	Scatter(dx *Tensor, s *Sparse, dy *Tensor)

	// Unit scales each row of x [B, D] to length 1; lengths [B, 1] receives
	// the former lengths (at least 1e-12).
	Unit(y, lengths, x *Tensor)
	// UnitGrad is dx = (dy - y (y.dy)) / length, or += with acc.
	UnitGrad(dx, dy, y, lengths *Tensor, acc bool)

	// Contrast is one direction of InfoNCE over similarities sim [N, M] with
	// logits exp(logScale) sim and logScale [1, 1]: row i's targets are
	// uniform over the columns j with cols[j] = rows[i], of which there must
	// be at least one. loss [1, 1] receives the mean cross-entropy, hits
	// [1, 1] the share of rows whose greatest similarity is a target's, dsim
	// [N, M] and dscale [1, 1] the gradients of the loss by sim and logScale.
	Contrast(loss, hits, dsim, dscale, sim, logScale *Tensor, rows, cols []int32)

	// Dot returns the sum of a b over all elements, SumAbs that of |t|.
	Dot(a, b *Tensor) float64
	SumAbs(t *Tensor) float64
	// SumSquares returns the sum of the squares of all elements.
	SumSquares(t *Tensor) float64
	// AdamW changes parameter p with gradient g and moments m and v, all of
	// one shape.
	AdamW(p, g, m, v *Tensor, s AdamWStep)
}

// GateLoss weighs what a gate costs, of the softmax p of logits without noise.
// The first three are of the rows of a gate, the mean over the gates; Local and
// Global are of the rows of a modality, the mean over the modalities; Z is of all
// rows.
type GateLoss struct {
	// Switch is of E sum_e f_e mean(p_e), f_e the share of the choices that are e
	// (Lepikhin et al. 2021, Fedus et al. 2022).
	Switch float64
	// Importance is of the squared coefficient of variation of mean(p_e), and Load
	// of that of the mean probability that e would be chosen with other noise of
	// standard deviation Sigma (Riquelme et al. 2021, appendix A.2).
	Importance, Load, Sigma float64
	// Local is of the mean entropy of p, Global of what the entropy of mean(p)
	// has less than Least, in nats (Mustafa et al. 2022).
	Local, Global float64
	// Z is of the mean square of the logarithm of the softmax's denominator (Zoph
	// et al. 2022).
	Z float64

	// K is the number of columns that are chosen for a row.
	K int
	// Gates and Modalities are the lengths of runs of rows, each covers all rows;
	// Least is by run of a modality.
	Gates, Modalities []int
	Least             []float64
}

// Act is an activation function.
type Act = vec.Act

// The activations: none, GELU by the error function, x sigmoid(1.702 x),
// max(x, 0), and GELU by the hyperbolic tangent.
const (
	Identity  = vec.Identity
	GELU      = vec.GELU
	QuickGELU = vec.QuickGELU
	ReLU      = vec.ReLU
	GELUTanh  = vec.GELUTanh
)

// AdamWStep holds the numbers of one AdamW step.
type AdamWStep = vec.AdamWStep

// Norm says how rows are normalised.
type Norm struct {
	// RMS divides by the root mean square; otherwise layer norm.
	RMS bool
	// Eps is added to the variance.
	Eps float32
}

// Input is how a product reads its rows X [T, I]: as they are, through an
// activation, or normalised. What is read needs no memory of its own.
type Input struct {
	X    *Tensor
	Act  Act
	Norm *InputNorm
}

// InputNorm normalises the rows of an input.
type InputNorm struct {
	Norm
	// Stats [T, 2] receives mean and 1/std in Linear, and gives them to the
	// gradients.
	Stats *Tensor
	// Parts cover all rows, in order.
	Parts []NormPart
}

// NormPart is the weights that serve a run of rows: Gamma [1, I] and, for
// layer norm, Beta [1, I]. LinearInputGrad adds to DGamma and DBeta.
type NormPart struct {
	Rows                       int
	Gamma, Beta, DGamma, DBeta *Tensor
}

// Span is a sequence within a packed matrix: rows [Start, Start+Len).
type Span struct {
	Start, Len int
	// Causal lets row i attend to rows up to i alone.
	Causal bool
	// One makes row Query of the span its only query; otherwise all rows are.
	// Query Len is the row behind the span, which is no key.
	One   bool
	Query int
	// Skip is what attention's result has fewer rows before the span's than
	// the queries' matrix: query i has row Start+i-Skip.
	Skip int
}

// Queries returns the number of queries of all spans.
func Queries(spans []Span) (n int) {
	for _, s := range spans {
		if s.One {
			n++
		} else {
			n += s.Len
		}
	}
	return n
}

// Sparse is a matrix of few entries, row by row: the entries of row i are
// Weight[e] at column Index[e] for e in [Start[i], Start[i+1]).
type Sparse struct {
	Start  []int32
	Index  []int32
	Weight []float32
}

// Rows returns the number of rows.
func (s *Sparse) Rows() int { return max(len(s.Start)-1, 0) }

// Reset takes all rows out and keeps the memory.
func (s *Sparse) Reset() { s.Start, s.Index, s.Weight = s.Start[:0], s.Index[:0], s.Weight[:0] }

// Add adds an entry to the row that EndRow will end.
func (s *Sparse) Add(column int32, weight float32) {
	s.Index = append(s.Index, column)
	s.Weight = append(s.Weight, weight)
}

// EndRow ends a row, which may be empty.
func (s *Sparse) EndRow() {
	if len(s.Start) == 0 {
		s.Start = append(s.Start, 0)
	}
	s.Start = append(s.Start, int32(len(s.Index)))
}

// Append adds a row with a one at each of the columns.
func (s *Sparse) Append(columns ...int32) {
	for _, c := range columns {
		s.Add(c, 1)
	}
	s.EndRow()
}
