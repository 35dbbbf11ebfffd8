package compare

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/onetrunk/onetrunk/train"
)

// byPairs and byModalities are the figures of a tensor.
func byPairs(t train.Conflict) map[string]float64      { return t.Pairs }
func byModalities(t train.Conflict) map[string]float64 { return t.Modalities }

// heat draws a map of cosines: a block for each two pairs (or modalities), in it
// the layers by role, each layer the first that a tensor serves. A place that
// several physical tensors serve has their mean; deltas and the like have none.
func heat(c *train.ConflictMap, by func(train.Conflict) map[string]float64) template.HTML {
	var keys, roles []string
	layers := 0
	for _, t := range c.Tensors {
		if !physical(t) {
			continue
		}
		for k := range by(t) {
			if !slices.Contains(keys, k) {
				keys = append(keys, k)
			}
		}
		if len(by(t)) > 0 && !slices.Contains(roles, string(t.Role)) {
			roles = append(roles, string(t.Role))
		}
		layers = max(layers, t.Layer+1)
	}
	if len(keys) == 0 {
		return ""
	}
	slices.Sort(keys)
	const cw, ch, left, top = 40, 22, 54, 44
	block := cw*len(roles) + 26
	var s svg
	for i, k := range keys {
		x0 := left + i*block
		s.put(`<text class="name mid" x="%d" y="14">%s</text>`, x0+cw*len(roles)/2, html.EscapeString(strings.ReplaceAll(k, "|", " and ")))
		for j, role := range roles {
			s.put(`<text class="tick mid" x="%d" y="34">%s</text>`, x0+cw*j+cw/2, html.EscapeString(role))
		}
		for l := range layers {
			y := top + l*ch
			if i == 0 {
				s.put(`<text class="tick end" x="%d" y="%d">layer %d</text>`, left-8, y+15, l)
			}
			for j, role := range roles {
				if v, names := meanOf(c, by, k, l, role); len(names) > 0 {
					s.put(`<g><title>%s</title><rect class="hole" x="%d" y="%d" width="%d" height="%d" rx="3"/><rect x="%d" y="%d" width="%d" height="%d" rx="3" fill="%s" fill-opacity="%.3f"/><text class="cell mid" x="%d" y="%d">%s</text></g>`,
						html.EscapeString(fmt.Sprintf("%s, layer %d, %s: cosine %.3f\n%s", k, l, role, v, strings.Join(names, "\n"))),
						x0+cw*j+1, y+1, cw-2, ch-2, x0+cw*j+1, y+1, cw-2, ch-2, sign(v), 0.85*math.Min(math.Abs(v)*1.4, 1), x0+cw*j+cw/2, y+15, cosine(v))
				}
			}
		}
	}
	return s.done(left+len(keys)*block, top+layers*ch+6, "cosines between gradients")
}

// physical reports whether a tensor is a weight with its bias.
func physical(t train.Conflict) bool {
	name, _, _ := strings.Cut(path.Base(t.Tensor), "@")
	return name == string(t.Role)
}

// meanOf returns the mean of a figure over the tensors of a layer and role that
// have it, and their names.
func meanOf(c *train.ConflictMap, by func(train.Conflict) map[string]float64, key string, layer int, role string) (mean float64, names []string) {
	for _, t := range c.Tensors {
		if v, ok := by(t)[key]; ok && t.Layer == layer && string(t.Role) == role && physical(t) {
			mean += v
			names = append(names, t.Tensor)
		}
	}
	return mean / float64(max(len(names), 1)), names
}

// sign is the colour of a cosine: vermilion below 0, blue above.
func sign(v float64) string {
	if v < 0 {
		return colours[1]
	}
	return colours[0]
}

func cosine(v float64) string {
	s := fmt.Sprintf("%.2f", v)
	if s == "-0.00" {
		s = "0.00"
	}
	return strings.Replace(strings.Replace(s, "-", "−", 1), "0.", ".", 1)
}

// experts draws which modality uses which expert: a bar of shares for each layer
// and modality.
func experts(c Result) template.HTML {
	if len(c.Experts) == 0 {
		return ""
	}
	const w, ch, left = 360, 20, 120
	names := c.Experts[0].Experts
	var s svg
	y, x := 4, 0
	for i, n := range names {
		width := 26 + 7*len(n)
		if x+width > left+w {
			x, y = 0, y+20
		}
		s.put(`<rect x="%d" y="%d" width="12" height="12" rx="3" fill="%s" fill-opacity="%g"/><text class="tick" x="%d" y="%d">%s</text>`, x, y, colour(i), shade(i), x+17, y+10, html.EscapeString(n))
		x += width
	}
	y += 28
	for _, u := range c.Experts {
		of := make([]string, 0, len(u.ByModality))
		for m := range u.ByModality {
			of = append(of, m)
		}
		slices.Sort(of)
		s.put(`<text class="name" x="0" y="%d">layer %d</text><text class="tick" x="%d" y="%d">%.2f bits of modality in the choice%s</text>`, y+10, u.Layer, left, y+10, u.MutualInformation, dropped(u.Dropped))
		y += 16
		for _, m := range of {
			s.put(`<text class="tick end" x="%d" y="%d">%s</text>`, left-8, y+13, html.EscapeString(m))
			at := float64(left)
			for i, share := range u.ByModality[m] {
				s.put(`<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s" fill-opacity="%g"><title>%s: %.1f %% to expert %s</title></rect>`,
					at, y, math.Max(share*w-1, 0), ch-3, colour(i), shade(i), html.EscapeString(m), 100*share, html.EscapeString(names[i]))
				at += share * w
			}
			y += ch
		}
		y += 8
	}
	return s.done(left+w+10, y, "which modality uses which expert")
}

// shade tells experts apart whose colours are the same.
func shade(i int) float64 { return []float64{1, 0.6, 0.35}[min(i/len(colours), 2)] }

func dropped(share float64) string {
	if share == 0 {
		return ""
	}
	return fmt.Sprintf(", %.1f %% have no room", 100*share)
}
