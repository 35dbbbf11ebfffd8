// Package subword turns text into subword ids by byte-level byte-pair
// encoding (Sennrich et al. 2016; Radford et al. 2019): every text in every
// script has ids, because every byte has one. Tokenizers are kept as Hugging
// Face tokenizer.json files.
package subword

import (
	"strings"
	"sync"

	"golang.org/x/text/unicode/norm"
)

// The special tokens that stand around every text.
const (
	StartToken = "<start>"
	EndToken   = "<end>"
)

// pair is two neighbouring subwords.
type pair struct{ a, b int32 }

// Tokenizer holds a vocabulary and its merges. It is safe for concurrent use.
//
// Its text is brought to Unicode form NFC and to lower case, cut into words
// as by GPT-2, and each word's bytes are merged by rank.
type Tokenizer struct {
	tokens     []string // by id, in the byte alphabet
	merges     []pair   // by rank
	rank       map[pair]int32
	start, end int32
	byteID     [256]int32
	cache      sync.Map // of word to []int32
}

// VocabSize returns the number of ids.
func (t *Tokenizer) VocabSize() int { return len(t.tokens) }

// Normalize returns the text as it is encoded.
func Normalize(text string) string { return strings.ToLower(norm.NFC.String(text)) }

// Encode returns the ids of a text between the start and end tokens.
func (t *Tokenizer) Encode(text string) []int32 {
	ids := []int32{t.start}
	splitWords(Normalize(text), func(word string) {
		ids = append(ids, t.word(word)...)
	})
	return append(ids, t.end)
}

// EncodeTruncated is Encode within at most max ids, of which the last is
// always the end token. cut is the number of subwords that were left out. max
// is at least 2.
func (t *Tokenizer) EncodeTruncated(text string, max int) (ids []int32, cut int) {
	ids = t.Encode(text)
	if len(ids) <= max {
		return ids, 0
	}
	cut = len(ids) - max
	ids = ids[:max]
	ids[max-1] = t.end
	return ids, cut
}

// maxCached bounds the length of words that are remembered.
const maxCached = 32

// word returns the ids of one word.
func (t *Tokenizer) word(word string) []int32 {
	if ids, ok := t.cache.Load(word); ok {
		return ids.([]int32)
	}
	ids := make([]int32, len(word))
	for i := range len(word) {
		ids[i] = t.byteID[word[i]]
	}
	ids = t.merge(ids)
	if len(word) <= maxCached {
		t.cache.Store(strings.Clone(word), ids)
	}
	return ids
}

// merge joins the neighbours of the lowest rank until none is left.
func (t *Tokenizer) merge(ids []int32) []int32 {
	for {
		best, at := int32(len(t.merges)), -1
		for i := range len(ids) - 1 {
			if r, ok := t.rank[pair{ids[i], ids[i+1]}]; ok && r < best {
				best, at = r, i
			}
		}
		if at < 0 {
			return ids
		}
		joined := t.first() + best
		p := t.merges[best]
		out := ids[:0]
		for i := 0; i < len(ids); i++ {
			if i+1 < len(ids) && ids[i] == p.a && ids[i+1] == p.b {
				out = append(out, joined)
				i++
			} else {
				out = append(out, ids[i])
			}
		}
		ids = out
	}
}

// first is the id of the first merge: behind the special tokens and bytes.
func (t *Tokenizer) first() int32 { return 2 + 256 }

// newTokenizer makes a tokenizer of merges by rank. Ids are the two special
// tokens, the 256 bytes, and the merges.
func newTokenizer(merges []pair) *Tokenizer {
	t := &Tokenizer{merges: merges, rank: make(map[pair]int32, len(merges)), start: 0, end: 1}
	t.tokens = append(t.tokens, StartToken, EndToken)
	for b := range 256 {
		t.byteID[b] = int32(len(t.tokens))
		t.tokens = append(t.tokens, string(alphabet[b]))
	}
	for r, p := range merges {
		t.rank[p] = int32(r)
		t.tokens = append(t.tokens, t.tokens[p.a]+t.tokens[p.b])
	}
	return t
}

// alphabet shows each byte as a printable rune, as GPT-2's vocabulary does.
var alphabet = func() (a [256]rune) {
	next := rune(256)
	for b := range a {
		r := rune(b)
		if (r >= '!' && r <= '~') || (r >= 0xa1 && r <= 0xac) || (r >= 0xae && r <= 0xff) {
			a[b] = r
		} else {
			a[b] = next
			next++
		}
	}
	return a
}()
