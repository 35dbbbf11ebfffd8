package subword

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// bpe is byte-pair encoding (Sennrich et al. 2016): a word's runes are merged
// with their neighbours by rank.
type bpe struct {
	ids     map[string]int32
	merges  map[pair]merge
	unknown int32 // id of what is not in the vocabulary, -1 to leave it out
	fuse    bool  // neighbouring unknowns are one
	suffix  string
	whole   bool // a word of the vocabulary is not merged
}

// pair is two neighbouring subwords, merge what they become.
type pair struct{ a, b int32 }

type merge struct{ rank, id int32 }

// bpeFile is a "model" of type BPE.
type bpeFile struct {
	Type         string           `json:"type"`
	Dropout      *float64         `json:"dropout"`
	Unknown      *string          `json:"unk_token"`
	Prefix       *string          `json:"continuing_subword_prefix"`
	Suffix       *string          `json:"end_of_word_suffix"`
	FuseUnknown  bool             `json:"fuse_unk"`
	ByteFallback bool             `json:"byte_fallback"`
	IgnoreMerges bool             `json:"ignore_merges"`
	Vocab        map[string]int32 `json:"vocab"`
	Merges       []mergeFile      `json:"merges"`
}

// mergeFile is a merge, written as "a b" or ["a", "b"].
type mergeFile [2]string

func (m *mergeFile) UnmarshalJSON(data []byte) error {
	var two []string
	if err := json.Unmarshal(data, &two); err != nil {
		var one string
		if err := json.Unmarshal(data, &one); err != nil {
			return err
		}
		two = strings.Split(one, " ")
	}
	if len(two) != 2 {
		return fmt.Errorf("a merge of %d parts, expected 2", len(two))
	}
	*m = mergeFile{two[0], two[1]}
	return nil
}

func newBPE(f bpeFile) (*bpe, error) {
	if f.Dropout != nil && *f.Dropout > 0 {
		return nil, fmt.Errorf("BPE with dropout is not supported")
	}
	if f.Prefix != nil && *f.Prefix != "" {
		return nil, fmt.Errorf("BPE with continuing_subword_prefix is not supported")
	}
	if f.ByteFallback {
		return nil, fmt.Errorf("BPE with byte_fallback is not supported")
	}
	m := &bpe{ids: f.Vocab, merges: make(map[pair]merge, len(f.Merges)), unknown: -1, fuse: f.FuseUnknown, whole: f.IgnoreMerges}
	if f.Suffix != nil {
		m.suffix = *f.Suffix
	}
	if f.Unknown != nil {
		id, ok := f.Vocab[*f.Unknown]
		if !ok {
			return nil, fmt.Errorf("the unk_token %q is not in the vocabulary", *f.Unknown)
		}
		m.unknown = id
	}
	for rank, p := range f.Merges {
		a, okA := f.Vocab[p[0]]
		b, okB := f.Vocab[p[1]]
		id, ok := f.Vocab[p[0]+p[1]]
		if !okA || !okB || !ok {
			return nil, fmt.Errorf("merges[%d]: %q and %q or what they make are not in the vocabulary", rank, p[0], p[1])
		}
		if _, twice := m.merges[pair{a, b}]; !twice {
			m.merges[pair{a, b}] = merge{int32(rank), id}
		}
	}
	return m, nil
}

func (m *bpe) encode(word string) []int32 {
	if m.whole {
		if id, ok := m.ids[word]; ok {
			return []int32{id}
		}
	}
	var ids []int32
	wasUnknown := false
	for i, r := range word {
		s := string(r)
		if i+utf8.RuneLen(r) == len(word) {
			s += m.suffix
		}
		id, ok := m.ids[s]
		switch {
		case ok:
			ids = append(ids, id)
		case m.unknown >= 0 && !(m.fuse && wasUnknown):
			ids = append(ids, m.unknown)
		}
		wasUnknown = !ok
	}
	for {
		best, at := merge{rank: math.MaxInt32}, -1
		for i := range len(ids) - 1 {
			if mg, ok := m.merges[pair{ids[i], ids[i+1]}]; ok && mg.rank < best.rank {
				best, at = mg, i
			}
		}
		if at < 0 {
			return ids
		}
		a, b := ids[at], ids[at+1]
		out := ids[:0]
		for i := 0; i < len(ids); i++ {
			if i+1 < len(ids) && ids[i] == a && ids[i+1] == b {
				out = append(out, best.id)
				i++
			} else {
				out = append(out, ids[i])
			}
		}
		ids = out
	}
}
