package diagram

import (
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/onetrunk/onetrunk/sharing"
)

// Colour is red, green and blue, in 0..255.
type Colour [3]uint8

// String returns the colour as #rrggbb.
func (c Colour) String() string { return fmt.Sprintf("#%02x%02x%02x", c[0], c[1], c[2]) }

// ink returns black or white, whichever is easier to read on the colour.
func (c Colour) ink() Colour {
	if 0.299*float64(c[0])+0.587*float64(c[1])+0.114*float64(c[2]) > 140 {
		return Colour{17, 17, 17}
	}
	return Colour{255, 255, 255}
}

// A hue is an angle and a chroma of OKLCh (Ottosson 2020).
type hue struct{ angle, chroma float64 }

// Those of shared tensors, and those of groups: near the colours of Okabe and
// Ito (2008), which people with any colour vision tell apart.
var (
	together = hue{245, 0.105}
	groups   = []hue{
		{70, 0.135},  // orange: audio
		{345, 0.12},  // reddish purple: text
		{30, 0.145},  // vermilion
		{165, 0.105}, // bluish green: image
		{108, 0.12},  // yellow
		{300, 0.12},  // violet
	}
)

// colourOf returns the colour of a tensor, by its name alone: its hue is that of
// the group of modalities that it serves, its lightness falls with the number of
// its layer, and its role turns the hue a little.
func colourOf(tensor string) Colour {
	group, layer, role := read(tensor)
	h := hueOf(group)
	if layer%2 == 1 {
		h.angle += 9
	}
	if i := slices.Index(sharing.Products, sharing.Role(role)); i >= 0 {
		h.angle += 4 * (float64(i) - 1.5)
	} else {
		h.chroma *= 0.62 // norms are small
	}
	return oklch(0.50+0.36*math.Pow(0.78, float64(layer)), h)
}

// hueOf returns the hue of a group: that of its modalities, turned by its number
// among several.
func hueOf(group string) hue {
	of, number := split(group)
	h := together
	if of != "" {
		f := fnv.New32a()
		f.Write([]byte{salt})
		f.Write([]byte(of))
		h = groups[f.Sum32()%uint32(len(groups))]
	}
	if k, err := strconv.Atoi(number); err == nil {
		h.angle += 41 * float64(k)
	} else if number != "" {
		h.chroma = 0.01
	}
	return h
}

// salt is such that the six groups of audio, image and text have six hues.
const salt = 253

// split takes a group apart: "audio+text" of the second tensor "#1@audio+text".
func split(group string) (of, number string) {
	for _, part := range strings.FieldsFunc(strings.ReplaceAll(group, "@", " @"), func(r rune) bool { return r == ' ' }) {
		if m, ok := strings.CutPrefix(part, "@"); ok {
			of = m
		} else {
			number = strings.TrimPrefix(part, "#")
		}
	}
	return of, number
}

// read takes a tensor's name apart: trunk/3/ffn@audio/up is of the group "@audio",
// layer 3 and role up; trunk/3/ffn#1/up of the group "#1".
func read(tensor string) (group string, layer int, role string) {
	elements := strings.Split(tensor, "/")
	for _, e := range elements[1:] {
		if n, err := strconv.Atoi(e); err == nil {
			layer = n
		}
		if i := strings.IndexAny(e, "@#"); i >= 0 {
			group, e = e[i:], e[:i]
		}
		role = e
	}
	return group, layer, role
}

// oklch returns the colour of a lightness and hue, with as much of its chroma as
// a screen can show. The matrices are Ottosson's ("A perceptual color space for
// image processing", 2020).
func oklch(light float64, h hue) Colour {
	for chroma := h.chroma; ; chroma -= 0.005 {
		sin, cos := math.Sincos(h.angle * math.Pi / 180)
		a, b := max(chroma, 0)*cos, max(chroma, 0)*sin
		l, m, s := light+0.3963377774*a+0.2158037573*b, light-0.1055613458*a-0.0638541728*b, light-0.0894841775*a-1.2914855480*b
		l, m, s = l*l*l, m*m*m, s*s*s
		rgb := [3]float64{
			4.0767416621*l - 3.3077115913*m + 0.2309699292*s,
			-1.2684380046*l + 2.6097574011*m - 0.3413193965*s,
			-0.0041960863*l - 0.7034186147*m + 1.7076147010*s,
		}
		if slices.Max(rgb[:]) > 1 || slices.Min(rgb[:]) < 0 {
			if chroma > 0 {
				continue
			}
		}
		var c Colour
		for i, v := range rgb {
			v = min(max(v, 0), 1)
			if v <= 0.0031308 {
				v *= 12.92
			} else {
				v = 1.055*math.Pow(v, 1/2.4) - 0.055
			}
			c[i] = uint8(math.Round(255 * v))
		}
		return c
	}
}
