package evaluate

import (
	"cmp"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"testing"
)

// fixture is testdata/probe.json.
type fixture struct {
	Classes, Dim int
	Train        []float32
	TrainLabels  []int `json:"train_labels"`
	Test         []float32
	TestLabels   []int `json:"test_labels"`
	Logistic     []struct {
		L2, Top1 float64
		W, B     []float64
	}
	Neighbours []struct {
		K      int
		Labels []int
	}
}

func readFixture(t *testing.T) (f fixture, train, test *Vectors) {
	t.Helper()
	data, err := os.ReadFile("testdata/probe.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	return f, vectors(f.Train, f.TrainLabels, f.Classes, f.Dim), vectors(f.Test, f.TestLabels, f.Classes, f.Dim)
}

// vectors gives rows z [N, e] classes called a, b and so on.
func vectors(z []float32, labels []int, classes, e int) *Vectors {
	v := &Vectors{Name: "test", Z: z, Labels: labels, Dim: e}
	for i := range classes {
		v.Classes = append(v.Classes, Class{string(rune('a' + i)), string(rune('a' + i))})
	}
	return v
}

// scored is the tally of given answers.
func scored(classes []Class, labels, answers []int) Scores {
	t := newTally(classes)
	for i, l := range labels {
		scores := make([]float64, len(classes))
		scores[answers[i]] = 1
		t.add(l, scores)
	}
	return t.scores()
}

func TestKNNIsThatOfScikitLearn(t *testing.T) {
	f, train, test := readFixture(t)
	for _, want := range f.Neighbours {
		got, err := KNN(t.Context(), train, test, want.K)
		if err != nil {
			t.Fatal(err)
		}
		s := scored(train.Classes, f.TestLabels, want.Labels)
		if g := got[0]; g.K != want.K || g.Top1 != s.Top1 || !reflect.DeepEqual(g.Classes, s.Classes) || !slices.Equal(g.Confusions, s.Confusions) {
			t.Errorf("k = %d: %+v, want %+v", want.K, g, s)
		}
	}
}

// Near neighbours outvote a majority of far ones; classes without a vote are
// not among the five.
func TestKNNWeighs(t *testing.T) {
	train := vectors(at(0, 30, 30, 180, 200, 220, 240), []int{0, 1, 1, 2, 3, 4, 5}, 6, 2)
	for _, c := range []struct {
		degrees    float64
		label, k   int
		top1, top5 float64
	}{
		{1, 0, 3, 1, 1},  // one at 1 degree weighs exp((1 - 0.875)/0.07) = 6 times one at 29
		{17, 0, 3, 0, 1}, // two at 13 degrees outweigh one at 17
		{1, 2, 3, 0, 0},  // none of its neighbours is c
		{1, 2, 7, 0, 0},  // it is the sixth of six
		{1, 3, 7, 0, 1},
		{1, 0, 1000, 1, 1},
	} {
		got, err := KNN(t.Context(), train, vectors(at(c.degrees), []int{c.label}, 6, 2), c.k)
		if err != nil || got[0].Top1 != c.top1 || got[0].Top5 != c.top5 {
			t.Errorf("%+v: %+v (%v)", c, got, err)
		}
	}
}

// What is computed in blocks, and for several k, is what a sort of all gives.
// The values are such that products are exact and many are equal.
func TestKNNIsExact(t *testing.T) {
	const classes, e, n, m = 7, 5, 4200, 260
	rng := rand.New(rand.NewPCG(3, 4))
	draw := func(n int) *Vectors {
		z, labels := make([]float32, n*e), make([]int, n)
		for i := range labels {
			for j := range e {
				z[i*e+j] = float32(rng.IntN(17)-8) / 16
			}
			labels[i] = rng.IntN(classes)
		}
		return vectors(z, labels, classes, e)
	}
	train, test := draw(n), draw(m)
	ks := []int{1, 5, 20}
	got, err := KNN(t.Context(), train, test, ks...)
	if err != nil {
		t.Fatal(err)
	}
	tallies := []*tally{newTally(train.Classes), newTally(train.Classes), newTally(train.Classes)}
	for q, label := range test.Labels {
		all := make([]neighbour, n)
		for j := range all {
			for x := range e {
				all[j].similarity += test.Z[q*e+x] * train.Z[j*e+x]
			}
			all[j].label = train.Labels[j]
		}
		slices.SortStableFunc(all, func(a, b neighbour) int { return cmp.Compare(b.similarity, a.similarity) })
		for i, k := range ks {
			votes := make([]float64, classes)
			for _, x := range all[:k] {
				votes[x.label] += math.Exp(float64(x.similarity) / 0.07)
			}
			for j := range votes {
				if votes[j] == 0 {
					votes[j] = math.Inf(-1)
				}
			}
			tallies[i].add(label, votes)
		}
	}
	for i, k := range ks {
		if want := tallies[i].scores(); !reflect.DeepEqual(got[i].Scores, want) {
			t.Errorf("k = %d: %+v, want %+v", k, got[i].Scores, want)
		}
	}
}
