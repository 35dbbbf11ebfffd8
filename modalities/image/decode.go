package image

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"io"

	_ "image/gif" // formats that image.Decode knows
	_ "image/jpeg"
	_ "image/png"

	_ "golang.org/x/image/bmp"
	_ "golang.org/x/image/tiff"
	_ "golang.org/x/image/webp"

	"github.com/disintegration/imaging"
)

// Limits on what is decoded. They are checked against what a file declares,
// before anything is decoded.
const (
	maxPixels = 64 << 20  // width times height
	maxBytes  = 256 << 20 // of a file
)

// decode reads one image as opaque NRGBA, upright and with alpha over white
// (or dropped). It never panics.
func decode(r io.Reader, name string, dropAlpha bool) (img *image.NRGBA, err error) {
	defer func() {
		if e := recover(); e != nil {
			err = fmt.Errorf("%s: the decoder failed: %v", name, e)
		}
	}()
	data, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(data) > maxBytes {
		return nil, fmt.Errorf("%s: more than %d MB", name, maxBytes>>20)
	}
	cfg, format, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s: not a readable image: %w", name, err)
	}
	if cfg.Width < 1 || cfg.Height < 1 || cfg.Width > maxPixels/cfg.Height {
		return nil, fmt.Errorf("%s: %s of %d x %d pixels, at most %d million are read", name, format, cfg.Width, cfg.Height, maxPixels>>20)
	}
	src, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s: damaged %s: %w", name, format, err)
	}
	return orient(opaque(src, dropAlpha), orientation(data)), nil
}

// opaque copies any image into NRGBA without transparency. imaging must not
// see other types: a crafted palette makes it panic on a goroutine of its own
// (CVE-2023-36308).
func opaque(src image.Image, dropAlpha bool) *image.NRGBA {
	b := src.Bounds()
	dst := image.NewNRGBA(image.Rect(0, 0, b.Dx(), b.Dy()))
	if !dropAlpha {
		draw.Draw(dst, dst.Rect, image.NewUniform(color.White), image.Point{}, draw.Src)
		draw.Draw(dst, dst.Rect, src, b.Min, draw.Over)
		return dst
	}
	at := stored(src)
	for y := range b.Dy() {
		for x := range b.Dx() {
			c := at(b.Min.X+x, b.Min.Y+y)
			c.A = 255
			dst.SetNRGBA(x, y, c)
		}
	}
	return dst
}

// stored returns the function that reads a pixel's colour as PIL's
// convert("RGB") sees it: whatever its alpha, and of colours of 16 bits the
// upper 8, but the greys cut at 255.
func stored(src image.Image) func(x, y int) color.NRGBA {
	switch src := src.(type) {
	case *image.NRGBA64:
		return func(x, y int) color.NRGBA {
			c := src.NRGBA64At(x, y)
			return color.NRGBA{R: uint8(c.R >> 8), G: uint8(c.G >> 8), B: uint8(c.B >> 8)}
		}
	case *image.Gray16:
		return func(x, y int) color.NRGBA {
			v := uint8(min(src.Gray16At(x, y).Y, 255))
			return color.NRGBA{R: v, G: v, B: v}
		}
	case *image.NYCbCrA:
		return func(x, y int) color.NRGBA {
			return color.NRGBAModel.Convert(src.YCbCrAt(x, y)).(color.NRGBA)
		}
	}
	return func(x, y int) color.NRGBA { return color.NRGBAModel.Convert(src.At(x, y)).(color.NRGBA) }
}

// orient turns an image upright by an EXIF orientation, 1 to 8.
func orient(img *image.NRGBA, o int) *image.NRGBA {
	switch o {
	case 2:
		return imaging.FlipH(img)
	case 3:
		return imaging.Rotate180(img)
	case 4:
		return imaging.FlipV(img)
	case 5:
		return imaging.Transpose(img)
	case 6:
		return imaging.Rotate270(img)
	case 7:
		return imaging.Transverse(img)
	case 8:
		return imaging.Rotate90(img)
	}
	return img
}

// recognise reports whether the first bytes are those of a known format.
func recognise(head []byte) bool {
	for _, magic := range []string{"\x89PNG\r\n", "\xff\xd8\xff", "GIF8", "BM", "II*\x00", "MM\x00*"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return true
		}
	}
	return len(head) >= 12 && string(head[:4]) == "RIFF" && string(head[8:12]) == "WEBP"
}
