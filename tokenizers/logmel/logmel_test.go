package logmel

import (
	"encoding/json"
	"math"
	"os"
	"reflect"
	"sync"
	"testing"
)

// TestSpectrogramEqualsLibrosas compares every third band with the fixture of
// testdata/make_logmel.py.
func TestSpectrogramEqualsLibrosas(t *testing.T) {
	data, err := os.ReadFile("testdata/logmel.json")
	if err != nil {
		t.Fatal(err)
	}
	var g struct {
		Librosa string
		Rate    int
		Samples []float32
		Cases   []struct {
			Window, FFT, Hop, Mels int
			FMin, FMax             float64
			HTK                    bool
			Frames                 int
			Spec                   [][]float64
		}
	}
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	for i, c := range g.Cases {
		o := Options{Rate: g.Rate, Window: c.Window, FFT: c.FFT, Hop: c.Hop, Mels: c.Mels, Low: c.FMin, High: c.FMax}
		if c.HTK {
			o.Scale = HTK
		}
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		spec, frames := s.Compute(g.Samples)
		if frames != c.Frames {
			t.Fatalf("case %d: %d frames, librosa %s has %d", i, frames, g.Librosa, c.Frames)
		}
		for k, row := range c.Spec {
			for f, want := range row {
				if got := float64(spec[3*k*frames+f]); math.Abs(got-want) > 1e-4 {
					t.Fatalf("case %d: band %d, frame %d is %g, want %g", i, 3*k, f, got, want)
				}
			}
		}
	}
}

// signal is that of the extractors in testdata/make_logmel.py.
func signal(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		triangle := i*37%4096 - 2048
		x[i] = float32(i*i%8191-4095+4*(max(triangle, -triangle)-1024)) / 16384
	}
	return x
}

// TestSpectrogramEqualsTransformers compares every ninth band with the feature
// extractors of Whisper and AST.
func TestSpectrogramEqualsTransformers(t *testing.T) {
	data, err := os.ReadFile("testdata/extractors.json")
	if err != nil {
		t.Fatal(err)
	}
	var g struct {
		Samples      int
		Whisper, AST [][]float64
	}
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	x := signal(g.Samples)
	for name, c := range map[string]struct {
		o    Options
		x    []float32
		want [][]float64
	}{
		"Whisper": {
			Options{Window: 400, FFT: 400, Mels: 80, Floor: 1e-10, Log10: true, Range: 8},
			append(signal(g.Samples), make([]float32, 16000-g.Samples)...), g.Whisper,
		},
		"AST": {
			Options{
				Window: 400, FFT: 512, Symmetric: true, Inside: true, ZeroMean: true, PreEmphasis: 0.97,
				Mels: 128, Low: 20, Scale: Kaldi, Floor: 0x1p-23,
			}, x, g.AST,
		},
	} {
		c.o.Rate, c.o.Hop, c.o.High = 16000, 160, 8000
		s, err := New(c.o)
		if err != nil {
			t.Fatal(err)
		}
		spec, frames := s.Compute(c.x)
		for k, row := range c.want {
			if len(row) != frames {
				t.Fatalf("%s: %d frames, want %d", name, frames, len(row))
			}
			for f, want := range row {
				if got := float64(spec[9*k*frames+f]); math.Abs(got-want) > 1e-4 {
					t.Fatalf("%s: band %d, frame %d is %g, want %g", name, 9*k, f, got, want)
				}
			}
		}
	}
}

// TestEmptyBands has bands between two bins of the transform, as AST has, and
// with another scale an error.
func TestEmptyBands(t *testing.T) {
	o := Options{Rate: 16000, Window: 400, FFT: 512, Hop: 160, Mels: 128, Low: 20, High: 8000, Scale: Kaldi, Floor: 1e-3}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	empty := 0
	spec, frames := s.Compute(signal(6400))
	for m, f := range s.filters {
		if len(f.weights) == 0 {
			empty++
			for _, v := range spec[m*frames : (m+1)*frames] {
				if v != s.Silence() {
					t.Fatalf("band %d without a bin has %g, want %g", m, v, s.Silence())
				}
			}
		}
	}
	if empty == 0 {
		t.Error("no band is empty")
	}
	o.Scale = HTK
	if _, err := New(o); err == nil {
		t.Error("an empty band of the HTK scale is no error")
	}
}

func TestMelScalesInvert(t *testing.T) {
	for _, o := range []Options{{Scale: HTK}, {}} {
		for f := 0.0; f < 12000; f += 37 {
			if back := o.hz(o.mel(f)); math.Abs(back-f) > 1e-6 {
				t.Fatalf("scale %d: %g Hz becomes %g mel and %g Hz", o.Scale, f, o.mel(f), back)
			}
		}
	}
	if m := (Options{}).mel(1000); m != 15 {
		t.Errorf("1 kHz is %g mel on Slaney's scale, want 15", m)
	}
}

func TestPatches(t *testing.T) {
	spec := []float32{ // 4 bands, 5 frames
		0, 1, 2, 3, 4,
		10, 11, 12, 13, 14,
		20, 21, 22, 23, 24,
		30, 31, 32, 33, 34,
	}
	for _, c := range []struct {
		p    Patches
		grid [2]int
		want []float32
	}{
		{Patches{Rows: 2, Cols: 3}, [2]int{2, 2}, []float32{
			0, 1, 2, 10, 11, 12,
			3, 4, -1, 13, 14, -1,
			20, 21, 22, 30, 31, 32,
			23, 24, -1, 33, 34, -1,
		}},
		{Patches{Rows: 2, Cols: 3, Edge: 1}, [2]int{2, 3}, []float32{
			0, 0, 1, 0, 10, 11,
			2, 3, 4, 12, 13, 14,
			0, -1, -1, 0, -1, -1,
			0, 20, 21, 0, 30, 31,
			22, 23, 24, 32, 33, 34,
			0, -1, -1, 0, -1, -1,
		}},
		{Patches{Rows: 3, Cols: 2, Down: 1, Across: 2}, [2]int{2, 2}, []float32{
			0, 1, 10, 11, 20, 21,
			2, 3, 12, 13, 22, 23,
			10, 11, 20, 21, 30, 31,
			12, 13, 22, 23, 32, 33,
		}},
		{Patches{Rows: 4, Cols: 3, Down: 4, Across: 2, Edge: 1}, [2]int{1, 3}, []float32{
			0, 0, 1, 0, 10, 11, 0, 20, 21, 0, 30, 31,
			1, 2, 3, 11, 12, 13, 21, 22, 23, 31, 32, 33,
			3, 4, 0, 13, 14, 0, 23, 24, 0, 33, 34, 0,
		}},
		{Patches{Rows: 3, Cols: 6, Down: 2, Across: 2}, [2]int{1, 1}, []float32{
			0, 1, 2, 3, 4, -1, 10, 11, 12, 13, 14, -1, 20, 21, 22, 23, 24, -1,
		}},
	} {
		got := c.p.Cut(spec, 4, 5, -1)
		if got.Grid != c.grid || !reflect.DeepEqual(got.Patches, c.want) {
			t.Errorf("%+v: grid %v, patches %v, want %v and %v", c.p, got.Grid, got.Patches, c.grid, c.want)
		}
	}
}

func TestShortSignalsAndGoroutines(t *testing.T) {
	s, err := New(Options{Rate: 8000, Window: 200, FFT: 256, Hop: 80, Mels: 20, Low: 50, High: 4000})
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n < 400; n++ {
		spec, frames := s.Compute(make([]float32, n))
		if frames != (n+79)/80 || len(spec) != 20*frames {
			t.Fatalf("%d samples: %d frames, %d values", n, frames, len(spec))
		}
	}
	x := make([]float32, 1000)
	for i := range x {
		x[i] = float32(i%17) / 17
	}
	want, _ := s.Compute(x)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				if got, _ := s.Compute(x); !reflect.DeepEqual(got, want) {
					t.Error("goroutines disturb each other")
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkCompute(b *testing.B) {
	s, err := New(Options{Rate: 16000, Window: 400, FFT: 512, Hop: 160, Mels: 64, Low: 50, High: 8000})
	if err != nil {
		b.Fatal(err)
	}
	x := make([]float32, 16000)
	frames := 0
	for b.Loop() {
		_, n := s.Compute(x)
		frames += n
	}
	b.ReportMetric(float64(frames)/b.Elapsed().Seconds(), "frames/s")
}
