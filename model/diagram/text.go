package diagram

import (
	"fmt"
	"io"
	"strings"

	"github.com/onetrunk/onetrunk/sharing"
)

// Paint says how a terminal shows colours.
type Paint int

// None leaves letters alone, Indexed has the 256 colours of xterm, True all.
const (
	None Paint = iota
	Indexed
	True
)

// PaintOf returns what a terminal can show, by its environment variables: none
// where NO_COLOR is set (no-color.org).
func PaintOf(env func(string) string) Paint {
	colours := env("COLORTERM")
	switch {
	case env("NO_COLOR") != "" || env("TERM") == "dumb":
		return None
	case colours == "truecolor" || colours == "24bit":
		return True
	case strings.Contains(env("TERM"), "256color"):
		return Indexed
	}
	return None
}

// on returns text on a colour.
func (p Paint) on(c Colour, text string) string {
	ink := c.ink()
	switch p {
	case True:
		return fmt.Sprintf("\x1b[48;2;%d;%d;%dm\x1b[38;2;%d;%d;%dm%s\x1b[0m", c[0], c[1], c[2], ink[0], ink[1], ink[2], text)
	case Indexed:
		return fmt.Sprintf("\x1b[48;5;%dm\x1b[38;5;%dm%s\x1b[0m", c.index(), ink.index(), text)
	}
	return text
}

// index returns the nearest colour of xterm's cube of 6 by 6 by 6.
func (c Colour) index() int {
	n := 16
	for i, place := range []int{36, 6, 1} {
		level := 0
		if v := int(c[i]); v >= 75 { // the levels are 0, 95, 135, ... 255
			level = min((v-35)/40, 5)
		}
		n += level * place
	}
	return n
}

// WriteText draws the diagram in letters: the same letters are the same tensor,
// and what follows them are marks. Colours lie behind them where the terminal
// has some.
func (d Diagram) WriteText(w io.Writer, paint Paint) error {
	var b strings.Builder
	for i, t := range d.Trunks {
		if i > 0 {
			b.WriteString("\n")
		}
		d.text(&b, t, paint)
	}
	b.WriteString("\n")
	d.textLegend(&b, paint)
	_, err := io.WriteString(w, b.String())
	return err
}

// text draws a trunk's grid.
func (d Diagram) text(b *strings.Builder, t Trunk, paint Paint) {
	const labels = 9
	names := short(t.Modalities)
	widths := make([]int, len(sharing.Roles)) // of a cell, by role
	for r := range widths {
		for _, n := range names {
			widths[r] = max(widths[r], len(n)+2)
		}
		for _, roles := range t.Cells {
			for _, c := range roles[r] {
				widths[r] = max(widths[r], len([]rune(d.plain(c)))+2)
			}
		}
		if short := len(sharing.Roles[r]) - widths[r]*len(names); short > 0 {
			widths[r] += (short + len(names) - 1) / len(names)
		}
	}
	var first, second strings.Builder
	fmt.Fprintf(&first, "%-*s", labels, t.Name)
	fmt.Fprintf(&second, "%*s", labels, "")
	for r, role := range sharing.Roles {
		first.WriteString("  " + centre(string(role), widths[r]*len(names)))
		second.WriteString("  ")
		for _, n := range names {
			second.WriteString(centre(n, widths[r]))
		}
	}
	fmt.Fprintln(b, strings.TrimRight(first.String(), " "))
	fmt.Fprintln(b, strings.TrimRight(second.String(), " "))
	for l, roles := range t.Cells {
		var line strings.Builder
		fmt.Fprintf(&line, "%-*s", labels, fmt.Sprintf("layer %d", l))
		for r, cells := range roles {
			line.WriteString("  ")
			for _, c := range cells {
				text := centre(d.plain(c), widths[r])
				if len(c.Tensors) > 0 {
					text = paint.on(d.Tensors[c.Tensors[0]].Colour, text)
				}
				line.WriteString(text)
			}
		}
		fmt.Fprintln(b, strings.TrimRight(line.String(), " "))
	}
}

// plain is a cell in letters.
func (d Diagram) plain(c Cell) string {
	s := d.code(c.Tensors)
	for _, m := range c.Marks {
		s += m.Kind.Glyph
	}
	return s
}

func centre(s string, width int) string {
	space := width - len([]rune(s))
	left := space / 2
	return strings.Repeat(" ", left) + s + strings.Repeat(" ", space-left)
}

// textLegend lists modalities, marks and tensors.
func (d Diagram) textLegend(b *strings.Builder, paint Paint) {
	for _, t := range d.Trunks {
		var of []string
		for i, s := range short(t.Modalities) {
			of = append(of, s+" "+t.Modalities[i])
		}
		fmt.Fprintf(b, "%s: %s\n", t.Name, strings.Join(of, ", "))
	}
	for _, k := range d.Kinds {
		fmt.Fprintf(b, "%s %s: %s\n", k.Glyph, k.Name, k.What)
	}
	width := 0
	for _, t := range d.Tensors {
		width = max(width, len(t.Code)+len(t.Name)+4)
	}
	columns := max(100/max(width, 1), 1)
	rows := (len(d.Tensors) + columns - 1) / columns
	for r := range rows {
		var line strings.Builder
		for i := r; i < len(d.Tensors); i += rows {
			t := d.Tensors[i]
			line.WriteString(paint.on(t.Colour, t.Code))
			fmt.Fprintf(&line, " %-*s", width-len(t.Code)-1, t.Name)
		}
		fmt.Fprintln(b, strings.TrimRight(line.String(), " "))
	}
}
