// Package subword turns text into subword ids. It reads Hugging Face
// tokenizer.json files and gives the ids that the Python library gives, or
// refuses a file that has a component it does not know; and it learns
// vocabularies of its own, which it writes in that format.
//
// A text goes through the parts that such a file names, in this order: added
// tokens are cut out, the rest is normalized, cut into words (pre-tokenized),
// each word becomes subwords by the model, and special tokens are put around
// the whole (post-processed).
package subword

import (
	"strings"
	"sync"
	"sync/atomic"
)

// Tokenizer turns texts into ids. It is safe for concurrent use.
type Tokenizer struct {
	added     addedTokens
	normalize func(string) string
	split     func(text string) []string
	model     model
	before    []int32 // special tokens in front of a text
	after     []int32 // and behind it
	size      int     // ids are in [0, size)
	tokens    map[int32]string
	source    []byte // the tokenizer.json that it was read from or would be written as
	// own, if not nil, adds the ids of a text in place of all above.
	own func(ids []int32, text string) []int32

	cache  sync.Map // of word to []int32
	cached atomic.Int64
}

// model turns one word into ids.
type model interface {
	encode(word string) []int32
}

// VocabSize returns the number of ids, added tokens included: one more than
// the greatest.
func (t *Tokenizer) VocabSize() int { return t.size }

// Encode returns the ids of a text with the special tokens around it.
func (t *Tokenizer) Encode(text string) []int32 {
	ids := append([]int32(nil), t.before...)
	ids = t.append(ids, text)
	return append(ids, t.after...)
}

// EncodeTruncated is Encode within at most max ids: subwords are left out at
// the end of the text, special tokens are not. cut is their number. Where max
// does not even hold the special tokens, the first max ids are returned.
func (t *Tokenizer) EncodeTruncated(text string, max int) (ids []int32, cut int) {
	ids = t.Encode(text)
	if len(ids) <= max {
		return ids, 0
	}
	cut = len(ids) - max
	if keep := max - len(t.after); keep >= len(t.before) {
		return append(ids[:keep], t.after...), cut
	}
	return ids[:max], cut
}

// Decode returns the tokens of ids side by side, as the vocabulary spells
// them; an id that is not in it is left out.
func (t *Tokenizer) Decode(ids []int32) []string {
	var out []string
	for _, id := range ids {
		if s, ok := t.tokens[id]; ok {
			out = append(out, s)
		}
	}
	return out
}

// append adds the ids of a text without special tokens around it.
func (t *Tokenizer) append(ids []int32, text string) []int32 {
	if t.own != nil {
		return t.own(ids, text)
	}
	t.added.cut(text, t.added.raw, func(piece string, id int32) {
		if id >= 0 {
			ids = append(ids, id)
			return
		}
		t.added.cut(t.normalize(piece), t.added.normalized, func(piece string, id int32) {
			if id >= 0 {
				ids = append(ids, id)
				return
			}
			for _, word := range t.split(piece) {
				ids = append(ids, t.word(word)...)
			}
		})
	})
	return ids
}

// The cache remembers short words, up to a number of them.
const (
	cachedBytes = 32
	cachedWords = 1 << 17
)

func (t *Tokenizer) word(word string) []int32 {
	if ids, ok := t.cache.Load(word); ok {
		return ids.([]int32)
	}
	ids := t.model.encode(word)
	if len(word) <= cachedBytes && t.cached.Load() < cachedWords {
		t.cached.Add(1)
		t.cache.Store(strings.Clone(word), ids)
	}
	return ids
}
