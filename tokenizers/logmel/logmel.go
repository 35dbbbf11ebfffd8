// Package logmel makes log-mel spectrograms and cuts them into
// time-frequency patches.
package logmel

import (
	"fmt"
	"math"
	"sync"

	"gonum.org/v1/gonum/dsp/fourier"

	"github.com/onetrunk/onetrunk/tokenizers"
)

// Options describes a spectrogram.
type Options struct {
	// Rate is the sample rate in Hz.
	Rate int
	// Window is the length of the periodic Hann window, FFT that of the
	// transform (at least Window, which stands in its middle), Hop the
	// distance of frames, all in samples.
	Window, FFT, Hop int
	// Mels is the number of bands between Low and High, in Hz.
	Mels      int
	Low, High float64
	// HTK takes the HTK mel scale, 2595 log10(1 + f/700), and triangles of
	// height one; otherwise Slaney's scale (linear to 1 kHz) and triangles of
	// area one, librosa's defaults.
	HTK bool
}

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

// Floor is added to the mel energies before the logarithm.
const Floor = 1e-6

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
	case !(o.Low >= 0 && o.Low < o.High && o.High <= float64(o.Rate)/2):
		return nil, fmt.Errorf("fmin, fmax: expected 0 <= fmin < fmax <= %g (half the rate), found %g and %g", float64(o.Rate)/2, o.Low, o.High)
	}
	s := &Spectrogram{o: o, window: make([]float64, o.Window)}
	for i := range s.window {
		s.window[i] = 0.5 - 0.5*math.Cos(2*math.Pi*float64(i)/float64(o.Window))
	}
	s.filters = bank(o)
	for m, f := range s.filters {
		if len(f.weights) == 0 {
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
	if o.HTK {
		return 2595 * math.Log10(1+f/700)
	}
	if f < 1000 {
		return f * 3 / 200
	}
	return 15 + math.Log(f/1000)*27/math.Log(6.4)
}

func (o Options) hz(m float64) float64 {
	if o.HTK {
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
	edges := make([]float64, o.Mels+2)
	lo, hi := o.mel(o.Low), o.mel(o.High)
	for i := range edges {
		edges[i] = o.hz(lo + (hi-lo)*float64(i)/float64(o.Mels+1))
	}
	filters := make([]filter, o.Mels)
	for m := range filters {
		a, b, c := edges[m], edges[m+1], edges[m+2]
		height := 1.0
		if !o.HTK {
			height = 2 / (c - a)
		}
		for k := range o.FFT/2 + 1 {
			f := float64(k) * float64(o.Rate) / float64(o.FFT)
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

// Frames returns the number of frames of n samples: n/Hop, rounded up. Frame
// i is centred on sample i*Hop; the signal is mirrored at its ends.
func (s *Spectrogram) Frames(n int) int { return (n + s.o.Hop - 1) / s.o.Hop }

// Compute returns ln(Floor + mel energy) [Mels, frames], by band, then time.
func (s *Spectrogram) Compute(samples []float32) (spec []float32, frames int) {
	frames = s.Frames(len(samples))
	spec = make([]float32, s.o.Mels*frames)
	p := s.plans.Get().(*plan)
	defer s.plans.Put(p)
	offset := (s.o.FFT - s.o.Window) / 2
	for t := range frames {
		clear(p.frame)
		first := t*s.o.Hop - s.o.FFT/2 + offset
		for i, w := range s.window {
			p.frame[offset+i] = w * float64(samples[mirror(first+i, len(samples))])
		}
		p.fft.Coefficients(p.coeffs, p.frame)
		for k, c := range p.coeffs {
			p.power[k] = real(c)*real(c) + imag(c)*imag(c)
		}
		for m, f := range s.filters {
			var e float64
			for i, w := range f.weights {
				e += w * p.power[f.first+i]
			}
			spec[m*frames+t] = float32(math.Log(Floor + e))
		}
	}
	return spec, frames
}

// mirror reflects an index into [0, n) without repeating the ends.
func mirror(i, n int) int {
	if n == 1 {
		return 0
	}
	period := 2 * (n - 1)
	i = ((i % period) + period) % period
	return min(i, period-i)
}

// Patches cuts a spectrogram [bands, frames] into patches of rows bands by
// cols frames. The grid is [bands/rows, frames/cols], rounded up in time: the
// last patches are filled with fill. A patch is flattened by band, then time.
// It panics unless rows divides bands.
func Patches(spec []float32, bands, frames, rows, cols int, fill float32) tokenizers.Tokens {
	if bands%rows != 0 || len(spec) != bands*frames {
		panic(fmt.Sprintf("logmel: %d values of [%d, %d] in patches of %d bands", len(spec), bands, frames, rows))
	}
	t := tokenizers.Tokens{Grid: [2]int{bands / rows, (frames + cols - 1) / cols}}
	t.Patches = make([]float32, 0, t.Len()*rows*cols)
	for b := 0; b < bands; b += rows {
		for at := 0; at < frames; at += cols {
			for m := b; m < b+rows; m++ {
				line := spec[m*frames : (m+1)*frames]
				have := min(cols, frames-at)
				t.Patches = append(t.Patches, line[at:at+have]...)
				for range cols - have {
					t.Patches = append(t.Patches, fill)
				}
			}
		}
	}
	return t
}
