package main

import (
	"strings"
	"testing"
)

// A ratio is the median of the rounds' own: it says how many times as fast we
// are, be the figure a rate or a time, and for memory our share.
func TestCompare(t *testing.T) {
	for _, c := range []struct {
		unit       string
		peer, ours []float64
		g          goal
		ratio      float64
		goal, met  string
	}{
		// The machine is half as fast in the second round: medians of the
		// figures alone would give 3.
		{"samples/s", []float64{100, 50, 110}, []float64{200, 150, 220}, goal{"≥", 2}, 2, "≥ 2x", "yes"},
		{"ms", []float64{8, 9, 10}, []float64{2, 3, 1}, goal{"≥", 5}, 4, "≥ 5x", "no"},
		{"ms", []float64{8}, []float64{8}, goal{">", 1}, 1, "> 1x", "no"},
		{"MB", []float64{1600}, []float64{800}, goal{"≤", 0.5}, 0.5, "≤ 0.5x", "yes"},
		{"MB", []float64{1600}, []float64{820}, goal{"≤", 0.5}, 0.5125, "≤ 0.5x", "no"},
		{"ms", nil, []float64{480, 510, 490}, goal{"<", 500}, 0, "< 500 ms", "yes"},
		{"ms", nil, []float64{480, 510, 520}, goal{"<", 500}, 0, "< 500 ms", "no"},
		{"MB", []float64{100}, []float64{200}, goal{}, 2, "", ""},
	} {
		var r report
		peer := ""
		if c.peer != nil {
			peer = "peer"
		}
		r.compare("w", c.unit, peer, c.peer, c.ours, c.g)
		row := r.Rows[0]
		met := ""
		if row.Met != nil {
			met = map[bool]string{true: "yes", false: "no"}[*row.Met]
		}
		if row.Ratio != c.ratio || row.Goal != c.goal || met != c.met {
			t.Errorf("%v against %v %s: ratio %g, goal %q, met %q; want %g, %q, %q", c.ours, c.peer, c.unit, row.Ratio, row.Goal, met, c.ratio, c.goal, c.met)
		}
	}
}

func TestMarkdown(t *testing.T) {
	r := report{Machine: "M", Threads: 2, Rounds: 3, Versions: map[string]string{"torch": "2", "Go": "1"}}
	r.compare("train", "samples/s", "OpenCLIP", []float64{100, 110, 90}, []float64{150, 242, 180}, goal{"≥", 2})
	r.compare("first image", "ms", "", nil, []float64{123.4}, goal{})
	for i := range 10 {
		r.Measurements = append(r.Measurements, measurement{Others: 0.3 * float64(i/8)})
	}
	got := r.markdown()
	for _, want := range []string{
		"| train | OpenCLIP | 100.0 samples/s | 180.0 samples/s | 2.00x (1.50-2.20) | ≥ 2x | yes |\n",
		"| first image |  |  | 123.4 ms |  |  |  |\n",
		"Versions: Go 1, torch 2.",
		"more than 5% of the machine in 2 of 10 measurements, at most 30%.",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "do not count") {
		t.Errorf("two disturbed measurements of ten spoil the run:\n%s", got)
	}
	r.Measurements[0].Others = 0.1
	if got := r.markdown(); !strings.Contains(got, "do not count") {
		t.Errorf("three disturbed measurements of ten do not spoil the run:\n%s", got)
	}
}

func TestFigure(t *testing.T) {
	for x, want := range map[float64]string{0.5: "0.500 u", 9.876: "9.876 u", 98.76: "98.76 u", 987.6: "987.6 u", 9876: "9876 u"} {
		if got := figure(x, "u"); got != want {
			t.Errorf("%g is printed as %q, want %q", x, got, want)
		}
	}
}
