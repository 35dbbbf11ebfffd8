package datasets

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/onetrunk/onetrunk/modalities"
)

// folder is a Source of the files of a folder without a manifest: each file
// that a modality recognises by its name is an item, called by its path within
// the folder.
type folder struct {
	dir   string
	names []string // of the modalities that occur, sorted
	items []Item
}

// openFolder lists the files of a folder and those below it, by path. Names
// that begin with a dot are passed over, and links to folders.
func openFolder(dir string) (*folder, error) {
	f := &folder{dir: dir}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path != dir && strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			return nil
		}
		m := modalities.Recognise(path, nil)
		if m == nil {
			return nil
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		f.items = append(f.items, Item{ID: rel, Rows: []Row{{Cells: []Cell{{Modality: m.Name(), Ref: rel}}}}})
		if !slices.Contains(f.names, m.Name()) {
			f.names = append(f.names, m.Name())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(f.items) == 0 {
		return nil, fmt.Errorf("%s: neither a manifest (manifest.tsv, .csv or .jsonl) nor a file of a known modality %v", dir, modalities.Names())
	}
	slices.Sort(f.names)
	return f, nil
}

// Name, Modalities, Len, Item and Load make it a Source.

func (f *folder) Name() string         { return f.dir }
func (f *folder) Modalities() []string { return f.names }
func (f *folder) Len() int             { return len(f.items) }
func (f *folder) Item(i int) *Item     { return &f.items[i] }

func (f *folder) Load(c Cell, p modalities.Processor) (modalities.Value, error) {
	path := filepath.Join(f.dir, filepath.FromSlash(c.Ref))
	r, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return p.Decode(r, path)
}
