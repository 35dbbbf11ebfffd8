package datasets

import (
	"fmt"
	"strings"
)

// subset is some of a source's items.
type subset struct {
	Source
	name  string
	items []int
}

func (s *subset) Name() string     { return s.name }
func (s *subset) Len() int         { return len(s.items) }
func (s *subset) Item(i int) *Item { return s.Source.Item(s.items[i]) }

// Part cuts a source in two: the items of those ids, and the rest. Ids that it has
// no item of are an error that names them, as is a part that would be empty.
func Part(src Source, ids []string) (named, rest Source, err error) {
	want := map[string]bool{}
	for _, id := range ids {
		want[id] = true
	}
	in, out := &subset{Source: src, name: src.Name() + " (some items)"}, &subset{Source: src, name: src.Name() + " (the rest)"}
	have := map[string]bool{}
	for i := range src.Len() {
		id := src.Item(i).ID
		have[id] = true
		to := out
		if want[id] {
			to = in
		}
		to.items = append(to.items, i)
	}
	var unknown []string
	for _, id := range ids {
		if !have[id] {
			unknown = append(unknown, fmt.Sprintf("%q", id))
		}
	}
	if n := len(unknown); n > 0 {
		if n > 5 {
			unknown = append(unknown[:5], fmt.Sprintf("%d more", n-5))
		}
		return nil, nil, fmt.Errorf("%s: no items of these ids: %s", src.Name(), strings.Join(unknown, ", "))
	}
	if len(in.items) == 0 || len(out.items) == 0 {
		return nil, nil, fmt.Errorf("%s: %d of %d items are named, expected some and not all", src.Name(), len(in.items), src.Len())
	}
	return in, out, nil
}
