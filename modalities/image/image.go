// Package image is the modality of pictures: png, jpeg, gif (its first
// frame), webp, bmp and tiff. A value is an *image.NRGBA without
// transparency.
package image

import (
	"cmp"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"io"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"

	"github.com/disintegration/imaging"

	"github.com/onetrunk/onetrunk/internal/strictjson"
	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/tokenizers"
)

func init() { modalities.Register(modality{}) }

type modality struct{}

func (modality) Name() string { return "image" }
func (modality) Inline() bool { return false }

var extensions = []string{".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff"}

func (modality) Recognise(name string, head []byte) bool {
	if len(head) > 0 {
		return recognise(head)
	}
	return slices.Contains(extensions, strings.ToLower(filepath.Ext(name)))
}

// Config is the modality's "input" block.
type Config struct {
	// Size is the side of the square that the model sees, in pixels, or with
	// fit "keep" the longest side. Patch is the side of a patch.
	Size  int `json:"size"`
	Patch int `json:"patch"`
	// Fit is "crop" (the shorter side becomes Resize, then the centre is cut
	// out), "crop_floor" (the same, but for where a centre between two pixels
	// goes: there up and left, as Hugging Face's processors have it, and with
	// "crop" to the even place, as torchvision does), "squash" (both sides
	// become Size) or "keep" (the aspect stays: both sides become multiples of
	// Patch, the longer one Size).
	Fit string `json:"fit"`
	// Resize is the shorter side before the centre is cut out; 0 is Size. A
	// side below Size is filled up with black on both ends.
	Resize int `json:"resize,omitempty"`
	// Filter resizes: "bicubic", "bilinear" or "lanczos", as Pillow's
	// antialiased filters do, bit for bit.
	Filter string `json:"filter"`
	// Alpha is "white" (transparency over white) or "drop" (the colours as
	// they are stored, as PIL's convert("RGB") does; as there, greys of 16
	// bits are cut at 255, where "white" takes their upper 8).
	Alpha string `json:"alpha"`
	// Mean and Std normalise red, green and blue, in 0..1.
	Mean [3]float64 `json:"mean"`
	Std  [3]float64 `json:"std"`
	// Augment changes training images.
	Augment Augment `json:"augment"`
}

// Augment says how training images are changed.
type Augment struct {
	// Crop cuts out a random part, [least, most] of the area, with an aspect
	// within 3:4 and 4:3 of the image's; empty does not.
	Crop []float64 `json:"crop,omitempty"`
	// Flip mirrors every other image.
	Flip bool `json:"flip,omitempty"`
}

// defaults are CLIP's mean and standard deviation.
func defaults() Config {
	return Config{
		Size: 224, Patch: 16, Fit: "crop", Filter: "bicubic", Alpha: "white",
		Mean: [3]float64{0.48145466, 0.4578275, 0.40821073},
		Std:  [3]float64{0.26862954, 0.26130258, 0.27577711},
	}
}

// crops reports whether Fit cuts out the centre.
func (c *Config) crops() bool { return c.Fit == "crop" || c.Fit == "crop_floor" }

func (c *Config) validate() error {
	switch {
	case c.Patch < 1 || c.Patch > 1024:
		return fmt.Errorf("patch: expected 1..1024, found %d", c.Patch)
	case c.Size < c.Patch || c.Size > 8192 || c.Size%c.Patch != 0:
		return fmt.Errorf("size: expected a multiple of patch (%d) up to 8192, found %d", c.Patch, c.Size)
	case !slices.Contains([]string{"crop", "crop_floor", "squash", "keep"}, c.Fit):
		return fmt.Errorf("fit: %q is not one of crop, crop_floor, squash, keep", c.Fit)
	case c.Resize < 0 || c.Resize > 8192:
		return fmt.Errorf("resize: expected 0..8192, found %d", c.Resize)
	case c.Resize > 0 && !c.crops():
		return fmt.Errorf("resize: goes with fit crop or crop_floor, found %q", c.Fit)
	case filters[c.Filter].weight == nil:
		return fmt.Errorf("filter: %q is not one of bicubic, bilinear, lanczos", c.Filter)
	case c.Alpha != "white" && c.Alpha != "drop":
		return fmt.Errorf("alpha: %q is not one of white, drop", c.Alpha)
	}
	for _, s := range c.Std {
		if !(s > 0) {
			return fmt.Errorf("std: expected positive numbers, found %v", c.Std)
		}
	}
	if a := c.Augment.Crop; len(a) > 0 && (len(a) != 2 || !(0 < a[0] && a[0] <= a[1] && a[1] <= 1)) {
		return fmt.Errorf("augment.crop: expected [least, most] with 0 < least <= most <= 1, found %v", a)
	}
	return nil
}

func (modality) Open(config json.RawMessage, _ string) (modalities.Processor, error) {
	c := defaults()
	if len(config) > 0 {
		if err := strictjson.Unmarshal("image", config, &c); err != nil {
			return nil, err
		}
	}
	if err := c.validate(); err != nil {
		return nil, err
	}
	return &processor{c}, nil
}

type processor struct{ cfg Config }

func (p *processor) Config() json.RawMessage {
	data, err := json.Marshal(p.cfg)
	if err != nil {
		panic(err) // numbers and strings
	}
	return data
}

func (p *processor) Layout() tokenizers.Layout {
	side := p.cfg.Size / p.cfg.Patch
	return tokenizers.Layout{Patch: 3 * p.cfg.Patch * p.cfg.Patch, Planes: 3, Grid: [2]int{side, side}, Stretch: true}
}

func (p *processor) Decode(r io.Reader, name string) (modalities.Value, error) {
	return decode(r, name, p.cfg.Alpha == "drop")
}

func (p *processor) Augments() bool { return len(p.cfg.Augment.Crop) > 0 || p.cfg.Augment.Flip }

func (p *processor) Augment(v modalities.Value, rng *rand.Rand) modalities.Value {
	img, ok := v.(*image.NRGBA)
	if !ok {
		return v
	}
	if a := p.cfg.Augment.Crop; len(a) > 0 {
		img = imaging.Crop(img, randomCrop(img.Rect, a[0], a[1], rng))
	}
	if p.cfg.Augment.Flip && rng.IntN(2) == 0 {
		img = imaging.FlipH(img)
	}
	return img
}

// randomCrop draws a rectangle of a share of the area within [least, most].
func randomCrop(b image.Rectangle, least, most float64, rng *rand.Rand) image.Rectangle {
	area := least + (most-least)*rng.Float64()
	stretch := math.Exp((2*rng.Float64() - 1) * math.Log(4.0/3) / 2)
	side := func(n int, share float64) int { return max(1, min(n, int(math.Round(float64(n)*share)))) }
	w, h := side(b.Dx(), math.Sqrt(area)*stretch), side(b.Dy(), math.Sqrt(area)/stretch)
	x, y := rng.IntN(b.Dx()-w+1), rng.IntN(b.Dy()-h+1)
	return image.Rect(x, y, x+w, y+h).Add(b.Min)
}

func (p *processor) Tokenize(v modalities.Value) (tokenizers.Tokens, error) {
	img, ok := v.(*image.NRGBA)
	if !ok {
		return tokenizers.Tokens{}, fmt.Errorf("image: expected *image.NRGBA, found %T", v)
	}
	if img.Rect.Empty() {
		return tokenizers.Tokens{}, fmt.Errorf("image: no pixels")
	}
	img = p.fit(img)
	w, h := img.Rect.Dx(), img.Rect.Dy()
	planes := make([]float32, 3*w*h)
	for c := range 3 {
		scale := float32(1 / (255 * p.cfg.Std[c]))
		shift := float32(p.cfg.Mean[c] / p.cfg.Std[c])
		for y := range h {
			row := img.Pix[y*img.Stride:]
			out := planes[(c*h+y)*w:]
			for x := range w {
				out[x] = float32(row[4*x+c])*scale - shift
			}
		}
	}
	return tokenizers.Patchify(planes, 3, h, w, p.cfg.Patch), nil
}

// fit brings an image to the size that the model sees.
func (p *processor) fit(img *image.NRGBA) *image.NRGBA {
	w, h, size := img.Rect.Dx(), img.Rect.Dy(), p.cfg.Size
	switch p.cfg.Fit {
	case "squash":
		return p.resize(img, size, size)
	case "keep":
		scale := float64(size) / float64(max(w, h))
		side := func(n int) int {
			patches := math.Round(float64(n) * scale / float64(p.cfg.Patch))
			return p.cfg.Patch * max(1, int(patches))
		}
		return p.resize(img, side(w), side(h))
	}
	img = p.trim(img)
	w, h = img.Rect.Dx(), img.Rect.Dy()
	// The shorter side becomes short; the longer is cut down to an integer, as
	// torchvision does.
	short := p.short()
	if w < h {
		img = p.resize(img, short, max(short, h*short/w))
	} else {
		img = p.resize(img, max(short, w*short/h), short)
	}
	return p.centre(img)
}

// short is the shorter side before the centre is cut out.
func (p *processor) short() int { return cmp.Or(p.cfg.Resize, p.cfg.Size) }

// maxStrip bounds the pixels of a strip that is enlarged for its centre.
const maxStrip = 16 << 20

// trim takes the ends off a strip that would be enlarged to more than maxStrip
// pixels, for only the centre is seen.
func (p *processor) trim(img *image.NRGBA) *image.NRGBA {
	w, h, short := img.Rect.Dx(), img.Rect.Dy(), p.short()
	// What is kept is at least 8 times as long as it is wide, and the middle
	// stays where it is: half a pixel here would be many there.
	keep := max(8, maxStrip/(short*short)) * min(w, h)
	keep += (max(w, h) - keep) & 1
	if max(w, h) <= keep {
		return img
	}
	return imaging.CropCenter(img, min(w, keep), min(h, keep))
}

// centre cuts a square of the config's size out of the middle. What is smaller
// is put on black, the odd pixel of the border behind it.
func (p *processor) centre(img *image.NRGBA) *image.NRGBA {
	size := p.cfg.Size
	if img.Rect.Dx() == size && img.Rect.Dy() == size {
		return img
	}
	place := func(n int) int {
		if p.cfg.Fit == "crop" && n > size {
			return int(math.RoundToEven(float64(n-size) / 2))
		}
		return (n - size) / 2 // towards zero
	}
	x, y := place(img.Rect.Dx()), place(img.Rect.Dy())
	if img.Rect.Dx() < size || img.Rect.Dy() < size {
		return imaging.Paste(imaging.New(size, size, color.Black), img, image.Pt(-x, -y))
	}
	return imaging.Crop(img, image.Rect(x, y, x+size, y+size).Add(img.Rect.Min))
}

func (p *processor) resize(img *image.NRGBA, w, h int) *image.NRGBA {
	return resize(img, w, h, filters[p.cfg.Filter])
}
