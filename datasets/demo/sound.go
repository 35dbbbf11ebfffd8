package demo

import (
	"math"
	"math/rand/v2"

	"github.com/onetrunk/onetrunk/modalities/audio"
)

const (
	rate    = 8000  // Hz
	samples = 10240 // of a sound
)

// sound plays the scene: a note for each object, the left group first. Its
// timbre is the shape, its pitch the colour, its length and loudness the
// size; the ground is silence, noise or a drone.
func (s scene) sound(rng *rand.Rand) audio.Clip {
	x := make([]float32, samples)
	gain := math.Pow(10, 3*(2*rng.Float64()-1)/20)
	switch grounds[s.ground] {
	case "light":
		for i := range x {
			x[i] = float32(0.03 * rng.NormFloat64())
		}
	case "striped":
		a, b := newOscillator(100, rng), newOscillator(190, rng)
		for i := range x {
			x[i] = float32(0.06 * (a.next() + b.next()))
		}
	}
	tempo := 0.19 * (1 + 0.07*(2*rng.Float64()-1))
	if len(s.groups) == 1 {
		// The place of a single group is when it is heard.
		play(x, s.groups[0], 0.02+0.33*float64(s.place), tempo, rng)
	} else {
		play(x, s.groups[0], 0.02, tempo, rng)
		play(x, s.groups[1], 0.66, tempo, rng)
	}
	for i, v := range x {
		x[i] = max(-1, min(1, v*float32(gain)))
	}
	return audio.Clip{Samples: x, Rate: rate}
}

// pitch is a colour's frequency in Hz, before jitter.
func pitch(colour int) float64 { return 300 * math.Pow(2, float64(colour)/3) }

// play adds a group's notes from start on, in seconds.
func play(x []float32, g group, start, tempo float64, rng *rand.Rand) {
	duration := []float64{0.07, 0.155}[g.size]
	loudness := []float64{0.22, 0.4}[g.size]
	for n := range g.count {
		f := pitch(g.colour) * math.Pow(2, 0.2*(2*rng.Float64()-1)/12)
		voice := newVoice(shapes[g.shape], f, rng)
		first := int((start + tempo*float64(n)) * rate)
		length := int(duration * rate)
		for i := range length {
			if first+i >= len(x) {
				break
			}
			// Eight milliseconds up and as long down, so that notes do not click.
			edge := min(1, float64(min(i, length-i))/(0.008*rate))
			x[first+i] += float32(loudness * edge * voice())
		}
	}
}

// newVoice returns the samples of a note, one a call.
func newVoice(shape string, f float64, rng *rand.Rand) func() float64 {
	type partial struct {
		o      *oscillator
		weight float64
	}
	harmonics := func(step int, weight func(k int) float64) func() float64 {
		var ps []partial
		var power float64
		for k := 1; float64(k)*f < 0.48*rate && k < 16; k += step {
			w := weight(k)
			power += w * w
			ps = append(ps, partial{newOscillator(float64(k)*f, rng), w})
		}
		norm := 1 / math.Sqrt(power)
		return func() (v float64) {
			for _, p := range ps {
				v += p.weight * p.o.next()
			}
			return v * norm
		}
	}
	switch shape {
	case "circle":
		return newOscillator(f, rng).next
	case "square":
		return harmonics(2, func(k int) float64 { return 1 / float64(k) })
	case "triangle":
		return harmonics(1, func(k int) float64 { return math.Pow(float64(k), -0.7) })
	case "cross":
		a, b := newOscillator(f, rng), newOscillator(min(2.41*f, 0.48*rate), rng)
		return func() float64 { return 0.75*a.next() + 0.65*b.next() }
	case "ring":
		a, b := newOscillator(f, rng), newOscillator(40, rng)
		return func() float64 { return a.next() * (1 + b.next()) * 0.8 }
	default: // bar: a band of noise around f, by a resonator
		r := 1 - math.Pi*0.12*f/rate
		c, s := 2*r*math.Cos(2*math.Pi*f/rate), r*r
		scale := (1 - r) * 3.2
		var y1, y2 float64
		return func() float64 {
			y := scale*rng.NormFloat64() + c*y1 - s*y2
			y1, y2 = y, y1
			return y
		}
	}
}

// oscillator is a sine by a rotating complex number.
type oscillator struct{ re, im, cos, sin float64 }

func newOscillator(f float64, rng *rand.Rand) *oscillator {
	o := &oscillator{}
	o.sin, o.cos = math.Sincos(2 * math.Pi * f / rate)
	o.im, o.re = math.Sincos(2 * math.Pi * rng.Float64())
	return o
}

func (o *oscillator) next() float64 {
	v := o.im
	o.re, o.im = o.re*o.cos-o.im*o.sin, o.re*o.sin+o.im*o.cos
	return v
}
