package emoji

import (
	"encoding/csv"
	"io"
	"slices"

	"github.com/onetrunk/onetrunk/internal/atomicfile"
)

// splitOf returns the split of what a vendor or a voice makes of a concept,
// "" where none has it; kept says that it is the one kept for the tests.
func splitOf(s side, kept bool) string {
	switch {
	case s == forTraining && !kept:
		return "train"
	case s == forVal && !kept:
		return "val"
	case s == forTraining:
		return "test-seen"
	case s == forTest && kept:
		return "test-unseen"
	}
	return ""
}

// writeManifest writes a row for every picture and every recording, and
// counts them.
func (b *builder) writeManifest(drawings []drawing, utterances []utterance) (Report, error) {
	report := Report{Pictures: len(drawings), Recordings: len(utterances), Made: b.made}
	for _, name := range Splits {
		report.Splits = append(report.Splits, SplitReport{Name: name})
	}
	in := func(split string) *SplitReport { return &report.Splits[slices.Index(Splits, split)] }
	rows := [][]string{{"id", "image", "audio", "text", "lang", "split", "note"}}
	seen := map[[2]string]bool{} // split and concept
	add := func(split, id string, row []string) {
		rows = append(rows, row)
		if key := [2]string{split, id}; !seen[key] {
			seen[key] = true
			in(split).Concepts++
		}
	}
	for _, d := range drawings {
		add(d.split, d.concept.id, []string{d.concept.id, d.path, "", "", "", d.split, d.vendor})
		in(d.split).Pictures++
	}
	for _, u := range utterances {
		add(u.split, u.concept.id, []string{u.concept.id, "", u.path, u.text, u.lang, u.split, u.voice})
		in(u.split).Recordings++
	}
	return report, atomicfile.Write(b.path("manifest.tsv"), func(w io.Writer) error {
		t := csv.NewWriter(w)
		t.Comma = '\t'
		return t.WriteAll(rows)
	})
}
