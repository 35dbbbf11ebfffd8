// Package retrieval finds things across modalities: an exact index of unit
// vectors, the embedding of whole sources into a folder, and a library that
// joins a model with an index.
package retrieval

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/onetrunk/onetrunk/internal/mapfile"
	"github.com/onetrunk/onetrunk/internal/par"
	"github.com/onetrunk/onetrunk/tensor"
)

// Entry says what a vector stands for.
type Entry struct {
	ID       string `json:"id"`
	Modality string `json:"modality"`
	// Path is the file of a value, Text the caption that stands beside it or
	// that it is.
	Path  string `json:"path"`
	Text  string `json:"text"`
	Lang  string `json:"lang,omitempty"`
	Split string `json:"split,omitempty"`
}

// Hit is an answer: an entry and its cosine to the query.
type Hit struct {
	Entry
	Score float32 `json:"score"`
}

// Index holds unit vectors with their entries. Any number of goroutines may
// search it; adding and closing need it alone.
type Index struct {
	// Model is the fingerprint of the weights that made the vectors, "" where
	// it is not known.
	Model string

	dim      int
	segments map[string]*segment // by modality
	names    []string            // of the segments, sorted
	files    []*mapfile.File     // that vectors lie in
	pool     *par.Pool
	scratch  sync.Pool // *search
}

// segment is the vectors of one modality.
type segment struct {
	chunks []chunk
	n      int
}

// chunk is vectors [n, E] that lie together in memory.
type chunk struct {
	vectors []float32
	entries []Entry
	mapped  bool // the vectors lie in a file
	first   int  // place of the first one in its segment
}

// NewIndex makes an empty index of vectors of dim values, searched by the
// given number of threads (0: one for each processor).
func NewIndex(dim, threads int) *Index {
	ix := &Index{dim: dim, segments: map[string]*segment{}, pool: par.New(par.Threads(threads))}
	ix.scratch.New = func() any { return &search{} }
	return ix
}

// Close ends the goroutines that search and gives back the files that vectors
// lie in. The index must not be used afterwards; answers stay good.
func (ix *Index) Close() error {
	ix.pool.Close()
	var err error
	for _, f := range ix.files {
		err = errors.Join(err, f.Close())
	}
	ix.files, ix.segments, ix.names = nil, nil, nil
	return err
}

// Dim returns the length of the vectors.
func (ix *Index) Dim() int { return ix.dim }

// Modalities lists those that the index has vectors of, sorted. The caller
// must not change the list.
func (ix *Index) Modalities() []string { return ix.names }

// Len returns the number of vectors of a modality, of all for "".
func (ix *Index) Len(modality string) int {
	n := 0
	for name, s := range ix.segments {
		if modality == "" || name == modality {
			n += s.n
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
	if err := ix.check(vectors, entries); err != nil {
		return err
	}
	for lo := 0; lo < len(entries); {
		hi := lo + 1
		for hi < len(entries) && entries[hi].Modality == entries[lo].Modality {
			hi++
		}
		ix.segment(entries[lo].Modality).add(chunk{vectors: vectors[lo*ix.dim : hi*ix.dim], entries: entries[lo:hi]})
		lo = hi
	}
	return nil
}

// check finds the first vector that is not of unit length.
func (ix *Index) check(vectors []float32, entries []Entry) error {
	row := func(i int) []float32 { return vectors[i*ix.dim : (i+1)*ix.dim] }
	pieces := (len(entries) + block - 1) / block
	wrong := make([]int, pieces) // the first in each piece, plus one
	ix.pool.For(pieces, func(_, piece int) {
		square := make([]float32, 1)
		for i := piece * block; i < min((piece+1)*block, len(entries)) && wrong[piece] == 0; i++ {
			if tensor.DotRows(square, row(i), row(i)); !isUnit(float64(square[0])) {
				wrong[piece] = i + 1
			}
		}
	})
	if p := slices.IndexFunc(wrong, func(i int) bool { return i > 0 }); p >= 0 {
		i := wrong[p] - 1
		return fmt.Errorf("vector %d (%s %s) has length %g, expected 1", i, entries[i].Modality, entries[i].ID, math.Sqrt(square(row(i))))
	}
	return nil
}

// square returns the sum of the squares of v's values.
func square(v []float32) (sum float64) {
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	return sum
}

// isUnit says whether a vector is of unit length, by the sum of its squares.
func isUnit(square float64) bool { return math.Abs(square-1) < 1e-3 } // false of NaN

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

// add appends vectors: a copy of them, or those of a file as they lie.
func (s *segment) add(c chunk) {
	c.first = s.n
	s.n += len(c.entries)
	if last := len(s.chunks) - 1; !c.mapped && last >= 0 && !s.chunks[last].mapped {
		have := &s.chunks[last]
		have.vectors = append(have.vectors, c.vectors...)
		have.entries = append(have.entries, c.entries...)
		return
	}
	if !c.mapped {
		c.vectors, c.entries = slices.Clone(c.vectors), slices.Clone(c.entries)
	}
	s.chunks = append(s.chunks, c)
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
// first. Entries that score the same stand in the order of their modalities'
// names and within one in the order in which they were added. Where hits has
// room for K more, nothing is allocated.
func (ix *Index) Search(hits []Hit, query []float32, o Options) ([]Hit, error) {
	if len(query) != ix.dim {
		return hits, fmt.Errorf("a query of %d values in an index of %d", len(query), ix.dim)
	}
	if sum := square(query); math.IsNaN(sum) || math.IsInf(sum, 0) {
		return hits, errors.New("a query with values that are not finite")
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
	chunk   *chunk
	order   int // of its segment among the segments
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
			chunks := ix.segments[name].chunks
			for j := range chunks {
				s.chunk, s.order = &chunks[j], i
				ix.pool.For((len(s.chunk.entries)+block-1)/block, s.piece)
			}
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
	s.ix, s.query, s.chunk, s.o = nil, nil, nil, Options{}
}

// scan scores a block of rows and keeps the best.
func (s *search) scan(w, piece int) {
	wk, c, e := &s.workers[w], s.chunk, s.ix.dim
	lo := piece * block
	hi := min(lo+block, len(c.entries))
	tensor.DotRows(wk.scores[:hi-lo], c.vectors[lo*e:hi*e], s.query)
	for i, score := range wk.scores[:hi-lo] {
		it := candidate{score, s.order, c.first + lo + i, &c.entries[lo+i]}
		if len(wk.heap) == s.o.K && !better(it, wk.heap[0]) {
			continue
		}
		if s.o.Filter == nil || s.o.Filter(it.entry) {
			wk.push(it, s.o.K)
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
