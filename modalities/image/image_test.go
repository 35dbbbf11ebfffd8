package image

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
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

// pixels is what Python makes of images; testdata/make_images.py.
type pixels struct {
	Pillow string
	Images map[string]struct {
		Size                      [2]int
		Decoded, Dropped, Cropped []int
	}
	Size int
	Fits []struct {
		W, H, Resize int
		Fit, Filter  string
		Pixels       []int
	}
}

func readPixels(t *testing.T) pixels {
	t.Helper()
	data, err := os.ReadFile("testdata/pixels.json")
	if err != nil {
		t.Fatal(err)
	}
	var g pixels
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// TestPixelsEqualPillows holds images to Pillow's. PNG and the other exact
// formats may differ by a level after resizing, where the filters round
// differently; JPEG decoders differ by a few.
func TestPixelsEqualPillows(t *testing.T) {
	g := readPixels(t)
	if len(g.Images) < 20 {
		t.Fatalf("%d images", len(g.Images))
	}
	white, drop := open(t, plain), open(t, strings.Replace(plain, "{", `{"alpha": "drop", `, 1))
	for name, want := range g.Images {
		exact, resized := 0, 1
		if strings.HasSuffix(name, ".jpg") {
			exact, resized = 4, 4
		}
		switch name {
		case "rgba.png", "graya.png", "transparent.png", "palette_trns.png", "rgba16.png", "graya16.png":
			exact, resized = 1, 2 // alpha over white is rounded too
		}
		file, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if !(modality{}).Recognise("noname", file[:min(len(file), 64)]) {
			t.Errorf("%s is not recognised by its first bytes", name)
		}
		i := 0
		check := func(what string, c color.NRGBA, want []int, tol int) {
			for _, v := range []uint8{c.R, c.G, c.B} {
				if d := int(v) - want[i]; d > tol || d < -tol {
					t.Errorf("%s: %s value %d is %d, Pillow %s has %d", name, what, i, v, g.Pillow, want[i])
				}
				i++
			}
		}
		decoded := func(p *processor, what string, want []int, size [2]int, tol int) *image.NRGBA {
			v, err := p.Decode(bytes.NewReader(file), name)
			if err != nil {
				t.Error(err)
				return nil
			}
			img := v.(*image.NRGBA)
			if img.Rect.Dx() != size[0] || img.Rect.Dy() != size[1] {
				t.Errorf("%s is %v, want %v", name, img.Rect, size)
				return nil
			}
			i = 0
			for y := 0; y < size[1]; y += 5 {
				for x := 0; x < size[0]; x += 5 {
					check(what, img.NRGBAAt(x, y), want, tol)
				}
			}
			return img
		}
		if want.Dropped != nil {
			decoded(drop, "dropped", want.Dropped, want.Size, 0)
		}
		img := decoded(white, "decoded", want.Decoded, want.Size, exact)
		if img == nil {
			continue
		}
		i = 0
		cut := white.fit(img)
		for y := range 16 {
			for x := range 16 {
				check("cropped", cut.NRGBAAt(cut.Rect.Min.X+x, cut.Rect.Min.Y+y), want.Cropped, resized)
			}
		}
	}
}

// pattern is testdata/make_images.py's.
func pattern(w, h int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.SetNRGBA(x, y, color.NRGBA{uint8(x * 4), uint8(y * 7), uint8(x * y), 255})
		}
	}
	return img
}

// TestFitsEqualPythons holds sizes, filters and the place of the centre to
// torchvision's and transformers' with Pillow, bit for bit.
func TestFitsEqualPythons(t *testing.T) {
	g := readPixels(t)
	if len(g.Fits) < 100 {
		t.Fatalf("%d fits", len(g.Fits))
	}
	for _, c := range g.Fits {
		config := fmt.Sprintf(`{"size": %d, "patch": 1, "fit": %q, "filter": %q, "resize": %d}`, g.Size, c.Fit, c.Filter, c.Resize)
		if c.Fit == "squash" {
			config = fmt.Sprintf(`{"size": %d, "patch": 1, "fit": %q, "filter": %q}`, g.Size, c.Fit, c.Filter)
		}
		img := open(t, config).fit(pattern(c.W, c.H))
		if img.Rect.Dx() != g.Size || img.Rect.Dy() != g.Size {
			t.Fatalf("%d x %d, %s: %v", c.W, c.H, config, img.Rect)
		}
		var got []uint8
		for _, y := range []func(x int) int{func(x int) int { return x }, func(x int) int { return g.Size - 1 - x }} {
			for x := range g.Size {
				v := img.NRGBAAt(img.Rect.Min.X+x, img.Rect.Min.Y+y(x))
				got = append(got, v.R, v.G, v.B)
			}
		}
		off := 0
		if c.Fit == "crop_floor" && c.Resize < g.Size {
			off = 1 // made by torch, not by Pillow
		}
		for i, want := range c.Pixels {
			if d := int(got[i]) - want; d < -off || d > off {
				t.Errorf("%d x %d, %s: value %d is %d, want %d", c.W, c.H, config, i, got[i], want)
				break
			}
		}
	}
}

// TestLongStrips holds that the middle stays where it is when a strip's ends
// are left out, and that no more are left out than must be.
func TestLongStrips(t *testing.T) {
	p := open(t, `{"size": 1024}`) // up to 16 times as long as it is wide
	for in, want := range map[[2]int][2]int{
		{80, 5}: {80, 5}, {101, 5}: {81, 5}, {102, 5}: {80, 5}, {5, 101}: {5, 81}, {1000, 1000}: {1000, 1000},
	} {
		whole := pattern(in[0], in[1])
		img := p.trim(whole)
		w, h := img.Rect.Dx(), img.Rect.Dy()
		middle := whole.NRGBAAt((in[0]-w)/2, (in[1]-h)/2)
		if [2]int{w, h} != want || img.NRGBAAt(img.Rect.Min.X, img.Rect.Min.Y) != middle || (in[0]-w)%2+(in[1]-h)%2 != 0 {
			t.Errorf("%v becomes %v, want the middle %v of it", in, img.Rect, want)
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
		`{"filter": "nearest"}`:              "filter",
		`{"resize": -1}`:                     "resize",
		`{"resize": 256, "fit": "squash"}`:   "resize",
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
