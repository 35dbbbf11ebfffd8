package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/onetrunk/onetrunk/internal/measure"
)

// report is all that was measured.
type report struct {
	Machine      string            `json:"machine"`
	Threads      int               `json:"threads"`
	Rounds       int               `json:"rounds"`
	Versions     map[string]string `json:"versions"`
	Rows         []row             `json:"rows"`
	Measurements []measurement     `json:"measurements"`
}

// row compares one figure.
type row struct {
	What string `json:"what"`
	Peer string `json:"peer,omitempty"` // empty where there is nothing to compare with
	Unit string `json:"unit"`
	// PeerValue and Ours are medians over the rounds.
	PeerValue float64 `json:"peer_value,omitempty"`
	Ours      float64 `json:"ours"`
	// Ratio is the median of the rounds' ratios, Least and Greatest bound
	// them: how many times as fast we are, or for memory our share of the
	// peer's.
	Ratio    float64 `json:"ratio,omitempty"`
	Least    float64 `json:"ratio_least,omitempty"`
	Greatest float64 `json:"ratio_greatest,omitempty"`
	Goal     string  `json:"target,omitempty"`
	// Met is nil without a target.
	Met *bool `json:"met,omitempty"`
}

// The units of figures.
const (
	perSecond    = "/s"
	milliseconds = "ms"
	megabytes    = "MB"
)

// goal bounds a ratio, or a figure that has no peer.
type goal struct {
	sign  string // one of ≥ > ≤ <; empty for no goal
	value float64
}

func (g goal) met(x float64) bool {
	switch g.sign {
	case "≥":
		return x >= g.value
	case ">":
		return x > g.value
	case "≤":
		return x <= g.value
	default:
		return x < g.value
	}
}

// compare adds a row. peer and ours hold a value a round; peer is nil where
// there is nothing to compare with.
func (r *report) compare(what, unit, peerName string, peer, ours []float64, g goal) {
	row := row{What: what, Peer: peerName, Unit: unit, Ours: measure.Median(ours)}
	judged, of := row.Ours, " "+unit
	if peer != nil {
		ratios := make([]float64, len(ours))
		for i := range ours {
			ratios[i] = ours[i] / peer[i]
			if unit == milliseconds {
				ratios[i] = peer[i] / ours[i]
			}
		}
		row.PeerValue = measure.Median(peer)
		row.Ratio, row.Least, row.Greatest = measure.Median(ratios), slices.Min(ratios), slices.Max(ratios)
		judged, of = row.Ratio, "x"
	}
	if g.sign != "" {
		met := g.met(judged)
		row.Met, row.Goal = &met, fmt.Sprintf("%s %g%s", g.sign, g.value, of)
	}
	r.Rows = append(r.Rows, row)
}

// A measurement is disturbed when other programs use more than this share of
// the machine: threads that wait for each other lose more than what is taken
// from them. More disturbed measurements than tolerable spoil a run.
const (
	disturbed = 0.05
	tolerable = 0.2
)

// markdown returns the table and what it was measured with.
func (r *report) markdown() string {
	var s strings.Builder
	s.WriteString("| what | peer | its figure | ours | ratio | target | met |\n| --- | --- | ---: | ---: | ---: | ---: | --- |\n")
	for _, row := range r.Rows {
		peer, ratio, met := "", "", ""
		if row.Peer != "" {
			peer = figure(row.PeerValue, row.Unit)
			ratio = fmt.Sprintf("%.2fx (%.2f-%.2f)", row.Ratio, row.Least, row.Greatest)
		}
		if row.Met != nil {
			met = "no"
			if *row.Met {
				met = "yes"
			}
		}
		fmt.Fprintf(&s, "| %s | %s | %s | %s | %s | %s | %s |\n", row.What, row.Peer, peer, figure(row.Ours, row.Unit), ratio, row.Goal, met)
	}
	fmt.Fprintf(&s, "\n%s, %d threads, %d rounds. The figures are medians; a ratio is the median of the rounds' own (least-greatest): how many times as fast, or for memory our share of the peer's.", r.Machine, r.Threads, r.Rounds)
	var versions []string
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		versions = append(versions, name+" "+r.Versions[name])
	}
	fmt.Fprintf(&s, " Versions: %s.", strings.Join(versions, ", "))
	n, most := 0, 0.0
	for _, m := range r.Measurements {
		most = max(most, m.Others)
		if m.Others > disturbed {
			n++
		}
	}
	fmt.Fprintf(&s, " Other programs used more than %g%% of the machine in %d of %d measurements, at most %.0f%%.", 100*disturbed, n, len(r.Measurements), 100*most)
	if float64(n) > tolerable*float64(len(r.Measurements)) {
		s.WriteString(" **These figures do not count: measure again on an idle machine.**")
	}
	s.WriteString("\n")
	return s.String()
}

// figure prints a value with four digits, or all before the point.
func figure(x float64, unit string) string {
	digits := 0
	for limit := 1000.0; x < limit && digits < 3; limit /= 10 {
		digits++
	}
	return fmt.Sprintf("%.*f %s", digits, x, unit)
}
