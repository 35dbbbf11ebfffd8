package image

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"image"
	"image/color"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func open(t testing.TB, config string) *processor {
	t.Helper()
	p, err := modality{}.Open(json.RawMessage(config), "")
	if err != nil {
		t.Fatal(err)
	}
	return p.(*processor)
}

// plain leaves pixels as they are: mean 0, std 1.
const plain = `{"size": 16, "patch": 16, "mean": [0, 0, 0], "std": [1, 1, 1]}`

// TestPixelsEqualPillows compares with testdata/make_images.py. PNG and the
// other exact formats may differ by a level after resizing, where the filters
// round differently; JPEG decoders differ by a few.
func TestPixelsEqualPillows(t *testing.T) {
	data, err := os.ReadFile("testdata/pixels.json")
	if err != nil {
		t.Fatal(err)
	}
	var g struct {
		Pillow string
		Images map[string]struct {
			Size             [2]int
			Decoded, Cropped []int
		}
	}
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Images) < 20 {
		t.Fatalf("%d images", len(g.Images))
	}
	p := open(t, plain)
	for name, want := range g.Images {
		exact, resized := 0, 1
		if strings.HasSuffix(name, ".jpg") {
			exact, resized = 4, 4
		}
		if name == "rgba.png" || name == "graya.png" || name == "transparent.png" {
			exact, resized = 1, 2 // alpha over white is rounded too
		}
		file, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if !(modality{}).Recognise("noname", file[:min(len(file), 64)]) {
			t.Errorf("%s is not recognised by its first bytes", name)
		}
		v, err := p.Decode(bytes.NewReader(file), name)
		if err != nil {
			t.Error(err)
			continue
		}
		img := v.(*image.NRGBA)
		if img.Rect.Dx() != want.Size[0] || img.Rect.Dy() != want.Size[1] {
			t.Errorf("%s is %v, want %v", name, img.Rect, want.Size)
			continue
		}
		i := 0
		check := func(what string, got uint8, want, tol int) {
			if d := int(got) - want; d > tol || d < -tol {
				t.Errorf("%s: %s value %d is %d, Pillow %s has %d", name, what, i, got, g.Pillow, want)
			}
			i++
		}
		for y := 0; y < img.Rect.Dy(); y += 5 {
			for x := 0; x < img.Rect.Dx(); x += 5 {
				c := img.NRGBAAt(x, y)
				for _, v := range []uint8{c.R, c.G, c.B} {
					check("decoded", v, want.Decoded[i], exact)
				}
			}
		}
		i = 0
		cut := p.fit(img)
		for y := range 16 {
			for x := range 16 {
				c := cut.NRGBAAt(cut.Rect.Min.X+x, cut.Rect.Min.Y+y)
				for _, v := range []uint8{c.R, c.G, c.B} {
					check("cropped", v, want.Cropped[i], resized)
				}
			}
		}
	}
}

// bomb is a PNG that declares a size and has no pixels.
func bomb(w, h uint32) []byte {
	var b bytes.Buffer
	b.WriteString("\x89PNG\r\n\x1a\n")
	head := binary.BigEndian.AppendUint32([]byte("IHDR"), w)
	head = binary.BigEndian.AppendUint32(head, h)
	head = append(head, 8, 2, 0, 0, 0)
	b.Write(binary.BigEndian.AppendUint32(nil, 13))
	b.Write(head)
	b.Write(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(head)))
	return b.Bytes()
}

func TestBadFilesAreErrors(t *testing.T) {
	p := open(t, plain)
	good, err := os.ReadFile("testdata/rgb.png")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"empty":           {nil, "not a readable image"},
		"text":            {[]byte("hello"), "not a readable image"},
		"cut off":         {good[:len(good)/2], "damaged png"},
		"a bomb":          {bomb(100000, 100000), "100000 x 100000 pixels"},
		"a long bomb":     {bomb(1<<31-1, 1<<31-1), "dimension overflow"},
		"a declared size": {bomb(10, 10), "damaged png"},
	} {
		if _, err := p.Decode(bytes.NewReader(c.file), "x.png"); err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "x.png: ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one line that names x.png and %q", name, err, c.want)
		}
	}
}

// gradient is an image whose colours tell the place.
func gradient(w, h int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.SetNRGBA(x, y, color.NRGBA{uint8(x * 255 / w), uint8(y * 255 / h), 7, 255})
		}
	}
	return img
}

func TestTokens(t *testing.T) {
	p := open(t, `{"size": 4, "patch": 2, "mean": [0, 0, 0.5], "std": [1, 1, 0.25]}`)
	img := image.NewNRGBA(image.Rect(0, 0, 4, 4))
	for i := range 16 {
		img.SetNRGBA(i%4, i/4, color.NRGBA{uint8(i), uint8(100 + i), 255, 255})
	}
	tok, err := p.Tokenize(img)
	if err != nil {
		t.Fatal(err)
	}
	if tok.Grid != [2]int{2, 2} || len(tok.Patches) != 4*12 {
		t.Fatalf("grid %v, %d values", tok.Grid, len(tok.Patches))
	}
	// The second patch, [C, P, P]: columns 2 and 3 of rows 0 and 1.
	want := []float64{2, 3, 6, 7, 102, 103, 106, 107, 510, 510, 510, 510}
	for i, w := range want {
		if math.Abs(float64(tok.Patches[12+i])*255-w) > 1e-3 {
			t.Errorf("value %d of patch 1 is %g/255, want %g/255", i, tok.Patches[12+i]*255, w)
		}
	}
	if _, err := p.Tokenize("text"); err == nil {
		t.Error("a string was tokenized")
	}
	if _, err := p.Tokenize(image.NewNRGBA(image.Rect(0, 0, 0, 3))); err == nil {
		t.Error("an image without pixels was tokenized")
	}
}

func TestFit(t *testing.T) {
	for fit, c := range map[string]map[[2]int][2]int{
		"crop":   {{100, 30}: {2, 2}, {30, 100}: {2, 2}, {3, 2000}: {2, 2}, {16, 16}: {2, 2}, {1, 1}: {2, 2}},
		"squash": {{100, 30}: {2, 2}, {5, 5}: {2, 2}},
		"keep":   {{100, 30}: {1, 2}, {30, 100}: {2, 1}, {40, 40}: {2, 2}, {1000, 2}: {1, 2}},
	} {
		p := open(t, `{"size": 16, "patch": 8, "fit": "`+fit+`"}`)
		for size, want := range c {
			tok, err := p.Tokenize(gradient(size[0], size[1]))
			if err != nil || tok.Grid != want {
				t.Errorf("%s of %v: grid %v (%v), want %v", fit, size, tok.Grid, err, want)
			}
		}
	}
}

func TestDropAlpha(t *testing.T) {
	var b bytes.Buffer
	img := image.NewNRGBA(image.Rect(0, 0, 1, 1))
	img.SetNRGBA(0, 0, color.NRGBA{10, 20, 30, 0})
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	for alpha, want := range map[string]color.NRGBA{"white": {255, 255, 255, 255}, "drop": {10, 20, 30, 255}} {
		v, err := open(t, `{"alpha": "`+alpha+`"}`).Decode(bytes.NewReader(b.Bytes()), "a.png")
		if err != nil {
			t.Fatal(err)
		}
		if got := v.(*image.NRGBA).NRGBAAt(0, 0); got != want {
			t.Errorf("alpha %s: %v, want %v", alpha, got, want)
		}
	}
}

func TestAugment(t *testing.T) {
	p := open(t, `{"augment": {"crop": [0.25, 0.5], "flip": true}}`)
	rng := rand.New(rand.NewPCG(1, 1))
	img := gradient(200, 100)
	before := append([]uint8(nil), img.Pix...)
	flipped := 0
	for range 100 {
		out := p.Augment(img, rng).(*image.NRGBA)
		if share := float64(out.Rect.Dx()*out.Rect.Dy()) / 20000; share < 0.2 || share > 0.55 {
			t.Errorf("a crop of %.2f of the area", share)
		}
		if out.Pix[0] > out.Pix[4*(out.Rect.Dx()-1)] {
			flipped++
		}
	}
	if flipped < 30 || flipped > 70 {
		t.Errorf("%d of 100 were mirrored", flipped)
	}
	if !bytes.Equal(before, img.Pix) {
		t.Error("the input was changed")
	}
	if !p.Augments() || open(t, plain).Augments() {
		t.Error("Augments does not say what the config does")
	}
}

func TestConfigErrors(t *testing.T) {
	for config, want := range map[string]string{
		`{"sise": 3}`:                        `did you mean "size"`,
		`{"size": 30, "patch": 16}`:          "size",
		`{"patch": 0}`:                       "patch",
		`{"fit": "fill"}`:                    "fit",
		`{"alpha": "keep"}`:                  "alpha",
		`{"std": [1, 0, 1]}`:                 "std",
		`{"augment": {"crop": [0.5]}}`:       "augment.crop",
		`{"augment": {"crop": [0.5, 0.25]}}`: "augment.crop",
	} {
		if _, err := (modality{}).Open(json.RawMessage(config), ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want it to hold %q", config, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/*.*")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		if len(data) < 20000 {
			f.Add(data)
		}
	}
	p := open(f, plain)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		if cfg, _, err := image.DecodeConfig(bytes.NewReader(data)); err == nil && cfg.Width*cfg.Height > 1<<22 {
			return // allowed, but slow
		}
		v, err := p.Decode(bytes.NewReader(data), "f")
		if err != nil {
			return
		}
		if _, err := p.Tokenize(v); err != nil {
			t.Error(err)
		}
	})
}
