// Package evaluate measures how well a model's embeddings tell labelled files
// apart: by the names of the classes alone (zero-shot), by the nearest of other
// labelled files, and by a linear classifier that is trained on those. The
// files lie in folders, DIR/CLASS/FILE.
package evaluate

import (
	"context"
	"fmt"
	"math"
	"sync"

	gonum "gonum.org/v1/gonum/blas"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/tensor/blas"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// Embedder is what this package needs of a model; *model.Model is one.
type Embedder interface {
	// Dim is the length E of an embedding.
	Dim() int
	// Modalities lists what the model reads, sorted.
	Modalities() []string
	Processor(modality string) (modalities.Processor, error)
	// Check says whether the model can take a sample.
	Check(modality string, t tokenizers.Tokens) error
	// Embed returns unit vectors [n, E].
	Embed(ctx context.Context, modality string, batch []tokenizers.Tokens) ([]float32, error)
}

// Progress is told how much of a job is done.
type Progress func(done, total int)

func (p Progress) report(done, total int) {
	if p != nil {
		p(done, total)
	}
}

// Vectors are the embeddings of a folder of classes.
type Vectors struct {
	// Name is the folder's, for messages.
	Name string
	// Classes are the folder's.
	Classes []Class
	// Z are the unit vectors [N, E] of the files that could be read, E is Dim.
	Z   []float32
	Dim int
	// Labels [N] are indices into Classes.
	Labels []int
	// Bad are the files that could not be read.
	Bad []datasets.BadRow
}

// Embed embeds the files of a folder. Those that cannot be read are left out:
// maxBad is the share of them that there may be; one always may, but none when
// it is 0.
func Embed(ctx context.Context, m Embedder, c *Classes, maxBad float64, progress Progress) (*Vectors, error) {
	allowed := 0
	if maxBad > 0 {
		allowed = max(1, int(maxBad*float64(c.Len())))
	}
	v := &Vectors{Name: c.Name(), Classes: c.Classes(), Dim: m.Dim()}
	z, read, err := embed(ctx, m, c, func(i int, why error) error {
		item := c.Item(i)
		v.Bad = append(v.Bad, datasets.BadRow{Item: item.ID, Cell: item.Rows[0].Cells[0], Err: why})
		if len(v.Bad) > allowed {
			return fmt.Errorf("%s: %d files could not be read, at most %d of its %d may (--max-bad); the last: %w", c.Name(), len(v.Bad), allowed, c.Len(), why)
		}
		return nil
	}, progress)
	if err != nil {
		return nil, err
	}
	if len(read) == 0 {
		return nil, fmt.Errorf("%s: none of its %d files could be read; the last: %w", c.Name(), c.Len(), v.Bad[len(v.Bad)-1].Err)
	}
	v.Z = z
	for _, i := range read {
		v.Labels = append(v.Labels, c.Label(i))
	}
	return v, nil
}

// batchSize is the number of values that are embedded at once.
const batchSize = 64

// embed embeds the items of a source, each of one cell, and all of one
// modality. It returns the vectors of those that can be read and which they
// are; the others are told to bad, whose error ends it.
func embed(ctx context.Context, m Embedder, src datasets.Source, bad func(i int, why error) error, progress Progress) (z []float32, read []int, err error) {
	modality := src.Modalities()[0]
	p, err := m.Processor(modality)
	if err != nil {
		return nil, nil, err
	}
	cells := make([]datasets.Cell, src.Len())
	for i := range cells {
		cells[i] = src.Item(i).Rows[0].Cells[0]
	}
	var batch []tokenizers.Tokens
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		vectors, err := m.Embed(ctx, modality, batch)
		if err != nil {
			return err
		}
		first := len(read) - len(batch)
		for i := range batch {
			if !isUnit(vectors[i*m.Dim() : (i+1)*m.Dim()]) {
				return fmt.Errorf("%s: %s: the model's vector is not of unit length", src.Name(), src.Item(read[first+i]).ID)
			}
		}
		z = append(z, vectors...)
		batch = batch[:0]
		return nil
	}
	for l, err := range datasets.Stream(ctx, src, cells, map[string]modalities.Processor{modality: p}, 0, 4*batchSize) {
		if err != nil {
			return nil, nil, err
		}
		if l.Err == nil {
			l.Err = m.Check(modality, l.Tokens)
		}
		if l.Err != nil {
			if err := bad(l.Index, l.Err); err != nil {
				return nil, nil, err
			}
			continue
		}
		batch, read = append(batch, l.Tokens), append(read, l.Index)
		if len(batch) == batchSize {
			if err := flush(); err != nil {
				return nil, nil, err
			}
			progress.report(l.Index+1, len(cells))
		}
	}
	if err := flush(); err != nil {
		return nil, nil, err
	}
	progress.report(len(cells), len(cells))
	return z, read, nil
}

// isUnit reports whether a vector has length 1, but for rounding.
func isUnit(z []float32) bool {
	var sum float64
	for _, x := range z {
		sum += float64(x) * float64(x)
	}
	return math.Abs(sum-1) < 1e-3
}

// products multiplies matrices, on all processors.
var products = sync.OnceValue(func() blas.Implementation { return blas.New(0) })

// rowBlock is the number of vectors that are compared at once.
const rowBlock = 256

// similarities writes a b' into s [m, n] for rows a [m, e] and b [n, e].
func similarities(s, a, b []float32, m, n, e int) {
	products().Sgemm(gonum.NoTrans, gonum.Trans, m, n, e, 1, a, e, b, e, 0, s, n)
}
