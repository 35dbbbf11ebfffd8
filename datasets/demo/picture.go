package demo

import (
	"image"
	"image/color"
	"math"
	"math/rand/v2"
)

const (
	side   = 32 // pixels of a picture
	factor = 2  // it is drawn at so many times the size and averaged
	big    = side * factor
)

// palette holds the colours, in the order of their names.
var palette = [][3]float64{
	{220, 40, 40},
	{245, 140, 30},
	{240, 220, 40},
	{50, 180, 60},
	{40, 200, 210},
	{50, 80, 220},
	{140, 60, 190},
	{250, 130, 190},
}

// canvas is an RGB picture of big x big.
type canvas [big * big][3]float64

// picture draws the scene. rng jitters it: equal seeds draw equal pixels.
func (s scene) picture(rng *rand.Rand) *image.NRGBA {
	c := &canvas{}
	c.ground(s.ground)
	if len(s.groups) == 1 {
		x := []float64{8, 16, 24}[s.place]
		c.group(s.groups[0], x, rng)
	} else {
		c.group(s.groups[0], 8, rng)
		c.group(s.groups[1], 24, rng)
	}
	return c.average(rng)
}

func (c *canvas) ground(g int) {
	for y := range big {
		for x := range big {
			v := 30.0
			switch {
			case g == 1:
				v = 225
			case g == 2 && (x+y)/(4*factor)%2 == 0:
				v = 150
			case g == 2:
				v = 95
			}
			c[y*big+x] = [3]float64{v, v, v}
		}
	}
}

// group draws a group's objects in a column around x, in pixels of the
// finished picture.
func (c *canvas) group(g group, x float64, rng *rand.Rand) {
	rgb := palette[g.colour]
	for i := range rgb {
		rgb[i] = min(max(rgb[i]+9*(2*rng.Float64()-1), 0), 255)
	}
	radius := []float64{3.0, 4.6}[g.size]
	for i := range g.count {
		y := side * (float64(i) + 0.5) / float64(g.count)
		if g.count == 1 {
			y += 4 * (2*rng.Float64() - 1)
		}
		at := [2]float64{x + 1.5*(2*rng.Float64()-1), y + 0.6*(2*rng.Float64()-1)}
		c.object(g.shape, at, radius*(1+0.08*(2*rng.Float64()-1)), 0.2*(2*rng.Float64()-1), rgb)
	}
}

// object fills the pixels whose centres lie in a shape.
func (c *canvas) object(shape int, at [2]float64, radius, turn float64, rgb [3]float64) {
	sin, cos := math.Sincos(turn)
	reach := int(math.Ceil(factor * radius * 1.5))
	cx, cy := at[0]*factor, at[1]*factor
	for y := max(int(cy)-reach, 0); y <= min(int(cy)+reach, big-1); y++ {
		for x := max(int(cx)-reach, 0); x <= min(int(cx)+reach, big-1); x++ {
			dx, dy := (float64(x)+0.5-cx)/(factor*radius), (float64(y)+0.5-cy)/(factor*radius)
			if inside(shape, cos*dx+sin*dy, cos*dy-sin*dx) {
				c[y*big+x] = rgb
			}
		}
	}
}

// inside says whether a point lies in a shape of radius one around zero.
func inside(shape int, x, y float64) bool {
	r := math.Hypot(x, y)
	ax, ay := math.Abs(x), math.Abs(y)
	switch shapes[shape] {
	case "circle":
		return r <= 1
	case "square":
		return ax <= 0.9 && ay <= 0.9
	case "triangle":
		return y <= 0.8 && y >= -1+1.8*ax
	case "cross":
		return (ax <= 0.32 && ay <= 1) || (ay <= 0.32 && ax <= 1)
	case "ring":
		return r <= 1.05 && r >= 0.55
	default: // bar
		return ax <= 1.15 && ay <= 0.38
	}
}

// average brings the canvas to the picture's size, with a brightness and
// noise of its own.
func (c *canvas) average(rng *rand.Rand) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, side, side))
	bright := 0.85 + 0.15*rng.Float64()
	for y := range side {
		for x := range side {
			var rgb [3]float64
			for dy := range factor {
				for dx := range factor {
					p := c[(y*factor+dy)*big+x*factor+dx]
					for i := range rgb {
						rgb[i] += p[i] / (factor * factor)
					}
				}
			}
			level := func(v float64) uint8 { return uint8(min(max(bright*v+6*rng.NormFloat64()/2, 0), 255)) }
			img.SetNRGBA(x, y, color.NRGBA{level(rgb[0]), level(rgb[1]), level(rgb[2]), 255})
		}
	}
	return img
}
