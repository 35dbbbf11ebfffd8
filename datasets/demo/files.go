package demo

import (
	"context"
	"encoding/csv"
	"fmt"
	"image/png"
	"io"
	"path/filepath"

	"github.com/onetrunk/onetrunk/internal/atomicfile"
	"github.com/onetrunk/onetrunk/internal/wavfile"
)

// WriteFiles writes the first n scenes of a split of the built-in world to
// dir: pictures as PNG, sounds as WAV, and manifest.tsv with a row for every
// caption, which datasets.Open reads. The manifest comes last. More scenes
// than the split has are an error.
func WriteFiles(ctx context.Context, dir, split string, n int) error {
	opened, err := Open(split, Options{})
	if err != nil {
		return err
	}
	s := opened.(*source)
	if n < 0 || n > s.Len() {
		return fmt.Errorf("%s: has %d scenes, not %d", s.Name(), s.Len(), n)
	}
	rows := [][]string{{"id", "image", "audio", "text", "lang", "split"}}
	for i := range n {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		item := s.Item(i)
		image, audio := item.ID+".png", item.ID+".wav"
		if err := s.writeScene(dir, i, image, audio); err != nil {
			return err
		}
		for k, row := range item.Rows {
			if k > 0 { // the others are captions alone
				image, audio = "", ""
			}
			rows = append(rows, []string{item.ID, image, audio, row.Cells[0].Ref, row.Lang, s.split})
		}
	}
	return atomicfile.Write(filepath.Join(dir, "manifest.tsv"), func(w io.Writer) error {
		t := csv.NewWriter(w)
		t.Comma = '\t'
		return t.WriteAll(rows)
	})
}

func (s *source) writeScene(dir string, i int, image, audio string) error {
	err := atomicfile.Write(filepath.Join(dir, filepath.FromSlash(image)), func(w io.Writer) error {
		return png.Encode(w, s.scenes[i].picture(s.rng("picture", i)))
	})
	if err != nil {
		return err
	}
	clip := s.scenes[i].sound(s.rng("sound", i))
	data, err := wavfile.Encode(clip.Samples, clip.Rate)
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(filepath.Join(dir, filepath.FromSlash(audio)), data)
}
