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
func NewLibrary(m Embedder) *Library { return &Library{Model: m, Index: NewIndex(m.Dim(), 0)} }

// OpenLibrary opens a folder that mmembed embed or Save wrote, for a model of
// the same dimension.
func OpenLibrary(m Embedder, dir string) (*Library, error) {
	ix, err := Open(dir, 0)
	if err != nil {
		return nil, err
	}
	if ix.Dim() != m.Dim() {
		return nil, fmt.Errorf("%s: vectors of %d values, the model makes %d", dir, ix.Dim(), m.Dim())
	}
	return &Library{m, ix}, nil
}

// Embed returns the unit vector [E] of a decoded value.
func (l *Library) Embed(ctx context.Context, modality string, v modalities.Value) ([]float32, error) {
	p, err := l.Model.Processor(modality)
	if err != nil {
		return nil, err
	}
	t, err := p.Tokenize(v)
	if err != nil {
		return nil, err
	}
	if err := l.Model.Check(modality, t); err != nil {
		return nil, fmt.Errorf("%s: %w", modality, err)
	}
	return l.Model.Embed(ctx, modality, []tokenizers.Tokens{t})
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
// Modality is set.
func (l *Library) Add(ctx context.Context, modality string, values []modalities.Value, entries []Entry) error {
	if len(values) != len(entries) {
		return fmt.Errorf("%d values and %d entries", len(values), len(entries))
	}
	var all []float32
	for i, v := range values {
		z, err := l.Embed(ctx, modality, v)
		if err != nil {
			return fmt.Errorf("%s: %w", entries[i].ID, err)
		}
		all = append(all, z...)
		entries[i].Modality = modality
	}
	return l.Index.Add(all, entries)
}

// Search returns the best entries for a query vector.
func (l *Library) Search(query []float32, o Options) ([]Hit, error) {
	return l.Index.Search(nil, query, o)
}
