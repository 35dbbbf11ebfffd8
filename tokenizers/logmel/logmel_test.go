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
		s, err := New(Options{Rate: g.Rate, Window: c.Window, FFT: c.FFT, Hop: c.Hop, Mels: c.Mels, Low: c.FMin, High: c.FMax, HTK: c.HTK})
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

func TestMelScalesInvert(t *testing.T) {
	for _, o := range []Options{{HTK: true}, {}} {
		for f := 0.0; f < 12000; f += 37 {
			if back := o.hz(o.mel(f)); math.Abs(back-f) > 1e-6 {
				t.Fatalf("htk %t: %g Hz becomes %g mel and %g Hz", o.HTK, f, o.mel(f), back)
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
	got := Patches(spec, 4, 5, 2, 3, -1)
	want := []float32{
		0, 1, 2, 10, 11, 12,
		3, 4, -1, 13, 14, -1,
		20, 21, 22, 30, 31, 32,
		23, 24, -1, 33, 34, -1,
	}
	if got.Grid != [2]int{2, 2} || !reflect.DeepEqual(got.Patches, want) {
		t.Errorf("grid %v, patches %v, want %v", got.Grid, got.Patches, want)
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
