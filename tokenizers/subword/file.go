package subword

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"

	"github.com/onetrunk/onetrunk/internal/atomicfile"
	"github.com/onetrunk/onetrunk/internal/strictjson"
)

// file is a Hugging Face tokenizer.json of the kind that Train makes.
type file struct {
	Version     string          `json:"version"`
	Truncation  json.RawMessage `json:"truncation"`
	Padding     json.RawMessage `json:"padding"`
	AddedTokens []addedToken    `json:"added_tokens"`
	Normalizer  component       `json:"normalizer"`
	Pre         component       `json:"pre_tokenizer"`
	Post        component       `json:"post_processor"`
	Decoder     component       `json:"decoder"`
	Model       bpe             `json:"model"`
}

type addedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// component is a part that is known as a whole or not at all.
type component = json.RawMessage

type bpe struct {
	Type         string           `json:"type"`
	Dropout      *float64         `json:"dropout"`
	Unk          *string          `json:"unk_token"`
	Prefix       *string          `json:"continuing_subword_prefix"`
	Suffix       *string          `json:"end_of_word_suffix"`
	FuseUnk      bool             `json:"fuse_unk"`
	ByteFallback bool             `json:"byte_fallback"`
	IgnoreMerges bool             `json:"ignore_merges"`
	Vocab        map[string]int32 `json:"vocab"`
	Merges       [][2]string      `json:"merges"`
}

// What a trained tokenizer does around its merges.
const (
	normalizer = `{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Lowercase"}]}`
	preTok     = `{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}`
	decoder    = `{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}`
	post       = `{"type":"TemplateProcessing",` +
		`"single":[{"SpecialToken":{"id":"<start>","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"<end>","type_id":0}}],` +
		`"pair":[{"SpecialToken":{"id":"<start>","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}},{"SpecialToken":{"id":"<end>","type_id":0}}],` +
		`"special_tokens":{"<start>":{"id":"<start>","ids":[0],"tokens":["<start>"]},"<end>":{"id":"<end>","ids":[1],"tokens":["<end>"]}}}`
)

// JSON returns the tokenizer as a Hugging Face tokenizer.json.
func (t *Tokenizer) JSON() ([]byte, error) {
	null := json.RawMessage("null")
	f := file{
		Version: "1.0", Truncation: null, Padding: null,
		AddedTokens: []addedToken{{ID: 0, Content: StartToken, Special: true}, {ID: 1, Content: EndToken, Special: true}},
		Normalizer:  component(normalizer), Pre: component(preTok), Post: component(post), Decoder: component(decoder),
		Model: bpe{Type: "BPE", Vocab: map[string]int32{}, Merges: [][2]string{}},
	}
	for id, tok := range t.tokens {
		f.Model.Vocab[tok] = int32(id)
	}
	for _, p := range t.merges {
		f.Model.Merges = append(f.Model.Merges, [2]string{t.tokens[p.a], t.tokens[p.b]})
	}
	return json.MarshalIndent(f, "", " ")
}

// Save writes the tokenizer as a tokenizer.json, whole or not at all.
func (t *Tokenizer) Save(path string) error {
	data, err := t.JSON()
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(path, data)
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
// not known is an error that names it: it is never left out.
func Parse(name string, data []byte) (*Tokenizer, error) {
	var f file
	if err := strictjson.Unmarshal(name, data, &f); err != nil {
		return nil, err
	}
	for _, c := range []struct {
		key       string
		got       component
		supported string
	}{{"normalizer", f.Normalizer, normalizer}, {"pre_tokenizer", f.Pre, preTok}, {"post_processor", f.Post, post}} {
		if !same(c.got, c.supported) {
			return nil, fmt.Errorf("%s: %s: %s is not supported", name, c.key, short(c.got))
		}
	}
	m := f.Model
	if m.Type != "BPE" || m.Dropout != nil || m.Unk != nil || m.Prefix != nil || m.Suffix != nil || m.ByteFallback || m.IgnoreMerges {
		return nil, fmt.Errorf("%s: model: a %q model of this kind is not supported", name, m.Type)
	}
	merges := make([]pair, len(m.Merges))
	for i, p := range m.Merges {
		a, okA := m.Vocab[p[0]]
		b, okB := m.Vocab[p[1]]
		if !okA || !okB || a >= int32(258+i) || b >= int32(258+i) || a < 2 || b < 2 {
			return nil, fmt.Errorf("%s: model.merges[%d]: %q joins what is not in the vocabulary before it", name, i, p)
		}
		merges[i] = pair{a, b}
	}
	t := newTokenizer(merges)
	if len(m.Vocab) != len(t.tokens) {
		return nil, fmt.Errorf("%s: model.vocab has %d entries, expected %d of 2 special tokens, 256 bytes and %d merges", name, len(m.Vocab), len(t.tokens), len(merges))
	}
	for id, tok := range t.tokens {
		if got, ok := m.Vocab[tok]; !ok || got != int32(id) {
			return nil, fmt.Errorf("%s: model.vocab: %q has id %d, expected %d", name, tok, got, id)
		}
	}
	return t, nil
}

// same compares JSON values, whatever their layout and order of keys.
func same(got json.RawMessage, want string) bool {
	var a, b any
	return json.Unmarshal(got, &a) == nil && json.Unmarshal([]byte(want), &b) == nil && reflect.DeepEqual(a, b)
}

func short(c json.RawMessage) string {
	if len(c) > 80 {
		return string(c[:80]) + "..."
	}
	return string(c)
}
