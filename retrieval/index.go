// Package retrieval finds things across modalities: an exact index of unit
// vectors, the embedding of whole sources into a folder, and a library that
// joins a model with an index.
package retrieval

import (
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/onetrunk/onetrunk/internal/par"
	"github.com/onetrunk/onetrunk/tensor"
)

// Entry says what a vector stands for.
type Entry struct {
	ID       string `json:"id"`
	Modality string `json:"modality"`
	// Path is the file of a value, Text the caption that stands beside it or
	// that it is.
	Path string `json:"path"`
	Text string `json:"text"`
	Lang string `json:"lang,omitempty"`
}

// Hit is an answer: an entry and its cosine to the query.
type Hit struct {
	Entry
	Score float32 `json:"score"`
}

// Index holds unit vectors with their entries. Any number of goroutines may
// search it; adding needs it alone.
type Index struct {
	dim      int
	segments map[string]*segment // by modality
	names    []string            // of the segments, sorted
	pool     *par.Pool
	scratch  sync.Pool // *search
}

// segment is the vectors [n, E] of one modality.
type segment struct {
	vectors []float32
	entries []Entry
}

// NewIndex makes an empty index of vectors of dim values, searched by the
// given number of threads (0: one for each processor).
func NewIndex(dim, threads int) *Index {
	ix := &Index{dim: dim, segments: map[string]*segment{}, pool: par.New(par.Threads(threads))}
	ix.scratch.New = func() any { return &search{} }
	return ix
}

// Dim returns the length of the vectors.
func (ix *Index) Dim() int { return ix.dim }

// Len returns the number of vectors of a modality, of all for "".
func (ix *Index) Len(modality string) int {
	n := 0
	for name, s := range ix.segments {
		if modality == "" || name == modality {
			n += len(s.entries)
		}
	}
	return n
}

// Add appends vectors [len(entries), dim] of unit length. A vector that is
// not finite or not of unit length is an error; nothing is added then.
func (ix *Index) Add(vectors []float32, entries []Entry) error {
	if len(vectors) != len(entries)*ix.dim {
		return fmt.Errorf("%d values for %d vectors of %d", len(vectors), len(entries), ix.dim)
	}
	for i := range entries {
		var norm float64
		for _, v := range vectors[i*ix.dim : (i+1)*ix.dim] {
			norm += float64(v) * float64(v)
		}
		if !(math.Abs(norm-1) < 1e-3) {
			return fmt.Errorf("vector %d (%s %s) has length %g, expected 1", i, entries[i].Modality, entries[i].ID, math.Sqrt(norm))
		}
	}
	for i, e := range entries {
		s := ix.segment(e.Modality)
		s.vectors = append(s.vectors, vectors[i*ix.dim:(i+1)*ix.dim]...)
		s.entries = append(s.entries, e)
	}
	return nil
}

func (ix *Index) segment(modality string) *segment {
	s, ok := ix.segments[modality]
	if !ok {
		s = &segment{}
		ix.segments[modality] = s
		ix.names = append(ix.names, modality)
		slices.Sort(ix.names)
	}
	return s
}

// Options says what is searched.
type Options struct {
	// K is the number of answers, 0 for 10.
	K int
	// Modality is that of the answers; "" takes all.
	Modality string
	// Filter, if set, tells which entries may answer. It may be called by
	// several goroutines.
	Filter func(*Entry) bool
}

// Search appends to hits the best K entries for a query of dim values, best
// first; entries that score the same stand in the order in which they were
// added. It allocates nothing but the answers.
func (ix *Index) Search(hits []Hit, query []float32, o Options) ([]Hit, error) {
	if len(query) != ix.dim {
		return hits, fmt.Errorf("a query of %d values in an index of %d", len(query), ix.dim)
	}
	if o.Modality != "" && ix.segments[o.Modality] == nil {
		return hits, fmt.Errorf("the index has %v, not %q", ix.names, o.Modality)
	}
	if o.K <= 0 {
		o.K = 10
	}
	s := ix.scratch.Get().(*search)
	defer ix.scratch.Put(s)
	s.run(ix, query, o)
	for _, c := range s.best {
		hits = append(hits, Hit{*c.entry, c.score})
	}
	return hits, nil
}

// block is the number of rows that are scored at once.
const block = 512

// search is the memory of one query.
type search struct {
	ix      *Index
	query   []float32
	o       Options
	seg     *segment
	order   int // of seg among the segments
	workers []worker
	best    []candidate
	piece   func(worker, piece int)
}

// worker keeps the best candidates that one goroutine has met, as a heap
// whose root is the worst.
type worker struct {
	heap   []candidate
	scores [block]float32
	_      [64]byte // no two workers write to one line of the cache
}

// candidate is an entry with its score and its place in the index.
type candidate struct {
	score      float32
	order, row int
	entry      *Entry
}

// better says whether a is to stand before b.
func better(a, b candidate) bool {
	if a.score != b.score {
		return a.score > b.score
	}
	return a.order < b.order || a.order == b.order && a.row < b.row
}

func (s *search) run(ix *Index, query []float32, o Options) {
	s.ix, s.query, s.o = ix, query, o
	if s.piece == nil {
		s.piece = s.scan
	}
	if n := ix.pool.Workers(); len(s.workers) < n {
		s.workers = make([]worker, n)
	}
	for i := range s.workers {
		s.workers[i].heap = s.workers[i].heap[:0]
	}
	for i, name := range ix.names {
		if o.Modality == "" || o.Modality == name {
			s.seg, s.order = ix.segments[name], i
			ix.pool.For((len(s.seg.entries)+block-1)/block, s.piece)
		}
	}
	s.best = s.best[:0]
	for i := range s.workers {
		s.best = append(s.best, s.workers[i].heap...)
	}
	slices.SortFunc(s.best, func(a, b candidate) int {
		if better(a, b) {
			return -1
		}
		return 1 // no two candidates are equal
	})
	s.best = s.best[:min(o.K, len(s.best))]
	s.ix, s.query, s.seg, s.o = nil, nil, nil, Options{}
}

// scan scores a block of rows and keeps the best.
func (s *search) scan(w, piece int) {
	wk, e := &s.workers[w], s.ix.dim
	lo := piece * block
	hi := min(lo+block, len(s.seg.entries))
	tensor.DotRows(wk.scores[:hi-lo], s.seg.vectors[lo*e:hi*e], s.query)
	for i, score := range wk.scores[:hi-lo] {
		c := candidate{score, s.order, lo + i, &s.seg.entries[lo+i]}
		if len(wk.heap) == s.o.K && !better(c, wk.heap[0]) {
			continue
		}
		if s.o.Filter == nil || s.o.Filter(c.entry) {
			wk.push(c, s.o.K)
		}
	}
}

// push adds a candidate, in place of the worst when there are k already.
func (w *worker) push(c candidate, k int) {
	h := w.heap
	if len(h) < k {
		h = append(h, c)
		w.heap = h
		for i := len(h) - 1; i > 0; {
			up := (i - 1) / 2
			if !better(h[up], h[i]) {
				break
			}
			h[up], h[i] = h[i], h[up]
			i = up
		}
		return
	}
	h[0] = c
	for i := 0; ; {
		worst := i
		for _, down := range [2]int{2*i + 1, 2*i + 2} {
			if down < len(h) && better(h[worst], h[down]) {
				worst = down
			}
		}
		if worst == i {
			return
		}
		h[i], h[worst] = h[worst], h[i]
		i = worst
	}
}
