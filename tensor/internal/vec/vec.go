// Package vec holds element-wise and row kernels.
package vec

import "math"

type Act uint8

const (
	Identity Act = iota
	GELU
	QuickGELU
	ReLU
)

func Add(d, a, b []float32) {
	for i := range d {
		d[i] = a[i] + b[i]
	}
}
func Axpy(al float32, x, y []float32) {
	for i := range x {
		y[i] += al * x[i]
	}
}
func Scale(al float32, x []float32) {
	for i := range x {
		x[i] *= al
	}
}
func Dot(x, y []float32) float32 {
	var s float32
	for i := range x {
		s += x[i] * y[i]
	}
	return s
}
func SumSquares(x []float32) float64 {
	var s float64
	for _, v := range x {
		s += float64(v) * float64(v)
	}
	return s
}
func DotRows(dst, rows, q []float32) {
	for i := range dst {
		dst[i] = Dot(rows[i*len(q):(i+1)*len(q)], q)
	}
}
func act(v float64, a Act) (y, d float64) {
	switch a {
	case GELU:
		c := 0.5 * (1 + math.Erf(v/math.Sqrt2))
		return v * c, c + v*math.Exp(-v*v/2)/math.Sqrt(2*math.Pi)
	case QuickGELU:
		s := 1 / (1 + math.Exp(-1.702*v))
		return v * s, s + v*1.702*s*(1-s)
	case ReLU:
		if v > 0 {
			return v, 1
		}
		return 0, 0
	}
	return v, 1
}
func BiasAct(y, pre, x, bias []float32, a Act) {
	for i := range y {
		v := x[i]
		if bias != nil {
			v += bias[i]
		}
		if pre != nil {
			pre[i] = v
		}
		r, _ := act(float64(v), a)
		y[i] = float32(r)
	}
}
func ActGrad(dx, dy, pre []float32, a Act) {
	for i := range dx {
		_, d := act(float64(pre[i]), a)
		dx[i] = dy[i] * float32(d)
	}
}
func Softmax(x []float32, scale float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		m = max(m, v*scale)
	}
	var s float64
	for i, v := range x {
		e := math.Exp(float64(v*scale - m))
		s += e
		x[i] = float32(e)
	}
	for i := range x {
		x[i] /= float32(s)
	}
	return m + float32(math.Log(s))
}
func ExpMinus(d, x []float32, scale, lse float32) {
	for i := range d {
		d[i] = float32(math.Exp(float64(x[i]*scale - lse)))
	}
}
func SoftmaxGrad(ds, p, dp []float32, scale float32) {
	k := Dot(p, dp)
	for i := range ds {
		ds[i] = scale * p[i] * (dp[i] - k)
	}
}
func LayerNorm(y, x, g, b []float32, eps float32) (mean, rstd float32) {
	var s, q float64
	for _, v := range x {
		s += float64(v)
	}
	s /= float64(len(x))
	for _, v := range x {
		q += (float64(v) - s) * (float64(v) - s)
	}
	r := 1 / math.Sqrt(q/float64(len(x))+float64(eps))
	for i, v := range x {
		y[i] = float32((float64(v)-s)*r)*g[i] + b[i]
	}
	return float32(s), float32(r)
}
func LayerNormGrad(dx, dg, db, dy, x, g []float32, mean, rstd float32, acc bool) {
	n := float32(len(x))
	var a, b float32
	for i := range x {
		h := (x[i] - mean) * rstd
		dg[i] += dy[i] * h
		db[i] += dy[i]
		a += dy[i] * g[i]
		b += dy[i] * g[i] * h
	}
	for i := range x {
		h := (x[i] - mean) * rstd
		v := rstd * (dy[i]*g[i] - a/n - h*b/n)
		if acc {
			v += dx[i]
		}
		dx[i] = v
	}
}
func RMSNorm(y, x, g []float32, eps float32) float32 {
	r := float32(1 / math.Sqrt(SumSquares(x)/float64(len(x))+float64(eps)))
	for i := range x {
		y[i] = x[i] * r * g[i]
	}
	return r
}
func RMSNormGrad(dx, dg, dy, x, g []float32, rstd float32, acc bool) {
	n := float32(len(x))
	var b float32
	for i := range x {
		h := x[i] * rstd
		dg[i] += dy[i] * h
		b += dy[i] * g[i] * h
	}
	for i := range x {
		h := x[i] * rstd
		v := rstd * (dy[i]*g[i] - h*b/n)
		if acc {
			v += dx[i]
		}
		dx[i] = v
	}
}

type AdamWStep struct{ LR, Beta1, Beta2, Eps, Decay, Correct1, Correct2, GradScale float32 }

func AdamW(p, g, m, v []float32, s AdamWStep) {
	for i := range p {
		gr := g[i] * s.GradScale
		m[i] = s.Beta1*m[i] + (1-s.Beta1)*gr
		v[i] = s.Beta2*v[i] + (1-s.Beta2)*gr*gr
		p[i] -= s.LR * s.Decay * p[i]
		p[i] -= s.LR / s.Correct1 * m[i] / (float32(math.Sqrt(float64(v[i]/s.Correct2))) + s.Eps)
	}
}
func SumRows(dst, x []float32, rows, cols, stride int, acc bool) {
	for j := 0; j < cols; j++ {
		var s float32
		for i := 0; i < rows; i++ {
			s += x[i*stride+j]
		}
		if acc {
			s += dst[j]
		}
		dst[j] = s
	}
}
