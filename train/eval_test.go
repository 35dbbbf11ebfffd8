package train

import (
	"math"
	"slices"
	"testing"

	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/tensor"
)

func TestRank(t *testing.T) {
	for _, c := range []struct {
		name     string
		scores   []float32
		positive []bool
		want     float64
	}{
		{"best", []float32{0.1, 0.9, 0.5}, []bool{false, true, false}, 1},
		{"third", []float32{0.1, 0.9, 0.5}, []bool{true, false, false}, 3},
		{"the best of several partners counts", []float32{0.1, 0.9, 0.5}, []bool{true, false, true}, 2},
		{"all score the same: the middle", []float32{0.5, 0.5, 0.5, 0.5, 0.5}, []bool{false, true, false, false, false}, 3},
		{"a partner that scores the same costs nothing", []float32{0.5, 0.5, 0.1}, []bool{true, true, false}, 1},
	} {
		if got := rank(c.scores, c.positive); got != c.want {
			t.Errorf("%s: rank %g, want %g", c.name, got, c.want)
		}
	}
}

// TestSeveralCaptionsOfAnItem has two pictures, of which one has three captions
// and the other two, one caption being shared by both.
func TestSeveralCaptionsOfAnItem(t *testing.T) {
	cfg, err := model.ParseConfig("eval", []byte(`{
		"trunk": {"width": 4, "layers": 1, "heads": 1, "hidden": 4, "embed": 2},
		"modalities": {"text": {}}
	}`))
	if err != nil {
		t.Fatal(err)
	}
	ps, err := cfg.OpenProcessors("")
	if err != nil {
		t.Fatal(err)
	}
	m := model.New(cfg, ps, tensor.CPU(1), 1)
	at := func(degrees ...float64) (z []float32) {
		for _, d := range degrees {
			s, c := math.Sincos(d * math.Pi / 180)
			z = append(z, float32(c), float32(s))
		}
		return z
	}
	images := &gallery{z: at(0, 90), items: [][]int{{0}, {1}}}
	captions := &gallery{z: at(60, 10, 80, 30), items: [][]int{{0}, {0}, {1}, {0, 1}}}
	for name, c := range map[string]struct {
		a, b *gallery
		want []float64
	}{
		"image>text": {images, captions, []float64{1, 1}},       // the best caption of each is nearest
		"text>image": {captions, images, []float64{2, 1, 1, 1}}, // the caption at 60 degrees is nearer to the other picture
	} {
		got, err := rankAll(t.Context(), m, c.a, c.b, every)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: ranks %v (%v), want %v", name, got, err, c.want)
		}
	}
	alone := &gallery{z: at(45), items: [][]int{{7}}}
	if got, err := rankAll(t.Context(), m, alone, captions, every); err != nil || len(got) != 0 {
		t.Errorf("a query without a partner has ranks %v (%v)", got, err)
	}
}

func TestGapIsBetweenMeans(t *testing.T) {
	// Means (0.5, 0.5) and (-1, 0): |(1.5, 0.5)|.
	got := gaps([]string{"a", "b"}, map[string]*gallery{
		"a": {z: []float32{1, 0, 0, 1}, items: [][]int{{0}, {1}}},
		"b": {z: []float32{-1, 0}, items: [][]int{{0}}},
	}, 2)
	if want := math.Sqrt(2.5); len(got) != 1 || math.Abs(got["a+b"]-want) > 1e-12 {
		t.Errorf("gap %v, want %g of a+b", got, want)
	}
}

func TestSummarise(t *testing.T) {
	m := summarise([]float64{1, 3, 6, 20}, 30)
	want := Metrics{N: 4, Gallery: 30, R1: 0.25, R5: 0.5, R10: 0.75, MeanRank: 7.5, MedianRank: 4.5}
	if m != want {
		t.Errorf("%+v, want %+v", m, want)
	}
	if m := summarise([]float64{2, 1, 9}, 9); m.MedianRank != 2 {
		t.Errorf("median of three ranks is %g, want 2", m.MedianRank)
	}
}

func TestRateSchedule(t *testing.T) {
	s := Settings{Steps: 100, LR: 1, Warmup: 0.1, FinalLR: 0.02}
	for step, want := range map[int]float64{1: 0.1, 5: 0.5, 10: 1, 55: 0.51, 100: 0.02} {
		if got := s.rate(step); math.Abs(got-want) > 1e-9 {
			t.Errorf("rate at step %d is %g, want %g", step, got, want)
		}
	}
}
