package subword

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/onetrunk/onetrunk/internal/atomicfile"
	"github.com/onetrunk/onetrunk/internal/strictjson"
)

// file is a Hugging Face tokenizer.json. Truncation and padding are the
// caller's here, and a decoder is not needed.
type file struct {
	Version     string          `json:"version"`
	Truncation  json.RawMessage `json:"truncation"`
	Padding     json.RawMessage `json:"padding"`
	AddedTokens []addedToken    `json:"added_tokens"`
	Normalizer  json.RawMessage `json:"normalizer"`
	Split       json.RawMessage `json:"pre_tokenizer"`
	Post        json.RawMessage `json:"post_processor"`
	Decoder     json.RawMessage `json:"decoder"`
	Model       json.RawMessage `json:"model"`
}

// Load reads a tokenizer.json.
func Load(path string) (*Tokenizer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data)
}

// Parse reads a tokenizer.json, which errors call name. A component that is
// not known is an error that names it, for a text that lacked a step would
// have wrong ids without anyone noticing.
func Parse(name string, data []byte) (t *Tokenizer, err error) {
	var f file
	if err := strictjson.Unmarshal(name, data, &f); err != nil {
		return nil, err
	}
	defer func() {
		if e := recover(); e != nil { // in the models' library
			t, err = nil, fmt.Errorf("%s: model: %v", name, e)
		}
	}()
	t = &Tokenizer{source: data, tokens: map[int32]string{}}
	if t.normalize, err = parseNormalizer(f.Normalizer); err != nil {
		return nil, fmt.Errorf("%s: normalizer: %w", name, err)
	}
	split, err := parseSplitter(f.Split)
	if err != nil {
		return nil, fmt.Errorf("%s: pre_tokenizer: %w", name, err)
	}
	t.split = func(text string) []string { return split([]string{text}) }
	vocab, err := t.parseModel(f.Model)
	if err != nil {
		return nil, fmt.Errorf("%s: model: %w", name, err)
	}
	for s, id := range vocab {
		t.tokens[id] = s
	}
	for _, a := range f.AddedTokens {
		t.tokens[a.ID] = a.Content
		vocab[a.Content] = a.ID
	}
	for id, s := range t.tokens {
		if id < 0 || id > 1<<24 {
			return nil, fmt.Errorf("%s: token %q has id %d, expected 0..%d", name, s, id, 1<<24)
		}
		t.size = max(t.size, int(id)+1)
	}
	t.added = newAddedTokens(f.AddedTokens, t.normalize)
	if err := t.parsePost(f.Post, vocab); err != nil {
		return nil, fmt.Errorf("%s: post_processor: %w", name, err)
	}
	return t, nil
}

// modelType returns the "type" of a model. Old files do not state it: there
// the keys tell.
func modelType(c json.RawMessage) (string, error) {
	var m struct {
		Type     string          `json:"type"`
		Merges   json.RawMessage `json:"merges"`
		MaxChars json.RawMessage `json:"max_input_chars_per_word"`
		Unknown  json.RawMessage `json:"unk_id"`
	}
	if err := json.Unmarshal(c, &m); err != nil {
		return "", err
	}
	switch {
	case m.Type != "":
		return m.Type, nil
	case m.Merges != nil:
		return "BPE", nil
	case m.MaxChars != nil:
		return "WordPiece", nil
	case m.Unknown != nil:
		return "Unigram", nil
	}
	return "", fmt.Errorf("no \"type\"")
}

// parseModel makes the model and returns a copy of its vocabulary.
func (t *Tokenizer) parseModel(c json.RawMessage) (map[string]int32, error) {
	kind, err := modelType(c)
	if err != nil {
		return nil, err
	}
	var vocab map[string]int32
	switch kind {
	case "BPE":
		var f bpeFile
		if err := strictjson.Unmarshal(kind, c, &f); err != nil {
			return nil, err
		}
		vocab = f.Vocab
		m, err := newBPE(f)
		if err != nil {
			return nil, err
		}
		t.model = m
	case "WordPiece":
		f := wordPieceFile{Prefix: "##", MaxChars: 100}
		if err := strictjson.Unmarshal(kind, c, &f); err != nil {
			return nil, err
		}
		vocab = f.Vocab
		if t.model, err = newWordPiece(f); err != nil {
			return nil, err
		}
	case "Unigram":
		var f unigramFile
		if err := strictjson.Unmarshal(kind, c, &f); err != nil {
			return nil, err
		}
		m, err := newUnigram(f)
		if err != nil {
			return nil, err
		}
		t.model, vocab = m, m.ids
	default:
		return nil, fmt.Errorf("%q is not supported", kind)
	}
	copied := make(map[string]int32, len(vocab))
	for s, id := range vocab {
		copied[s] = id
	}
	return copied, nil
}

// parsePost finds the special tokens that a "post_processor" puts around a
// text.
func (t *Tokenizer) parsePost(c json.RawMessage, vocab map[string]int32) error {
	kind, err := typeOf(c)
	if err != nil {
		return err
	}
	var o struct {
		Processors []json.RawMessage `json:"processors"`
		Single     []struct {
			Sequence     *struct{} `json:"Sequence"`
			SpecialToken *struct {
				ID string `json:"id"`
			} `json:"SpecialToken"`
		} `json:"single"`
		SpecialTokens map[string]struct {
			IDs []int32 `json:"ids"`
		} `json:"special_tokens"`
		Sep [2]any `json:"sep"`
		Cls [2]any `json:"cls"`
	}
	if kind != "" {
		if err := json.Unmarshal(c, &o); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	switch kind {
	case "", "ByteLevel":
		return nil
	case "Sequence":
		for _, p := range o.Processors {
			if err := t.parsePost(p, vocab); err != nil {
				return err
			}
		}
		return nil
	case "BertProcessing", "RobertaProcessing":
		for i, special := range [][2]any{o.Cls, o.Sep} {
			id, ok := special[1].(float64)
			if !ok {
				return fmt.Errorf("%s: expected [token, id], found %v", kind, special)
			}
			if i == 0 {
				t.before = append(t.before, int32(id))
			} else {
				t.after = append(t.after, int32(id))
			}
		}
		return nil
	case "TemplateProcessing":
		behind := false
		for _, piece := range o.Single {
			switch {
			case piece.Sequence != nil && behind:
				return fmt.Errorf("%s: a template with the text twice is not supported", kind)
			case piece.Sequence != nil:
				behind = true
			case piece.SpecialToken != nil:
				s, ok := o.SpecialTokens[piece.SpecialToken.ID]
				if !ok {
					return fmt.Errorf("%s: no special token %q", kind, piece.SpecialToken.ID)
				}
				if behind {
					t.after = append(t.after, s.IDs...)
				} else {
					t.before = append(t.before, s.IDs...)
				}
			}
		}
		if !behind {
			return fmt.Errorf("%s: a template without the text", kind)
		}
		return nil
	}
	return fmt.Errorf("%q is not supported", kind)
}

// Save writes the tokenizer as a tokenizer.json, whole or not at all.
func (t *Tokenizer) Save(path string) error { return atomicfile.WriteBytes(path, t.source) }

// The special tokens of a vocabulary that Train learned.
const (
	StartToken = "<start>"
	EndToken   = "<end>"
)

// trained is a tokenizer.json as Train makes it.
func trained(vocab map[string]int32, merges []mergeFile) ([]byte, error) {
	null := json.RawMessage("null")
	m, err := json.Marshal(bpeFile{Type: "BPE", Vocab: vocab, Merges: merges})
	if err != nil {
		return nil, err
	}
	const byteLevel = `{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}`
	special := func(name string, id int) string {
		return fmt.Sprintf(`%q: {"id": %q, "ids": [%d], "tokens": [%q]}`, name, name, id, name)
	}
	start, end := `{"SpecialToken": {"id": "<start>", "type_id": 0}}`, `{"SpecialToken": {"id": "<end>", "type_id": 0}}`
	text := func(id string) string { return fmt.Sprintf(`{"Sequence": {"id": %q, "type_id": 0}}`, id) }
	f := file{
		Version: "1.0", Truncation: null, Padding: null,
		AddedTokens: []addedToken{{ID: 0, Content: StartToken, Special: true}, {ID: 1, Content: EndToken, Special: true}},
		Normalizer:  json.RawMessage(`{"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}`),
		Split:       json.RawMessage(byteLevel),
		Post: json.RawMessage(fmt.Sprintf(`{"type": "TemplateProcessing", "single": [%s], "pair": [%s], "special_tokens": {%s, %s}}`,
			strings.Join([]string{start, text("A"), end}, ", "), strings.Join([]string{start, text("A"), text("B"), end}, ", "),
			special(StartToken, 0), special(EndToken, 1))),
		Decoder: json.RawMessage(byteLevel),
		Model:   m,
	}
	return json.MarshalIndent(f, "", " ")
}
