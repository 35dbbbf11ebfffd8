package compare

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// Stat is a figure over seeds.
type Stat struct {
	Mean float64 `json:"mean"`
	// SD is the standard deviation over N values, with N-1 in the denominator; 0
	// for one.
	SD float64 `json:"sd"`
	N  int     `json:"n"`
}

// StatOf returns the mean and spread of values.
func StatOf(values []float64) Stat {
	s := Stat{N: len(values)}
	for _, v := range values {
		s.Mean += v / float64(s.N)
	}
	if s.N > 1 {
		sum := 0.0
		for _, v := range values {
			sum += (v - s.Mean) * (v - s.Mean)
		}
		s.SD = math.Sqrt(sum / float64(s.N-1))
	}
	return s
}

// Difference is how much the mean R@1 of a config is above that of the first,
// seed by seed.
type Difference struct {
	Config string `json:"config"`
	To     string `json:"to"`
	// Stat is of the differences between rows of one seed.
	Stat
	// Tested says that there are at least two of them, and a test: Student's
	// paired t-test. P is its two-sided p-value, not corrected for the number of
	// configs; Low and High bound the 95% confidence interval of the mean.
	Tested bool    `json:"tested"`
	T      float64 `json:"t,omitempty"`
	P      float64 `json:"p,omitempty"`
	Low    float64 `json:"low,omitempty"`
	High   float64 `json:"high,omitempty"`
}

// test fills in the paired t-test.
func (d *Difference) test() {
	if d.N < 2 {
		return
	}
	d.Tested = true
	if d.SD == 0 { // equal to the last bit in every seed, or by the same amount
		d.Low, d.High = d.Mean, d.Mean
		if d.Mean == 0 {
			d.P = 1
		}
		return
	}
	student := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: float64(d.N - 1)}
	d.T = d.Mean * math.Sqrt(float64(d.N)) / d.SD
	d.P = 2 * student.CDF(-math.Abs(d.T))
	half := student.Quantile(0.975) * d.SD / math.Sqrt(float64(d.N))
	d.Low, d.High = d.Mean-half, d.Mean+half
}

// The costs of fronts.
const (
	UniqueParameters = "unique parameters"
	FLOPsPerSample   = "FLOPs per sample"
)

// Front says which configs no other beats at once in mean R@1 and in a cost.
type Front struct {
	Cost   string  `json:"cost"`
	Points []Point `json:"points"`
}

// Point is a config's place in a Front.
type Point struct {
	Config string  `json:"config"`
	Cost   float64 `json:"cost"`
	R1     Stat    `json:"r1"`
	// Best says that it is on the Pareto front: no other costs as little or less
	// and is as good or better, and one of the two truly.
	Best bool `json:"best"`
}

// pareto marks the points of the front.
func pareto(points []Point) {
	for i := range points {
		p := &points[i]
		p.Best = true
		for _, q := range points {
			if q.Cost <= p.Cost && q.R1.Mean >= p.R1.Mean && (q.Cost < p.Cost || q.R1.Mean > p.R1.Mean) {
				p.Best = false
			}
		}
	}
}
