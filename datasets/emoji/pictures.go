package emoji

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"image/png"
	"io"

	"github.com/onetrunk/onetrunk/internal/atomicfile"
)

// readPictures reads the concepts' pictures from the packages. Not every
// vendor draws every emoji; one who draws none of them is an error.
func (b *builder) readPictures(ctx context.Context, concepts []*concept) error {
	for _, vendor := range b.Vendors {
		byFile := map[string]*concept{}
		for _, c := range concepts {
			byFile["img/"+vendor+"/64/"+c.file] = c
		}
		found := 0
		err := b.readPackage(pictures(vendor), func(path string, r io.Reader) error {
			c := byFile[path]
			if c == nil || ctx.Err() != nil {
				return ctx.Err()
			}
			data, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			if _, err := png.DecodeConfig(bytes.NewReader(data)); err != nil {
				return err
			}
			c.pictures[vendor] = picture{data: data, sum: sha256.Sum256(data)}
			found++
			return nil
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		if found == 0 {
			return fmt.Errorf("%s: no pictures in img/%s/64", b.archive(pictures(vendor)), vendor)
		}
	}
	return nil
}

// drawing is a picture that a split needs.
type drawing struct {
	concept             *concept
	vendor, split, path string // the path in the set, with slashes
}

// drawings lists what the splits need, concept by concept.
func (b *builder) drawings(concepts []*concept) []drawing {
	var list []drawing
	for _, c := range concepts {
		for i, vendor := range b.Vendors {
			split := splitOf(c.side, i == len(b.Vendors)-1)
			if _, drawn := c.pictures[vendor]; drawn && split != "" {
				list = append(list, drawing{c, vendor, split, "images/" + vendor + "/" + c.id + ".png"})
			}
		}
	}
	return list
}

// writePictures writes the pictures that are not there yet.
func (b *builder) writePictures(ctx context.Context, list []drawing) error {
	for i, d := range list {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !b.exists(d.path) {
			if err := atomicfile.WriteBytes(b.path(d.path), d.concept.pictures[d.vendor].data); err != nil {
				return err
			}
			b.made++
		}
		b.Progress(i+1, len(list), "pictures")
	}
	return nil
}
