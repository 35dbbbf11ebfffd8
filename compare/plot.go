package compare

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Colours are those of Okabe and Ito (2008), which people with any colour vision
// tell apart, without black and yellow.
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5bd0", "#8c6d46"}

func colour(i int) string { return colours[i%len(colours)] }

// svg gathers a drawing.
type svg struct{ strings.Builder }

func (s *svg) put(format string, args ...any) { fmt.Fprintf(s, format+"\n", args...) }

// done returns the drawing of that size.
func (s *svg) done(width, height int, label string) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">%s</svg>`,
		width, height, width, height, html.EscapeString(label), s.String()))
}

// axis maps values to pixels.
type axis struct {
	lo, hi   float64
	from, to float64 // pixels
	log      bool
}

// fit returns an axis that holds all values with some room beside.
func fit(values []float64, from, to float64, log bool) axis {
	a := axis{from: from, to: to, log: log}
	lo, hi := slices.Min(values), slices.Max(values)
	if log {
		lo, hi = math.Log10(lo), math.Log10(hi)
	}
	room := 0.08 * (hi - lo)
	if hi-lo < 1e-3*math.Abs(hi) || hi == lo { // the same but for rounding
		room = max(0.1*math.Abs(hi), 0.01)
	}
	a.lo, a.hi = lo-room, hi+room
	return a
}

func (a axis) at(v float64) float64 {
	if a.log {
		v = math.Log10(v)
	}
	return a.from + (v-a.lo)/(a.hi-a.lo)*(a.to-a.from)
}

// ticks returns about n round values on the axis.
func (a axis) ticks(n int) []float64 {
	var ts []float64
	if a.log && a.hi-a.lo > 0.7 {
		for e := math.Floor(a.lo); e <= a.hi; e++ {
			for _, m := range []float64{1, 2, 5} {
				if v := math.Log10(m) + e; v >= a.lo && v <= a.hi {
					ts = append(ts, math.Pow(10, v))
				}
			}
		}
		return ts
	}
	lo, hi := a.lo, a.hi
	if a.log {
		lo, hi = math.Pow(10, lo), math.Pow(10, hi)
	}
	step := math.Pow(10, math.Floor(math.Log10((hi-lo)/float64(n))))
	for _, m := range []float64{1, 2, 5, 10} {
		if (hi-lo)/(step*m) <= float64(n) {
			step *= m
			break
		}
	}
	for i := math.Ceil(lo / step); i*step <= hi && len(ts) <= 2*n; i++ {
		ts = append(ts, i*step)
	}
	return ts
}

// scatter draws a front: mean R@1 over a cost, with error bars of a standard
// deviation, and the line beyond which nothing lies.
func scatter(r Report, f Front) template.HTML {
	const w, h, left, right, top, bottom = 560, 360, 56, 20, 18, 48
	var s svg
	if len(f.Points) == 0 {
		return ""
	}
	var costs, scores []float64
	for _, p := range f.Points {
		costs = append(costs, p.Cost)
		scores = append(scores, 100*(p.R1.Mean-p.R1.SD), 100*(p.R1.Mean+p.R1.SD))
	}
	x := fit(costs, left+10, w-right-10, slices.Max(costs) > 4*slices.Min(costs))
	y := fit(scores, h-bottom, top, false)
	for _, t := range y.ticks(6) {
		s.put(`<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text class="tick end" x="%d" y="%.1f">%s</text>`, left, w-right, y.at(t), y.at(t), left-8, y.at(t)+4, number(t))
	}
	ticks := x.ticks(6)
	for i, text := range labels(ticks) {
		at := x.at(ticks[i])
		s.put(`<line class="mark" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/><text class="tick mid" x="%.1f" y="%d">%s</text>`, at, at, h-bottom, h-bottom+5, at, h-bottom+19, text)
	}
	s.put(`<line class="axis" x1="%d" x2="%d" y1="%d" y2="%d"/>`, left, w-right, h-bottom, h-bottom)
	s.put(`<text class="name mid" x="%d" y="%d">%s</text>`, (left+w-right)/2, h-8, f.Cost)
	s.put(`<text class="name" x="%d" y="%d">mean R@1, %%</text>`, left-44, top-5)
	if line := staircase(f.Points, x, y, w-right); line != "" {
		s.put(`<path class="beaten" d="%s V%d H%.1f Z"/><path class="front" d="%s"/>`, line, h-bottom, x.at(cheapest(f.Points)), line)
	}
	var taken []box
	for _, p := range f.Points {
		cx, cy := x.at(p.Cost), y.at(100*p.R1.Mean)
		taken = append(taken, box{cx - 6, cy - 6, cx + 6, cy + 6})
	}
	for _, p := range f.Points {
		i := r.index(p.Config)
		cx, cy, sd := x.at(p.Cost), y.at(100*p.R1.Mean), math.Abs(y.at(100*p.R1.SD)-y.at(0))
		s.put(`<g><title>%s: R@1 %s, %s %s</title>`, html.EscapeString(p.Config), percent(p.R1), short(p.Cost), f.Cost)
		if sd > 0 {
			s.put(`<path d="M%.1f %.1fV%.1fM%.1f %.1fh8M%.1f %.1fh8" stroke="%s" class="error"/>`, cx, cy-sd, cy+sd, cx-4, cy-sd, cx-4, cy+sd, colour(i))
		}
		fill := colour(i)
		if !p.Best {
			fill = "var(--page)"
		}
		s.put(`<circle cx="%.1f" cy="%.1f" r="5.5" fill="%s" stroke="%s" stroke-width="2"/></g>`, cx, cy, fill, colour(i))
		lx, ly, anchor := label(&taken, p.Config, cx, cy, left, w-right)
		s.put(`<text class="point %s" x="%.1f" y="%.1f">%s</text>`, anchor, lx, ly, html.EscapeString(p.Config))
	}
	return s.done(w, h, "mean R@1 over "+f.Cost)
}

func cheapest(ps []Point) float64 {
	c := math.Inf(1)
	for _, p := range ps {
		c = min(c, p.Cost)
	}
	return c
}

// staircase is the path along the front.
func staircase(points []Point, x, y axis, end int) string {
	var best []Point
	for _, p := range points {
		if p.Best {
			best = append(best, p)
		}
	}
	slices.SortFunc(best, func(a, b Point) int { return int(math.Copysign(1, a.Cost-b.Cost)) })
	var b strings.Builder
	for i, p := range best {
		if i == 0 {
			fmt.Fprintf(&b, "M%.1f %.1f", x.at(p.Cost), y.at(100*p.R1.Mean))
			continue
		}
		fmt.Fprintf(&b, " H%.1f V%.1f", x.at(p.Cost), y.at(100*p.R1.Mean))
	}
	fmt.Fprintf(&b, " H%d", end)
	return b.String()
}

type box struct{ x0, y0, x1, y1 float64 }

// label finds a free place for a name beside a point.
func label(taken *[]box, name string, x, y, left, right float64) (lx, ly float64, anchor string) {
	w := 6.7 * float64(len(name))
	places := []struct {
		b      box
		x, y   float64
		anchor string
	}{}
	for _, dy := range []float64{-9, 11, -22, 24, -36} {
		places = append(places,
			struct {
				b      box
				x, y   float64
				anchor string
			}{box{x + 9, y + dy - 7, x + 9 + w, y + dy + 6}, x + 10, y + dy + 4, ""},
			struct {
				b      box
				x, y   float64
				anchor string
			}{box{x - 9 - w, y + dy - 7, x - 9, y + dy + 6}, x - 10, y + dy + 4, "end"})
	}
	free := func(b box) bool {
		return b.x0 >= left && b.x1 <= right && !slices.ContainsFunc(*taken, func(t box) bool {
			return b.x0 < t.x1 && t.x0 < b.x1 && b.y0 < t.y1 && t.y0 < b.y1
		})
	}
	best := places[0]
	for _, p := range places {
		if free(p.b) {
			best = p
			break
		}
	}
	*taken = append(*taken, best.b)
	return best.x, best.y, best.anchor
}

// strip draws a config's rows as dots on the scale of all configs, with a stroke
// at their mean.
func strip(r Report, c Result) template.HTML {
	const w, h = 150, 20
	var every []float64
	for _, o := range r.Configs {
		for _, row := range o.Rows {
			if row.Error == "" {
				every = append(every, row.R1)
			}
		}
	}
	if c.R1.N == 0 {
		return ""
	}
	x := fit(every, 6, w-6, false)
	var s svg
	s.put(`<line class="grid" x1="0" x2="%d" y1="10" y2="10"/>`, w)
	i := r.index(c.Config)
	for _, row := range c.Rows {
		if row.Error == "" {
			s.put(`<circle cx="%.1f" cy="10" r="4" fill="%s" fill-opacity="0.6"><title>seed %d: R@1 %.1f %%</title></circle>`, x.at(row.R1), colour(i), row.Seed, 100*row.R1)
		}
	}
	s.put(`<line x1="%.1f" x2="%.1f" y1="2" y2="18" stroke="%s" stroke-width="2"/>`, x.at(c.R1.Mean), x.at(c.R1.Mean), colour(i))
	return s.done(w, h, "R@1 of each seed")
}

// index returns the place of a config.
func (r Report) index(name string) int {
	return slices.IndexFunc(r.Configs, func(c Result) bool { return c.Config == name })
}

// number writes a value as short as it is.
func number(v float64) string {
	return strconv.FormatFloat(math.Round(v*1e6)/1e6, 'f', -1, 64)
}

// labels writes values with as many digits as tell them apart.
func labels(values []float64) []string {
	for digits := 2; ; digits++ {
		var texts []string
		for _, v := range values {
			texts = append(texts, digitsOf(v, digits))
		}
		if distinct := slices.Compact(slices.Clone(texts)); len(distinct) == len(texts) || digits == 9 {
			return texts
		}
	}
}

// short writes a value with three digits: 236k, 1.25M.
func short(v float64) string { return digitsOf(v, 3) }

// digitsOf writes a value with so many digits.
func digitsOf(v float64, digits int) string {
	for _, u := range []struct {
		of   float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(v) >= 0.9995*u.of {
			return figure(v/u.of, digits) + u.name
		}
	}
	return figure(v, digits)
}

// figure writes a value below 1000 with so many digits, without an exponent.
func figure(v float64, digits int) string {
	if v == 0 {
		return "0"
	}
	after := digits - 1 - int(math.Floor(math.Log10(math.Abs(v))))
	s := strconv.FormatFloat(v, 'f', max(after, 0), 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// percent writes a share over seeds in %.
func percent(s Stat) string {
	switch s.N {
	case 0:
		return "–"
	case 1:
		return fmt.Sprintf("%.1f", 100*s.Mean)
	}
	return fmt.Sprintf("%.1f ± %.1f", 100*s.Mean, 100*s.SD)
}
