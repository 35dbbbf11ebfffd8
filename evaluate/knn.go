package evaluate

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sort"
)

// voteTemperature makes near neighbours weigh more.
const voteTemperature = 0.07

// Neighbours are the scores of classification by the K nearest neighbours.
type Neighbours struct {
	K int `json:"k"`
	Scores
}

// KNN classifies the files of test by their nearest files of train, once for
// each number of neighbours in ks: each votes for its class with a weight of
// exp(cosine/0.07) (Wu et al. 2018, section 3.4). All of train votes where it
// has fewer. The classes are those of train, which must have all of test's.
func KNN(ctx context.Context, train, test *Vectors, ks ...int) ([]Neighbours, error) {
	labels, err := labelsIn(train, test)
	if err != nil {
		return nil, err
	}
	if len(ks) == 0 || slices.Min(ks) < 1 {
		return nil, fmt.Errorf("expected numbers of neighbours of at least 1, found %v", ks)
	}
	most, e := slices.Max(ks), train.Dim
	tallies := make([]*tally, len(ks))
	for i := range ks {
		tallies[i] = newTally(train.Classes)
	}
	const trainBlock = 4096
	block, votes := make([]float32, rowBlock*trainBlock), make([]float64, len(train.Classes))
	for lo := 0; lo < len(labels); lo += rowBlock {
		hi := min(lo+rowBlock, len(labels))
		near := make([][]neighbour, hi-lo)
		for at := 0; at < len(train.Labels); at += trainBlock {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			n := min(trainBlock, len(train.Labels)-at)
			similarities(block, test.Z[lo*e:hi*e], train.Z[at*e:(at+n)*e], hi-lo, n, e)
			for i := range near {
				for j, s := range block[i*n : (i+1)*n] {
					near[i] = insert(near[i], most, neighbour{s, train.Labels[at+j]})
				}
			}
		}
		for i, list := range near {
			for k, t := range tallies {
				vote(votes, list[:min(ks[k], len(list))])
				t.add(labels[lo+i], votes)
			}
		}
	}
	results := make([]Neighbours, len(ks))
	for i, t := range tallies {
		results[i] = Neighbours{ks[i], t.scores()}
	}
	return results, nil
}

// neighbour is a file of train as another file sees it.
type neighbour struct {
	similarity float32
	label      int
}

// insert puts a neighbour into a list of at most k, the nearest first; of those
// that are as near the one that came first is nearer.
func insert(list []neighbour, k int, x neighbour) []neighbour {
	if len(list) == k && x.similarity <= list[k-1].similarity {
		return list
	}
	at := sort.Search(len(list), func(i int) bool { return list[i].similarity < x.similarity })
	if len(list) < k {
		list = append(list, neighbour{})
	}
	copy(list[at+1:], list[at:])
	list[at] = x
	return list
}

// vote gives each class the sum of its neighbours' weights, or -Inf where it
// has no neighbour.
func vote(votes []float64, list []neighbour) {
	for i := range votes {
		votes[i] = math.Inf(-1)
	}
	for _, n := range list {
		votes[n.label] = max(votes[n.label], 0) + math.Exp(float64(n.similarity)/voteTemperature)
	}
}

// labelsIn returns the labels of test as indices into the classes of train.
func labelsIn(train, test *Vectors) ([]int, error) {
	if train.Dim != test.Dim {
		return nil, fmt.Errorf("%s has vectors of %d values, %s of %d", train.Name, train.Dim, test.Name, test.Dim)
	}
	at := map[string]int{}
	for i, c := range train.Classes {
		at[c.Folder] = i
	}
	var missing []string
	for _, c := range test.Classes {
		if _, ok := at[c.Folder]; !ok {
			missing = append(missing, c.Folder)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%s has classes that %s lacks: %s", test.Name, train.Name, few(missing))
	}
	labels := make([]int, len(test.Labels))
	for i, l := range test.Labels {
		labels[i] = at[test.Classes[l].Folder]
	}
	return labels, nil
}
