package demo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"image"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/datasets/demo"
	"github.com/onetrunk/onetrunk/modalities"
	_ "github.com/onetrunk/onetrunk/modalities/all"
	"github.com/onetrunk/onetrunk/modalities/audio"
)

// open opens a modality's processor so that it leaves values as they are.
func open(t *testing.T, name, config string) modalities.Processor {
	t.Helper()
	m, err := modalities.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	p, err := m.Open(json.RawMessage(config), "")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The files show what the built-in world shows: the same captions, the same
// pixels, the same sounds but for rounding to 16 bits.
func TestWriteFiles(t *testing.T) {
	images := open(t, "image", `{"size": 32, "patch": 8}`)
	sounds := open(t, "audio", `{"rate": 8000, "window": 256, "fft": 256, "hop": 80, "mels": 32, "fmax": 4000, "patch": [32, 8]}`)
	for _, split := range []string{"train", "test"} {
		dir := t.TempDir()
		const n = 3
		if err := demo.WriteFiles(context.Background(), dir, split, n); err != nil {
			t.Fatal(err)
		}
		got, err := datasets.Open(dir + "#" + split)
		if err != nil {
			t.Fatal(err)
		}
		want, err := datasets.Open("demo:#" + split)
		if err != nil {
			t.Fatal(err)
		}
		if got.Len() != n {
			t.Fatalf("%s: %d items, want %d", split, got.Len(), n)
		}
		for i := range n {
			a, b := got.Item(i), want.Item(i)
			if a.ID != b.ID || len(a.Rows) != len(b.Rows) {
				t.Fatalf("%s: item %d is %s with %d rows, want %s with %d", split, i, a.ID, len(a.Rows), b.ID, len(b.Rows))
			}
			for k := range a.Rows {
				if x, y := text(a.Rows[k]), text(b.Rows[k]); x != y {
					t.Errorf("%s: caption %q, want %q", a.ID, x, y)
				}
				if len(a.Rows[k].Cells) != len(b.Rows[k].Cells) {
					t.Errorf("%s: row %d has %d cells, want %d", a.ID, k, len(a.Rows[k].Cells), len(b.Rows[k].Cells))
				}
			}
			x := load(t, got, a, "image", images).(*image.NRGBA)
			y := load(t, want, b, "image", images).(*image.NRGBA)
			if !bytes.Equal(x.Pix, y.Pix) {
				t.Errorf("%s: another picture", a.ID)
			}
			sameSound(t, a.ID, load(t, got, a, "audio", sounds).(audio.Clip), load(t, want, b, "audio", sounds).(audio.Clip))
		}
	}
}

func text(r datasets.Row) string {
	for _, c := range r.Cells {
		if c.Modality == "text" {
			return c.Ref
		}
	}
	return ""
}

func load(t *testing.T, s datasets.Source, item *datasets.Item, modality string, p modalities.Processor) modalities.Value {
	t.Helper()
	for _, c := range item.Rows[0].Cells {
		if c.Modality == modality {
			v, err := s.Load(c, p)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("%s: no %s in the first row", item.ID, modality)
	return nil
}

func sameSound(t *testing.T, id string, a, b audio.Clip) {
	t.Helper()
	if a.Rate != b.Rate || len(a.Samples) != len(b.Samples) {
		t.Fatalf("%s: %d samples at %d Hz, want %d at %d", id, len(a.Samples), a.Rate, len(b.Samples), b.Rate)
	}
	for i := range a.Samples {
		if d := math.Abs(float64(a.Samples[i] - b.Samples[i])); d > 1.0/(1<<15) {
			t.Fatalf("%s: sample %d is off by %g", id, i, d)
		}
	}
}

// Too many scenes, an unknown split and an end of the context leave no
// manifest behind.
func TestWriteFilesRefuses(t *testing.T) {
	ended, end := context.WithCancel(context.Background())
	end()
	for _, c := range []struct {
		ctx   context.Context
		split string
		n     int
		want  string
	}{
		{context.Background(), "val", 501, "demo:#val: has 500 scenes, not 501"},
		{context.Background(), "dev", 1, `not "dev"`},
		{ended, "val", 1, "context canceled"},
	} {
		dir := t.TempDir()
		err := demo.WriteFiles(c.ctx, dir, c.split, c.n)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d of %s: %v, want %q", c.n, c.split, err, c.want)
		}
		if found, _ := filepath.Glob(filepath.Join(dir, "*")); len(found) > 0 {
			t.Errorf("%d of %s: left %v", c.n, c.split, found)
		}
	}
}
