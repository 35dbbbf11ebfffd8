package subword

import (
	"fmt"

	sugar "github.com/sugarme/tokenizer"
	vocabulary "github.com/sugarme/tokenizer/model"
	"github.com/sugarme/tokenizer/model/wordpiece"
)

// The WordPiece model is that of github.com/sugarme/tokenizer. The other parts
// of that library differ from the Python library, and malformed files make it
// panic, so they are this package's and what goes in has been checked.

// sugarModel is a model of that library.
type sugarModel struct {
	tokenize func(word string) ([]sugar.Token, error)
	unknown  int32
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
		ids = append(ids, int32(t.Id))
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
