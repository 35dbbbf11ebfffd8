package train

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// Metrics are the retrieval figures of one direction, image>text: every
// distinct value of the first modality asks for its partners among all
// distinct values of the second. A query's rank is that of its best partner,
// from 1; values that score the same as it share the middle of their ranks.
type Metrics struct {
	// N is the number of queries, of Gallery values.
	N       int `json:"n"`
	Gallery int `json:"gallery"`
	// R1, R5 and R10 are shares of queries, in 0..1, of rank at most 1, 5, 10.
	R1         float64 `json:"r1"`
	R5         float64 `json:"r5"`
	R10        float64 `json:"r10"`
	MeanRank   float64 `json:"mean_rank"`
	MedianRank float64 `json:"median_rank"`
}

// Evaluation holds the metrics of every ordered pair of modalities, by name:
// "image>text".
type Evaluation struct {
	Pairs map[string]Metrics `json:"pairs"`
	// Gap is the modality gap of every pair, by name ("image+text"): the length
	// of the difference between the means of their embeddings (Liang et al.
	// 2022), in 0..2.
	Gap map[string]float64 `json:"gap,omitempty"`
	// Bad counts the values that could not be read and took no part.
	Bad int `json:"bad,omitempty"`
}

// Directions lists the names of the evaluated directions, sorted.
func (e Evaluation) Directions() []string {
	var names []string
	for n := range e.Pairs {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Mean returns the mean R@1 over the directions and Worst the smallest.
func (e Evaluation) Mean() (mean, worst float64) {
	worst = 1
	for _, d := range e.Directions() { // in an order, so that the sum's bits are the same
		mean += e.Pairs[d].R1 / float64(len(e.Pairs))
		worst = min(worst, e.Pairs[d].R1)
	}
	return mean, worst
}

// Report is told of progress: done of total, in values or steps.
type Report func(done, total int)

// gallery is the vectors of all distinct values of a modality.
type gallery struct {
	z     []float32 // [n, E]
	items [][]int   // of each value, the items that it belongs to
}

// Evaluate embeds every distinct value of a source and ranks them in every
// direction. Scores are made in blocks of queries; there is no N x N matrix.
// maxBad is as in Options.
func Evaluate(ctx context.Context, m *model.Model, src datasets.Source, maxBad float64, report Report) (Evaluation, error) {
	es, err := evaluate(ctx, m, src, maxBad, report, anyone)
	return es[0], err
}

// anyone lets all values ask.
func anyone([]int) bool { return true }

// evaluate is Evaluate for several sets of queries, each of which says whether a
// value asks that belongs to some items. All values can be found by all.
func evaluate(ctx context.Context, m *model.Model, src datasets.Source, maxBad float64, report Report, asks ...func(items []int) bool) ([]Evaluation, error) {
	es := make([]Evaluation, len(asks))
	for i := range es {
		es[i].Pairs = map[string]Metrics{}
	}
	var names []string
	values := map[string][]datasets.DistinctCell{}
	total := 0
	for _, name := range m.Modalities() {
		if slices.Contains(src.Modalities(), name) {
			names = append(names, name)
			values[name] = datasets.Distinct(src, name)
			total += len(values[name])
		}
	}
	if len(names) < 2 {
		return es, fmt.Errorf("%s has %v; an evaluation needs at least two of the model's modalities %v", src.Name(), src.Modalities(), m.Modalities())
	}
	galleries := map[string]*gallery{}
	done, allBad := 0, 0
	for _, name := range names {
		g, bad, err := embedAll(ctx, m, src, name, values[name], func(n int) {
			if report != nil {
				report(done+n, total)
			}
		})
		if err != nil {
			return es, err
		}
		done += len(values[name])
		allBad += bad
		galleries[name] = g
	}
	allowed := 0
	if maxBad > 0 {
		allowed = max(1, int(maxBad*float64(total)))
	}
	if allBad > allowed {
		return es, fmt.Errorf("%s: %d of %d values could not be read, at most %d may (--max-bad)", src.Name(), allBad, total, allowed)
	}
	gap := gaps(names, galleries, m.Dim())
	for i := range es {
		es[i].Gap, es[i].Bad = gap, allBad
	}
	for _, a := range names {
		for _, b := range names {
			if a == b {
				continue
			}
			for i, ask := range asks {
				ranks, err := rankAll(ctx, m, galleries[a], galleries[b], ask)
				if err != nil {
					return es, err
				}
				if len(ranks) > 0 {
					es[i].Pairs[a+">"+b] = summarise(ranks, len(galleries[b].items))
				}
			}
		}
	}
	return es, nil
}

// gaps returns the modality gap of every pair.
func gaps(names []string, galleries map[string]*gallery, dim int) map[string]float64 {
	means := map[string][]float64{}
	for _, name := range names {
		mean := make([]float64, dim)
		g := galleries[name]
		for i, v := range g.z {
			mean[i%dim] += float64(v) / float64(len(g.items))
		}
		means[name] = mean
	}
	gap := map[string]float64{}
	for i, a := range names {
		for _, b := range names[i+1:] {
			sum := 0.0
			for j, v := range means[a] {
				sum += (v - means[b][j]) * (v - means[b][j])
			}
			gap[a+"+"+b] = math.Sqrt(sum)
		}
	}
	return gap
}

// evalBatch is the number of values that are embedded at once.
const evalBatch = 64

func embedAll(ctx context.Context, m *model.Model, src datasets.Source, name string, values []datasets.DistinctCell, report func(done int)) (*gallery, int, error) {
	p, err := m.Processor(name)
	if err != nil {
		return nil, 0, err
	}
	cells := make([]datasets.Cell, len(values))
	for i, v := range values {
		cells[i] = v.Cell
	}
	g := &gallery{}
	bad := 0
	var batch []tokenizers.Tokens
	flush := func() error {
		z, err := m.Embed(ctx, name, batch)
		if err != nil {
			return err
		}
		for _, v := range z {
			if math.IsNaN(float64(v)) {
				return fmt.Errorf("%s: the model makes NaN of some %s", src.Name(), name)
			}
		}
		g.z = append(g.z, z...)
		batch = batch[:0]
		return nil
	}
	for l, err := range datasets.Stream(ctx, src, cells, map[string]modalities.Processor{name: p}, 0, 4*evalBatch) {
		if err != nil {
			return nil, 0, err
		}
		if l.Err == nil {
			l.Err = m.Check(name, l.Tokens)
		}
		if l.Err != nil {
			bad++
			continue
		}
		batch = append(batch, l.Tokens)
		g.items = append(g.items, values[l.Index].Items)
		if len(batch) == evalBatch {
			if err := flush(); err != nil {
				return nil, 0, err
			}
			report(l.Index + 1)
		}
	}
	if len(batch) > 0 {
		if err := flush(); err != nil {
			return nil, 0, err
		}
	}
	report(len(values))
	return g, bad, nil
}

// rankAll returns the rank of every query that asks and has a partner.
func rankAll(ctx context.Context, m *model.Model, queries, targets *gallery, asks func(items []int) bool) ([]float64, error) {
	partners := map[int][]int{} // of an item, the targets
	for j, items := range targets.items {
		for _, it := range items {
			partners[it] = append(partners[it], j)
		}
	}
	n, e := len(targets.items), m.Dim()
	if n == 0 {
		return nil, nil
	}
	all := m.Device.New(n, e)
	defer m.Device.Free(all)
	m.Device.Write(all, targets.z)
	scores := make([]float32, evalBatch*n)
	positive := make([]bool, n)
	var ranks []float64
	for lo := 0; lo < len(queries.items); lo += evalBatch {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		hi := min(lo+evalBatch, len(queries.items))
		q, s := m.Device.New(hi-lo, e), m.Device.New(hi-lo, n)
		m.Device.Write(q, queries.z[lo*e:hi*e])
		m.Device.MatMul(s, q, all, false, true, false)
		m.Device.Read(scores[:(hi-lo)*n], s)
		m.Device.Free(q)
		m.Device.Free(s)
		for i := lo; i < hi; i++ {
			if !asks(queries.items[i]) {
				continue
			}
			clear(positive)
			found := false
			for _, it := range queries.items[i] {
				for _, j := range partners[it] {
					positive[j], found = true, true
				}
			}
			if found {
				ranks = append(ranks, rank(scores[(i-lo)*n:(i-lo+1)*n], positive))
			}
		}
	}
	return ranks, nil
}

// rank returns the rank of the best positive among the scores.
func rank(scores []float32, positive []bool) float64 {
	best := float32(math.Inf(-1))
	for j, s := range scores {
		if positive[j] {
			best = max(best, s)
		}
	}
	above, level := 0, 0
	for j, s := range scores {
		switch {
		case s > best:
			above++
		case s == best && !positive[j]:
			level++
		}
	}
	return 1 + float64(above) + float64(level)/2
}

func summarise(ranks []float64, gallery int) Metrics {
	n := float64(len(ranks))
	var at1, at5, at10, sum float64
	for _, r := range ranks {
		sum += r
		if r <= 1 {
			at1++
		}
		if r <= 5 {
			at5++
		}
		if r <= 10 {
			at10++
		}
	}
	m := Metrics{N: len(ranks), Gallery: gallery, R1: at1 / n, R5: at5 / n, R10: at10 / n, MeanRank: sum / n}
	sorted := slices.Sorted(slices.Values(ranks))
	half := len(sorted) / 2
	m.MedianRank = sorted[half]
	if len(sorted)%2 == 0 {
		m.MedianRank = (sorted[half-1] + sorted[half]) / 2
	}
	return m
}
