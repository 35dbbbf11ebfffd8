package evaluate

import (
	"cmp"
	"math"
	"slices"
)

// Scores say how often files are taken for what they are.
type Scores struct {
	// N is the number of files.
	N int `json:"n"`
	// Top1 is the share of files, in 0..1, whose class scores best, Top5 that
	// of files whose class is among the best five. Of classes that score the
	// same the one whose folder sorts first is better.
	Top1 float64 `json:"top1"`
	Top5 float64 `json:"top5"`
	// PerClass is the mean over the classes of their shares of Top1.
	PerClass float64 `json:"mean_per_class"`
	// Confusions are the most frequent mistakes, at most ten.
	Confusions []Confusion `json:"confusions"`
	// Classes are those that have files, in order.
	Classes []ClassScore `json:"classes"`
}

// Confusion counts the files of a class that are taken for another.
type Confusion struct {
	Class string `json:"class"`
	As    string `json:"as"`
	N     int    `json:"n"`
}

// ClassScore is the part of one class in Scores.
type ClassScore struct {
	Class string  `json:"class"`
	N     int     `json:"n"`
	Top1  float64 `json:"top1"`
}

// confusions is the number of confusions that are kept.
const confusions = 10

// tally gathers Scores.
type tally struct {
	classes  []Class
	n, first []int // files of each class, and those taken for it
	fifth    int
	mistaken map[[2]int]int // by class and what was taken for it
}

func newTally(classes []Class) *tally {
	return &tally{classes: classes, n: make([]int, len(classes)), first: make([]int, len(classes)), mistaken: map[[2]int]int{}}
}

// add counts a file of a class, to which the classes have these scores.
func (t *tally) add(label int, scores []float64) {
	best, before := 0, 0
	for j, s := range scores {
		if s > scores[best] {
			best = j
		}
		if s > scores[label] || s == scores[label] && j < label {
			before++
		}
	}
	t.n[label]++
	if best == label {
		t.first[label]++
	} else {
		t.mistaken[[2]int{label, best}]++
	}
	// A class that nothing speaks for scores -Inf.
	if before < 5 && !math.IsInf(scores[label], -1) {
		t.fifth++
	}
}

func (t *tally) scores() Scores {
	s := Scores{Confusions: []Confusion{}}
	first := 0
	for i, c := range t.classes {
		if t.n[i] == 0 {
			continue
		}
		share := float64(t.first[i]) / float64(t.n[i])
		s.Classes = append(s.Classes, ClassScore{c.Name, t.n[i], share})
		s.PerClass += share
		s.N += t.n[i]
		first += t.first[i]
	}
	s.PerClass /= float64(len(s.Classes))
	s.Top1, s.Top5 = float64(first)/float64(s.N), float64(t.fifth)/float64(s.N)
	var pairs [][2]int
	for p := range t.mistaken {
		pairs = append(pairs, p)
	}
	slices.SortFunc(pairs, func(a, b [2]int) int {
		return cmp.Or(cmp.Compare(t.mistaken[b], t.mistaken[a]), slices.Compare(a[:], b[:]))
	})
	for _, p := range pairs[:min(confusions, len(pairs))] {
		s.Confusions = append(s.Confusions, Confusion{t.classes[p[0]].Name, t.classes[p[1]].Name, t.mistaken[p]})
	}
	return s
}
