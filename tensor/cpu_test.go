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
	var flat []float32
	for _, r := range m {
		for _, v := range r {
			flat = append(flat, float32(v))
		}
	}
	d.Write(t, flat)
	return t
}

func compare(t *testing.T, what string, d Device, got *Tensor, want matrix, tol float64) {
	t.Helper()
	flat := make([]float32, got.Len())
	d.Read(flat, got)
	for i, r := range want {
		for j, w := range r {
			if g := float64(flat[i*got.Cols+j]); !(math.Abs(g-w) <= tol*(1+math.Abs(w))) {
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

func TestLinear(t *testing.T) {
	for _, threads := range []int{1, 2, 3} {
		d := CPU(threads)
		rng := rand.New(rand.NewPCG(1, uint64(threads)))
		for _, s := range [][3]int{{1, 1, 1}, {130, 300, 70}, {300, 20, 260}, {7, 5, 3}} {
			x, w, b, r := random(rng, s[0], s[1]), random(rng, s[2], s[1]), random(rng, 1, s[2]), random(rng, s[0], s[2])
			plain := product(x, w, true)
			biased := each(plain, func(_, j int, v float64) float64 { return v + b[0][j] })
			y, pre := d.New(s[0], s[2]), d.New(s[0], s[2])
			tx, tw, tb, tr := upload(d, x), upload(d, w), upload(d, b), upload(d, r)
			name := fmt.Sprintf("%d threads, %v", threads, s)
			d.Linear(y, nil, tx, tw, nil, nil, Identity)
			compare(t, name+" plain", d, y, plain, 1e-4)
			d.Linear(y, nil, tx, tw, tb, tr, Identity)
			compare(t, name+" residual", d, y, each(biased, func(i, j int, v float64) float64 { return v + r[i][j] }), 1e-4)
			d.Linear(y, pre, tx, tw, tb, tr, GELU)
			compare(t, name+" kept", d, pre, biased, 1e-4)
			compare(t, name+" GELU", d, y, each(biased, func(i, j int, v float64) float64 { return gelu(v) + r[i][j] }), 1e-4)
		}
	}
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

func TestAttention(t *testing.T) {
	d := CPU(2)
	rng := rand.New(rand.NewPCG(3, 1))
	const heads, hd = 3, 5
	spans := []Span{{Start: 0, Len: 40}, {Start: 40, Len: 1}, {Start: 41, Len: 17, Causal: true}, {Start: 58, Len: 130}}
	const rows = 188
	qkv := random(rng, rows, 3*heads*hd)
	want := make(matrix, rows)
	for _, s := range spans {
		for i := s.Start; i < s.Start+s.Len; i++ {
			want[i] = make([]float64, heads*hd)
			for h := range heads {
				last := s.Start + s.Len
				if s.Causal {
					last = i + 1
				}
				var z float64
				weights := map[int]float64{}
				for j := s.Start; j < last; j++ {
					var dot float64
					for k := range hd {
						dot += qkv[i][h*hd+k] * qkv[j][(heads+h)*hd+k]
					}
					weights[j] = math.Exp(dot / math.Sqrt(hd))
					z += weights[j]
				}
				for j, w := range weights {
					for k := range hd {
						want[i][h*hd+k] += w / z * qkv[j][(2*heads+h)*hd+k]
					}
				}
			}
		}
	}
	y, lse := d.New(rows, heads*hd), d.New(rows, heads)
	d.Attention(y, lse, upload(d, qkv), spans, heads)
	compare(t, "attention", d, y, want, 1e-5)
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
	for _, n := range []int{1, 255, 256, 257, 320, 321, 1000, 4096, 100000, 1 << 20, 1<<20 + 1} {
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
		"Linear": func() { d.Linear(a, nil, a, b, nil, nil, Identity) },
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
