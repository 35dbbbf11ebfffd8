package datasets

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// LoaderOptions say how a source becomes batches.
type LoaderOptions struct {
	// Processors read the modalities that are wanted, by name; others are
	// left alone.
	Processors map[string]modalities.Processor
	// Batch is the number of items in a batch, at least 1.
	Batch int
	Seed  uint64
	// Workers is the number of goroutines that decode; 0 means one for each
	// processor.
	Workers int
	// Ahead is the number of batches that may wait for the trainer; 0 means 4.
	Ahead int
	// CacheBytes bounds the memory for tokens of cells that are never
	// augmented, which are then decoded once; 0 means 512 MiB, a negative
	// number none.
	CacheBytes int64
	// MaxBad is the fraction of the source's distinct cells that may be bad
	// (though always one); 0 means 0.01, a negative number none at all.
	MaxBad float64
	// OnBad, if set, hears of every bad cell once, from the goroutine that
	// iterates and in an order that the seed decides.
	OnBad func(BadRow)
}

// Loader draws batches from a source. What batch k holds is a function of the
// source, the processors, the seed and k.
type Loader struct {
	src   Source
	opt   LoaderOptions // with the defaults filled in
	names []string      // modalities that are read, sorted
	cache *cache

	mu  sync.Mutex
	bad []BadRow
	was map[Cell]bool // the cells in bad

	cells func() int // number of distinct cells
}

// Batch is a set of samples, one an item.
type Batch struct {
	// Step is the batch's number from 0, Epoch that of the pass over the data.
	Step, Epoch int
	// IDs are the items' ids, [B].
	IDs []string
	// Groups hold the tokens, sorted by modality. One that no sample has is
	// left out.
	Groups []Group
}

// Group is the samples of one modality in a batch.
type Group struct {
	Modality string
	// Rows holds the place in the batch of each sample, ascending.
	Rows []int
	// Tokens holds each sample's tokens. They may be shared with other
	// batches: the reader must not change them.
	Tokens []tokenizers.Tokens
	// Refs holds each sample's Cell.Ref.
	Refs []string
}

// NewLoader checks the options. It reads nothing yet.
func NewLoader(src Source, o LoaderOptions) (*Loader, error) {
	if o.Batch < 1 {
		return nil, fmt.Errorf("%s: a batch of %d items, expected at least 1", src.Name(), o.Batch)
	}
	if src.Len() == 0 {
		return nil, fmt.Errorf("%s: no items", src.Name())
	}
	o.Batch = min(o.Batch, src.Len())
	if o.Ahead <= 0 {
		o.Ahead = 4
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 512 << 20
	}
	if o.MaxBad == 0 {
		o.MaxBad = 0.01
	}
	l := &Loader{
		src: src, opt: o, was: map[Cell]bool{},
		cache: &cache{left: o.CacheBytes, tokens: map[Cell]tokenizers.Tokens{}},
	}
	for _, name := range src.Modalities() {
		if o.Processors[name] != nil {
			l.names = append(l.names, name)
		}
	}
	if len(l.names) == 0 {
		return nil, fmt.Errorf("%s: has %s, none of which is read (%s)", src.Name(),
			strings.Join(src.Modalities(), ", "), strings.Join(slices.Sorted(maps.Keys(o.Processors)), ", "))
	}
	l.cells = sync.OnceValue(l.countCells)
	return l, nil
}

// StepsPerEpoch returns the number of batches in a pass over the data. The
// items that do not fill a last batch are left out of the pass, other ones
// each time; a source that does not fill one batch is one batch.
func (l *Loader) StepsPerEpoch() int { return l.src.Len() / l.opt.Batch }

// Bad returns the bad cells met so far, in the order in which they were met.
func (l *Loader) Bad() []BadRow {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.bad)
}

// Run yields the batches firstStep, firstStep+1 and so on without end; batch
// k is the same whether one begins at 0 or at k. firstStep is not negative. Decoding runs ahead on other
// goroutines, which end with the iteration. Too many bad cells, or the end of
// ctx, is yielded as an error and ends it.
func (l *Loader) Run(ctx context.Context, firstStep int) iter.Seq2[*Batch, error] {
	return func(yield func(*Batch, error) bool) {
		step := firstStep
		var samples []sample
		for s, err := range ordered(ctx, l.opt.Workers, l.opt.Ahead*l.opt.Batch, l.draws(firstStep), l.sample) {
			if err != nil {
				yield(nil, err)
				return
			}
			if samples = append(samples, s); len(samples) < l.opt.Batch {
				continue
			}
			if err := l.noteBad(samples); err != nil {
				yield(nil, err)
				return
			}
			b := l.batch(samples)
			b.Step, b.Epoch = step, step/l.StepsPerEpoch()
			if !yield(b, nil) {
				return
			}
			step++
			samples = samples[:0]
		}
	}
}

// draw says which item to sample.
type draw struct{ epoch, item int }

// draws yields the items of the batches from firstStep on, without end.
func (l *Loader) draws(firstStep int) iter.Seq[draw] {
	return func(yield func(draw) bool) {
		var order []int
		for step := firstStep; ; step++ {
			epoch, k := step/l.StepsPerEpoch(), step%l.StepsPerEpoch()
			if order == nil || k == 0 {
				order = seeded(l.opt.Seed, "epoch", epoch).Perm(l.src.Len())
			}
			for _, item := range order[k*l.opt.Batch : (k+1)*l.opt.Batch] {
				if !yield(draw{epoch, item}) {
					return
				}
			}
		}
	}
}

// batch gathers samples by modality.
func (l *Loader) batch(samples []sample) *Batch {
	b := &Batch{}
	for _, s := range samples {
		b.IDs = append(b.IDs, s.id)
	}
	for _, name := range l.names {
		g := Group{Modality: name}
		for row, s := range samples {
			for _, p := range s.parts {
				if p.cell.Modality == name {
					g.Rows = append(g.Rows, row)
					g.Tokens = append(g.Tokens, p.tokens)
					g.Refs = append(g.Refs, p.cell.Ref)
				}
			}
		}
		if len(g.Rows) > 0 {
			b.Groups = append(b.Groups, g)
		}
	}
	return b
}

// noteBad counts the bad cells that are new. The samples come in the order of
// the seed, so the error does too.
func (l *Loader) noteBad(samples []sample) error {
	for _, s := range samples {
		for _, b := range s.bad {
			l.mu.Lock()
			known := l.was[b.Cell]
			if !known {
				l.was[b.Cell] = true
				l.bad = append(l.bad, b)
			}
			l.mu.Unlock()
			if !known && l.opt.OnBad != nil {
				l.opt.OnBad(b)
			}
		}
	}
	bad := l.Bad()
	if len(bad) == 0 {
		return nil // the cells need no counting
	}
	allowed := 0
	if l.opt.MaxBad > 0 {
		allowed = max(1, int(l.opt.MaxBad*float64(l.cells())))
	}
	if len(bad) > allowed {
		return tooMany(l.src, bad, allowed, l.cells())
	}
	return nil
}

func (l *Loader) countCells() int {
	seen := map[Cell]struct{}{}
	for i := range l.src.Len() {
		for _, r := range l.src.Item(i).Rows {
			for _, c := range r.Cells {
				if slices.Contains(l.names, c.Modality) {
					seen[c] = struct{}{}
				}
			}
		}
	}
	return len(seen)
}
