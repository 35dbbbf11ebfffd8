package subword

import (
	"fmt"

	sugar "github.com/sugarme/tokenizer"
	vocabulary "github.com/sugarme/tokenizer/model"
	"github.com/sugarme/tokenizer/model/unigram"
	"github.com/sugarme/tokenizer/model/wordpiece"
)

// The WordPiece and Unigram models are those of github.com/sugarme/tokenizer.
// Its normalizers, pre-tokenizers and BPE differ from the Python library's,
// and malformed files make it panic, so the other parts are this package's
// and what goes in has been checked.

// sugarModel is a model of that library.
type sugarModel struct {
	tokenize func(word string) ([]sugar.Token, error)
	unknown  int32
	fuse     bool
}

// encode returns the unknown token where the library fails.
func (m *sugarModel) encode(word string) (ids []int32) {
	defer func() {
		if recover() != nil {
			ids = []int32{m.unknown}
		}
	}()
	tokens, err := m.tokenize(word)
	if err != nil {
		return []int32{m.unknown}
	}
	for _, t := range tokens {
		id := int32(t.Id)
		if m.fuse && id == m.unknown && len(ids) > 0 && ids[len(ids)-1] == id {
			continue
		}
		ids = append(ids, id)
	}
	return ids
}

// wordPieceFile is a "model" of type WordPiece.
type wordPieceFile struct {
	Type     string           `json:"type"`
	Unknown  string           `json:"unk_token"`
	Prefix   string           `json:"continuing_subword_prefix"`
	MaxChars int              `json:"max_input_chars_per_word"`
	Vocab    map[string]int32 `json:"vocab"`
}

func newWordPiece(f wordPieceFile) (model, error) {
	unknown, ok := f.Vocab[f.Unknown]
	if !ok {
		return nil, fmt.Errorf("the unk_token %q is not in the vocabulary", f.Unknown)
	}
	vocab := make(vocabulary.Vocab, len(f.Vocab))
	for s, id := range f.Vocab {
		vocab[s] = int(id)
	}
	m := wordpiece.NewWordPieceBuilder().Vocab(&vocab).UnkToken(f.Unknown).
		ContinuingSubwordPrefix(f.Prefix).MaxInputCharsPerWord(f.MaxChars).Build()
	return &sugarModel{tokenize: m.Tokenize, unknown: unknown}, nil
}

// unigramFile is a "model" of type Unigram.
type unigramFile struct {
	Type         string   `json:"type"`
	Unknown      *int     `json:"unk_id"`
	ByteFallback bool     `json:"byte_fallback"`
	Vocab        [][2]any `json:"vocab"`
}

func newUnigram(f unigramFile) (model, map[string]int32, error) {
	if f.ByteFallback {
		return nil, nil, fmt.Errorf("a Unigram with byte_fallback is not supported")
	}
	if f.Unknown == nil || *f.Unknown < 0 || *f.Unknown >= len(f.Vocab) {
		return nil, nil, fmt.Errorf("a Unigram without an unk_id in its vocabulary is not supported")
	}
	ids := map[string]int32{}
	scores := make([]unigram.TokenScore, len(f.Vocab))
	for i, v := range f.Vocab {
		s, okS := v[0].(string)
		score, okF := v[1].(float64)
		if !okS || !okF {
			return nil, nil, fmt.Errorf("vocab[%d]: expected a token and its score, found %v", i, v)
		}
		scores[i] = unigram.TokenScore{Token: s, Score: score}
		ids[s] = int32(i)
	}
	m, err := unigram.NewUnigramBuilder().Vocab(scores).UnkID(*f.Unknown).FuseUnk(true).Build()
	if err != nil {
		return nil, nil, err
	}
	return &sugarModel{tokenize: m.Tokenize, unknown: int32(*f.Unknown), fuse: true}, ids, nil
}
