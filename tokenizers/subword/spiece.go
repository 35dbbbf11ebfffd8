package subword

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// The types of SentencePiece's pieces, and the model that is read.
const (
	userDefined  = 4
	unigramModel = 1
)

// spiece is what is read of a SentencePiece model: ModelProto of
// sentencepiece_model.proto.
type spiece struct {
	vocab   [][2]any // pieces and their scores, by id
	unknown int
	table   []byte
}

// SigLIP reads the spiece.model of a SigLIP model (Zhai et al. 2023), a unigram
// of SentencePiece (Kudo and Richardson 2018), and makes a tokenizer of it that
// is as near to transformers' SiglipTokenizer as a tokenizer.json can be;
// Follow("siglip") does the rest.
func SigLIP(path string) (*Tokenizer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m, err := parseSpiece(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	end := -1
	for i, v := range m.vocab {
		if v[0] == siglipEnd {
			end = i
		}
	}
	if end < 0 {
		return nil, fmt.Errorf("%s: no token %q", path, siglipEnd)
	}
	if data, err = siglip(m, end); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return Parse(path, data)
}

const siglipEnd = "</s>"

// siglip is a tokenizer.json of a SigLIP model.
func siglip(m *spiece, end int) ([]byte, error) {
	null := json.RawMessage("null")
	model, err := json.Marshal(unigramFile{Type: "Unigram", Unknown: &m.unknown, Vocab: m.vocab})
	if err != nil {
		return nil, err
	}
	table := ""
	if len(m.table) > 0 {
		table = fmt.Sprintf(`, {"type": "Precompiled", "precompiled_charsmap": %q}`, base64.StdEncoding.EncodeToString(m.table))
	}
	metaspace := fmt.Sprintf(`{"type": "Metaspace", "replacement": %q, "prepend_scheme": "always", "split": true}`, space)
	punctuation := strconv.Quote(`[!"\#\$%\&'\(\)\*\+,\-\./:;<=>\?@\[\\\]\^_` + "`" + `\{\|\}\~]`)
	f := file{
		Version: "1.0", Truncation: null, Padding: null,
		Normalizer: json.RawMessage(fmt.Sprintf(`{"type": "Sequence", "normalizers": [`+
			`{"type": "Replace", "pattern": {"String": %q}, "content": " "}, {"type": "Lowercase"}, `+
			`{"type": "Replace", "pattern": {"Regex": %s}, "content": ""}, `+
			`{"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}, `+
			`{"type": "Strip", "strip_left": true, "strip_right": true}%s]}`, space, punctuation, table)),
		Split: json.RawMessage(metaspace),
		Post: json.RawMessage(fmt.Sprintf(`{"type": "TemplateProcessing", `+
			`"single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": %[1]q, "type_id": 0}}], `+
			`"pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": %[1]q, "type_id": 0}}, `+
			`{"Sequence": {"id": "B", "type_id": 0}}, {"SpecialToken": {"id": %[1]q, "type_id": 0}}], `+
			`"special_tokens": {%[1]q: {"id": %[1]q, "ids": [%[2]d], "tokens": [%[1]q]}}}`, siglipEnd, end)),
		Decoder: json.RawMessage(metaspace),
		Model:   model,
	}
	for _, id := range []int{end, m.unknown} {
		f.AddedTokens = append(f.AddedTokens, addedToken{
			ID: int32(id), Content: m.vocab[id][0].(string), LStrip: true, RStrip: true, Special: true,
		})
	}
	return json.MarshalIndent(f, "", " ")
}

// parseSpiece reads a SentencePiece model; what the tokenizer does not do is
// an error.
func parseSpiece(data []byte) (*spiece, error) {
	m := &spiece{}
	kind, flags := uint64(unigramModel), map[string]uint64{"add_dummy_prefix": 1, "remove_extra_whitespaces": 1, "escape_whitespaces": 1}
	err := fields(data, func(n protowire.Number, _ uint64, message []byte) error {
		switch n {
		case 1:
			return m.piece(message)
		case 2: // trainer_spec
			return fields(message, func(n protowire.Number, v uint64, _ []byte) error {
				switch n {
				case 3:
					kind = v
				case 24:
					flags["treat_whitespace_as_suffix"] = v
				case 35:
					flags["byte_fallback"] = v
				case 40:
					m.unknown = int(v)
				}
				return nil
			})
		case 3: // normalizer_spec
			return fields(message, func(n protowire.Number, v uint64, b []byte) error {
				switch n {
				case 2:
					m.table = b
				case 3:
					flags["add_dummy_prefix"] = v
				case 4:
					flags["remove_extra_whitespaces"] = v
				case 5:
					flags["escape_whitespaces"] = v
				}
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if kind != unigramModel {
		return nil, fmt.Errorf("trainer_spec.model_type %d is not supported, %d (unigram) is", kind, unigramModel)
	}
	for name, want := range map[string]uint64{
		"add_dummy_prefix": 1, "remove_extra_whitespaces": 1, "escape_whitespaces": 1, "treat_whitespace_as_suffix": 0, "byte_fallback": 0,
	} {
		if flags[name] != want {
			return nil, fmt.Errorf("%s %d is not supported", name, flags[name])
		}
	}
	if m.unknown < 0 || m.unknown >= len(m.vocab) {
		return nil, fmt.Errorf("unk_id %d in a vocabulary of %d pieces", m.unknown, len(m.vocab))
	}
	return m, nil
}

// piece adds one to the vocabulary.
func (m *spiece) piece(message []byte) error {
	at := len(m.vocab)
	var name string
	var score float32
	err := fields(message, func(n protowire.Number, v uint64, b []byte) error {
		switch n {
		case 1:
			name = string(b)
		case 2:
			score = math.Float32frombits(uint32(v))
		case 3:
			if v == userDefined {
				return fmt.Errorf("pieces[%d]: %q is user-defined, which is not supported", at, name)
			}
		}
		return nil
	})
	if err == nil && !utf8.ValidString(name) {
		err = fmt.Errorf("pieces[%d]: not UTF-8", at)
	}
	m.vocab = append(m.vocab, [2]any{name, float64(score)})
	return err
}

// fields yields the fields of a protobuf message: numbers as v, what has a
// length as b.
func fields(message []byte, yield func(n protowire.Number, v uint64, b []byte) error) error {
	for len(message) > 0 {
		n, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return fmt.Errorf("not a SentencePiece model: %w", protowire.ParseError(size))
		}
		message = message[size:]
		var v uint64
		var b []byte
		switch kind {
		case protowire.VarintType:
			v, size = protowire.ConsumeVarint(message)
		case protowire.Fixed32Type:
			var short uint32
			short, size = protowire.ConsumeFixed32(message)
			v = uint64(short)
		case protowire.BytesType:
			b, size = protowire.ConsumeBytes(message)
		default:
			size = protowire.ConsumeFieldValue(n, kind, message)
		}
		if size < 0 {
			return fmt.Errorf("not a SentencePiece model: %w", protowire.ParseError(size))
		}
		message = message[size:]
		if err := yield(n, v, b); err != nil {
			return err
		}
	}
	return nil
}
