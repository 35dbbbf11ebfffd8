package compare

import (
	"fmt"
	"io"
	"strings"
)

// WriteMarkdown writes the figures as tables for a document.
func WriteMarkdown(w io.Writer, r Report) error {
	var b strings.Builder
	line := func(cells ...string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	rule := func(n int) { fmt.Fprintf(&b, "| --- |%s\n", strings.Repeat(" ---: |", n-1)) }
	line("config", "R@1", "difference", "p", "unique", "active", "stored", "FLOPs a sample", "bytes", "samples/s", "CPU s")
	rule(11)
	for i, c := range r.Configs {
		if c.Model == nil {
			line(c.Config, "failed", "", "", "", "", "", "", "", "", "")
			continue
		}
		difference, p := "", ""
		if i > 0 {
			difference = points(r.Differences[i-1].Stat)
			if d := r.Differences[i-1]; d.Tested {
				p = fmt.Sprintf("%.2g", d.P)
			}
		}
		line(c.Config, percent(c.R1), difference, p, short(float64(c.Unique)), short(c.Active), short(float64(c.Stored)),
			short(c.FLOPs), short(c.Bytes.Mean), plain(c.SamplesPerS, 0), plain(c.CPUSeconds, 1))
	}
	fmt.Fprintf(&b, "\nR@1 in %%, in the mean over %d directions, ± the standard deviation over %d seeds; differences to %s in points, p of a paired t-test; %s each; %s.\n",
		len(r.Directions), r.Seeds, r.Configs[0].Config, r.Budget, r.Data)
	if len(r.Directions) > 0 {
		fmt.Fprint(&b, "\nR@1 / R@5 / R@10 by direction:\n\n")
		line(append([]string{"config"}, r.Directions...)...)
		rule(len(r.Directions) + 1)
		for _, c := range r.Configs {
			cells := []string{c.Config}
			for _, d := range r.Directions {
				cell := "–"
				if f, ok := c.Directions[d]; ok {
					cell = fmt.Sprintf("%s / %.1f / %.1f", percent(f.R1), 100*f.R5.Mean, 100*f.R10.Mean)
				}
				cells = append(cells, cell)
			}
			line(cells...)
		}
	}
	table := func(title string, columns []string, of func(Result) map[string]Stat, write func(Stat) string) {
		some := false
		for _, c := range r.Configs {
			some = some || len(of(c)) > 0
		}
		if !some {
			return
		}
		fmt.Fprintf(&b, "\n%s:\n\n", title)
		line(append([]string{"config"}, columns...)...)
		rule(len(columns) + 1)
		for _, c := range r.Configs {
			if len(of(c)) == 0 {
				continue
			}
			cells := []string{c.Config}
			for _, k := range columns {
				cells = append(cells, write(of(c)[k]))
			}
			line(cells...)
		}
	}
	table("Transfer, R@1 of joint training minus that of the pair alone, in points", r.Directions, func(c Result) map[string]Stat { return c.Transfer }, points)
	table("Modality gap", r.Pairs, func(c Result) map[string]Stat { return c.Gap }, func(s Stat) string { return plain(s, 3) })
	_, err := io.WriteString(w, b.String())
	return err
}
