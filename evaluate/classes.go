package evaluate

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/internal/strictjson"
	"github.com/onetrunk/onetrunk/modalities"
)

// namesFile may stand in a folder of classes: one JSON object with the name of
// every class by its folder, {"n01440764": "tench"}. It may name more.
const namesFile = "classes.json"

// Class is one of the folders in a folder of classes. Name is what it is
// called in words: what classes.json says, or else the folder's name with
// spaces for underscores.
type Class struct {
	Folder, Name string
}

// Classes is a folder of labelled files, DIR/CLASS/FILE, of one modality. It is
// a source with an item for each file, by class and then by name.
type Classes struct {
	dir, modality string
	classes       []Class
	items         []datasets.Item
	labels        []int
}

// OpenClasses opens a folder of classes. Of each class it takes the files of
// the modality that is asked for, those in folders below too; without one
// ("") the files must be of one modality, beside texts. Files are recognised
// by their names, and by their first bytes where a name says nothing. Names
// that begin with a dot are passed over.
func OpenClasses(dir, modality string) (*Classes, error) {
	if modality != "" {
		if _, err := modalities.Lookup(modality); err != nil {
			return nil, err
		}
	}
	folders, err := foldersIn(dir)
	if err != nil {
		return nil, err
	}
	c := &Classes{dir: dir, modality: modality}
	if c.classes, err = nameClasses(dir, folders); err != nil {
		return nil, err
	}
	files := make([]map[string][]string, len(folders)) // by modality
	found := map[string]int{}
	for i, folder := range folders {
		if files[i], err = filesIn(dir, folder); err != nil {
			return nil, err
		}
		for m, of := range files[i] {
			found[m] += len(of)
		}
	}
	if c.modality == "" {
		if c.modality, err = onlyModality(dir, found); err != nil {
			return nil, err
		}
	}
	var empty []string
	for i, folder := range folders {
		of := files[i][c.modality]
		if len(of) == 0 {
			empty = append(empty, folder)
		}
		for _, file := range of {
			cell := datasets.Cell{Modality: c.modality, Ref: file}
			c.items = append(c.items, datasets.Item{ID: file, Rows: []datasets.Row{{Cells: []datasets.Cell{cell}}}})
			c.labels = append(c.labels, i)
		}
	}
	if len(empty) > 0 {
		return nil, fmt.Errorf("%s: no %s files in %s", dir, c.modality, few(empty))
	}
	return c, nil
}

// foldersIn lists the folders of the classes, sorted.
func foldersIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var folders []string
	for _, e := range entries {
		if hidden(e.Name()) {
			continue
		}
		if info, err := os.Stat(filepath.Join(dir, e.Name())); err == nil && info.IsDir() {
			folders = append(folders, e.Name())
		}
	}
	if len(folders) < 2 {
		return nil, fmt.Errorf("%s: expected a folder for each of at least two classes, as in %s, found %d", dir, filepath.Join(dir, "CLASS", "FILE"), len(folders))
	}
	return folders, nil
}

func hidden(name string) bool { return strings.HasPrefix(name, ".") }

// nameClasses finds the names of the classes, which must differ.
func nameClasses(dir string, folders []string) ([]Class, error) {
	path := filepath.Join(dir, namesFile)
	var names map[string]string
	switch data, err := os.ReadFile(path); {
	case err == nil:
		if err := strictjson.Unmarshal(path, data, &names); err != nil {
			return nil, err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	classes := make([]Class, len(folders))
	folderOf := map[string]string{}
	for i, folder := range folders {
		name := strings.ReplaceAll(folder, "_", " ")
		if names != nil {
			name = names[folder]
		}
		name = strings.TrimSpace(name)
		if name == "" {
			return nil, fmt.Errorf("%s: no name for the folder %q", path, folder)
		}
		if other, taken := folderOf[name]; taken {
			return nil, fmt.Errorf("%s: the folders %q and %q are both called %q; %s can tell them apart", dir, other, folder, name, namesFile)
		}
		folderOf[name] = folder
		classes[i] = Class{folder, name}
	}
	return classes, nil
}

// filesIn lists the files below DIR/FOLDER by modality, as paths from dir with
// slashes, sorted. Links to files count as files, links to folders do not
// count.
func filesIn(dir, folder string) (map[string][]string, error) {
	root, err := filepath.EvalSymlinks(filepath.Join(dir, folder))
	if err != nil {
		return nil, err
	}
	files := map[string][]string{}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path != root && hidden(d.Name()) {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if !isFile(path, d) {
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if m := recognise(path); m != nil {
			files[m.Name()] = append(files[m.Name()], filepath.ToSlash(filepath.Join(folder, rel)))
		}
		return nil
	})
	return files, err
}

// isFile reports whether an entry is a file or leads to one. A link that leads
// nowhere is one that cannot be read.
func isFile(path string, d fs.DirEntry) bool {
	if d.Type()&fs.ModeSymlink == 0 {
		return d.Type().IsRegular()
	}
	info, err := os.Stat(path)
	return err != nil || info.Mode().IsRegular()
}

// recognise returns the modality of a file, nil if none claims it.
func recognise(path string) modalities.Modality {
	if m := modalities.Recognise(path, nil); m != nil {
		return m
	}
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	head := make([]byte, 512)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return modalities.Recognise(path, head[:n])
}

// onlyModality returns the one modality among the files. Texts beside others
// are taken for notes.
func onlyModality(dir string, found map[string]int) (string, error) {
	var files, inline, counts []string
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if m, err := modalities.Lookup(name); err == nil && m.Inline() {
			inline = append(inline, name)
			continue
		}
		files = append(files, name)
		counts = append(counts, fmt.Sprintf("%d %s", found[name], name))
	}
	if len(files) == 0 {
		files = inline
	}
	switch len(files) {
	case 0:
		return "", fmt.Errorf("%s: no files of a modality that is known %v", dir, modalities.Names())
	case 1:
		return files[0], nil
	}
	return "", fmt.Errorf("%s: holds %s files: say which to read (--modality)", dir, strings.Join(counts, " and "))
}

// few lists the first of some names.
func few(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// Classes returns the classes, sorted by folder.
func (c *Classes) Classes() []Class { return c.classes }

// Modality returns the modality of the files.
func (c *Classes) Modality() string { return c.modality }

// Label returns the class of item i, an index into Classes.
func (c *Classes) Label(i int) int { return c.labels[i] }

// Path returns the path of a cell's file.
func (c *Classes) Path(cell datasets.Cell) string {
	return filepath.Join(c.dir, filepath.FromSlash(cell.Ref))
}

// Name, Modalities, Len, Item and Load make it a datasets.Source.

func (c *Classes) Name() string              { return c.dir }
func (c *Classes) Modalities() []string      { return []string{c.modality} }
func (c *Classes) Len() int                  { return len(c.items) }
func (c *Classes) Item(i int) *datasets.Item { return &c.items[i] }

func (c *Classes) Load(cell datasets.Cell, p modalities.Processor) (modalities.Value, error) {
	path := c.Path(cell)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return p.Decode(f, path)
}
