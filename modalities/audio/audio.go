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
	// Window, FFT and Hop are those of the spectrogram, in samples.
	Window int `json:"window"`
	FFT    int `json:"fft"`
	Hop    int `json:"hop"`
	// Mels bands lie between FMin and FMax, in Hz; FMax 0 is half the rate.
	Mels int     `json:"mels"`
	FMin float64 `json:"fmin"`
	FMax float64 `json:"fmax"`
	// Scale is "slaney" or "htk".
	Scale string `json:"scale"`
	// Seconds is the cap: what is longer is cut.
	Seconds float64 `json:"seconds"`
	// Patch is [bands, frames].
	Patch [2]int `json:"patch"`
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
		Rate: 16000, Window: 400, FFT: 512, Hop: 160, Mels: 64, FMin: 50, Scale: "slaney",
		Seconds: 5, Patch: [2]int{64, 4}, Mean: -6, Std: 4,
	}
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
	switch {
	case c.Scale != "slaney" && c.Scale != "htk":
		return nil, fmt.Errorf("scale: %q is not one of slaney, htk", c.Scale)
	case c.Patch[0] < 1 || c.Patch[1] < 1 || c.Mels%c.Patch[0] != 0:
		return nil, fmt.Errorf("patch: expected [bands, frames] whose bands divide mels (%d), found %v", c.Mels, c.Patch)
	case !(c.Seconds > 0 && c.Seconds <= maxSeconds):
		return nil, fmt.Errorf("seconds: expected a number up to %d, found %g", maxSeconds, c.Seconds)
	case !(c.Std > 0):
		return nil, fmt.Errorf("std: expected a positive number, found %g", c.Std)
	case !(c.Augment.GainDB >= 0 && c.Augment.Shift >= 0 && c.Augment.Shift < 1):
		return nil, fmt.Errorf("augment: expected gain_db >= 0 and shift in [0, 1), found %+v", c.Augment)
	}
	spec, err := logmel.New(logmel.Options{
		Rate: c.Rate, Window: c.Window, FFT: c.FFT, Hop: c.Hop,
		Mels: c.Mels, Low: c.FMin, High: c.FMax, HTK: c.Scale == "htk",
	})
	if err != nil {
		return nil, err
	}
	return &processor{cfg: c, spec: spec}, nil
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

func (p *processor) Layout() tokenizers.Layout {
	frames := p.spec.Frames(p.samples())
	return tokenizers.Layout{
		Patch: p.cfg.Patch[0] * p.cfg.Patch[1],
		Grid:  [2]int{p.cfg.Mels / p.cfg.Patch[0], (frames + p.cfg.Patch[1] - 1) / p.cfg.Patch[1]},
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
	spec, frames := p.spec.Compute(x)
	scale := float32(1 / p.cfg.Std)
	for i, v := range spec {
		spec[i] = (v - float32(p.cfg.Mean)) * scale
	}
	fill := (float32(math.Log(logmel.Floor)) - float32(p.cfg.Mean)) * scale
	t := logmel.Patches(spec, p.cfg.Mels, frames, p.cfg.Patch[0], p.cfg.Patch[1], fill)
	t.Cut = (p.spec.Frames(len(c.Samples)) - frames) / p.cfg.Patch[1] * t.Grid[0]
	return t, nil
}
