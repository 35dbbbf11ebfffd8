package datasets

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/onetrunk/onetrunk/internal/atomicfile"
)

// BadRow is a cell that could not be read.
type BadRow struct {
	// Item is the id of the item that was drawn, Line the row's in its file.
	Item string
	Line int
	Cell Cell
	Err  error
}

// WriteBad writes a list of bad rows as a table, whole or not at all: id,
// line, modality, value, error, separated by tabs.
func WriteBad(path string, rows []BadRow) error {
	return atomicfile.Write(path, func(w io.Writer) error {
		t := csv.NewWriter(w)
		t.Comma = '\t'
		records := [][]string{{"id", "line", "modality", "value", "error"}}
		for _, b := range rows {
			records = append(records, []string{b.Item, strconv.Itoa(b.Line), b.Cell.Modality, b.Cell.Ref, b.Err.Error()})
		}
		return t.WriteAll(records)
	})
}

// tooMany is the error for more bad cells than are allowed.
func tooMany(src Source, bad []BadRow, allowed, cells int) error {
	var first []string
	for _, b := range bad[:min(3, len(bad))] {
		first = append(first, b.Err.Error())
	}
	return fmt.Errorf("%s: %d values could not be read, at most %d of its %d may be bad; the first: %s",
		src.Name(), len(bad), allowed, cells, strings.Join(first, "; "))
}
