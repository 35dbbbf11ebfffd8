package tensor

import (
	"fmt"
	"math"
)

func (d *cpu) TopK(columns []int32, values []float32, x *Tensor, k int) {
	if k < 1 || k > x.Cols || len(columns) != x.Rows*k || len(values) != x.Rows*k {
		panic(fmt.Sprintf("tensor: TopK: %d of x %v into %d columns and %d values", k, x, len(columns), len(values)))
	}
	d.pieces(x.Rows, max((1<<12)/max(x.Cols, 1), 1), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			// The best so far stand in order; each further one finds its place.
			best, of := columns[i*k:(i+1)*k], values[i*k:(i+1)*k]
			n := 0
			for j, v := range row(x, i) {
				at := n
				for at > 0 && v > of[at-1] {
					at--
				}
				if at == k {
					continue
				}
				n = min(n+1, k)
				copy(best[at+1:n], best[at:])
				copy(of[at+1:n], of[at:])
				best[at], of[at] = int32(j), v
			}
		}
	})
}

func (d *cpu) GateLoss(loss, dlogits, logits, noisy *Tensor, chosen []int32, g GateLoss) {
	same("GateLoss", logits, noisy, dlogits)
	want("GateLoss", "loss", loss, 1, 1)
	for _, runs := range [][]int{g.Gates, g.Modalities} {
		n := 0
		for _, rows := range runs {
			n += rows
		}
		if n != logits.Rows || len(chosen) != n*g.K || len(g.Least) != len(g.Modalities) {
			panic(fmt.Sprintf("tensor: GateLoss: runs of %d rows and %d choices for logits %v", n, len(chosen), logits))
		}
	}
	l := newGateLoss(logits, noisy, chosen, g)
	l.runs(g.Gates, func(lo, hi, _ int, weight float64) {
		l.balance(lo, hi, weight)
		l.load(lo, hi, weight*g.Load)
	})
	l.runs(g.Modalities, func(lo, hi, run int, weight float64) {
		l.entropies(lo, hi, g.Least[run], weight)
	})
	l.z()
	written(loss)[0] = float32(l.loss)
	l.gradient(dlogits)
}

// gateLoss is the working of GateLoss: rows of e columns.
type gateLoss struct {
	GateLoss
	logits, noisy *Tensor
	chosen        []int32
	e             int
	p, log        []float64 // softmax and its logarithm
	lse           []float64 // by row
	dp, dl        []float64 // the gradients by p, and by the logits directly
	loss          float64
}

func newGateLoss(logits, noisy *Tensor, chosen []int32, g GateLoss) *gateLoss {
	n, e := logits.Rows, logits.Cols
	all := make([]float64, 4*n*e+n)
	l := &gateLoss{
		GateLoss: g, logits: logits, noisy: noisy, chosen: chosen, e: e,
		p: all[:n*e], log: all[n*e : 2*n*e], dp: all[2*n*e : 3*n*e], dl: all[3*n*e : 4*n*e], lse: all[4*n*e:],
	}
	for t := range n {
		x := row(logits, t)
		most, sum := math.Inf(-1), 0.0
		for _, v := range x {
			most = max(most, float64(v))
		}
		for _, v := range x {
			sum += math.Exp(float64(v) - most)
		}
		l.lse[t] = most + math.Log(sum)
		for j, v := range x {
			l.log[t*e+j] = float64(v) - l.lse[t]
			l.p[t*e+j] = math.Exp(l.log[t*e+j])
		}
	}
	return l
}

// runs calls f for each run of rows [lo, hi) that there is, with its number and
// one over how many there are.
func (l *gateLoss) runs(lens []int, f func(lo, hi, run int, weight float64)) {
	n := 0.0
	for _, rows := range lens {
		if rows > 0 {
			n++
		}
	}
	lo := 0
	for i, rows := range lens {
		if rows > 0 {
			f(lo, lo+rows, i, 1/n)
		}
		lo += rows
	}
}

// mean returns the means of the columns of x in rows [lo, hi).
func (l *gateLoss) mean(x []float64, lo, hi int) []float64 {
	m := make([]float64, l.e)
	for t := lo; t < hi; t++ {
		for j := range m {
			m[j] += x[t*l.e+j] / float64(hi-lo)
		}
	}
	return m
}

// balance adds Switch and Importance of rows [lo, hi), times weight.
func (l *gateLoss) balance(lo, hi int, weight float64) {
	if l.Switch == 0 && l.Importance == 0 {
		return
	}
	n := float64(hi - lo)
	share := make([]float64, l.e)
	for _, j := range l.chosen[lo*l.K : hi*l.K] {
		share[j] += 1 / (n * float64(l.K))
	}
	mean := l.mean(l.p, lo, hi)
	cv, by := variation(mean)
	l.loss += weight * l.Importance * cv
	for j := range by {
		by[j] *= l.Importance
		by[j] += l.Switch * float64(l.e) * share[j]
		l.loss += weight * l.Switch * float64(l.e) * share[j] * mean[j]
	}
	for t := lo; t < hi; t++ {
		for j, v := range by {
			l.dp[t*l.e+j] += weight * v / n
		}
	}
}

// load adds the load's variation in rows [lo, hi), times weight. A column is
// chosen where its logit and noise pass the least that is chosen now, which moves
// with its own logit.
func (l *gateLoss) load(lo, hi int, weight float64) {
	if weight == 0 {
		return
	}
	n := float64(hi - lo)
	chances, density := make([]float64, len(l.p)), make([]float64, len(l.p))
	last := func(t int) int { return int(l.chosen[(t+1)*l.K-1]) }
	for t := lo; t < hi; t++ {
		at := float64(row(l.noisy, t)[last(t)])
		for j, v := range row(l.logits, t) {
			z := (at - float64(v)) / l.Sigma
			chances[t*l.e+j] = 0.5 * math.Erfc(z/math.Sqrt2)
			density[t*l.e+j] = math.Exp(-z*z/2) / math.Sqrt(2*math.Pi) / l.Sigma
		}
	}
	cv, by := variation(l.mean(chances, lo, hi))
	l.loss += weight * cv
	for t := lo; t < hi; t++ {
		for j, v := range by {
			d := weight * v / n * density[t*l.e+j]
			l.dl[t*l.e+j] += d
			l.dl[t*l.e+last(t)] -= d
		}
	}
}

// variation returns the squared coefficient of variation of values, and its
// derivative by each.
func variation(x []float64) (cv float64, by []float64) {
	n := float64(len(x))
	var mean, square float64
	for _, v := range x {
		mean += v / n
		square += v * v / n
	}
	by = make([]float64, len(x))
	for i, v := range x {
		by[i] = 2 * (v*mean - square) / (n * mean * mean * mean)
	}
	return square/(mean*mean) - 1, by
}

// entropies adds Local and Global of rows [lo, hi), times weight.
func (l *gateLoss) entropies(lo, hi int, least, weight float64) {
	n := float64(hi - lo)
	if l.Local != 0 {
		for i := lo * l.e; i < hi*l.e; i++ {
			l.loss -= weight * l.Local * l.p[i] * l.log[i] / n
			l.dp[i] -= weight * l.Local * (l.log[i] + 1) / n
		}
	}
	if l.Global == 0 {
		return
	}
	mean, missing := l.mean(l.p, lo, hi), least
	for _, v := range mean {
		if v > 0 {
			missing += v * math.Log(v)
		}
	}
	if missing <= 0 {
		return
	}
	l.loss += weight * l.Global * missing
	for t := lo; t < hi; t++ {
		for j, v := range mean {
			if v > 0 {
				l.dp[t*l.e+j] += weight * l.Global * (math.Log(v) + 1) / n
			}
		}
	}
}

// z adds Z of all rows.
func (l *gateLoss) z() {
	if l.Z == 0 {
		return
	}
	n := float64(len(l.lse))
	for t, v := range l.lse {
		l.loss += l.Z * v * v / n
		for j := range l.e {
			l.dl[t*l.e+j] += l.Z * 2 * v * l.p[t*l.e+j] / n
		}
	}
}

// gradient writes the gradient by the logits.
func (l *gateLoss) gradient(to *Tensor) {
	g := written(to)
	for t := range l.lse {
		at := t * l.e
		var mean float64
		for j := range l.e {
			mean += l.p[at+j] * l.dp[at+j]
		}
		for j := range l.e {
			g[at+j] = float32(l.dl[at+j] + l.p[at+j]*(l.dp[at+j]-mean))
		}
	}
}
