package diagram

import (
	"cmp"
	"fmt"
	"html"
	"io"
	"slices"
	"strings"

	"github.com/onetrunk/onetrunk/sharing"
)

// Sizes of the drawing, in pixels.
const (
	cellHeight = 24
	rowGap     = 4
	roleGap    = 12
	halfGap    = 24 // between attention and the feed-forward network
	margin     = 16
	labels     = 58 // of the layers
	header     = 62
	legendRow  = 20
)

// style is readable on light and on dark.
const style = `.om{font:11px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}.om text{fill:#333}.om .c{font:600 11px ui-monospace,Menlo,Consolas,monospace;text-anchor:middle}.om .q{fill:#667}.om .m{text-anchor:middle}.om .r{text-anchor:end}.om .h{font-weight:600}.om line{stroke:#9aa}.om .g{fill:none;stroke:#333;stroke-width:1.4}.om .k{fill:#333}@media(prefers-color-scheme:dark){.om text{fill:#ddd}.om .q{fill:#9ab}.om line{stroke:#678}.om .g{stroke:#ddd}.om .k{fill:#ddd}}`

// drawing gathers an SVG.
type drawing struct {
	strings.Builder
	id   string // begins ids, so that several drawings may stand in one page
	defs strings.Builder
	n    int // of definitions
}

func (d *drawing) put(format string, args ...any) { fmt.Fprintf(d, format+"\n", args...) }

func esc(s string) string { return html.EscapeString(s) }

// WriteSVG draws the diagram as an SVG that needs nothing else. id begins the
// ids in it.
func (d Diagram) WriteSVG(w io.Writer, id string) error {
	var s drawing
	s.id = id
	width, y := 0, margin
	for _, t := range d.Trunks {
		width = max(width, t.width())
	}
	width = max(width, 560)
	for i, t := range d.Trunks {
		if i > 0 {
			y += 14
		}
		y = d.trunk(&s, t, y, len(d.Trunks) > 1)
	}
	y = d.legend(&s, y+18, width)
	_, err := fmt.Fprintf(w, "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"om\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\" aria-label=\"which tensor serves which layer, role and modality\">\n<style>%s</style>\n<defs>%s</defs>\n%s</svg>\n",
		width, y, width, y, style, &s.defs, &s.Builder)
	return err
}

// cellWidth is the width of a place, for the longest name of a modality.
func (t Trunk) cellWidth() int {
	w := 30
	for _, m := range t.Modalities {
		w = max(w, 6*len(m)+6)
	}
	return w
}

// left returns where a role's cells begin.
func (t Trunk) left(role int) int {
	x := margin + labels + role*(t.cellWidth()*len(t.Modalities)+roleGap)
	if role >= 3 {
		x += halfGap - roleGap
	}
	return x
}

func (t Trunk) width() int { return t.left(len(sharing.Roles)) - roleGap + margin }

// trunk draws a trunk's grid from y on and returns where it ends.
func (d Diagram) trunk(s *drawing, t Trunk, y int, named bool) int {
	if named {
		s.put(`<text class="h" x="%d" y="%d">%s</text>`, margin, y+12, esc(t.Name))
		y += 22
	}
	cw, n := t.cellWidth(), len(t.Modalities)
	for i, half := range []string{"attention", "feed-forward"} {
		x0, x1 := t.left(3*i), t.left(3*i+2)+cw*n
		s.put(`<text class="q m" x="%d" y="%d">%s</text><line x1="%d" y1="%d" x2="%d" y2="%d"/>`, (x0+x1)/2, y+10, half, x0, y+16, x1, y+16)
	}
	for r, role := range sharing.Roles {
		x := t.left(r)
		s.put(`<text class="h m" x="%d" y="%d">%s</text>`, x+cw*n/2, y+34, role)
		for i, m := range t.Modalities {
			s.put(`<text class="q m" x="%d" y="%d" font-size="10">%s</text>`, x+cw*i+cw/2, y+50, esc(m))
		}
	}
	y += header - 4
	for l, roles := range t.Cells {
		s.put(`<text class="q r" x="%d" y="%d">layer %d</text>`, margin+labels-12, y+16, l)
		for r := range roles {
			d.cells(s, t, l, r, y)
		}
		y += cellHeight + rowGap
	}
	return y
}

// cells draws a layer's cells of a role: neighbours that the same tensors
// serve are one bar.
func (d Diagram) cells(s *drawing, t Trunk, l, r, y int) {
	cells, cw := t.Cells[l][r], t.cellWidth()
	for i := 0; i < len(cells); {
		j := i + 1
		for j < len(cells) && slices.Equal(cells[i].Tensors, cells[j].Tensors) {
			j++
		}
		x, w := t.left(r)+cw*i+1, cw*(j-i)-2
		fill := d.paint(s, cells[i].Tensors)
		s.put(`<g><title>%s</title><rect x="%d" y="%d" width="%d" height="%d" rx="5" fill="%s"/>`,
			esc(d.describe(t, l, r, i, j)), x, y, w, cellHeight, fill)
		ink := Colour{17, 17, 17}
		if len(cells[i].Tensors) > 0 {
			ink = d.Tensors[cells[i].Tensors[0]].Colour.ink()
		}
		// Marks stand once where they are the same for all that share the bar.
		same := !slices.ContainsFunc(cells[i:j], func(c Cell) bool { return !c.equal(cells[i]) })
		if same {
			d.marks(s, cells[i].Marks, x+w, x, y, w, ink)
		} else {
			for k := i; k < j; k++ {
				left := t.left(r) + cw*k + 1
				d.marks(s, cells[k].Marks, left+cw-2, left, y, cw-2, ink)
			}
		}
		if code := d.code(cells[i].Tensors); code != "" {
			if n := len(cells[i].Tensors); n > 1 && len(code) > 3 {
				code = fmt.Sprintf("×%d", n)
			}
			edge := ""
			if len(cells[i].Tensors) > 1 {
				ink = Colour{17, 17, 17}
				edge = ` stroke="#fff" stroke-width="3" paint-order="stroke" stroke-linejoin="round"`
			}
			s.put(`<text class="c" x="%d" y="%d" style="fill:%s"%s>%s</text>`, x+w/2, y+16, ink, edge, code)
		}
		s.put(`</g>`)
		i = j
	}
}

// paint returns the paint of a cell: a colour, or stripes of several.
func (d Diagram) paint(s *drawing, tensors []int) string {
	switch len(tensors) {
	case 0:
		return "none"
	case 1:
		return d.Tensors[tensors[0]].Colour.String()
	}
	s.n++
	id := fmt.Sprintf("%sg%d", s.id, s.n)
	const stripe = 5
	fmt.Fprintf(&s.defs, `<pattern id="%s" width="%d" height="%d" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">`, id, stripe*len(tensors), stripe)
	for i, t := range tensors {
		fmt.Fprintf(&s.defs, `<rect x="%d" width="%d" height="%d" fill="%s"/>`, stripe*i, stripe, stripe, d.Tensors[t].Colour)
	}
	s.defs.WriteString(`</pattern>`)
	return "url(#" + id + ")"
}

// code is what stands in a cell: the codes of its tensors.
func (d Diagram) code(tensors []int) string {
	var codes []string
	for _, t := range tensors {
		codes = append(codes, d.Tensors[t].Code)
	}
	if all := strings.Join(codes, ""); len(all) <= 3 {
		return all
	}
	if len(codes) == 1 {
		return codes[0]
	}
	return codes[0] + "…" + codes[len(codes)-1]
}

// marks draws marks from the right edge of a cell to the left.
func (d Diagram) marks(s *drawing, marks []Mark, right, x, y, w int, ink Colour) {
	at := float64(right) - 6
	for _, m := range marks {
		if m.Kind.Glyph == "/" {
			s.n++
			id := fmt.Sprintf("%sh%d", s.id, s.n)
			fmt.Fprintf(&s.defs, `<pattern id="%s" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="1.6" height="5" fill="%s" fill-opacity="0.5"/></pattern>`, id, ink)
			s.put(`<rect x="%d" y="%d" width="%d" height="%d" rx="5" fill="url(#%s)"/>`, x, y, w, cellHeight, id)
			continue
		}
		s.put(`<g transform="translate(%g %d) scale(0.8)">%s</g>`, at, y+7, glyph(m.Kind.Glyph, "fill:"+ink.String(), "fill:none;stroke:"+ink.String()+";stroke-width:1.4"))
		at -= 9
	}
}

// glyph draws a kind's glyph around 0, 0, filled or as lines.
func glyph(g, filled, lines string) string {
	attr := func(s string) string {
		if strings.Contains(s, ":") {
			return `style="` + s + `"`
		}
		return `class="` + s + `"`
	}
	switch g {
	case "+":
		return `<path d="M-4 3L0 -4L4 3Z" ` + attr(filled) + `/>`
	case "~":
		return `<path d="M-4 0L0 -4L4 0L0 4Z" ` + attr(filled) + `/>`
	case "?":
		return `<path d="M-4 0L0 -4L4 0L0 4Z" ` + attr(lines) + `/>`
	case "=":
		return `<path d="M-4 -2H4M-4 2H4" ` + attr(lines) + `/>`
	case "#":
		return `<path d="M-4 -2H4M-4 2H4M-2 -4V4M2 -4V4" ` + attr(lines) + `/>`
	case "%":
		return `<path d="M0 4V1L-4 -4M0 1L4 -4M0 1V-4" ` + attr(lines) + `/>`
	}
	return `<rect x="-3" y="-3" width="6" height="6" ` + attr(filled) + `/>`
}

// describe says in words what a bar shows.
func (d Diagram) describe(t Trunk, l, r, i, j int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "layer %d, %s, %s", l, sharing.Roles[r], strings.Join(t.Modalities[i:j], " + "))
	for _, n := range t.Cells[l][r][i].Tensors {
		fmt.Fprintf(&b, "\n%s  %s  %d values", d.Tensors[n].Code, d.Tensors[n].Name, d.Tensors[n].Values)
	}
	var names []string
	for _, c := range t.Cells[l][r][i:j] {
		for _, m := range c.Marks {
			for _, n := range m.Names {
				if !slices.Contains(names, n) {
					names = append(names, n)
					fmt.Fprintf(&b, "\n%s  %s", m.Kind.Glyph, n)
				}
			}
		}
	}
	return b.String()
}

// legend draws what the hues and marks stand for, and returns where it ends.
func (d Diagram) legend(s *drawing, y, width int) int {
	x := margin
	next := func(w int) {
		if x += w; x > width-170 {
			x, y = margin, y+legendRow
		}
	}
	for _, g := range d.groups() {
		s.put(`<rect x="%d" y="%d" width="14" height="14" rx="3" fill="%s"/>`, x, y, oklch(0.72, hueOf(g)))
		s.put(`<text x="%d" y="%d">%s</text>`, x+20, y+11, esc(groupText(g)))
		next(40 + 6*len(groupText(g)))
	}
	if x > margin {
		x, y = margin, y+legendRow
	}
	for _, k := range d.Kinds {
		if k.Glyph == "/" {
			fmt.Fprintf(&s.defs, `<pattern id="%shl" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="1.6" height="5" class="k"/></pattern>`, s.id)
			s.put(`<rect x="%d" y="%d" width="14" height="14" rx="3" fill="url(#%shl)"/>`, x, y, s.id)
		} else {
			s.put(`<g transform="translate(%d %d)">%s</g>`, x+7, y+7, glyph(k.Glyph, "k", "g"))
		}
		text := k.Name + ": " + k.What
		s.put(`<text x="%d" y="%d">%s</text>`, x+20, y+11, esc(text))
		next(40 + 6*len(text))
	}
	if x > margin {
		y += legendRow
	}
	s.put(`<text class="q" x="%d" y="%d">%d tensors. One letter and colour is one tensor; a bar is shared by the modalities that it spans;</text>`, margin, y+11, len(d.Tensors))
	s.put(`<text class="q" x="%d" y="%d">darker is a later layer's; stripes are several tensors in one place.</text>`, margin, y+25)
	return y + 25 + margin
}

// groups lists the groups of modalities that have tensors, all together first.
func (d Diagram) groups() []string {
	var gs []string
	for _, t := range d.Tensors {
		if g, _, _ := read(t.Name); !slices.Contains(gs, g) {
			gs = append(gs, g)
		}
	}
	slices.SortFunc(gs, func(a, b string) int { // numbered ones last
		return cmp.Or(cmp.Compare(strings.Count(a, "#"), strings.Count(b, "#")), strings.Compare(a, b))
	})
	return gs
}

// groupText names a group.
func groupText(g string) string {
	of, number := split(g)
	text := "shared by all"
	switch {
	case strings.Contains(of, "+"):
		text = strings.ReplaceAll(of, "+", " and ")
	case of != "":
		text = of + " alone"
	}
	if number != "" {
		text += ", #" + number
	}
	return text
}
