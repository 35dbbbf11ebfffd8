package subword

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// unigram cuts a word into the subwords of the greatest sum of scores (Kudo
// 2018). A rune that is no subword by itself is unknown, and neighbouring
// unknowns are one.
type unigram struct {
	ids     map[string]int32
	scores  []float64 // by id
	unknown int32
	least   float64 // the score of an unknown rune
	longest int     // of the subwords, in runes
	single  bool    // sums are rounded to float32, as SentencePiece has them
}

// unigramFile is a "model" of type Unigram.
type unigramFile struct {
	Type         string   `json:"type"`
	Unknown      *int     `json:"unk_id"`
	ByteFallback bool     `json:"byte_fallback"`
	Vocab        [][2]any `json:"vocab"`
}

// unknownPenalty is how far the score of an unknown rune lies below the least
// of the vocabulary, as in SentencePiece.
const unknownPenalty = 10

func newUnigram(f unigramFile) (*unigram, error) {
	if f.ByteFallback {
		return nil, fmt.Errorf("a Unigram with byte_fallback is not supported")
	}
	if f.Unknown == nil || *f.Unknown < 0 || *f.Unknown >= len(f.Vocab) {
		return nil, fmt.Errorf("a Unigram without an unk_id in its vocabulary is not supported")
	}
	m := &unigram{ids: make(map[string]int32, len(f.Vocab)), unknown: int32(*f.Unknown), least: math.Inf(1)}
	for i, v := range f.Vocab {
		s, okS := v[0].(string)
		score, okF := v[1].(float64)
		if !okS || !okF {
			return nil, fmt.Errorf("vocab[%d]: expected a token and its score, found %v", i, v)
		}
		m.ids[s] = int32(i)
		m.scores = append(m.scores, score)
		m.least = min(m.least, score)
		m.longest = max(m.longest, utf8.RuneCountInString(s))
	}
	m.least -= unknownPenalty
	return m, nil
}

// node is the best way to a place in a word: the last subword on it.
type node struct {
	score float64
	id    int32
	from  int // the place of the subword, as the number of a rune; -1 where there is no way yet
}

func (m *unigram) encode(word string) []int32 {
	var places []int // of runes, and the end
	for i := range word {
		places = append(places, i)
	}
	places = append(places, len(word))
	best := make([]node, len(places))
	for i := range best {
		best[i].from = -1
	}
	for i := range len(places) - 1 {
		reach := func(j int, id int32, score float64) {
			score += best[i].score
			if m.single {
				score = float64(float32(score))
			}
			if best[j].from < 0 || score > best[j].score {
				best[j] = node{score, id, i}
			}
		}
		single := false
		for j := i + 1; j < len(places) && j-i <= m.longest; j++ {
			if id, ok := m.ids[word[places[i]:places[j]]]; ok {
				reach(j, id, m.scores[id])
				single = single || j == i+1
			}
		}
		if !single {
			reach(i+1, m.unknown, m.least)
		}
	}
	var ids []int32
	for j := len(places) - 1; j > 0; j = best[j].from {
		if id := best[j].id; id != m.unknown || len(ids) == 0 || ids[len(ids)-1] != id {
			ids = append(ids, id)
		}
	}
	slices.Reverse(ids)
	return ids
}
