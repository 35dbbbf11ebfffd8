package image

import (
	"image"
	"math"
)

// filter is a resampling kernel: its weight at a distance, which is 0 from
// support on.
type filter struct {
	support float64
	weight  func(x float64) float64
}

// filters are Pillow's, by its names.
var filters = map[string]filter{
	"bilinear": {1, func(x float64) float64 { return max(1-math.Abs(x), 0) }},
	// Keys 1981 with a = -0.5.
	"bicubic": {2, func(x float64) float64 {
		const a = -0.5
		switch x = math.Abs(x); {
		case x < 1:
			return ((a+2)*x-(a+3))*x*x + 1
		case x < 2:
			return (((x-5)*x+8)*x - 4) * a
		}
		return 0
	}},
	"lanczos": {3, func(x float64) float64 {
		if x < -3 || x >= 3 {
			return 0
		}
		return sinc(x) * sinc(x/3)
	}},
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	return math.Sin(math.Pi*x) / (math.Pi * x)
}

// weightBits is the precision of a weight: Pillow's 32 bits less the 8 of a
// value and two of head room.
const weightBits = 32 - 8 - 2

// taps are the weights of the input that make one output.
type taps struct {
	first   int
	weights []int32
}

// resample returns the taps of each of n outputs of m inputs. Where the image
// becomes smaller the kernel is as wide as an output, so that nothing is
// skipped.
func (f filter) resample(n, m int) []taps {
	scale := float64(m) / float64(n)
	wide := max(scale, 1)
	out := make([]taps, n)
	var w []float64
	for i := range out {
		centre := (float64(i) + 0.5) * scale
		lo := max(int(centre-f.support*wide+0.5), 0)
		hi := min(int(centre+f.support*wide+0.5), m)
		w = w[:0]
		var sum float64
		for x := lo; x < hi; x++ {
			v := f.weight((float64(x) - centre + 0.5) / wide)
			w = append(w, v)
			sum += v
		}
		out[i] = taps{lo, make([]int32, len(w))}
		for k, v := range w {
			if sum != 0 {
				v /= sum
			}
			out[i].weights[k] = int32(math.Floor(0.5 + math.Abs(v)*(1<<weightBits)))
			if v < 0 {
				out[i].weights[k] = -out[i].weights[k]
			}
		}
	}
	return out
}

// resize makes an opaque image of w x h pixels, as Image.resize of Pillow 13
// does to the last bit: along rows and then along columns, or the other way
// where height goes faster than width, with 8 bits a value between the two.
func resize(img *image.NRGBA, w, h int, f filter) *image.NRGBA {
	columnsFirst := img.Rect.Dy() > h && img.Rect.Dy()-h > 2*(img.Rect.Dx()-w)
	for _, columns := range []bool{columnsFirst, !columnsFirst} {
		switch {
		case columns && img.Rect.Dy() != h:
			img = down(img, f.resample(h, img.Rect.Dy()))
		case !columns && img.Rect.Dx() != w:
			img = across(img, f.resample(w, img.Rect.Dx()))
		}
	}
	return img
}

func across(img *image.NRGBA, columns []taps) *image.NRGBA {
	h := img.Rect.Dy()
	out := image.NewNRGBA(image.Rect(0, 0, len(columns), h))
	for y := range h {
		from, to := img.Pix[y*img.Stride:], out.Pix[y*out.Stride:]
		for x, t := range columns {
			var r, g, b int32 = 1 << (weightBits - 1), 1 << (weightBits - 1), 1 << (weightBits - 1)
			at := from[4*t.first:]
			for k, w := range t.weights {
				p := at[4*k : 4*k+3 : 4*k+3]
				r += w * int32(p[0])
				g += w * int32(p[1])
				b += w * int32(p[2])
			}
			store(to[4*x:], r, g, b)
		}
	}
	return out
}

func down(img *image.NRGBA, rows []taps) *image.NRGBA {
	w := img.Rect.Dx()
	out := image.NewNRGBA(image.Rect(0, 0, w, len(rows)))
	sums := make([]int32, 3*w)
	for y, t := range rows {
		for i := range sums {
			sums[i] = 1 << (weightBits - 1)
		}
		for k, weight := range t.weights {
			from := img.Pix[(t.first+k)*img.Stride:]
			for x := range w {
				p, s := from[4*x:4*x+3:4*x+3], sums[3*x:3*x+3:3*x+3]
				s[0] += weight * int32(p[0])
				s[1] += weight * int32(p[1])
				s[2] += weight * int32(p[2])
			}
		}
		to := out.Pix[y*out.Stride:]
		for x := range w {
			store(to[4*x:], sums[3*x], sums[3*x+1], sums[3*x+2])
		}
	}
	return out
}

// store writes sums of weights and values as a pixel.
func store(to []uint8, r, g, b int32) {
	to[0], to[1], to[2], to[3] = clip(r), clip(g), clip(b), 255
}

func clip(sum int32) uint8 { return uint8(min(max(sum>>weightBits, 0), 255)) }
