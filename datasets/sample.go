package datasets

import (
	"math/rand/v2"
	"slices"

	"github.com/onetrunk/onetrunk/tokenizers"
)

// sample is what was drawn from an item.
type sample struct {
	id    string
	parts []part // in the order of Loader.names
	bad   []BadRow
}

type part struct {
	cell   Cell
	tokens tokenizers.Tokens
}

// sample draws one of the item's rows and reads its cells. What the row lacks
// or cannot be read is drawn from the item's other rows.
func (l *Loader) sample(d draw) sample {
	it := l.src.Item(d.item)
	s := sample{id: it.ID}
	first := seeded(l.opt.Seed, "row", d.epoch, d.item).IntN(len(it.Rows))
	for _, name := range l.names {
		rng := seeded(l.opt.Seed, name, d.epoch, d.item)
		if !l.readCell(&s, it, it.Rows[first], name, rng) {
			for _, r := range rng.Perm(len(it.Rows)) {
				if l.readCell(&s, it, it.Rows[r], name, rng) {
					break
				}
			}
		}
	}
	return s
}

// readCell adds the row's cell of a modality to the sample and reports
// whether it could.
func (l *Loader) readCell(s *sample, it *Item, r Row, name string, rng *rand.Rand) bool {
	c, ok := cellOf(r, name)
	if !ok || slices.ContainsFunc(s.bad, func(b BadRow) bool { return b.Cell == c }) {
		return false
	}
	t, err := l.read(c, rng)
	if err != nil {
		s.bad = append(s.bad, BadRow{Item: it.ID, Line: r.Line, Cell: c, Err: err})
		return false
	}
	s.parts = append(s.parts, part{c, t})
	return true
}

func (l *Loader) read(c Cell, rng *rand.Rand) (tokenizers.Tokens, error) {
	p := l.opt.Processors[c.Modality]
	if p.Augments() {
		return read(l.src, c, p, rng)
	}
	if t, ok := l.cache.get(c); ok {
		return t, nil
	}
	t, err := read(l.src, c, p, nil)
	if err == nil {
		l.cache.put(c, t)
	}
	return t, err
}
