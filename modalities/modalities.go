// Package modalities is the registry of modalities. A modality knows how to
// recognise, decode, check, augment and tokenise its files; no other package
// knows its formats. Each lives in a folder of its own and is registered by a
// line in modalities/all.
package modalities

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"sort"
	"sync"

	"github.com/onetrunk/onetrunk/tokenizers"
)

// Value is a decoded sample, of a type that its modality states:
// *image.NRGBA (opaque), audio.Clip, string.
type Value any

// Modality is a plug: it stands for a kind of data, before any configuration.
type Modality interface {
	// Name is the word for the modality in configs, manifests and folders:
	// "image".
	Name() string
	// Inline reports whether a manifest cell holds the value itself (a
	// caption) rather than the path of a file.
	Inline() bool
	// Recognise reports whether a file is of this modality, from its name and
	// its first bytes (up to 512; may be empty when only the name is known).
	Recognise(name string, head []byte) bool
	// Open makes a processor from the modality's "input" block of a config
	// (strict JSON; nil means all defaults). Files that belong to the
	// processor, such as a vocabulary, are read from dir when it holds them;
	// dir is empty for a model that has not been saved.
	Open(config json.RawMessage, dir string) (Processor, error)
}

// Processor is a configured modality. It is safe for concurrent use.
type Processor interface {
	// Decode reads one file, or the bytes of an inline cell, checks it
	// against the limits (declared sizes before anything is decoded) and
	// returns the value in the model's own form: colour space, sample rate,
	// normalised text. name appears in errors. It never panics.
	Decode(r io.Reader, name string) (Value, error)
	// Augment returns v changed at random for training, or v itself when the
	// config asks for no augmentation. It must not modify v.
	Augment(v Value, rng *rand.Rand) Value
	// Augments reports whether Augment ever changes anything.
	Augments() bool
	// Tokenize turns a value into tokens.
	Tokenize(v Value) (tokenizers.Tokens, error)
	// Layout describes the tokens. It is final once Fit has been called, for
	// processors that have one.
	Layout() tokenizers.Layout
	// Config returns the whole configuration, defaults filled in, as it is
	// written into a run folder.
	Config() json.RawMessage
}

// Fitter is a Processor that learns from the training data before the trunk
// does: the text modality trains its vocabulary.
type Fitter interface {
	Processor
	// Fitted reports whether there is nothing left to learn.
	Fitted() bool
	// Fit learns from the training split's values, deterministically.
	Fit(values func(yield func(Value) bool)) error
	// Save writes what was learned into dir, whole or not at all.
	Save(dir string) error
}

var (
	mu       sync.RWMutex
	registry = map[string]Modality{}
)

// Register makes a modality known. It panics when the name is taken.
func Register(m Modality) {
	mu.Lock()
	defer mu.Unlock()
	if _, taken := registry[m.Name()]; taken {
		panic("modalities: " + m.Name() + " is registered twice")
	}
	registry[m.Name()] = m
}

// Lookup returns the modality of that name.
func Lookup(name string) (Modality, error) {
	mu.RLock()
	defer mu.RUnlock()
	if m, ok := registry[name]; ok {
		return m, nil
	}
	return nil, fmt.Errorf("no modality %q (known: %v)", name, names())
}

// Names returns the registered names, sorted.
func Names() []string {
	mu.RLock()
	defer mu.RUnlock()
	return names()
}

func names() []string {
	var s []string
	for n := range registry {
		s = append(s, n)
	}
	sort.Strings(s)
	return s
}

// Recognise returns the modality that claims the file, or nil. Inline
// modalities are asked last, so that a .txt beside pictures stays text.
func Recognise(name string, head []byte) Modality {
	mu.RLock()
	defer mu.RUnlock()
	var inline Modality
	for _, n := range names() {
		m := registry[n]
		if !m.Recognise(name, head) {
			continue
		}
		if !m.Inline() {
			return m
		}
		inline = m
	}
	return inline
}
