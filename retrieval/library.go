package retrieval

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// Library joins a model with an index of what it embedded. Searching and
// embedding are safe for concurrent use; adding needs the library alone.
type Library struct {
	Model Embedder
	Index *Index
}

// NewLibrary makes a library with an empty index.
func NewLibrary(m Embedder) *Library {
	ix := NewIndex(m.Dim(), 0)
	ix.Model = m.Fingerprint()
	return &Library{m, ix}
}

// OpenLibrary opens a folder that mmembed embed or Save wrote with the same
// model; another model's is an error.
func OpenLibrary(m Embedder, dir string) (*Library, error) {
	ix, err := Open(dir, 0)
	if err != nil {
		return nil, err
	}
	switch {
	case ix.Model != "" && m.Fingerprint() != "" && ix.Model != m.Fingerprint():
		ix.Close()
		return nil, fmt.Errorf("%s: embeddings of another model (%s, this is %s)", dir, ix.Model, m.Fingerprint())
	case ix.Dim() != m.Dim():
		ix.Close()
		return nil, fmt.Errorf("%s: vectors of %d values, the model makes %d", dir, ix.Dim(), m.Dim())
	}
	return &Library{m, ix}, nil
}

// Save writes the index as a folder of embeddings, which must not hold any
// yet.
func (l *Library) Save(dir string) error { return l.Index.Save(dir) }

// Close gives back what the index holds.
func (l *Library) Close() error { return l.Index.Close() }

// Embed returns the unit vector [E] of a decoded value.
func (l *Library) Embed(ctx context.Context, modality string, v modalities.Value) ([]float32, error) {
	t, err := l.tokens(modality, v)
	if err != nil {
		return nil, err
	}
	return l.Model.Embed(ctx, modality, []tokenizers.Tokens{t})
}

// tokens turns a value into tokens that the model takes.
func (l *Library) tokens(modality string, v modalities.Value) (t tokenizers.Tokens, err error) {
	p, err := l.Model.Processor(modality)
	if err != nil {
		return t, err
	}
	if t, err = p.Tokenize(v); err == nil {
		err = l.Model.Check(modality, t)
	}
	if err != nil {
		return t, fmt.Errorf("%s: %w", modality, err)
	}
	return t, nil
}

// EmbedReader returns the vector of an encoded value: the bytes of a file, or
// a text itself. name appears in errors.
func (l *Library) EmbedReader(ctx context.Context, modality string, r io.Reader, name string) ([]float32, error) {
	p, err := l.Model.Processor(modality)
	if err != nil {
		return nil, err
	}
	v, err := p.Decode(r, name)
	if err != nil {
		return nil, err
	}
	return l.Embed(ctx, modality, v)
}

// EmbedText returns the vector of a text.
func (l *Library) EmbedText(ctx context.Context, text string) ([]float32, error) {
	return l.EmbedReader(ctx, "text", strings.NewReader(text), "text")
}

// EmbedFile returns the vector of a file, whose modality is recognised when
// it is not given, and the modality.
func (l *Library) EmbedFile(ctx context.Context, modality, path string) (vector []float32, of string, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, "", err
	}
	if modality == "" {
		m := modalities.Recognise(path, data[:min(len(data), 512)])
		if m == nil {
			return nil, "", fmt.Errorf("%s: of no modality that is known %v", path, modalities.Names())
		}
		modality = m.Name()
	}
	z, err := l.EmbedReader(ctx, modality, bytes.NewReader(data), path)
	return z, modality, err
}

// Add embeds values of one modality and adds them with their entries, whose
// Modality is set. On an error nothing is added.
func (l *Library) Add(ctx context.Context, modality string, values []modalities.Value, entries []Entry) error {
	if len(values) != len(entries) {
		return fmt.Errorf("%d values and %d entries", len(values), len(entries))
	}
	batch := make([]tokenizers.Tokens, len(values))
	for i, v := range values {
		var err error
		if batch[i], err = l.tokens(modality, v); err != nil {
			return fmt.Errorf("%s: %w", entries[i].ID, err)
		}
		entries[i].Modality = modality
	}
	vectors, err := l.Model.Embed(ctx, modality, batch)
	if err != nil {
		return err
	}
	return l.Index.Add(vectors, entries)
}

// Search returns the best entries for a query vector.
func (l *Library) Search(query []float32, o Options) ([]Hit, error) {
	return l.Index.Search(nil, query, o)
}
