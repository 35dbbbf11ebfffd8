package tensor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// These tests hold what the operations compute to plain float64 formulas, on
// shapes that take several blocks and threads; autograd's hold the gradients
// to differences.

type matrix [][]float64

func random(rng *rand.Rand, rows, cols int) matrix {
	m := make(matrix, rows)
	for i := range m {
		m[i] = make([]float64, cols)
		for j := range m[i] {
			m[i][j] = float64(float32(rng.NormFloat64()))
		}
	}
	return m
}

func upload(d Device, m matrix) *Tensor {
	t := d.New(len(m), len(m[0]))
	d.Write(t, flat(m))
	return t
}

func compare(t *testing.T, what string, d Device, got *Tensor, want matrix, tol float64) {
	t.Helper()
	values := make([]float32, got.Len())
	d.Read(values, got)
	for i, r := range want {
		for j, w := range r {
			if g := float64(values[i*got.Cols+j]); !(math.Abs(g-w) <= tol*(1+math.Abs(w))) {
				t.Errorf("%s: element (%d, %d) is %g, want %g", what, i, j, g, w)
				return
			}
		}
	}
}

func product(a, b matrix, transB bool) matrix {
	n := len(b[0])
	if transB {
		n = len(b)
	}
	c := make(matrix, len(a))
	for i := range a {
		c[i] = make([]float64, n)
		for j := range n {
			for k, v := range a[i] {
				if transB {
					c[i][j] += v * b[j][k]
				} else {
					c[i][j] += v * b[k][j]
				}
			}
		}
	}
	return c
}

func each(m matrix, f func(i, j int, v float64) float64) matrix {
	out := make(matrix, len(m))
	for i, r := range m {
		out[i] = make([]float64, len(r))
		for j, v := range r {
			out[i][j] = f(i, j, v)
		}
	}
	return out
}

func gelu(x float64) float64 { return 0.5 * x * (1 + math.Erf(x/math.Sqrt2)) }

// turned returns m'.
func turned(m matrix) matrix {
	out := make(matrix, len(m[0]))
	for j := range out {
		for i := range m {
			out[j] = append(out[j], m[i][j])
		}
	}
	return out
}

// TestLinear holds the product and its gradients to plain formulas, for every
// way of reading the input; rows and weights are large enough for several
// blocks, strips and parts.
func TestLinear(t *testing.T) {
	const eps = 1e-3
	for _, threads := range []int{1, 2, 3} {
		d := CPU(threads)
		for _, s := range [][3]int{{1, 1, 1}, {130, 300, 70}, {300, 20, 260}, {7, 5, 3}, {1100, 9, 12}, {50, 1200, 900}} {
			for _, in := range []string{"plain", "gelu", "layer", "rms"} {
				if s[1] == 1200 && (threads != 2 || in == "rms") {
					continue // the large one is slow in plain formulas
				}
				rng := rand.New(rand.NewPCG(1, uint64(threads)))
				rows, cols, out := s[0], s[1], s[2]
				x, w, b, r := random(rng, rows, cols), random(rng, out, cols), random(rng, 1, out), random(rng, rows, out)
				gamma, beta := random(rng, 2, cols), random(rng, 2, cols)
				cut := rows / 3 // the first norm's rows
				part := func(i int) int {
					if i < cut {
						return 0
					}
					return 1
				}
				input := Input{X: upload(d, x)}
				if in == "gelu" {
					input.Act = GELU
				}
				moments := func(i int) (mean, rstd float64) {
					var square float64
					for _, v := range x[i] {
						mean += v / float64(cols)
						square += v * v / float64(cols)
					}
					if in == "rms" {
						return 0, 1 / math.Sqrt(square+eps)
					}
					return mean, 1 / math.Sqrt(square-mean*mean+eps)
				}
				dgamma, dbeta := []*Tensor{d.New(1, cols), d.New(1, cols)}, []*Tensor{d.New(1, cols), d.New(1, cols)}
				if in == "layer" || in == "rms" {
					input.Norm = &InputNorm{Norm: Norm{RMS: in == "rms", Eps: eps}, Stats: d.New(rows, 2)}
					for i, n := range []int{cut, rows - cut} {
						d.Fill(dgamma[i], 0)
						d.Fill(dbeta[i], 0)
						input.Norm.Parts = append(input.Norm.Parts, NormPart{
							Rows: n, Gamma: upload(d, gamma[i:i+1]), Beta: upload(d, beta[i:i+1]), DGamma: dgamma[i], DBeta: dbeta[i],
						})
					}
				}
				read := each(x, func(i, j int, v float64) float64 {
					switch in {
					case "gelu":
						return gelu(v)
					case "layer":
						mean, rstd := moments(i)
						return (v-mean)*rstd*gamma[part(i)][j] + beta[part(i)][j]
					case "rms":
						_, rstd := moments(i)
						return v * rstd * gamma[part(i)][j]
					}
					return v
				})
				name := fmt.Sprintf("%d threads, %v, %s", threads, s, in)
				plain := product(read, w, true)
				y, tw := d.New(rows, out), upload(d, w)
				for range 4 { // the third time the weight stays packed
					d.Linear(y, input, tw, nil, nil)
					compare(t, name, d, y, plain, 1e-4)
				}
				d.Linear(y, input, tw, upload(d, b), upload(d, r))
				compare(t, name+" bias and residual", d, y, each(plain, func(i, j int, v float64) float64 { return v + b[0][j] + r[i][j] }), 1e-4)

				dw, db, dx := upload(d, w), upload(d, b), upload(d, x)
				dy := upload(d, r)
				d.LinearWeightGrad(dw, db, dy, input, true, false)
				grad := product(turned(r), read, false)
				compare(t, name+" weight gradient, added", d, dw, each(grad, func(i, j int, v float64) float64 { return v + w[i][j] }), 2e-4)
				sum := matrix{make([]float64, out)}
				for i := range r {
					for j, v := range r[i] {
						sum[0][j] += v
					}
				}
				compare(t, name+" bias gradient", d, db, sum, 1e-4)
				d.LinearWeightGrad(dw, db, dy, input, false, true)
				compare(t, name+" weight gradient", d, dw, grad, 2e-4)
				compare(t, name+" bias gradient, added", d, db, each(sum, func(_, _ int, v float64) float64 { return 2 * v }), 1e-4)

				back := product(r, w, false)
				wantG, wantB := make(matrix, 2), make(matrix, 2)
				for i := range 2 {
					wantG[i], wantB[i] = make([]float64, cols), make([]float64, cols)
				}
				wantX := each(back, func(i, j int, v float64) float64 {
					switch in {
					case "gelu":
						z := x[i][j]
						return v * (0.5*(1+math.Erf(z/math.Sqrt2)) + z*math.Exp(-z*z/2)/math.Sqrt(2*math.Pi))
					case "plain":
						return v
					}
					mean, rstd := moments(i)
					h := func(j int) float64 { return (x[i][j] - mean) * rstd }
					var c0, c1 float64
					for q := range x[i] {
						g := back[i][q] * gamma[part(i)][q] / float64(cols)
						c1 += g * h(q)
						if in == "layer" {
							c0 += g
						}
					}
					wantG[part(i)][j] += v * h(j)
					wantB[part(i)][j] += v
					return rstd * (v*gamma[part(i)][j] - c0 - h(j)*c1)
				})
				d.LinearInputGrad(dx, dy, tw, input, true)
				compare(t, name+" input gradient, added", d, dx, each(wantX, func(i, j int, v float64) float64 { return v + x[i][j] }), 3e-4)
				for i := range 2 {
					if input.Norm != nil {
						compare(t, name+" gamma's gradient", d, dgamma[i], wantG[i:i+1], 3e-4)
					}
					if in == "layer" {
						compare(t, name+" beta's gradient", d, dbeta[i], wantB[i:i+1], 3e-4)
					}
				}
				d.LinearInputGrad(dx, dy, tw, input, false)
				compare(t, name+" input gradient", d, dx, wantX, 3e-4)
			}
		}
	}
}

// TestInt8 holds products with a rounded weight to those with the weight, for
// every way of reading the input: normal values lose less than 1e-4 of cosine.
func TestInt8(t *testing.T) {
	d := CPU(2)
	rng := rand.New(rand.NewPCG(8, 1))
	const rows, in, out = 70, 96, 40
	x, w, b, r := upload(d, random(rng, rows, in)), upload(d, random(rng, out, in)), upload(d, random(rng, 1, out)), upload(d, random(rng, rows, out))
	norm := &InputNorm{Norm: Norm{Eps: 1e-5}, Stats: d.New(rows, 2), Parts: []NormPart{
		{Rows: 30, Gamma: upload(d, random(rng, 1, in)), Beta: upload(d, random(rng, 1, in))},
		{Rows: 40, Gamma: upload(d, random(rng, 1, in)), Beta: upload(d, random(rng, 1, in))},
	}}
	q := d.Int8(w)
	for name, input := range map[string]Input{"plain": {X: x}, "gelu": {X: x, Act: GELU}, "norm": {X: x, Norm: norm}} {
		for _, residual := range []*Tensor{nil, r} {
			exact, rounded := d.New(rows, out), d.New(rows, out)
			d.Linear(exact, input, w, b, residual)
			d.Linear(rounded, input, q, b, residual)
			y, z := make([]float32, rows*out), make([]float32, rows*out)
			d.Read(y, exact)
			d.Read(z, rounded)
			var yy, zz, yz float64
			for i := range y {
				yy += float64(y[i]) * float64(y[i])
				zz += float64(z[i]) * float64(z[i])
				yz += float64(y[i]) * float64(z[i])
			}
			if c := yz / math.Sqrt(yy*zz); c < 1-1e-4 || c == 1 {
				t.Errorf("%s: cosine %g", name, c)
			}
		}
	}
}

// TestPackedWeightsFollowTheirTensor fails when a product goes on with what a
// weight held before.
func TestPackedWeightsFollowTheirTensor(t *testing.T) {
	d := CPU(2)
	rng := rand.New(rand.NewPCG(7, 1))
	x, w := random(rng, 40, 30), random(rng, 20, 30)
	tx, tw, y := upload(d, x), upload(d, w), d.New(40, 20)
	g, m, v := upload(d, w), upload(d, w), upload(d, each(w, func(_, _ int, v float64) float64 { return v * v }))
	for name, change := range map[string]func(){
		"Write": func() { d.Write(tw, make([]float32, 600)) },
		"Fill":  func() { d.Fill(tw, 1) },
		"Scale": func() { d.Scale(tw, 2) },
		"Axpy":  func() { d.Axpy(tw, 1, g) },
		"Copy":  func() { d.Copy(tw, g) },
		"Clamp": func() { d.Clamp(tw, -0.1, 0.1) },
		"AdamW": func() { d.AdamW(tw, g, m, v, AdamWStep{LR: 0.1, Eps: 1, Correct1: 1, Correct2: 1, GradScale: 1}) },
		"Linear": func() {
			d.Linear(tw, Input{X: upload(d, random(rng, 20, 7))}, upload(d, random(rng, 30, 7)), nil, nil)
		},
	} {
		d.Write(tw, flat(w))
		for range 4 {
			d.Linear(y, Input{X: tx}, tw, nil, nil)
		}
		change()
		now := make([]float32, 600)
		d.Read(now, tw)
		want := make(matrix, 20)
		for i := range want {
			for j := range 30 {
				want[i] = append(want[i], float64(now[i*30+j]))
			}
		}
		for range 3 {
			d.Linear(y, Input{X: tx}, tw, nil, nil)
			compare(t, name, d, y, product(x, want, true), 1e-4)
		}
	}
}

func flat(m matrix) (x []float32) {
	for _, r := range m {
		for _, v := range r {
			x = append(x, float32(v))
		}
	}
	return x
}

func TestNorms(t *testing.T) {
	d := CPU(2)
	rng := rand.New(rand.NewPCG(2, 1))
	x, gamma, beta := random(rng, 700, 33), random(rng, 1, 33), random(rng, 1, 33)
	y, stats := d.New(700, 33), d.New(700, 2)
	const eps = 1e-3
	tx, tg, tb := upload(d, x), upload(d, gamma), upload(d, beta)
	moments := func(r []float64) (mean, variance, square float64) {
		for _, v := range r {
			mean += v / 33
			square += v * v / 33
		}
		return mean, square - mean*mean, square
	}
	d.Norm(y, stats, tx, tg, tb, Norm{Eps: eps})
	compare(t, "layer norm", d, y, each(x, func(i, j int, v float64) float64 {
		mean, variance, _ := moments(x[i])
		return (v-mean)/math.Sqrt(variance+eps)*gamma[0][j] + beta[0][j]
	}), 1e-5)
	d.Norm(y, stats, tx, tg, nil, Norm{RMS: true, Eps: eps})
	compare(t, "RMS norm", d, y, each(x, func(i, j int, v float64) float64 {
		_, _, square := moments(x[i])
		return v / math.Sqrt(square+eps) * gamma[0][j]
	}), 1e-5)
}

// TestAttention holds attention and its gradient to plain formulas, on spans
// that take one block of queries and keys and on some that take several.
func TestAttention(t *testing.T) {
	d := CPU(2)
	rng := rand.New(rand.NewPCG(3, 1))
	const heads, hd = 2, 5
	var spans []Span
	rows := 0
	for _, s := range []Span{{Len: 40}, {Len: 0}, {Len: 1}, {Len: 17, Causal: true}, {Len: 130}, {Len: 300, Causal: true}, {Len: 530}} {
		s.Start = rows
		rows += s.Len
		spans = append(spans, s)
	}
	qkv, dy := random(rng, rows, 3*heads*hd), random(rng, rows, heads*hd)
	for i := range qkv { // some scores are large, so that blocks' maxima differ
		for j := range qkv[i] {
			qkv[i][j] = float64(float32(qkv[i][j] * 1.5))
		}
	}
	want := each(dy, func(_, _ int, _ float64) float64 { return 0 })
	grad := each(qkv, func(_, _ int, _ float64) float64 { return 0 })
	for _, s := range spans {
		for i := s.Start; i < s.Start+s.Len; i++ {
			last := s.Start + s.Len
			if s.Causal {
				last = i + 1
			}
			for h := range heads {
				q, k, v := h*hd, (heads+h)*hd, (2*heads+h)*hd
				dot := func(x []float64, at int, y []float64, to int) (sum float64) {
					for c := range hd {
						sum += x[at+c] * y[to+c]
					}
					return sum
				}
				var z, along float64
				p, dp := make([]float64, last), make([]float64, last)
				for j := s.Start; j < last; j++ {
					p[j] = math.Exp(dot(qkv[i], q, qkv[j], k) / math.Sqrt(hd))
					z += p[j]
				}
				for j := s.Start; j < last; j++ {
					p[j] /= z
					dp[j] = dot(dy[i], q, qkv[j], v)
					along += p[j] * dp[j]
				}
				for j := s.Start; j < last; j++ {
					ds := p[j] * (dp[j] - along) / math.Sqrt(hd)
					for c := range hd {
						want[i][q+c] += p[j] * qkv[j][v+c]
						grad[j][v+c] += p[j] * dy[i][q+c]
						grad[i][q+c] += ds * qkv[j][k+c]
						grad[j][k+c] += ds * qkv[i][q+c]
					}
				}
			}
		}
	}
	defer func() { oneQuery(t, d, rng, qkv, heads) }()
	y, lse, dqkv := d.New(rows, heads*hd), d.New(rows, heads), d.New(rows, 3*heads*hd)
	d.Attention(y, lse, upload(d, qkv), spans, heads)
	compare(t, "attention", d, y, want, 2e-5)
	d.AttentionGrad(dqkv, upload(d, dy), y, lse, upload(d, qkv), spans, heads)
	compare(t, "gradient", d, dqkv, grad, 1e-4)
}

// oneQuery holds a span with one query to the same span with all of them.
func oneQuery(t *testing.T, d Device, rng *rand.Rand, values matrix, heads int) {
	t.Helper()
	rows, dim := len(values), len(values[0])/3
	qkv := upload(d, values)
	for _, s := range []Span{{Start: 3, Len: 70, Query: 0}, {Start: 100, Len: 333, Causal: true, Query: 332}, {Start: 9, Len: 20, Causal: true, Query: 4}} {
		all, dyAll := d.New(rows, dim), d.New(rows, dim)
		lse := d.New(rows, heads)
		one, oneLSE, dy := d.New(1, dim), d.New(1, heads), upload(d, random(rng, 1, dim))
		d.Fill(dyAll, 0)
		at := s.Start + s.Query
		d.Copy(dyAll.Slice(at, at+1), dy)
		want, got := d.New(rows, 3*dim), d.New(rows, 3*dim)
		d.Fill(want, 0)
		d.Fill(got, 0)
		d.Attention(all, lse, qkv, []Span{s}, heads)
		d.AttentionGrad(want, dyAll, all, lse, qkv, []Span{s}, heads)
		s.One, s.Skip = true, at
		d.Attention(one, oneLSE, qkv, []Span{s}, heads)
		d.AttentionGrad(got, dy, one, oneLSE, qkv, []Span{s}, heads)
		compare(t, fmt.Sprintf("one query of %+v", s), d, one, download(d, all.Slice(at, at+1)), 1e-5)
		compare(t, fmt.Sprintf("gradient of one query of %+v", s), d, got, download(d, want), 1e-4)
	}
}

func download(d Device, x *Tensor) matrix {
	values := make([]float32, x.Len())
	d.Read(values, x)
	m := make(matrix, x.Rows)
	for i, v := range values {
		m[i/x.Cols] = append(m[i/x.Cols], float64(v))
	}
	return m
}

func TestGatherAndScatter(t *testing.T) {
	d := CPU(3)
	rng := rand.New(rand.NewPCG(4, 1))
	x := random(rng, 50, 40)
	s := &Sparse{}
	dense := make(matrix, 500)
	for i := range dense {
		dense[i] = make([]float64, 50)
		for range rng.IntN(4) {
			j, w := rng.IntN(50), rng.NormFloat64()
			s.Add(int32(j), float32(w))
			dense[i][j] += w
		}
		s.EndRow()
	}
	y := d.New(500, 40)
	d.Gather(y, s, upload(d, x), false)
	compare(t, "gather", d, y, product(dense, x, false), 1e-5)
	g := random(rng, 500, 40)
	back := upload(d, x)
	d.Scatter(back, s, upload(d, g))
	sum := each(x, func(i, j int, v float64) float64 {
		for r := range dense {
			v += dense[r][i] * g[r][j]
		}
		return v
	})
	compare(t, "scatter", d, back, sum, 1e-5)
}

func TestAdamWTwoSteps(t *testing.T) {
	d := CPU(2)
	// torch.optim.AdamW's rule by hand, in float64.
	p, m, v := 0.5, 0.0, 0.0
	tp, tg, tm, tv := upload(d, matrix{{p}}), upload(d, matrix{{0}}), upload(d, matrix{{0}}), upload(d, matrix{{0}})
	for n, g := range []float64{0.3, -0.2} {
		const lr, b1, b2, eps, decay = 0.1, 0.9, 0.98, 1e-6, 0.05
		c1, c2 := 1-math.Pow(b1, float64(n+1)), 1-math.Pow(b2, float64(n+1))
		m, v = b1*m+(1-b1)*g/2, b2*v+(1-b2)*g/2*g/2 // the gradient is halved by clipping
		p -= lr * decay * p
		p -= lr * (m / c1) / (math.Sqrt(v/c2) + eps)
		d.Write(tg, []float32{float32(g)})
		d.AdamW(tp, tg, tm, tv, AdamWStep{
			LR: lr, Beta1: b1, Beta2: b2, Eps: eps, Decay: decay,
			Correct1: float32(c1), Correct2: float32(c2), GradScale: 0.5,
		})
		compare(t, fmt.Sprint("step ", n+1), d, tp, matrix{{p}}, 1e-5)
	}
}

func TestMemoryIsReused(t *testing.T) {
	d := CPU(1)
	for _, n := range []int{1, 255, 256, 257, 320, 321, 1000, 4096, 100000, 1 << 20, 1<<20 + 1, 49408 * 512} {
		class, size := sizeClass(n)
		if size < n || n > 256 && size > n+n/4+1 {
			t.Errorf("%d values take %d", n, size)
		}
		if c, s := sizeClass(size); c != class || s != size {
			t.Errorf("the class of %d holds %d, whose class holds %d", n, size, s)
		}
		a := d.New(1, n)
		d.Free(a)
		if b := d.New(n, 1); b != a || b.Rows != n || b.Cols != 1 {
			t.Errorf("memory of %d values was not used again", n)
		}
	}
}

func TestMistakesPanic(t *testing.T) {
	d := CPU(1)
	a, b := d.New(2, 3), d.New(4, 5)
	for name, f := range map[string]func(){
		"Linear": func() { d.Linear(a, Input{X: a}, b, nil, nil) },
		"MatMul": func() { d.MatMul(a, a, b, false, false, false) },
		"Copy":   func() { d.Copy(a, b) },
		"Write":  func() { d.Write(a, make([]float32, 5)) },
		"rows":   func() { a.Slice(1, 4) },
		"Gather": func() {
			d.Gather(a, &Sparse{Start: []int32{0, 1, 1}, Index: []int32{9}, Weight: []float32{1}}, d.New(4, 3), false)
		},
		"Free": func() { d.Free(b.Slice(1, 2)) },
	} {
		func() {
			defer func() {
				if e := recover(); e == nil || !strings.Contains(fmt.Sprint(e), name) {
					t.Errorf("%s: recovered %v, want a panic that names it", name, e)
				}
			}()
			f()
		}()
	}
}
