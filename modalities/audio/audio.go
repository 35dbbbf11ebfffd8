// Package audio is the modality of sound: wav, flac, mp3 and ogg. A value is
// a Clip at the model's sample rate.
package audio

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"

	"github.com/onetrunk/onetrunk/internal/strictjson"
	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/tokenizers"
	"github.com/onetrunk/onetrunk/tokenizers/logmel"
)

// Clip is a piece of sound.
type Clip struct {
	// Samples are mono, in -1..1.
	Samples []float32
	// Rate is in Hz.
	Rate int
}

func init() { modalities.Register(modality{}) }

type modality struct{}

func (modality) Name() string { return "audio" }
func (modality) Inline() bool { return false }

func (modality) Recognise(name string, head []byte) bool {
	if len(head) > 0 {
		return sniff(head) != ""
	}
	return slices.Contains([]string{".wav", ".flac", ".mp3", ".ogg"}, strings.ToLower(filepath.Ext(name)))
}

// Config is the modality's "input" block.
type Config struct {
	// Rate is the model's sample rate in Hz; files are resampled to it.
	Rate int `json:"rate"`
	// Features is "logmel" (the natural logarithm of mel energies, 1e-6 added),
	// "whisper" (the decimal logarithm of at least 1e-10 and at least the
	// clip's greatest value less 8; Radford et al. 2022) or "kaldi" (the
	// natural logarithm of at least 2^-23, of frames that lie within the clip,
	// without their mean, pre-emphasized by 0.97 and under a symmetric window;
	// Kaldi's filter banks as AST takes them, Gong et al. 2021).
	Features string `json:"features"`
	// Window, FFT and Hop are those of the spectrogram, in samples.
	Window int `json:"window"`
	FFT    int `json:"fft"`
	Hop    int `json:"hop"`
	// Mels bands lie between FMin and FMax, in Hz; FMax 0 is half the rate.
	Mels int     `json:"mels"`
	FMin float64 `json:"fmin"`
	FMax float64 `json:"fmax"`
	// Scale is "slaney", "htk" or "kaldi" (HTK's scale, with bands whose sides
	// are straight in mel).
	Scale string `json:"scale"`
	// Seconds is the cap: what is longer is cut.
	Seconds float64 `json:"seconds"`
	// Pad fills clips up to the cap: "none", "samples" (with silence) or
	// "frames" (their spectrograms, with zeros, before Mean and Std).
	Pad string `json:"pad"`
	// Patch is [bands, frames]. Stride, if given, is how many [bands, frames]
	// lie between the beginnings of neighbouring patches, as a convolution has
	// it: ends that hold no whole patch are lost. Without it patches lie side
	// by side, and the last are filled up. Edge is how many frames of zeros, in
	// normalised values, stand at either end.
	Patch  [2]int `json:"patch"`
	Stride [2]int `json:"stride,omitzero"`
	Edge   int    `json:"edge,omitempty"`
	// Mean and Std normalise the log-mel values.
	Mean float64 `json:"mean"`
	Std  float64 `json:"std"`
	// Augment changes training clips.
	Augment Augment `json:"augment"`
}

// Augment says how training clips are changed.
type Augment struct {
	// GainDB changes the loudness by up to as many decibels either way.
	GainDB float64 `json:"gain_db,omitempty"`
	// Shift moves the clip in time by up to this share of its length, with
	// silence where nothing is.
	Shift float64 `json:"shift,omitempty"`
}

// defaults has 25 ms windows every 10 ms; mean and std bring ordinary speech
// to about zero and one.
func defaults() Config {
	return Config{
		Rate: 16000, Features: "logmel", Window: 400, FFT: 512, Hop: 160, Mels: 64, FMin: 50, Scale: "slaney",
		Seconds: 5, Pad: "none", Patch: [2]int{64, 4}, Mean: -6, Std: 4,
	}
}

// features holds what Features stands for, scales what Scale does.
var (
	features = map[string]logmel.Options{
		"logmel":  {},
		"whisper": {Floor: 1e-10, Log10: true, Range: 8},
		"kaldi":   {Symmetric: true, Inside: true, ZeroMean: true, PreEmphasis: 0.97, Floor: 0x1p-23},
	}
	scales = map[string]logmel.Scale{"slaney": logmel.Slaney, "htk": logmel.HTK, "kaldi": logmel.Kaldi}
)

// validate checks what logmel does not.
func (c *Config) validate() error {
	if _, ok := features[c.Features]; !ok {
		return fmt.Errorf("features: %q is not one of logmel, whisper, kaldi", c.Features)
	}
	if _, ok := scales[c.Scale]; !ok {
		return fmt.Errorf("scale: %q is not one of slaney, htk, kaldi", c.Scale)
	}
	side := c.Stride == [2]int{}
	switch {
	case c.Patch[0] < 1 || c.Patch[1] < 1 || side && c.Mels%c.Patch[0] != 0:
		return fmt.Errorf("patch: expected [bands, frames] whose bands divide mels (%d), found %v", c.Mels, c.Patch)
	case !side && (c.Stride[0] < 1 || c.Stride[1] < 1 || c.Patch[0] > c.Mels):
		return fmt.Errorf("stride: expected [bands, frames] of at least 1 and a patch of at most %d bands, found %v and %v", c.Mels, c.Stride, c.Patch)
	case c.Edge < 0 || c.Edge > c.Patch[1]:
		return fmt.Errorf("edge: expected 0..%d (the frames of a patch), found %d", c.Patch[1], c.Edge)
	case !(c.Seconds > 0 && c.Seconds <= maxSeconds):
		return fmt.Errorf("seconds: expected a number up to %d, found %g", maxSeconds, c.Seconds)
	case !slices.Contains([]string{"none", "samples", "frames"}, c.Pad):
		return fmt.Errorf("pad: %q is not one of none, samples, frames", c.Pad)
	case !(c.Std > 0):
		return fmt.Errorf("std: expected a positive number, found %g", c.Std)
	case !(c.Augment.GainDB >= 0 && c.Augment.Shift >= 0 && c.Augment.Shift < 1):
		return fmt.Errorf("augment: expected gain_db >= 0 and shift in [0, 1), found %+v", c.Augment)
	}
	return nil
}

func (modality) Open(config json.RawMessage, _ string) (modalities.Processor, error) {
	c := defaults()
	if len(config) > 0 {
		if err := strictjson.Unmarshal("audio", config, &c); err != nil {
			return nil, err
		}
	}
	if c.FMax == 0 {
		c.FMax = float64(c.Rate) / 2
	}
	if err := c.validate(); err != nil {
		return nil, err
	}
	o := features[c.Features]
	o.Rate, o.Window, o.FFT, o.Hop = c.Rate, c.Window, c.FFT, c.Hop
	o.Mels, o.Low, o.High, o.Scale = c.Mels, c.FMin, c.FMax, scales[c.Scale]
	spec, err := logmel.New(o)
	if err != nil {
		return nil, err
	}
	p := &processor{cfg: c, spec: spec}
	if spec.Frames(p.samples()) == 0 {
		return nil, fmt.Errorf("seconds: %g s are less than a frame", c.Seconds)
	}
	return p, nil
}

type processor struct {
	cfg  Config
	spec *logmel.Spectrogram
}

func (p *processor) Config() json.RawMessage {
	data, err := json.Marshal(p.cfg)
	if err != nil {
		panic(err) // numbers and strings
	}
	return data
}

// samples is the cap in samples.
func (p *processor) samples() int { return int(math.Round(p.cfg.Seconds * float64(p.cfg.Rate))) }

// patches says how the spectrogram is cut.
func (p *processor) patches() logmel.Patches {
	c := p.cfg
	return logmel.Patches{Rows: c.Patch[0], Cols: c.Patch[1], Down: c.Stride[0], Across: c.Stride[1], Edge: c.Edge}
}

func (p *processor) Layout() tokenizers.Layout {
	return tokenizers.Layout{
		Patch: p.cfg.Patch[0] * p.cfg.Patch[1],
		Grid:  p.patches().Grid(p.cfg.Mels, p.spec.Frames(p.samples())),
	}
}

func (p *processor) Decode(r io.Reader, name string) (modalities.Value, error) {
	c, err := decode(r, name)
	if err != nil {
		return nil, err
	}
	return c.resample(p.cfg.Rate), nil
}

func (p *processor) Augments() bool { return p.cfg.Augment != Augment{} }

func (p *processor) Augment(v modalities.Value, rng *rand.Rand) modalities.Value {
	c, ok := v.(Clip)
	if !ok {
		return v
	}
	gain := float32(math.Pow(10, p.cfg.Augment.GainDB*(2*rng.Float64()-1)/20))
	shift := int(p.cfg.Augment.Shift * (2*rng.Float64() - 1) * float64(len(c.Samples)))
	out := make([]float32, len(c.Samples))
	for i := range out {
		if j := i - shift; j >= 0 && j < len(c.Samples) {
			out[i] = gain * c.Samples[j]
		}
	}
	return Clip{Samples: out, Rate: c.Rate}
}

func (p *processor) Tokenize(v modalities.Value) (tokenizers.Tokens, error) {
	c, ok := v.(Clip)
	if !ok {
		return tokenizers.Tokens{}, fmt.Errorf("audio: expected an audio.Clip, found %T", v)
	}
	c = c.resample(p.cfg.Rate)
	if len(c.Samples) == 0 {
		return tokenizers.Tokens{}, fmt.Errorf("audio: no samples")
	}
	x := c.Samples[:min(len(c.Samples), p.samples())]
	if p.cfg.Pad == "samples" {
		x = append(slices.Clip(x), make([]float32, p.samples()-len(x))...)
	}
	spec, frames := p.spec.Compute(x)
	if p.cfg.Pad == "frames" {
		spec, frames = lengthen(spec, p.cfg.Mels, p.spec.Frames(p.samples()))
	}
	if frames == 0 {
		return tokenizers.Tokens{}, fmt.Errorf("audio: %d samples are less than a frame, %d", len(x), p.cfg.Window)
	}
	mean, scale := float32(p.cfg.Mean), float32(1/p.cfg.Std)
	for i, v := range spec {
		spec[i] = (v - mean) * scale
	}
	t := p.patches().Cut(spec, p.cfg.Mels, frames, (p.spec.Silence()-mean)*scale)
	if whole := p.spec.Frames(len(c.Samples)); whole > frames {
		t.Cut = (p.patches().Grid(p.cfg.Mels, whole)[1] - t.Grid[1]) * t.Grid[0]
	}
	return t, nil
}

// lengthen puts zeros behind a spectrogram [bands, n], to a number of frames.
func lengthen(spec []float32, bands, frames int) ([]float32, int) {
	n := len(spec) / bands
	out := make([]float32, bands*frames)
	for b := range bands {
		copy(out[b*frames:], spec[b*n:(b+1)*n])
	}
	return out, frames
}
