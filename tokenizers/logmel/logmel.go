// Package logmel makes log-mel spectrograms and cuts them into
// time-frequency patches.
package logmel

import (
	"fmt"
	"math"
	"slices"
	"sync"

	"gonum.org/v1/gonum/dsp/fourier"

	"github.com/onetrunk/onetrunk/tokenizers"
)

// Options describes a spectrogram.
type Options struct {
	// Rate is the sample rate in Hz.
	Rate int
	// Window is the length of the Hann window, FFT that of the transform (at
	// least Window, which stands in its middle), Hop the distance of frames,
	// all in samples.
	Window, FFT, Hop int
	// Symmetric takes the window that is zero at both ends; otherwise it is
	// one period.
	Symmetric bool
	// Inside takes the frames that lie within the signal, the first of which
	// begins with it. Otherwise frame i is centred on sample i*Hop, and the
	// signal is mirrored at its ends.
	Inside bool
	// ZeroMean takes the mean off each frame. PreEmphasis, in [0, 1), then
	// takes so much of the sample before off each sample; the first has itself
	// before it.
	ZeroMean    bool
	PreEmphasis float64
	// Mels is the number of bands between Low and High, in Hz, on Scale.
	Mels      int
	Low, High float64
	Scale     Scale
	// Floor is the least energy of a band; 0 adds 1e-6 to each energy instead.
	Floor float64
	// Log10 takes the decimal logarithm, otherwise it is the natural one.
	Log10 bool
	// Range, if positive, is how far below the greatest value of a spectrogram
	// the others are at most.
	Range float64
}

// Scale is a mel scale, with the shape of the bands on it.
type Scale int

const (
	// Slaney is linear to 1 kHz and has triangles of area one, librosa's
	// defaults.
	Slaney Scale = iota
	// HTK is 2595 log10(1 + f/700), with triangles of height one.
	HTK
	// Kaldi is HTK, but with sides that are straight in mel and not in Hz. Its
	// lowest bands may lie between two bins of the transform: they are empty.
	Kaldi
)

// Spectrogram computes log-mel spectrograms. It is safe for concurrent use.
type Spectrogram struct {
	o       Options
	window  []float64
	filters []filter
	plans   sync.Pool
}

// filter is the part of a band's triangle that is not zero.
type filter struct {
	first   int // bin
	weights []float64
}

// plan is what one goroutine needs. fourier.FFT keeps scratch of its own.
type plan struct {
	fft    *fourier.FFT
	frame  []float64
	coeffs []complex128
	power  []float64
}

// added to the mel energies where there is no floor.
const added = 1e-6

// New prepares a spectrogram. It is an error when the options make no sense,
// as when a band is too narrow to hold a bin of the transform.
func New(o Options) (*Spectrogram, error) {
	switch {
	case o.Rate < 1:
		return nil, fmt.Errorf("rate: expected a positive number of Hz, found %d", o.Rate)
	case o.Window < 2 || o.FFT < o.Window || o.FFT > 1<<16:
		return nil, fmt.Errorf("window, fft: expected 2 <= window <= fft <= 65536, found %d and %d", o.Window, o.FFT)
	case o.Hop < 1:
		return nil, fmt.Errorf("hop: expected at least 1, found %d", o.Hop)
	case o.Mels < 1:
		return nil, fmt.Errorf("mels: expected at least 1, found %d", o.Mels)
	case !(o.PreEmphasis >= 0 && o.PreEmphasis < 1 && o.Floor >= 0 && o.Range >= 0):
		return nil, fmt.Errorf("preemphasis %g, floor %g, range %g: expected [0, 1) and numbers of at least 0", o.PreEmphasis, o.Floor, o.Range)
	case !(o.Low >= 0 && o.Low < o.High && o.High <= float64(o.Rate)/2):
		return nil, fmt.Errorf("fmin, fmax: expected 0 <= fmin < fmax <= %g (half the rate), found %g and %g", float64(o.Rate)/2, o.Low, o.High)
	}
	s := &Spectrogram{o: o, window: make([]float64, o.Window)}
	period := o.Window
	if o.Symmetric {
		period--
	}
	for i := range s.window {
		s.window[i] = 0.5 - 0.5*math.Cos(2*math.Pi*float64(i)/float64(period))
	}
	s.filters = bank(o)
	for m, f := range s.filters {
		if len(f.weights) == 0 && o.Scale != Kaldi {
			return nil, fmt.Errorf("mels: band %d of %d holds no bin of a transform of %d; take fewer bands or a longer fft", m, o.Mels, o.FFT)
		}
	}
	s.plans.New = func() any {
		return &plan{
			fft: fourier.NewFFT(o.FFT), frame: make([]float64, o.FFT),
			coeffs: make([]complex128, o.FFT/2+1), power: make([]float64, o.FFT/2+1),
		}
	}
	return s, nil
}

// mel converts Hz to mel, hz back, on the scale of the options.
func (o Options) mel(f float64) float64 {
	if o.Scale != Slaney {
		return 2595 * math.Log10(1+f/700)
	}
	if f < 1000 {
		return f * 3 / 200
	}
	return 15 + math.Log(f/1000)*27/math.Log(6.4)
}

func (o Options) hz(m float64) float64 {
	if o.Scale != Slaney {
		return 700 * (math.Pow(10, m/2595) - 1)
	}
	if m < 15 {
		return m * 200 / 3
	}
	return 1000 * math.Exp((m-15)*math.Log(6.4)/27)
}

// bank makes the triangles: band m rises from edge m to m+1 and falls to m+2,
// the edges being even in mel.
func bank(o Options) []filter {
	// The unit in which the sides are straight, from mel and from Hz.
	fromMel, fromHz := o.hz, func(f float64) float64 { return f }
	if o.Scale == Kaldi {
		fromMel, fromHz = fromHz, o.mel
	}
	edges := make([]float64, o.Mels+2)
	lo, hi := o.mel(o.Low), o.mel(o.High)
	for i := range edges {
		edges[i] = fromMel(lo + (hi-lo)*float64(i)/float64(o.Mels+1))
	}
	filters := make([]filter, o.Mels)
	for m := range filters {
		a, b, c := edges[m], edges[m+1], edges[m+2]
		height := 1.0
		if o.Scale == Slaney {
			height = 2 / (c - a)
		}
		for k := range o.FFT/2 + 1 {
			f := fromHz(float64(k) * float64(o.Rate) / float64(o.FFT))
			w := min((f-a)/(b-a), (c-f)/(c-b))
			if w <= 0 {
				continue
			}
			if len(filters[m].weights) == 0 {
				filters[m].first = k
			}
			filters[m].weights = append(filters[m].weights, w*height)
		}
	}
	return filters
}

// Frames returns the number of frames of n samples: n/Hop, rounded up; with
// Inside, as many as lie within them.
func (s *Spectrogram) Frames(n int) int {
	if s.o.Inside {
		return max(0, (n-s.o.Window+s.o.Hop)/s.o.Hop)
	}
	return (n + s.o.Hop - 1) / s.o.Hop
}

// Compute returns the logarithms of the mel energies [Mels, frames], by band,
// then time.
func (s *Spectrogram) Compute(samples []float32) (spec []float32, frames int) {
	frames = s.Frames(len(samples))
	spec = make([]float32, s.o.Mels*frames)
	p := s.plans.Get().(*plan)
	defer s.plans.Put(p)
	offset := (s.o.FFT - s.o.Window) / 2
	for t := range frames {
		clear(p.frame)
		first := t * s.o.Hop
		if !s.o.Inside {
			first += offset - s.o.FFT/2
		}
		x := p.frame[offset : offset+s.o.Window]
		for i := range x {
			at := first + i
			if at < 0 || at >= len(samples) {
				at = mirror(at, len(samples))
			}
			x[i] = float64(samples[at])
		}
		s.shape(x)
		p.fft.Coefficients(p.coeffs, p.frame)
		for k, c := range p.coeffs {
			p.power[k] = real(c)*real(c) + imag(c)*imag(c)
		}
		for m, f := range s.filters {
			var e float64
			for i, w := range f.weights {
				e += w * p.power[f.first+i]
			}
			spec[m*frames+t] = s.log(e)
		}
	}
	if s.o.Range > 0 && len(spec) > 0 {
		least := slices.Max(spec) - float32(s.o.Range)
		for i, v := range spec {
			spec[i] = max(v, least)
		}
	}
	return spec, frames
}

// shape does to a frame what precedes the transform.
func (s *Spectrogram) shape(x []float64) {
	if s.o.ZeroMean {
		var sum float64
		for _, v := range x {
			sum += v
		}
		for i := range x {
			x[i] -= sum / float64(len(x))
		}
	}
	if e := s.o.PreEmphasis; e > 0 {
		for i := len(x) - 1; i > 0; i-- {
			x[i] -= e * x[i-1]
		}
		x[0] -= e * x[0]
	}
	for i, w := range s.window {
		x[i] *= w
	}
}

// log returns the value of a band's energy.
func (s *Spectrogram) log(energy float64) float32 {
	if s.o.Floor > 0 {
		energy = max(energy, s.o.Floor)
	} else {
		energy += added
	}
	if s.o.Log10 {
		return float32(math.Log10(energy))
	}
	return float32(math.Log(energy))
}

// Silence returns the value of a band without energy.
func (s *Spectrogram) Silence() float32 { return s.log(0) }

// mirror reflects an index into [0, n) without repeating the ends.
func mirror(i, n int) int {
	if n == 1 {
		return 0
	}
	period := 2 * (n - 1)
	i = ((i % period) + period) % period
	return min(i, period-i)
}

// Patches says how a spectrogram is cut into patches of Rows bands by Cols
// frames.
type Patches struct {
	Rows, Cols int
	// Down and Across are how many bands and frames lie between the beginnings
	// of neighbouring patches. Where they are 0 patches lie side by side, Rows
	// divides the bands, and the last patches in time are filled up; else they
	// are the strides of a convolution, to which ends that hold no whole patch
	// are lost (the frames of less than one patch are filled up).
	Down, Across int
	// Edge is how many frames of zeros stand at either end.
	Edge int
}

// Grid returns the numbers of patches that a spectrogram [bands, frames] makes,
// in bands and in time.
func (p Patches) Grid(bands, frames int) [2]int {
	frames += 2 * p.Edge
	if p.Down == 0 {
		return [2]int{bands / p.Rows, (frames + p.Cols - 1) / p.Cols}
	}
	return [2]int{(bands-p.Rows)/p.Down + 1, max(0, frames-p.Cols)/p.Across + 1}
}

// Cut makes the patches of a spectrogram [bands, frames], with fill where they
// reach beyond it. A patch is flattened by band, then time, the order of a
// convolution's weight. It panics where there are fewer bands than a patch has.
func (p Patches) Cut(spec []float32, bands, frames int, fill float32) tokenizers.Tokens {
	if bands < p.Rows || len(spec) != bands*frames {
		panic(fmt.Sprintf("logmel: %d values of [%d, %d] in patches of %d bands", len(spec), bands, frames, p.Rows))
	}
	down, across := p.Down, p.Across
	if down == 0 {
		down, across = p.Rows, p.Cols
	}
	t := tokenizers.Tokens{Grid: p.Grid(bands, frames)}
	t.Patches = make([]float32, 0, t.Len()*p.Rows*p.Cols)
	for i := range t.Grid[0] {
		for j := range t.Grid[1] {
			for m := i * down; m < i*down+p.Rows; m++ {
				line := spec[m*frames : (m+1)*frames]
				for at := j*across - p.Edge; at < j*across-p.Edge+p.Cols; at++ {
					switch {
					case at >= 0 && at < frames:
						t.Patches = append(t.Patches, line[at])
					case at < frames+p.Edge:
						t.Patches = append(t.Patches, 0)
					default:
						t.Patches = append(t.Patches, fill)
					}
				}
			}
		}
	}
	return t
}
