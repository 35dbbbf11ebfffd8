// Package text is the modality of written words. A value is a string in
// Unicode form NFC, without white space around it and with single spaces
// within, unless the config says that texts are left as they are. Texts stand
// in manifests themselves, or in .txt files.
package text

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/onetrunk/onetrunk/internal/strictjson"
	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/tokenizers"
	"github.com/onetrunk/onetrunk/tokenizers/subword"
)

func init() { modalities.Register(modality{}) }

type modality struct{}

func (modality) Name() string { return "text" }
func (modality) Inline() bool { return true }

func (modality) Recognise(name string, _ []byte) bool {
	return strings.EqualFold(filepath.Ext(name), ".txt")
}

// Config is the modality's "input" block.
type Config struct {
	// Vocab is the size of the vocabulary that is learned from the training
	// captions, by byte-level byte-pair encoding.
	Vocab int `json:"vocab"`
	// Tokenizer is the path of a Hugging Face tokenizer.json to use instead, or
	// of CLIP's vocab.json, beside which merges.txt stands, or of SigLIP's
	// spiece.model.
	Tokenizer string `json:"tokenizer,omitempty"`
	// Entries is the size of the vocabulary that was learned or taken. A run
	// folder states it, so that a model can be opened, and embed what is not
	// text, without reading the vocabulary. With Tokenizer it may be more than
	// the tokenizer has, for models whose tables have rows to spare.
	Entries int `json:"entries,omitempty"`
	// Raw leaves texts as they are, for a tokenizer that was not learned here
	// and has a normalizer of its own; they may be empty.
	Raw bool `json:"raw,omitempty"`
	// Library, if given, names the library whose own tokenizer is followed, where
	// that does more than its tokenizer.json says (subword.Tokenizer.Follow).
	Library string `json:"library,omitempty"`
	// Length is the greatest number of ids of a text; what is longer is cut.
	Length int `json:"length"`
	// Pad, if given, is an id that fills texts up to Length.
	Pad *int32 `json:"pad,omitempty"`
	// Stop, if given, is an id behind whose first place a text ends.
	Stop *int32 `json:"stop,omitempty"`
	// Augment changes training texts.
	Augment Augment `json:"augment"`
}

// Augment says how training texts are changed.
type Augment struct {
	// DropWords leaves out each word with this probability, though never all.
	DropWords float64 `json:"drop_words,omitempty"`
}

// file is where a run folder keeps the vocabulary.
const file = "tokenizer.json"

func (modality) Open(config json.RawMessage, dir string) (modalities.Processor, error) {
	c := Config{Vocab: 4096, Length: 64}
	if len(config) > 0 {
		if err := strictjson.Unmarshal("text", config, &c); err != nil {
			return nil, err
		}
	}
	switch {
	case c.Vocab < 258 && c.Tokenizer == "":
		return nil, fmt.Errorf("vocab: expected at least 258, found %d", c.Vocab)
	case c.Length < 2:
		return nil, fmt.Errorf("length: expected at least 2, found %d", c.Length)
	case c.Entries < 0:
		return nil, fmt.Errorf("entries: expected a positive number, found %d", c.Entries)
	case c.Library != "" && !slices.Contains(subword.Libraries, c.Library):
		return nil, fmt.Errorf("library: %q is not one of %s", c.Library, strings.Join(subword.Libraries, ", "))
	case !(c.Augment.DropWords >= 0 && c.Augment.DropWords < 1):
		return nil, fmt.Errorf("augment.drop_words: expected a number in [0, 1), found %g", c.Augment.DropWords)
	}
	p := &processor{cfg: c}
	path := c.Tokenizer
	if dir != "" {
		saved := filepath.Join(dir, file)
		_, err := os.Stat(saved)
		switch {
		case err == nil:
			path = saved
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	switch {
	case path == "":
	case c.Entries > 0:
		p.later = sync.OnceValues(func() (*subword.Tokenizer, error) { return c.load(path) })
	default:
		t, err := c.read(path)
		if err != nil {
			return nil, err
		}
		p.tokenizer = t
	}
	if err := p.check("pad", c.Pad); err != nil {
		return nil, err
	}
	if err := p.check("stop", c.Stop); err != nil {
		return nil, err
	}
	return p, nil
}

// load reads the vocabulary of a config that states its size.
func (c *Config) load(path string) (*subword.Tokenizer, error) {
	t, err := c.read(path)
	if err != nil {
		return nil, err
	}
	if n := t.VocabSize(); n > c.Entries || n < c.Entries && c.Tokenizer == "" {
		return nil, fmt.Errorf("%s: %d entries; the config says %d", path, n, c.Entries)
	}
	return t, nil
}

// read reads a tokenizer.json, a vocab.json with CLIP's merges.txt beside it, or
// a spiece.model.
func (c *Config) read(path string) (t *subword.Tokenizer, err error) {
	switch filepath.Base(path) {
	case "vocab.json":
		t, err = subword.CLIP(path, filepath.Join(filepath.Dir(path), "merges.txt"))
	case "spiece.model":
		t, err = subword.SigLIP(path)
	default:
		t, err = subword.Load(path)
	}
	if err != nil || c.Library == "" {
		return t, err
	}
	if err := t.Follow(c.Library); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

type processor struct {
	cfg       Config
	tokenizer *subword.Tokenizer // nil until fitted, or read later
	// later, if not nil, reads the vocabulary when it is needed.
	later func() (*subword.Tokenizer, error)
}

// vocabulary returns the tokenizer.
func (p *processor) vocabulary() (*subword.Tokenizer, error) {
	if p.later != nil {
		return p.later()
	}
	if p.tokenizer == nil {
		return nil, fmt.Errorf("text: the vocabulary has not been learned; train the model first")
	}
	return p.tokenizer, nil
}

// entries returns the size of the vocabulary; before it is learned, the size
// that is asked for.
func (p *processor) entries() int {
	switch {
	case p.later != nil:
		return p.cfg.Entries
	case p.tokenizer != nil:
		return p.tokenizer.VocabSize()
	}
	return p.cfg.Vocab
}

// check holds an id of the config against the vocabulary.
func (p *processor) check(key string, id *int32) error {
	if id != nil && (*id < 0 || int(*id) >= p.entries()) {
		return fmt.Errorf("%s: expected an id in [0, %d), found %d", key, p.entries(), *id)
	}
	return nil
}

func (p *processor) Config() json.RawMessage {
	c := p.cfg
	if p.Fitted() {
		c.Entries = p.entries()
	}
	data, err := json.Marshal(c)
	if err != nil {
		panic(err) // numbers
	}
	return data
}

func (p *processor) Layout() tokenizers.Layout {
	return tokenizers.Layout{Vocab: p.entries(), Grid: [2]int{1, p.cfg.Length}}
}

// maxBytes bounds a text.
const maxBytes = 1 << 20

func (p *processor) Decode(r io.Reader, name string) (modalities.Value, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(data) > maxBytes {
		return nil, fmt.Errorf("%s: a text of more than %d bytes", name, maxBytes)
	}
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return nil, fmt.Errorf("%s: not UTF-8 at byte %d", name, i)
		}
		i += n
	}
	if p.cfg.Raw {
		return string(data), nil
	}
	text := strings.TrimPrefix(string(data), "\ufeff")
	text = strings.Join(strings.Fields(norm.NFC.String(text)), " ")
	if text == "" {
		return nil, fmt.Errorf("%s: an empty text", name)
	}
	return text, nil
}

func (p *processor) Augments() bool { return p.cfg.Augment.DropWords > 0 }

func (p *processor) Augment(v modalities.Value, rng *rand.Rand) modalities.Value {
	text, ok := v.(string)
	if !ok || !p.Augments() {
		return v
	}
	var kept []string
	for _, w := range strings.Fields(text) {
		if rng.Float64() >= p.cfg.Augment.DropWords {
			kept = append(kept, w)
		}
	}
	if len(kept) == 0 {
		return v
	}
	return strings.Join(kept, " ")
}

func (p *processor) Tokenize(v modalities.Value) (tokenizers.Tokens, error) {
	text, ok := v.(string)
	if !ok {
		return tokenizers.Tokens{}, fmt.Errorf("text: expected a string, found %T", v)
	}
	t, err := p.vocabulary()
	if err != nil {
		return tokenizers.Tokens{}, err
	}
	ids, cut := t.EncodeTruncated(text, p.cfg.Length)
	if stop := p.cfg.Stop; stop != nil {
		if i := slices.Index(ids, *stop); i >= 0 && i < len(ids)-1 {
			ids, cut = ids[:i+1], 0 // what was cut lay behind it
		}
	}
	if pad := p.cfg.Pad; pad != nil {
		for len(ids) < p.cfg.Length {
			ids = append(ids, *pad)
		}
	}
	return tokenizers.Tokens{IDs: ids, Grid: [2]int{1, len(ids)}, Cut: cut}, nil
}

// Fitted, Fit and Save make the processor a modalities.Fitter.

func (p *processor) Fitted() bool { return p.tokenizer != nil || p.later != nil }

func (p *processor) Fit(values func(yield func(modalities.Value) bool)) error {
	t, err := subword.Train(func(yield func(string) bool) {
		values(func(v modalities.Value) bool {
			s, ok := v.(string)
			return !ok || yield(s)
		})
	}, p.cfg.Vocab)
	if err != nil {
		return err
	}
	p.tokenizer = t
	return nil
}

func (p *processor) Save(dir string) error {
	t, err := p.vocabulary()
	if err != nil {
		return err
	}
	return t.Save(filepath.Join(dir, file))
}
