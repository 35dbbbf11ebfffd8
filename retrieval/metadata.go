package retrieval

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"

	"github.com/onetrunk/onetrunk/internal/atomicfile"
	"github.com/onetrunk/onetrunk/internal/mapfile"
)

// table is the metadata of a partition: what its input rows were, by column.
//
// As parquet: id, split, lang, caption, and for each modality M the columns
// M_path (empty for a value that stands in the manifest) and M_row (the place
// of the value's vector in the modality's .npy file, -1 without one).
type table struct {
	n                        int
	id, split, lang, caption []string
	cells                    map[string]*cells // by modality
}

// cells is what a table says of one modality.
type cells struct {
	path []string
	row  []int64
}

// newTable makes a table of n empty rows.
func newTable(n int, modalities []string) *table {
	t := &table{n: n, cells: map[string]*cells{}}
	for _, c := range []*[]string{&t.id, &t.split, &t.lang, &t.caption} {
		*c = make([]string, n)
	}
	for _, name := range modalities {
		t.column(name)
	}
	return t
}

// column returns a modality's part, which it makes where there is none.
func (t *table) column(modality string) *cells {
	c := t.cells[modality]
	if c == nil {
		c = &cells{path: make([]string, t.n), row: make([]int64, t.n)}
		for i := range c.row {
			c.row[i] = -1
		}
		t.cells[modality] = c
	}
	return c
}

// columnName matches M_path and M_row.
var columnName = regexp.MustCompile(`^([\w-]+)_(path|row)$`)

// strings returns the column of strings that a name stands for, nil for
// another's; whole numbers likewise. Both make the columns of a modality.
func (t *table) strings(name string) []string {
	switch name {
	case "id":
		return t.id
	case "split":
		return t.split
	case "lang":
		return t.lang
	case "caption":
		return t.caption
	}
	if m := columnName.FindStringSubmatch(name); m != nil && m[2] == "path" {
		return t.column(m[1]).path
	}
	return nil
}

func (t *table) numbers(name string) []int64 {
	if m := columnName.FindStringSubmatch(name); m != nil && m[2] == "row" {
		return t.column(m[1]).row
	}
	return nil
}

// write writes a table as parquet, whole or not at all.
func (t *table) write(path string) error {
	group := parquet.Group{}
	for _, name := range []string{"id", "split", "lang", "caption"} {
		group[name] = parquet.String()
	}
	for m := range t.cells {
		group[m+"_path"] = parquet.String()
		group[m+"_row"] = parquet.Int(64)
	}
	schema := parquet.NewSchema("metadata", group)
	var value []func(i int) parquet.Value
	for _, leaf := range schema.Columns() {
		if s := t.strings(leaf[0]); s != nil {
			value = append(value, func(i int) parquet.Value { return parquet.ByteArrayValue([]byte(s[i])) })
		} else {
			n := t.numbers(leaf[0])
			value = append(value, func(i int) parquet.Value { return parquet.Int64Value(n[i]) })
		}
	}
	return atomicfile.Write(path, func(w io.Writer) error {
		pw := parquet.NewWriter(w, schema)
		row := make(parquet.Row, len(value))
		for i := range t.n {
			for c, f := range value {
				row[c] = f(i).Level(0, 0, c)
			}
			if _, err := pw.WriteRows([]parquet.Row{row}); err != nil {
				return err
			}
		}
		return pw.Close()
	})
}

// readTable reads a table; columns of other names are passed over.
func readTable(path string) (*table, error) {
	f, err := mapfile.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t, err := parseTable(f.Data)
	if err != nil {
		return nil, fmt.Errorf("%s: %s", path, strings.ReplaceAll(err.Error(), "\n", " "))
	}
	return t, nil
}

func parseTable(data []byte) (t *table, err error) {
	defer func() { // the parquet reader panics on some damaged files
		if e := recover(); e != nil {
			t, err = nil, fmt.Errorf("damaged: %v", e)
		}
	}()
	// A file ends with its footer, the footer's length and a magic string. The
	// parquet reader believes any length.
	end := len(data) - 8
	if end < 4 || string(data[end+4:]) != "PAR1" || int64(binary.LittleEndian.Uint32(data[end:])) > int64(end-4) {
		return nil, errors.New("not a whole parquet file")
	}
	f, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	if f.NumRows() < 0 || f.NumRows() > 1024*int64(len(data)) {
		return nil, fmt.Errorf("damaged: %d rows in %d bytes", f.NumRows(), len(data))
	}
	var names []string
	for _, c := range f.Schema().Columns() {
		names = append(names, strings.Join(c, "."))
	}
	for _, want := range []string{"id", "caption"} {
		if !slices.Contains(names, want) {
			return nil, fmt.Errorf("no column %q among %v", want, names)
		}
	}
	t = newTable(int(f.NumRows()), nil)
	first := 0
	for _, g := range f.RowGroups() {
		n := int(g.NumRows())
		if n < 0 || n > t.n-first {
			return nil, fmt.Errorf("damaged: groups of more rows than the file's %d", t.n)
		}
		for i, chunk := range g.ColumnChunks() {
			if err := t.read(names[i], chunk, first, first+n); err != nil {
				return nil, fmt.Errorf("column %q: %w", names[i], err)
			}
		}
		first += n
	}
	if first != t.n {
		return nil, fmt.Errorf("damaged: groups of %d rows in a file of %d", first, t.n)
	}
	return t, nil
}

// read fills rows [lo, hi) of the column of a name, if it is one of ours.
func (t *table) read(name string, chunk parquet.ColumnChunk, lo, hi int) error {
	if hi == lo {
		return nil
	}
	kind, words, numbers := chunk.Type().Kind(), t.strings(name), t.numbers(name)
	switch {
	case words == nil && numbers == nil:
		return nil
	case words != nil && kind != parquet.ByteArray:
		return fmt.Errorf("expected strings, found %v", chunk.Type())
	case numbers != nil && kind != parquet.Int64:
		return fmt.Errorf("expected 64-bit whole numbers, found %v", chunk.Type())
	}
	at := lo
	err := eachValue(chunk, func(v parquet.Value) error {
		switch {
		case at == hi || v.RepetitionLevel() > 0:
			return errors.New("more values than rows")
		case v.IsNull():
		case words != nil:
			words[at] = v.String()
		default:
			numbers[at] = v.Int64()
		}
		at++
		return nil
	})
	if err == nil && at != hi {
		err = fmt.Errorf("%d values for %d rows", at-lo, hi-lo)
	}
	return err
}

// eachValue calls f for the values of a column.
func eachValue(chunk parquet.ColumnChunk, f func(parquet.Value) error) error {
	pages := chunk.Pages()
	defer pages.Close()
	var buf [256]parquet.Value
	for {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		values := page.Values()
		for more := true; more; {
			n, err := values.ReadValues(buf[:])
			for _, v := range buf[:n] {
				if err := f(v); err != nil {
					return err
				}
			}
			if err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			more = err == nil
		}
		parquet.Release(page)
	}
}
