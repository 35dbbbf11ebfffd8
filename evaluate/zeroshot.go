package evaluate

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/modalities"
)

// slot stands for the class's name in a template.
const slot = "{}"

// Templates returns the built-in templates of a modality, sentences that say
// what a file shows with {} for the class's name. What has none of its own is
// called by the name alone.
func Templates(modality string) []string {
	switch modality {
	case "image":
		return []string{
			"a photo of a {}.",
			"a picture of the {}.",
			"a close-up of a {}.",
			"a drawing of a {}.",
			"an image that shows a {}.",
			"{}",
		}
	case "audio":
		return []string{
			"the sound of {}.",
			"a recording of {}.",
			"this is the sound of {}.",
			"one can hear {}.",
			"{}",
		}
	}
	return []string{slot}
}

// ReadTemplates reads templates, one a line; blank lines are passed over.
func ReadTemplates(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	templates, err := readTemplates(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return templates, nil
}

func readTemplates(r io.Reader) ([]string, error) {
	var templates []string
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		t := strings.TrimSpace(lines.Text())
		if t == "" {
			continue
		}
		if !strings.Contains(t, slot) {
			return nil, fmt.Errorf("line %d: the template %.60q has no %s for the class's name", n, t, slot)
		}
		templates = append(templates, t)
	}
	if len(templates) == 0 && lines.Err() == nil {
		return nil, errors.New("no templates, expected one a line")
	}
	return templates, lines.Err()
}

// ClassVectors returns a unit vector for each class [K, E]: its name is put
// into every template, and the mean of the sentences' vectors is scaled to unit
// length (Radford et al. 2021, section 3.1.4).
func ClassVectors(ctx context.Context, m Embedder, classes []Class, templates []string, progress Progress) ([]float32, error) {
	if !slices.Contains(m.Modalities(), "text") {
		return nil, fmt.Errorf("zero-shot classification needs a model that reads text, for the names of the classes; this one reads %v", m.Modalities())
	}
	if len(templates) == 0 {
		return nil, errors.New("zero-shot classification needs at least one template")
	}
	s := &sentences{}
	for _, c := range classes {
		for _, t := range templates {
			s.add(strings.ReplaceAll(t, slot, c.Name))
		}
	}
	z, _, err := embed(ctx, m, s, func(i int, why error) error {
		return fmt.Errorf("class %q: %w", classes[i/len(templates)].Name, why)
	}, progress)
	if err != nil {
		return nil, err
	}
	e, t := m.Dim(), len(templates)
	out := make([]float32, 0, len(classes)*e)
	for k := range classes {
		out = append(out, meanDirection(z[k*t*e:(k+1)*t*e], e)...)
	}
	return out, nil
}

// meanDirection returns the unit vector [e] along the mean of the rows z [t, e].
func meanDirection(z []float32, e int) []float32 {
	sum := make([]float64, e)
	for i, x := range z {
		sum[i%e] += float64(x)
	}
	var square float64
	for _, x := range sum {
		square += x * x
	}
	length := max(math.Sqrt(square), 1e-12)
	out := make([]float32, e)
	for i, x := range sum {
		out[i] = float32(x / length)
	}
	return out
}

// ZeroShot takes every file for the class whose vector [K, E], of ClassVectors,
// is nearest (Radford et al. 2021, section 3.1).
func ZeroShot(ctx context.Context, v *Vectors, classes []float32) (Scores, error) {
	return classify(ctx, v.Z, v.Labels, v.Dim, v.Classes, classes, nil)
}

// classify scores rows z [N, e] by a linear classifier, w [K, e] and bias [K]
// or nil.
func classify(ctx context.Context, z []float32, labels []int, e int, classes []Class, w []float32, bias []float64) (Scores, error) {
	k := len(classes)
	t := newTally(classes)
	block, scores := make([]float32, rowBlock*k), make([]float64, k)
	for lo := 0; lo < len(labels); lo += rowBlock {
		if err := ctx.Err(); err != nil {
			return Scores{}, err
		}
		hi := min(lo+rowBlock, len(labels))
		similarities(block, z[lo*e:hi*e], w, hi-lo, k, e)
		for i := lo; i < hi; i++ {
			for j := range scores {
				scores[j] = float64(block[(i-lo)*k+j])
				if bias != nil {
					scores[j] += bias[j]
				}
			}
			t.add(labels[i], scores)
		}
	}
	return t.scores(), nil
}

// sentences is a source of texts.
type sentences struct{ items []datasets.Item }

func (s *sentences) add(text string) {
	cell := datasets.Cell{Modality: "text", Ref: text}
	s.items = append(s.items, datasets.Item{ID: text, Rows: []datasets.Row{{Cells: []datasets.Cell{cell}}}})
}

func (s *sentences) Name() string              { return "the classes' names" }
func (s *sentences) Modalities() []string      { return []string{"text"} }
func (s *sentences) Len() int                  { return len(s.items) }
func (s *sentences) Item(i int) *datasets.Item { return &s.items[i] }

func (s *sentences) Load(c datasets.Cell, p modalities.Processor) (modalities.Value, error) {
	return p.Decode(strings.NewReader(c.Ref), "text")
}
