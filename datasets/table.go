package datasets

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/onetrunk/onetrunk/internal/strictjson"
	"github.com/onetrunk/onetrunk/modalities"
)

// table gathers the rows of a manifest, whatever its format. It keeps cells
// in one list and rows without pointers into it, so that a million rows are
// few allocations.
type table struct {
	path    string
	columns []column
	index   map[string]int // of a column, by its name in the file

	cells  []Cell
	rows   []tableRow
	hasIDs bool
	ids    []string          // of each item
	items  map[string]int    // by id, or by path where rows have no ids
	words  map[string]string // the splits and languages
}

type tableRow struct {
	item, line, end int // end of its cells; they begin where the row before ends
	split, lang     string
}

// holds says what a column is for.
type holds int

const (
	ignored holds = iota
	rowID
	rowSplit
	rowLang
	cellFile
	cellInline
)

type column struct {
	name     string // in the file
	holds    holds
	modality string // of cells
	last     string // the last cell: a picture with five captions is one string
}

// habits are the names that OpenCLIP's manifests use.
var habits = map[string]string{"filepath": "image", "title": "text", "caption": "text"}

func newTable(path string) *table {
	return &table{path: path, index: map[string]int{}, items: map[string]int{}, words: map[string]string{}}
}

func (t *table) errorf(line int, format string, args ...any) error {
	return fmt.Errorf("%s: line %d: %w", t.path, line, fmt.Errorf(format, args...))
}

// column returns the index of the column of that name, a new one where there
// was none. A name that means nothing, or what another column means, is an
// error.
func (t *table) column(line int, name string) (int, error) {
	if i, ok := t.index[name]; ok {
		return i, nil
	}
	c := column{name: name}
	means := name
	if m, ok := habits[name]; ok {
		means = m
	}
	switch m, err := modalities.Lookup(means); {
	case name == "id":
		c.holds = rowID
	case name == "split":
		c.holds = rowSplit
	case name == "lang":
		c.holds = rowLang
	case name == "note" || strings.HasPrefix(name, "x_"):
		c.holds = ignored
	case err != nil:
		return 0, t.errorf(line, "%s", unknownColumn(name))
	case m.Inline():
		c.holds, c.modality = cellInline, means
	default:
		c.holds, c.modality = cellFile, means
	}
	for _, other := range t.columns {
		if c.modality != "" && other.modality == c.modality {
			return 0, t.errorf(line, "columns %q and %q both hold the %s", other.name, name, c.modality)
		}
	}
	t.index[name] = len(t.columns)
	t.columns = append(t.columns, c)
	return t.index[name], nil
}

// knownColumns lists the names a column may have, sorted.
func knownColumns() []string {
	known := append(modalities.Names(), "id", "split", "lang", "note")
	for name, means := range habits {
		if _, err := modalities.Lookup(means); err == nil {
			known = append(known, name)
		}
	}
	slices.Sort(known)
	return known
}

func unknownColumn(name string) string {
	known := knownColumns()
	if near := strictjson.Nearest(name, known); near != "" && name != "" {
		return fmt.Sprintf("unknown column %q (did you mean %q? a name that begins with x_ is ignored)", name, near)
	}
	return fmt.Sprintf("unknown column %q (known: %s; a name that begins with x_ is ignored)", name, strings.Join(known, ", "))
}

// readDelimited reads a manifest with a header line.
func (t *table) readDelimited(r io.Reader, sep byte) error {
	d := newDelimited(r, sep)
	cells, line, err := d.next(nil)
	if err == io.EOF {
		return fmt.Errorf("%s: empty, expected a line with the names of the columns", t.path)
	}
	if err != nil {
		return t.errorf(line, "%w", err)
	}
	for i, name := range cells {
		at, err := t.column(line, string(bytes.TrimSpace(name)))
		if err != nil {
			return err
		}
		if at != i {
			return t.errorf(line, "column %q is given twice", t.columns[at].name)
		}
	}
	if !slices.ContainsFunc(t.columns, func(c column) bool { return c.modality != "" }) {
		return t.errorf(line, "no column holds a modality (known: %s)", strings.Join(knownColumns(), ", "))
	}
	for {
		cells, line, err = d.next(cells)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return t.errorf(line, "%w", err)
		}
		if len(cells) != len(t.columns) {
			return t.errorf(line, "%d cells, expected %d (%s)", len(cells), len(t.columns), t.columnNames(func(column) bool { return true }))
		}
		if err := t.add(line, cells); err != nil {
			return err
		}
	}
}

func (t *table) columnNames(want func(column) bool) string {
	var names []string
	for _, c := range t.columns {
		if want(c) {
			names = append(names, c.name)
		}
	}
	return strings.Join(names, ", ")
}

// add appends a row of one value a column, empty where it is missing.
func (t *table) add(line int, values [][]byte) error {
	row := tableRow{line: line}
	var id, file string
	begin := len(t.cells)
	for i, v := range values {
		if len(bytes.TrimSpace(v)) == 0 {
			continue
		}
		switch c := &t.columns[i]; c.holds {
		case rowID:
			id = string(v)
		case rowSplit:
			row.split = t.word(v)
		case rowLang:
			row.lang = t.word(v)
		case cellFile, cellInline:
			ref := c.ref(v)
			t.cells = append(t.cells, Cell{Modality: c.modality, Ref: ref})
			if c.holds == cellFile && file == "" {
				file = ref
			}
		}
	}
	if len(t.cells) == begin {
		return t.errorf(line, "no value in any of the columns %s", t.columnNames(func(c column) bool { return c.modality != "" }))
	}
	if err := t.checkID(line, id != ""); err != nil {
		return err
	}
	row.item, row.end = t.item(id, file, line), len(t.cells)
	t.rows = append(t.rows, row)
	return nil
}

// ref returns a cell's text, or its path in the shortest form.
func (c *column) ref(v []byte) string {
	if string(v) == c.last {
		return c.last
	}
	ref := string(v)
	if c.holds == cellFile {
		ref = filepath.Clean(ref)
	}
	c.last = ref
	return ref
}

// word returns a text of which there are few, as one string.
func (t *table) word(v []byte) string {
	if w, ok := t.words[string(v)]; ok {
		return w
	}
	w := string(v)
	t.words[w] = w
	return w
}

// checkID makes sure that all rows have an id or none has: a row whose id was
// forgotten would silently stand alone.
func (t *table) checkID(line int, has bool) error {
	if len(t.rows) == 0 {
		t.hasIDs = has
	}
	switch {
	case has && !t.hasIDs:
		return t.errorf(line, "column \"id\": the row has an id, the row in line %d has none", t.rows[0].line)
	case !has && t.hasIDs:
		return t.errorf(line, "column \"id\": the row has no id, the row in line %d has one", t.rows[0].line)
	}
	return nil
}

// item returns the number of the item that a row belongs to: that of its id,
// else of its first file, else one of its own.
func (t *table) item(id, file string, line int) int {
	key := id
	if key == "" {
		key = file
	}
	if key == "" {
		t.ids = append(t.ids, fmt.Sprintf("line %d", line))
		return len(t.ids) - 1
	}
	i, ok := t.items[key]
	if !ok {
		i = len(t.ids)
		t.items[key] = i
		t.ids = append(t.ids, key)
	}
	return i
}

// choose returns the split to keep: the one that was asked for, or train, or
// "" for all rows.
func (t *table) choose(split string) (string, error) {
	if len(t.rows) == 0 {
		return "", fmt.Errorf("%s: no rows", t.path)
	}
	sizes := map[string]int{}
	for _, r := range t.rows {
		if r.split != "" {
			sizes[r.split]++
		}
	}
	switch {
	case split == "" && sizes["train"] > 0:
		return "train", nil
	case split == "" || sizes[split] > 0:
		return split, nil
	case len(sizes) == 0:
		return "", fmt.Errorf("%s: no split %q: the rows have no split (a column %q would say)", t.path, split, "split")
	}
	var have []string
	for name, n := range sizes {
		have = append(have, fmt.Sprintf("%s with %d rows", name, n))
	}
	slices.Sort(have)
	return "", fmt.Errorf("%s: no split %q (there is %s)", t.path, split, strings.Join(have, ", "))
}

// list returns the items of a split ("" for all rows), in the order of their
// first rows.
func (t *table) list(split string) []Item {
	kept := func(r tableRow) bool { return split == "" || r.split == split }
	counts := make([]int, len(t.ids)) // rows of each item
	cells := 0
	rows, begin := 0, 0
	for _, r := range t.rows {
		if kept(r) {
			counts[r.item]++
			cells += r.end - begin
			rows++
		}
		begin = r.end
	}
	// One list of rows and one of cells behind all items.
	allRows, allCells := make([]Row, rows), make([]Cell, 0, cells)
	number := make([]int, len(t.ids)) // of each item, its place in items, from 1
	var items []Item
	begin, rows = 0, 0
	for _, r := range t.rows {
		if kept(r) {
			if number[r.item] == 0 {
				end := rows + counts[r.item]
				items = append(items, Item{ID: t.ids[r.item], Rows: allRows[rows:rows:end]})
				number[r.item] = len(items)
				rows = end
			}
			at := len(allCells)
			allCells = append(allCells, t.cells[begin:r.end]...)
			it := &items[number[r.item]-1]
			it.Rows = append(it.Rows, Row{Cells: allCells[at:len(allCells):len(allCells)], Lang: r.lang, Line: r.line})
		}
		begin = r.end
	}
	return items
}

// read reads a manifest in the format that its name ends with.
func (t *table) read(r io.Reader) error {
	switch strings.ToLower(filepath.Ext(t.path)) {
	case ".csv":
		return t.readDelimited(r, ',')
	case ".tsv":
		return t.readDelimited(r, '\t')
	case ".jsonl":
		return t.readJSONL(r)
	}
	return errors.New(t.path + ": expected a manifest that ends in .csv, .tsv or .jsonl, or a folder that holds one")
}
