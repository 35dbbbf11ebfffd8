package retrieval

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/onetrunk/onetrunk/datasets"
)

// skip notes a value that cannot be read.
func (e *embedding) skip(p *place, why error) error {
	e.bad = append(e.bad, datasets.BadRow{Item: p.item, Line: p.line, Cell: p.cell, Err: why})
	e.rep.Bad++
	if e.rep.Bad > e.allowed {
		return fmt.Errorf("%s: %d values could not be read, at most %d may (--max-bad); the last: %w", e.src.Name(), e.rep.Bad, e.allowed, why)
	}
	return nil
}

// list writes the values that could not be read.
func (e *embedding) list() error {
	if len(e.bad) == 0 {
		err := os.Remove(skippedPath(e.dir))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return datasets.WriteBad(skippedPath(e.dir), e.bad)
}

func skippedPath(dir string) string { return filepath.Join(dir, "skipped.tsv") }

// readSkipped reads why values could not be read by an earlier call. It is
// but their messages: a list that is missing or damaged is an empty one.
func readSkipped(dir string) map[datasets.Cell]string {
	reasons := map[datasets.Cell]string{}
	f, err := os.Open(skippedPath(dir))
	if err != nil {
		return reasons
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comma, r.FieldsPerRecord = '\t', 5
	for {
		record, err := r.Read()
		if err != nil {
			return reasons
		}
		reasons[datasets.Cell{Modality: record[2], Ref: record[3]}] = record[4]
	}
}
