package evaluate

import (
	"math"
	"slices"
	"testing"
)

func TestTally(t *testing.T) {
	var classes []Class
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		classes = append(classes, Class{name, name})
	}
	tally := newTally(classes)
	none := math.Inf(-1)
	for _, c := range []struct {
		label  int
		scores []float64
	}{
		{0, []float64{9, 1, 2, 3, 4, 5, 6}},                   // right
		{0, []float64{4, 1, 2, 3, 9, 5, 6}},                   // a as e, in the best five
		{1, []float64{4, 1, 2, 3, 9, 5, 6}},                   // b as e, last
		{1, []float64{5, 5, 5, 5, 5, 5, 5}},                   // b as a: of equals the first is best
		{6, []float64{5, 5, 5, 5, 5, 5, 5}},                   // g as a, and seventh
		{1, []float64{1, none, none, none, none, none, none}}, // b as a; nothing speaks for b
		{1, []float64{none, none, none, none, 7, none, none}}, // b as e once more
	} {
		tally.add(c.label, c.scores)
	}
	s := tally.scores()
	if s.N != 7 || s.Top1 != 1./7 || s.Top5 != 3./7 || math.Abs(s.PerClass-0.5/3) > 1e-15 {
		t.Errorf("%+v, want 1 of 7 right, 3 among five, and 1/6 of a class", s)
	}
	if want := []Confusion{{"b", "a", 2}, {"b", "e", 2}, {"a", "e", 1}, {"g", "a", 1}}; !slices.Equal(s.Confusions, want) {
		t.Errorf("confusions %v, want %v", s.Confusions, want)
	}
	if want := []ClassScore{{"a", 2, 0.5}, {"b", 4, 0}, {"g", 1, 0}}; !slices.Equal(s.Classes, want) {
		t.Errorf("classes %v, want %v", s.Classes, want)
	}
}

func TestTallyKeepsTen(t *testing.T) {
	classes := make([]Class, 6)
	tally := newTally(classes)
	for label := range classes {
		for as := range classes {
			for range 10*label + as {
				scores := make([]float64, 6)
				scores[as] = 1
				tally.add(label, scores)
			}
		}
	}
	c := tally.scores().Confusions
	if len(c) != 10 || c[0].N != 54 || c[9].N != 40 {
		t.Errorf("%v, want ten from 54 down to 40", c)
	}
}
