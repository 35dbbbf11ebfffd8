package demo

import (
	"fmt"
	"image"
	"math"
	"math/cmplx"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/dsp/fourier"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/modalities/audio"
)

func open(t *testing.T, split string, o Options) *source {
	t.Helper()
	s, err := Open(split, o)
	if err != nil {
		t.Fatal(err)
	}
	return s.(*source)
}

func TestSplitsHoldOutCombinations(t *testing.T) {
	held := drawHeldOut(0)
	if len(held) != heldOut {
		t.Fatalf("%d tuples are held out, want %d", len(held), heldOut)
	}
	seen := map[string]string{}
	captions := map[string]string{}
	for split, want := range map[string]int{"train": 10000, "val": 500, "test": 500} {
		s := open(t, split, Options{})
		if s.Len() != want {
			t.Errorf("%s has %d scenes, want %d", split, s.Len(), want)
		}
		for i, sc := range s.scenes {
			has := slices.ContainsFunc(sc.groups, func(g group) bool { return held[g.tuple()] })
			if has == (split == "train") {
				t.Fatalf("%s scene %d: held-out tuples %t", split, i, has)
			}
			if other, twice := seen[sc.key()]; twice {
				t.Fatalf("a scene of %s is in %s too", split, other)
			}
			seen[sc.key()] = split
			if split == "train" {
				continue
			}
			caption := s.items[i].Rows[0].Cells[0].Ref
			if other, twice := captions[caption]; twice {
				t.Fatalf("%s and %s share the description %q", split, other, caption)
			}
			captions[caption] = split
		}
	}
}

func TestTheSeedDecidesAll(t *testing.T) {
	describe := func(seed uint64) string {
		s := open(t, "test", Options{Seed: seed, Test: 20, Val: 5})
		var b strings.Builder
		for i := range s.scenes {
			pic, sound := s.scenes[i].picture(s.rng("picture", i)), s.scenes[i].sound(s.rng("sound", i))
			fmt.Fprintln(&b, s.items[i], string(pic.Pix[:200]), sound.Samples[1000:1020])
		}
		return b.String()
	}
	if first, again := describe(0), describe(0); first != again {
		t.Error("two worlds of one seed differ")
	}
	if describe(0) == describe(1) {
		t.Error("the seed changes nothing")
	}
}

// words of every attribute, by what they mean.
func meaning(lists ...[]string) map[string]int {
	m := map[string]int{}
	for i, l := range lists {
		for _, w := range l {
			m[w] = i
		}
	}
	return m
}

// parse reads a caption back.
func parse(t *testing.T, caption string) scene {
	t.Helper()
	shape, colour, size, ground := map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}
	for i, w := range shapeWords {
		for _, s := range w {
			shape[s] = i
		}
	}
	for i, w := range colourWords {
		colour[w[0]], colour[w[1]] = i, i
	}
	for i, w := range sizeWords {
		size[w[0]], size[w[1]], size[w[2]] = i, i, i
	}
	for i, w := range groundWords {
		ground[w[0]], ground[w[1]], ground[w[2]] = i, i, i
	}
	count := meaning([]string{"one"}, []string{"two"}, []string{"three"})
	phrase := regexp.MustCompile(`(one|two|three) (\w+) (\w+) (\w+)`)
	var s scene
	found := phrase.FindAllStringSubmatch(caption, -1)
	for _, f := range found {
		noun := f[4]
		if f[1] != "one" {
			noun = strings.TrimSuffix(noun, "s")
			if _, ok := shape[noun]; !ok {
				noun = strings.TrimSuffix(noun, "e")
			}
		}
		sh, ok1 := shape[noun]
		si, ok2 := size[f[2]]
		co, ok3 := colour[f[3]]
		if !ok1 || !ok2 || !ok3 {
			t.Fatalf("%q: cannot read %q", caption, f[0])
		}
		s.groups = append(s.groups, group{sh, co, si, count[f[1]] + 1})
	}
	rest := phrase.ReplaceAllString(caption, "#")
	s.ground = -1
	for w, g := range ground {
		if regexp.MustCompile(`\b` + w + `\b`).MatchString(rest) {
			s.ground = g
		}
	}
	switch len(s.groups) {
	case 1:
		for i, w := range placeWords {
			if strings.Contains(rest, w) {
				s.place = i
			}
		}
	case 2:
		// The first that is named may be the right one.
		if regexp.MustCompile(`^# to the right of #|right #, on the left #|# on its right and # on its left`).MatchString(rest) {
			s.groups[0], s.groups[1] = s.groups[1], s.groups[0]
		}
	}
	return s
}

func TestCaptionsSayAllOfTheScene(t *testing.T) {
	s := open(t, "train", Options{Train: 1500})
	for i, sc := range s.scenes {
		if len(s.items[i].Rows) != 6 {
			t.Fatalf("scene %d has %d captions, want 6", i, len(s.items[i].Rows))
		}
		for _, r := range s.items[i].Rows {
			caption := r.Cells[0].Ref
			if got := parse(t, caption); got.key() != sc.key() {
				t.Fatalf("%q reads as %+v, the scene is %+v", caption, got, sc)
			}
		}
	}
}

// near counts the pixels that are closer to a colour than to any other and to
// gray.
func near(img *image.NRGBA, colour int) (n int) {
	for y := range side {
		for x := range side {
			p := img.NRGBAAt(x, y)
			rgb := [3]float64{float64(p.R), float64(p.G), float64(p.B)}
			best, least := -1, 900.0
			for c, want := range palette {
				// Brightness varies: compare directions.
				var dot, a, b float64
				for i := range rgb {
					dot += rgb[i] * want[i]
					a += rgb[i] * rgb[i]
					b += want[i] * want[i]
				}
				if d := 1000 * (1 - dot/math.Sqrt(a*b)); d < least {
					best, least = c, d
				}
			}
			if spread := max(rgb[0], rgb[1], rgb[2]) - min(rgb[0], rgb[1], rgb[2]); best == colour && spread > 60 {
				n++
			}
		}
	}
	return n
}

func TestPicturesShowTheAttributes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	area := func(g group, ground int) float64 {
		total := 0
		for range 20 {
			total += near(scene{groups: []group{g}, place: 1, ground: ground}.picture(rng), g.colour)
		}
		return float64(total) / 20
	}
	for shape := range shapes {
		for colour := range colours {
			one := area(group{shape, colour, 0, 1}, 0)
			if one < 8 {
				t.Errorf("a small %s %s shows on %.0f pixels", colours[colour], shapes[shape], one)
			}
			if two := area(group{shape, colour, 0, 2}, 0); two < 1.5*one {
				t.Errorf("two small %s %ss show on %.0f pixels, one on %.0f", colours[colour], shapes[shape], two, one)
			}
			if large := area(group{shape, colour, 1, 1}, 0); large < 1.5*one {
				t.Errorf("a large %s %s shows on %.0f pixels, a small one on %.0f", colours[colour], shapes[shape], large, one)
			}
		}
	}
	dark := scene{groups: []group{{0, 0, 0, 1}}, ground: 0}.picture(rng).NRGBAAt(31, 31).R
	light := scene{groups: []group{{0, 0, 0, 1}}, ground: 1}.picture(rng).NRGBAAt(31, 31).R
	if dark > 60 || light < 150 {
		t.Errorf("a dark ground of %d, a light one of %d", dark, light)
	}
}

func TestSoundsPlayTheAttributes(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 1))
	for colour := range colours {
		for count := 1; count <= maxCount; count++ {
			c := scene{groups: []group{{0, colour, 1, count}}, place: 0}.sound(rng)
			if len(c.Samples) != samples || c.Rate != rate {
				t.Fatalf("%d samples at %d Hz", len(c.Samples), c.Rate)
			}
			if got, want := dominant(c), pitch(colour); math.Abs(got/want-1) > 0.03 {
				t.Errorf("a %s circle sounds at %.0f Hz, want about %.0f", colours[colour], got, want)
			}
			if n := onsets(c); n != count {
				t.Errorf("%d %s circles have %d onsets", count, colours[colour], n)
			}
		}
	}
	left := scene{groups: []group{{0, 0, 1, 1}}, place: 0}.sound(rng)
	right := scene{groups: []group{{0, 0, 1, 1}}, place: 2}.sound(rng)
	if energy(left.Samples[:samples/2]) < 10*energy(left.Samples[samples/2:]) || energy(right.Samples[samples/2:]) < 10*energy(right.Samples[:samples/2]) {
		t.Error("the place is not heard")
	}
}

func energy(x []float32) (e float64) {
	for _, v := range x {
		e += float64(v) * float64(v)
	}
	return e
}

// dominant returns the frequency of the greatest power, in Hz.
func dominant(c audio.Clip) float64 {
	x := make([]float64, len(c.Samples))
	for i, v := range c.Samples {
		x[i] = float64(v)
	}
	best, at := 0.0, 0
	for k, v := range fourier.NewFFT(len(x)).Coefficients(nil, x) {
		if p := cmplx.Abs(v); p > best {
			best, at = p, k
		}
	}
	return float64(at) * rate / float64(len(x))
}

// onsets counts the notes: stretches of sound between silence.
func onsets(c audio.Clip) (n int) {
	const frame = 80
	sounding := false
	for i := 0; i+frame <= len(c.Samples); i += frame {
		loud := energy(c.Samples[i:i+frame])/frame > 1e-4
		if loud && !sounding {
			n++
		}
		sounding = loud
	}
	return n
}

func TestLoadGivesWhatTheItemSays(t *testing.T) {
	s := open(t, "val", Options{})
	for _, c := range s.Item(3).Rows[0].Cells {
		if c.Modality == "text" {
			continue
		}
		v, err := s.Load(c, nil)
		if err != nil {
			t.Fatal(err)
		}
		switch v.(type) {
		case *image.NRGBA, audio.Clip:
		default:
			t.Errorf("%s is a %T", c.Ref, v)
		}
	}
	for _, ref := range []string{"demo:val/99999.png", "demo:test/00001.png", "demo:val/x.png", ""} {
		if _, err := s.Load(datasets.Cell{Modality: "image", Ref: ref}, nil); err == nil {
			t.Errorf("%q was loaded", ref)
		}
	}
	if _, err := Open("tset", Options{}); err == nil || !strings.Contains(err.Error(), "train, val and test") {
		t.Errorf("an unknown split: %v", err)
	}
}

func BenchmarkRender(b *testing.B) {
	src, err := Open("test", Options{})
	if err != nil {
		b.Fatal(err)
	}
	s := src.(*source)
	for b.Loop() {
		s.scenes[1].picture(s.rng("picture", 1))
		s.scenes[1].sound(s.rng("sound", 1))
	}
}
