package compare

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/onetrunk/onetrunk/model/diagram"
	"github.com/onetrunk/onetrunk/train"
)

//go:embed report.html
var page string

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"percent": percent, "short": short, "strip": strip, "scatter": scatter, "colour": colour,
	"map": drawMap, "count": func(n int) string { return short(float64(n)) }, "points": points, "signed": signed, "tint": tint, "experts": experts, "plain": plain, "sub": sub,
	"conflicts": func(c *train.ConflictMap) template.HTML { return heat(c, byPairs) },
	"within":    func(c *train.ConflictMap) template.HTML { return heat(c, byModalities) },
	"arrow":     func(d string) string { return strings.ReplaceAll(d, ">", " → ") },
	"json": func(raw json.RawMessage) string {
		var v any
		if json.Unmarshal(raw, &v) != nil {
			return string(raw)
		}
		s, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return string(raw)
		}
		return string(s)
	},
}).Parse(page))

// WriteHTML writes the report as a page that needs nothing else.
func WriteHTML(w io.Writer, r Report) error {
	differences := map[string]Difference{}
	for _, d := range r.Differences {
		differences[d.Config] = d
	}
	has := func(f func(Result) bool) bool {
		for _, c := range r.Configs {
			if f(c) {
				return true
			}
		}
		return false
	}
	return pageTemplate.Execute(w, map[string]any{
		"R": r, "Differences": differences,
		"HasTransfer":  has(func(c Result) bool { return len(c.Transfer) > 0 }),
		"HasConflicts": has(func(c Result) bool { return c.Conflicts != nil }),
		"HasExperts":   has(func(c Result) bool { return len(c.Experts) > 0 }),
	})
}

// drawMap draws the map of a config.
func drawMap(c Result, i int) (template.HTML, error) {
	var b strings.Builder
	if c.Model == nil {
		return "", nil
	}
	err := diagram.New(*c.Model).WriteSVG(&b, fmt.Sprintf("map%d-", i))
	return template.HTML(b.String()), err
}

// points writes a difference of shares in percentage points.
func points(s Stat) string {
	switch s.N {
	case 0:
		return "–"
	case 1:
		return signed(s.Mean)
	}
	return fmt.Sprintf("%s ± %.1f", signed(s.Mean), 100*s.SD)
}

// signed writes a share in %, with its sign.
func signed(v float64) string {
	return strings.Replace(fmt.Sprintf("%+.1f", 100*v), "-", "−", 1)
}

// tint colours a cell by a difference, in full at 20 points.
func tint(s Stat) template.CSS {
	if s.N == 0 {
		return ""
	}
	rgb := "0,114,178"
	if s.Mean < 0 {
		rgb = "213,94,0"
	}
	return template.CSS(fmt.Sprintf("background:rgba(%s,%.2f)", rgb, min(0.05+abs(s.Mean)/0.2*0.5, 0.55)))
}

func abs(v float64) float64 { return max(v, -v) }

// plain writes a figure over seeds.
func plain(s Stat, digits int) string {
	switch s.N {
	case 0:
		return "–"
	case 1:
		return fmt.Sprintf("%.*f", digits, s.Mean)
	}
	return fmt.Sprintf("%.*f ± %.*f", digits, s.Mean, digits, s.SD)
}

// sub is what a direction's cell says of R@5 and R@10.
func sub(r Retrieval) string {
	if r.R1.N == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f · %.1f", 100*r.R5.Mean, 100*r.R10.Mean)
}
