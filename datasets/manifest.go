package datasets

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/onetrunk/onetrunk/modalities"
)

// manifest is a Source behind a file of rows.
type manifest struct {
	name, path string
	items      []Item
	columns    map[string]column // by modality, those that occur
}

// openManifest reads the manifest at path; name is what the user called it.
func openManifest(name, path, split string) (*manifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t := newTable(path)
	if err := t.read(f); err != nil {
		return nil, err
	}
	if split, err = t.choose(split); err != nil {
		return nil, err
	}
	m := &manifest{name: name, path: path, items: t.list(split), columns: map[string]column{}}
	if split != "" {
		m.name += "#" + split
	}
	for c := range m.cells() {
		if _, ok := m.columns[c.Modality]; !ok {
			i := slices.IndexFunc(t.columns, func(col column) bool { return col.modality == c.Modality })
			m.columns[c.Modality] = t.columns[i]
		}
	}
	return m, m.checkFiles()
}

// cells walks over all cells, and the lines of their rows.
func (m *manifest) cells() iter.Seq2[Cell, int] {
	return func(yield func(Cell, int) bool) {
		for _, it := range m.items {
			for _, r := range it.Rows {
				for _, c := range r.Cells {
					if !yield(c, r.Line) {
						return
					}
				}
			}
		}
	}
}

// looked is the number of files that checkFiles looks for.
const looked = 32

// checkFiles refuses a manifest whose first files are all absent: it has been
// moved, or its paths start elsewhere. Single absent files are bad rows.
func (m *manifest) checkFiles() error {
	n, first := 0, ""
	for c := range m.cells() {
		if m.columns[c.Modality].holds != cellFile {
			continue
		}
		path := m.file(c)
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if n++; n == 1 {
			first = path
		}
		if n == looked {
			break
		}
	}
	if n == 0 {
		return nil
	}
	return fmt.Errorf("%s: none of the first %d files exists, such as %s (relative paths start at the manifest's folder)", m.path, n, first)
}

// file returns the path of a cell's file.
func (m *manifest) file(c Cell) string {
	if filepath.IsAbs(c.Ref) {
		return c.Ref
	}
	return filepath.Join(filepath.Dir(m.path), c.Ref)
}

func (m *manifest) Name() string { return m.name }

func (m *manifest) Modalities() []string {
	var names []string
	for n := range m.columns {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func (m *manifest) Len() int { return len(m.items) }

func (m *manifest) Item(i int) *Item { return &m.items[i] }

func (m *manifest) Load(c Cell, p modalities.Processor) (modalities.Value, error) {
	v, err := m.load(c, p)
	if err != nil {
		return nil, fmt.Errorf("%s: line %d, column %q: %w", m.path, m.line(c), m.columns[c.Modality].name, err)
	}
	return v, nil
}

func (m *manifest) load(c Cell, p modalities.Processor) (modalities.Value, error) {
	if m.columns[c.Modality].holds == cellInline {
		return p.Decode(strings.NewReader(c.Ref), shown(c.Ref))
	}
	path := m.file(c)
	// A folder, or a pipe that nobody writes to, is not opened.
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return p.Decode(f, path)
}

// line returns the line of the first row that has the cell. It goes through
// all rows; only errors ask.
func (m *manifest) line(c Cell) int {
	for have, line := range m.cells() {
		if have == c {
			return line
		}
	}
	return 0
}

// shown returns the beginning of a text, quoted, for messages.
func shown(text string) string {
	const most = 60
	if r := []rune(text[:min(len(text), 4*most)]); len(r) > most {
		text = string(r[:most]) + "…"
	}
	return strconv.Quote(text)
}
