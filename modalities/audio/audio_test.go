package audio

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// sine returns n samples of a sine.
func sine(n int, hz, amplitude float64, rate int) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = amplitude * math.Sin(2*math.Pi*hz*float64(i)/float64(rate))
	}
	return x
}

// wavFile writes chunks: format, and data whose declared size is size, or the
// true one when size is negative.
func wavFile(format, channels, rate, bits int, data []byte, size int, extensible bool) []byte {
	var b bytes.Buffer
	le := func(v any) {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			panic(err)
		}
	}
	if size < 0 {
		size = len(data)
	}
	b.WriteString("RIFF")
	le(uint32(0))
	b.WriteString("WAVELIST")
	le(uint32(3)) // an odd chunk, with a byte of padding
	b.WriteString("abc\x00fmt ")
	if extensible {
		le(uint32(40))
		le(uint16(formatExtensible))
	} else {
		le(uint32(16))
		le(uint16(format))
	}
	le(uint16(channels))
	le(uint32(rate))
	le(uint32(rate * channels * bits / 8))
	le(uint16(channels * bits / 8))
	le(uint16(bits))
	if extensible {
		le(uint16(22))
		le(uint16(bits))
		le(uint32(0))
		le(uint16(format))
		b.Write([]byte{0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71})
	}
	b.WriteString("data")
	le(uint32(size))
	b.Write(data)
	return b.Bytes()
}

// encodings of a sample, with the error that they allow.
var encodings = []struct {
	name         string
	format, bits int
	encode       func(b []byte, v float64) []byte
	tol          float64
}{
	{"8 bits", formatPCM, 8, func(b []byte, v float64) []byte { return append(b, byte(math.Round(v*127))+128) }, 1. / 100},
	{"16 bits", formatPCM, 16, func(b []byte, v float64) []byte {
		return binary.LittleEndian.AppendUint16(b, uint16(int16(math.Round(v*32767))))
	}, 1e-4},
	{"24 bits", formatPCM, 24, func(b []byte, v float64) []byte {
		i := int32(math.Round(v * 8388607))
		return append(b, byte(i), byte(i>>8), byte(i>>16))
	}, 1e-6},
	{"32 bits", formatPCM, 32, func(b []byte, v float64) []byte {
		return binary.LittleEndian.AppendUint32(b, uint32(int32(math.Round(v*2147483647))))
	}, 1e-6},
	{"float", formatFloat, 32, func(b []byte, v float64) []byte {
		return binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(v)))
	}, 1e-7},
	{"double", formatFloat, 64, func(b []byte, v float64) []byte { return binary.LittleEndian.AppendUint64(b, math.Float64bits(v)) }, 1e-7},
	{"mu-law", formatMuLaw, 8, func(b []byte, v float64) []byte { return append(b, nearest(muLaw, v)) }, 0.03},
	{"A-law", formatALaw, 8, func(b []byte, v float64) []byte { return append(b, nearest(aLaw, v)) }, 0.03},
}

// nearest finds the byte that expands to what is closest to v.
func nearest(expand func(byte) int, v float64) byte {
	best, least := byte(0), math.Inf(1)
	for c := range 256 {
		if d := math.Abs(float64(expand(byte(c)))/32768 - v); d < least {
			best, least = byte(c), d
		}
	}
	return best
}

func TestCompandingIsG711(t *testing.T) {
	// From ITU-T G.711's tables, scaled to 16 bits.
	for b, want := range map[byte]int{0x80: 32124, 0x00: -32124, 0xff: 0, 0xf0: 120, 0x8f: 16764} {
		if got := muLaw(b); got != want {
			t.Errorf("mu-law %#x is %d, want %d", b, got, want)
		}
	}
	for b, want := range map[byte]int{0xd5: 8, 0x55: -8, 0xaa: 32256, 0x2a: -32256, 0x80: 5504} {
		if got := aLaw(b); got != want {
			t.Errorf("A-law %#x is %d, want %d", b, got, want)
		}
	}
}

func TestWAV(t *testing.T) {
	left, right := sine(400, 440, 0.6, 8000), sine(400, 440, 0.2, 8000)
	for _, e := range encodings {
		for _, extensible := range []bool{false, true} {
			for _, size := range []int{-1, 0, 0xffffffff} { // as it is, or streamed
				var data []byte
				for i := range left {
					data = e.encode(e.encode(data, left[i]), right[i])
				}
				name := fmt.Sprintf("%s, extensible %t, size %d", e.name, extensible, size)
				c, err := decode(bytes.NewReader(wavFile(e.format, 2, 8000, e.bits, data, size, extensible)), "f.wav")
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				if len(c.Samples) != 400 || c.Rate != 8000 {
					t.Errorf("%s: %d samples at %d Hz", name, len(c.Samples), c.Rate)
					continue
				}
				for i, v := range c.Samples {
					if want := (left[i] + right[i]) / 2; math.Abs(float64(v)-want) > e.tol {
						t.Errorf("%s: sample %d is %g, want %g", name, i, v, want)
						break
					}
				}
			}
		}
	}
}

func TestDamagedWAV(t *testing.T) {
	data := make([]byte, 800)
	whole := wavFile(formatPCM, 1, 8000, 16, data, -1, false)
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"cut off":           {whole[:len(whole)-100], "700 bytes of data of 800"},
		"cut in the header": {whole[:30], "no data chunk"},
		"no data":           {wavFile(formatPCM, 1, 8000, 16, nil, -1, false), "no samples"},
		"adpcm":             {wavFile(2, 1, 8000, 4, data, -1, false), "4 bits"},
		"no channels":       {wavFile(formatPCM, 0, 8000, 16, data, -1, false), "format chunk"},
		"a rate of zero":    {wavFile(formatPCM, 1, 0, 16, data, -1, false), "0 Hz"},
		"a bomb":            {wavFile(formatPCM, 1, 1, 8, make([]byte, 700), -1, false), "700 s"},
		"not a number":      {wavFile(formatFloat, 1, 8000, 32, []byte{0, 0, 0xc0, 0x7f}, -1, false), "sample 0 is NaN"},
		"text":              {[]byte("hello, this is a text"), "not a wav"},
		"empty":             {nil, "not a wav"},
	} {
		_, err := decode(bytes.NewReader(c.file), "x.wav")
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "x.wav: ") {
			t.Errorf("%s: error %v, want it to name x.wav and %q", name, err, c.want)
		}
	}
}

// level returns the amplitude of a frequency in x, by its Fourier component.
func level(x []float32, hz float64, rate int) float64 {
	var re, im, w float64
	for i, v := range x {
		// A Hann window keeps the ends from leaking.
		h := 0.5 - 0.5*math.Cos(2*math.Pi*float64(i)/float64(len(x)))
		s, c := math.Sincos(2 * math.Pi * hz * float64(i) / float64(rate))
		re += h * float64(v) * c
		im += h * float64(v) * s
		w += h
	}
	return 2 * math.Hypot(re, im) / w
}

func TestCompressedFormats(t *testing.T) {
	for _, f := range []string{"flac", "ogg", "mp3"} {
		data, err := os.ReadFile("testdata/sine." + f)
		if err != nil {
			t.Fatal(err)
		}
		c, err := decode(bytes.NewReader(data), "sine."+f)
		if err != nil {
			t.Error(err)
			continue
		}
		// mp3 brings the encoder's delay and padding.
		if n := len(c.Samples); c.Rate != 16000 || n < 8000 || n > 8000+3*1152 {
			t.Errorf("%s: %d samples at %d Hz, want about 8000 at 16000", f, n, c.Rate)
		}
		if a := level(c.Samples[2000:7000], 440, 16000); math.Abs(a-0.5) > 0.03 { // LAME lowers by a twentieth
			t.Errorf("%s: a sine of amplitude %.3f, want 0.5", f, a)
		}
		if _, err := decode(bytes.NewReader(data[:len(data)/3]), "cut."+f); f == "flac" && err == nil {
			t.Error("a flac file that is cut off was taken")
		}
		if !(modality{}).Recognise("noname", data[:64]) {
			t.Errorf("%s is not recognised by its first bytes", f)
		}
	}
}

func TestResample(t *testing.T) {
	for _, r := range [][2]int{{44100, 16000}, {48000, 8000}, {8000, 16000}, {22050, 16000}, {16000, 44100}, {11025, 8000}} {
		from, to := r[0], r[1]
		n := from / 2
		clip := func(x []float64) Clip {
			c := Clip{Rate: from}
			for _, v := range x {
				c.Samples = append(c.Samples, float32(v))
			}
			return c
		}
		low := 0.35 * float64(min(from, to))
		out := clip(sine(n, low, 0.7, from)).resample(to)
		if want := (n*to + from - 1) / from; len(out.Samples) != want || out.Rate != to {
			t.Errorf("%d to %d Hz: %d samples at %d Hz, want %d", from, to, len(out.Samples), out.Rate, want)
		}
		// The middle equals the sine itself, sampled at the new rate: no gain,
		// no delay.
		want := sine(len(out.Samples), low, 0.7, to)
		for i := len(want) / 4; i < 3*len(want)/4; i++ {
			if math.Abs(float64(out.Samples[i])-want[i]) > 1e-3 {
				t.Errorf("%d to %d Hz: sample %d is %g, want %g", from, to, i, out.Samples[i], want[i])
				break
			}
		}
		if to < from { // what the new rate cannot hold is gone
			high := clip(sine(n, 0.55*float64(to), 0.7, from)).resample(to)
			var most float64
			for _, v := range high.Samples[len(high.Samples)/4 : 3*len(high.Samples)/4] {
				most = max(most, math.Abs(float64(v)))
			}
			if db := 20 * math.Log10(most/0.7); db > -60 {
				t.Errorf("%d to %d Hz: a frequency beyond the new rate's is at %.0f dB, want below -60", from, to, db)
			}
		}
		ones := make([]float64, n)
		for i := range ones {
			ones[i] = 1
		}
		dc := clip(ones).resample(to)
		if v := dc.Samples[len(dc.Samples)/2]; math.Abs(float64(v)-1) > 1e-4 {
			t.Errorf("%d to %d Hz: a constant of 1 becomes %g", from, to, v)
		}
	}
}

func processorOf(t testing.TB, config string) *processor {
	t.Helper()
	p, err := modality{}.Open(json.RawMessage(config), "")
	if err != nil {
		t.Fatal(err)
	}
	return p.(*processor)
}

const demoConfig = `{"rate": 8000, "window": 256, "fft": 256, "hop": 80, "mels": 32, "fmin": 60, "fmax": 4000, "seconds": 1.28, "patch": [32, 8]}`

func TestTokens(t *testing.T) {
	p := processorOf(t, demoConfig)
	if l := p.Layout(); l.Patch != 256 || l.Grid != [2]int{1, 16} || l.Stretch {
		t.Errorf("layout %+v, want 16 patches of 256", l)
	}
	for n, want := range map[int][2]int{10240: {16, 0}, 1: {1, 0}, 641: {2, 0}, 20480: {16, 16}} {
		tok, err := p.Tokenize(Clip{Samples: make([]float32, n), Rate: 8000})
		if err != nil {
			t.Fatal(err)
		}
		if tok.Len() != want[0] || tok.Cut != want[1] || len(tok.Patches) != 256*tok.Len() {
			t.Errorf("%d samples: %d tokens of %d values with %d cut, want %d with %d", n, tok.Len(), len(tok.Patches), tok.Cut, want[0], want[1])
		}
	}
	if tok, err := p.Tokenize(Clip{Samples: make([]float32, 2*10240), Rate: 16000}); err != nil || tok.Len() != 16 {
		t.Errorf("a clip of another rate: %d tokens, %v", tok.Len(), err)
	}
	if _, err := p.Tokenize(Clip{Rate: 8000}); err == nil {
		t.Error("a clip without samples was tokenized")
	}
	if _, err := p.Tokenize("text"); err == nil {
		t.Error("a string was tokenized")
	}
}

// TestConvolutionsEqualTransformers multiplies patches by a filter and holds
// that to the first convolutions of Whisper and AST over what their feature
// extractors make of the same signal; testdata/make_extractors.py.
func TestConvolutionsEqualTransformers(t *testing.T) {
	data, err := os.ReadFile("testdata/extractors.json")
	if err != nil {
		t.Fatal(err)
	}
	var g struct {
		Samples           int
		Whisper, AST, Cut [][]float64
	}
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	clip := Clip{Samples: make([]float32, g.Samples), Rate: 16000}
	for i := range clip.Samples {
		triangle := i*37%4096 - 2048
		clip.Samples[i] = float32(i*i%8191-4095+4*(max(triangle, -triangle)-1024)) / 16384
	}
	const ast = `{"features": "kaldi", "scale": "kaldi", "mels": 128, "fmin": 20, "pad": "frames", "patch": [16, 16],
		"stride": [10, 10], "mean": -4.2677393, "std": 9.1379948, "seconds": `
	for name, c := range map[string]struct {
		config string
		want   [][]float64
		cut    int
	}{
		"Whisper": {`{"features": "whisper", "fft": 400, "mels": 80, "fmin": 0, "pad": "samples", "patch": [80, 3],
			"stride": [80, 1], "edge": 1, "mean": -4, "std": 4, "seconds": 1}`, g.Whisper, 0},
		"AST":     {ast + "0.655}", g.AST, 0},  // 64 frames
		"AST cut": {ast + "0.315}", g.Cut, 12}, // 30 frames of 38, 2 patches of 3
	} {
		p := processorOf(t, c.config)
		tok, err := p.Tokenize(clip)
		if err != nil {
			t.Fatal(err)
		}
		if grid := [2]int{len(c.want), len(c.want[0])}; tok.Grid != grid || p.Layout().Grid != grid || tok.Cut != c.cut {
			t.Fatalf("%s: grid %v of at most %v with %d cut, want %v with %d", name, tok.Grid, p.Layout().Grid, tok.Cut, grid, c.cut)
		}
		size := p.Layout().Patch
		for i := range tok.Len() {
			var got float64
			for k, v := range tok.Patches[i*size : (i+1)*size] {
				got += float64(v) * float64(k*7919%101-50) / 1000
			}
			if want := c.want[i/tok.Grid[1]][i%tok.Grid[1]]; math.Abs(got-want) > 2e-4 {
				t.Fatalf("%s: patch %d gives %g, want %g", name, i, got, want)
			}
		}
	}
}

func TestShortClips(t *testing.T) {
	const kaldi = `{"features": "kaldi", "mels": 32, "patch": [16, 16], "stride": [10, 10], "pad": `
	short := Clip{Samples: make([]float32, 100), Rate: 16000} // less than a frame
	if _, err := processorOf(t, kaldi+`"none"}`).Tokenize(short); err == nil || !strings.Contains(err.Error(), "100 samples") {
		t.Errorf("error %v, want it to name 100 samples", err)
	}
	for _, pad := range []string{"samples", "frames"} {
		p := processorOf(t, kaldi+`"`+pad+`"}`)
		tok, err := p.Tokenize(short)
		if err != nil || tok.Grid != p.Layout().Grid {
			t.Errorf("pad %s: grid %v (%v), want %v", pad, tok.Grid, err, p.Layout().Grid)
		}
	}
	if short.Samples = short.Samples[:1]; cap(short.Samples) < 100 {
		t.Fatal("no room behind the clip")
	}
	short.Samples[:2][1] = 1
	if _, err := processorOf(t, `{"pad": "samples"}`).Tokenize(short); err != nil || short.Samples[:2][1] != 1 {
		t.Errorf("what lies behind a clip was written (%v)", err)
	}
}

func TestAugment(t *testing.T) {
	p := processorOf(t, `{"augment": {"gain_db": 6, "shift": 0.5}}`)
	rng := rand.New(rand.NewPCG(1, 1))
	in := Clip{Samples: make([]float32, 1000), Rate: 16000}
	in.Samples[500] = 0.5
	places, gains := map[int]bool{}, map[float32]bool{}
	for range 50 {
		out := p.Augment(in, rng).(Clip)
		if len(out.Samples) != 1000 {
			t.Fatalf("%d samples", len(out.Samples))
		}
		for i, v := range out.Samples {
			if v != 0 {
				places[i], gains[v] = true, true
				if v < 0.5/2.1 || v > 0.5*2.1 {
					t.Errorf("a gain of %g, want within 6 dB", v/0.5)
				}
			}
		}
	}
	if len(places) < 20 || len(gains) < 20 || in.Samples[500] != 0.5 {
		t.Errorf("%d places, %d gains, input %g", len(places), len(gains), in.Samples[500])
	}
}

func TestConfigErrors(t *testing.T) {
	for config, want := range map[string]string{
		`{"rates": 8000}`:                      `did you mean "rate"`,
		`{"rate": 0}`:                          "rate",
		`{"fft": 100}`:                         "fft",
		`{"hop": 0}`:                           "hop",
		`{"fmin": 9000}`:                       "fmin",
		`{"patch": [5, 4]}`:                    "patch",
		`{"scale": "bark"}`:                    "scale",
		`{"seconds": 0}`:                       "seconds",
		`{"seconds": 1e-9}`:                    "seconds",
		`{"features": "mfcc"}`:                 "features",
		`{"pad": "zeros"}`:                     "pad",
		`{"stride": [16, 0]}`:                  "stride",
		`{"stride": [4, 4], "patch": [65, 4]}`: "stride",
		`{"edge": 5}`:                          "edge",
		`{"std": 0}`:                           "std",
		`{"mels": 400, "patch": [4,4]}`:        "holds no bin",
	} {
		if _, err := (modality{}).Open(json.RawMessage(config), ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want it to hold %q", config, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"flac", "ogg", "mp3"} {
		data, err := os.ReadFile("testdata/sine." + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add(wavFile(formatPCM, 2, 8000, 24, make([]byte, 60), 0, true))
	f.Add(wavFile(formatMuLaw, 1, 8000, 8, make([]byte, 60), -1, false))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := decode(bytes.NewReader(data), "f")
		if err == nil && (len(c.Samples) == 0 || c.Rate < 1) {
			t.Errorf("%d samples at %d Hz without an error", len(c.Samples), c.Rate)
		}
	})
}
