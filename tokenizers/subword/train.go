package subword

import (
	"cmp"
	"container/heap"
	"fmt"
	"iter"
	"maps"
	"slices"

	"golang.org/x/text/unicode/norm"
)

// Train learns a vocabulary of the given size from texts by byte-level
// byte-pair encoding: every text in every script has ids, because every byte
// has one. Texts are brought to Unicode form NFC and to lower case and cut
// into words as by GPT-2; the special tokens <start> and <end> stand around
// each. The result depends on the texts alone, not on their order. vocab is
// at least 258, the special tokens and the bytes; it may end smaller when no
// pair occurs twice any more.
func Train(texts iter.Seq[string], vocab int) (*Tokenizer, error) {
	if vocab < 258 {
		return nil, fmt.Errorf("vocab: expected at least 258 (256 bytes and 2 special tokens), found %d", vocab)
	}
	counts := map[string]int{}
	for text := range texts {
		splitWords(lower(norm.NFC.String(text)), nextGPT2, func(w string) { counts[w]++ })
	}
	if len(counts) == 0 {
		return nil, fmt.Errorf("no texts to learn a vocabulary from")
	}
	names := []string{StartToken, EndToken} // by id
	for _, r := range alphabet {
		names = append(names, string(r))
	}
	tr := &trainer{counts: map[pair]int{}, where: map[pair]map[int]bool{}}
	for _, w := range slices.Sorted(maps.Keys(counts)) {
		ids := make([]int32, len(w))
		for i := range len(w) {
			ids[i] = int32(w[i]) + 2
		}
		tr.words = append(tr.words, trainedWord{ids, counts[w]})
	}
	for i := range tr.words {
		tr.count(i, 1)
	}
	for p, n := range tr.counts {
		tr.queue = append(tr.queue, candidate{p, n})
	}
	heap.Init(&tr.queue)
	ids := make(map[string]int32, vocab)
	for id, s := range names {
		ids[s] = int32(id)
	}
	var merges []mergeFile
	for len(ids) < vocab && len(tr.queue) > 0 {
		c := heap.Pop(&tr.queue).(candidate)
		if n := tr.counts[c.pair]; n != c.n { // it has changed since it was queued
			if n > 0 {
				heap.Push(&tr.queue, candidate{c.pair, n})
			}
			continue
		}
		if c.n < 2 {
			break // what occurs once is not worth an entry
		}
		a, b := names[c.pair.a], names[c.pair.b]
		id, known := ids[a+b] // other parts may have made it before
		if !known {
			id = int32(len(names))
			names = append(names, a+b)
			ids[a+b] = id
		}
		tr.merge(c.pair, id)
		merges = append(merges, mergeFile{a, b})
	}
	data, err := trained(ids, merges)
	if err != nil {
		return nil, err
	}
	return Parse("vocabulary", data)
}

// trainedWord is a word and how often it occurs.
type trainedWord struct {
	ids []int32
	n   int
}

// trainer counts the pairs of all words and keeps the counts as it merges.
type trainer struct {
	words  []trainedWord
	counts map[pair]int
	where  map[pair]map[int]bool // the words that (may) hold a pair
	queue  queue
}

// count adds a word's pairs to the counts, or with sign -1 takes them off.
func (tr *trainer) count(word, sign int) {
	w := tr.words[word]
	for i := range len(w.ids) - 1 {
		p := pair{w.ids[i], w.ids[i+1]}
		tr.counts[p] += sign * w.n
		if sign > 0 {
			if tr.where[p] == nil {
				tr.where[p] = map[int]bool{}
			}
			tr.where[p][word] = true
		}
	}
}

// merge replaces a pair by a new id in all words.
func (tr *trainer) merge(p pair, id int32) {
	changed := map[pair]bool{}
	for word := range tr.where[p] {
		tr.count(word, -1)
		ids := tr.words[word].ids
		out := ids[:0]
		for i := 0; i < len(ids); i++ {
			if i+1 < len(ids) && ids[i] == p.a && ids[i+1] == p.b {
				out = append(out, id)
				i++
			} else {
				out = append(out, ids[i])
			}
		}
		tr.words[word].ids = out
		tr.count(word, 1)
		for i := range len(out) - 1 {
			if out[i] == id || out[i+1] == id {
				changed[pair{out[i], out[i+1]}] = true
			}
		}
	}
	delete(tr.where, p)
	delete(tr.counts, p)
	for q := range changed {
		if tr.counts[q] > 0 {
			heap.Push(&tr.queue, candidate{q, tr.counts[q]})
		}
	}
}

// candidate is a pair with the count that it had when it was queued.
type candidate struct {
	pair pair
	n    int
}

// queue is a heap: the most frequent first, ties by ids.
type queue []candidate

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(q[j].n, q[i].n), cmp.Compare(q[i].pair.a, q[j].pair.a), cmp.Compare(q[i].pair.b, q[j].pair.b)) < 0
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(candidate)) }
func (q *queue) Pop() any {
	old := *q
	c := old[len(old)-1]
	*q = old[:len(old)-1]
	return c
}
