package datasets

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"

	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// Loaded is what became of one cell of a stream.
type Loaded struct {
	// Index is the cell's place in the list that was given.
	Index  int
	Tokens tokenizers.Tokens
	// Err says why the cell could not be read; Tokens is then empty.
	Err error
}

// Stream reads and tokenises cells in parallel and yields them in their order,
// with at most ahead of them waiting in memory. A cell that cannot be read
// has its own error in Loaded; the error beside it is that of ctx, and the
// last that is yielded. Zero workers means one for each processor.
func Stream(ctx context.Context, src Source, cells []Cell, p map[string]modalities.Processor, workers, ahead int) iter.Seq2[Loaded, error] {
	indexes := func(yield func(int) bool) {
		for i := range cells {
			if !yield(i) {
				return
			}
		}
	}
	return ordered(ctx, workers, ahead, indexes, func(i int) Loaded {
		c := cells[i]
		proc, ok := p[c.Modality]
		if !ok {
			return Loaded{Index: i, Err: fmt.Errorf("%s: %s %s: no processor reads this modality", src.Name(), c.Modality, shown(c.Ref))}
		}
		t, err := read(src, c, proc, nil)
		return Loaded{Index: i, Tokens: t, Err: err}
	})
}

// read turns a cell into tokens; with rng it is augmented on the way.
func read(src Source, c Cell, p modalities.Processor, rng *rand.Rand) (tokenizers.Tokens, error) {
	v, err := src.Load(c, p)
	if err != nil {
		return tokenizers.Tokens{}, err
	}
	if rng != nil {
		v = p.Augment(v, rng)
	}
	t, err := p.Tokenize(v)
	if err == nil && t.Len() == 0 {
		err = errors.New("it has no tokens")
	}
	if err != nil {
		return tokenizers.Tokens{}, fmt.Errorf("%s: %s %s: %w", src.Name(), c.Modality, shown(c.Ref), err)
	}
	return t, nil
}

// DistinctCell is a value and the items that it belongs to.
type DistinctCell struct {
	Cell Cell
	// Items are indexes into the source, ascending.
	Items []int
}

// Distinct lists the different values of a modality, in the order in which
// they appear. A caption that several items share is one value of them all.
func Distinct(src Source, modality string) []DistinctCell {
	var list []DistinctCell
	at := map[string]int{}
	for i := range src.Len() {
		for _, r := range src.Item(i).Rows {
			c, ok := cellOf(r, modality)
			if !ok {
				continue
			}
			k, ok := at[c.Ref]
			if !ok {
				k = len(list)
				at[c.Ref] = k
				list = append(list, DistinctCell{Cell: c})
			}
			if items := list[k].Items; len(items) == 0 || items[len(items)-1] != i {
				list[k].Items = append(items, i)
			}
		}
	}
	return list
}

// cellOf returns a row's cell of a modality.
func cellOf(r Row, modality string) (Cell, bool) {
	if i := slices.IndexFunc(r.Cells, func(c Cell) bool { return c.Modality == modality }); i >= 0 {
		return r.Cells[i], true
	}
	return Cell{}, false
}
