package audio

import (
	"math"
	"sync"
)

// The resampler is a windowed-sinc low-pass, evaluated at the rational ratio
// up/down of the two rates: taps of polyphase[phase] weigh the input around
// each output sample. With zeros crossings on either side and a Kaiser window
// of beta 9 the stop band lies 90 dB down; the cutoff is 0.93 of the lower
// Nyquist frequency.
const (
	zeros  = 32
	beta   = 9.0
	rollof = 0.93
)

// polyphase holds a filter for each phase of an up/down resampler.
type polyphase struct {
	up, down int
	half     int // input samples on either side
	taps     [][]float32
}

var filters sync.Map // of [2]int{up, down} to *polyphase

func filterFor(up, down int) *polyphase {
	key := [2]int{up, down}
	if f, ok := filters.Load(key); ok {
		return f.(*polyphase)
	}
	f := newPolyphase(up, down)
	filters.Store(key, f)
	return f
}

func newPolyphase(up, down int) *polyphase {
	cutoff := rollof * min(1, float64(up)/float64(down)) // of the input's Nyquist
	f := &polyphase{up: up, down: down, half: int(math.Ceil(zeros / cutoff))}
	f.taps = make([][]float32, up)
	for phase := range f.taps {
		taps := make([]float64, 2*f.half)
		var sum float64
		for k := range taps {
			// Distance from the output sample to input sample k - half + 1.
			d := float64(k-f.half+1) - float64(phase)/float64(up)
			if w := d / float64(f.half); math.Abs(w) < 1 {
				taps[k] = sinc(cutoff*d) * bessel(beta*math.Sqrt(1-w*w))
			}
			sum += taps[k]
		}
		f.taps[phase] = make([]float32, len(taps))
		for k, v := range taps {
			f.taps[phase][k] = float32(v / sum) // gain one at 0 Hz
		}
	}
	return f
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	return math.Sin(math.Pi*x) / (math.Pi * x)
}

// bessel is the modified Bessel function I0, by its power series.
func bessel(x float64) float64 {
	sum, term := 1.0, 1.0
	for k := 1.0; term > 1e-12*sum; k++ {
		term *= (x / (2 * k)) * (x / (2 * k))
		sum += term
	}
	return sum
}

// resample returns the clip at another rate: ceil(n * rate / Rate) samples,
// without delay, zeros beyond the ends.
func (c Clip) resample(rate int) Clip {
	if c.Rate == rate || len(c.Samples) == 0 {
		return Clip{Samples: c.Samples, Rate: rate}
	}
	g := gcd(c.Rate, rate)
	f := filterFor(rate/g, c.Rate/g)
	n := (len(c.Samples)*f.up + f.down - 1) / f.down
	out := make([]float32, n)
	for i := range out {
		at := i * f.down
		taps := f.taps[at%f.up]
		first := at/f.up - f.half + 1
		lo, hi := max(0, -first), min(len(taps), len(c.Samples)-first)
		var sum float32
		for k := lo; k < hi; k++ {
			sum += taps[k] * c.Samples[first+k]
		}
		out[i] = sum
	}
	return Clip{Samples: out, Rate: rate}
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
