package retrieval

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/onetrunk/onetrunk/internal/atomicfile"
	"github.com/onetrunk/onetrunk/internal/mapfile"
	"github.com/onetrunk/onetrunk/internal/strictjson"
)

// A folder of embeddings has clip-retrieval's layout:
//
//	image_emb/image_emb_0.npy    float32 [n, E], unit length; and audio_emb, text_emb
//	metadata/metadata_0.parquet  a line for each input row
//	embed.json                   whose vectors these are
//
// with a number for each partition, zero-padded to the width of the last.
// Where every row has every modality, row i of each file is row i of the
// metadata, as clip-retrieval expects. A partition's metadata is written last:
// where it is, the partition is whole.

func vectorsPath(dir, modality, part string) string {
	return filepath.Join(dir, modality+"_emb", fmt.Sprintf("%s_emb_%s.npy", modality, part))
}

func metadataPath(dir, part string) string {
	return filepath.Join(dir, "metadata", fmt.Sprintf("metadata_%s.parquet", part))
}

func statePath(dir string) string { return filepath.Join(dir, "embed.json") }

// state is what embed.json says of the embeddings beside it.
type state struct {
	// Model is the fingerprint of the weights, "" where it is not known.
	Model string `json:"model"`
	// Source is the digest of the rows that EmbedSource was given, "" in a
	// folder that Index.Save wrote.
	Source        string `json:"source,omitempty"`
	Rows          int    `json:"rows,omitempty"`
	PartitionRows int    `json:"partition_rows,omitempty"`
}

// readState reads embed.json; a folder without one has nothing to say.
func readState(dir string) (s state, err error) {
	data, err := os.ReadFile(statePath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	return s, strictjson.Unmarshal(statePath(dir), data, &s)
}

func (s state) write(dir string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(statePath(dir), append(data, '\n'))
}

var metadataName = regexp.MustCompile(`^metadata_(\d+)\.parquet$`)

// partitions lists the numbers of a folder's partitions in order.
func partitions(dir string) ([]string, error) {
	files, err := os.ReadDir(filepath.Join(dir, "metadata"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var parts []string
	for _, f := range files {
		if m := metadataName.FindStringSubmatch(f.Name()); m != nil {
			parts = append(parts, m[1])
		}
	}
	return parts, nil // ReadDir sorts
}

// Open opens a folder of embeddings as an index that is searched by the given
// number of threads (0: one for each processor). The vectors stay in their
// files, mapped into memory, until the index is closed. A folder whose
// embedding was not finished is an error, as is a file that is damaged or
// does not fit the others.
func Open(dir string, threads int) (*Index, error) {
	ix := NewIndex(0, threads)
	if err := ix.open(dir); err != nil {
		ix.Close()
		return nil, err
	}
	return ix, nil
}

func (ix *Index) open(dir string) error {
	s, err := readState(dir)
	if err != nil {
		return err
	}
	ix.Model = s.Model
	parts, err := partitions(dir)
	if err != nil {
		return err
	}
	if len(parts) == 0 {
		return fmt.Errorf("%s: no embeddings (expected metadata/metadata_0.parquet, as mmembed embed writes)", dir)
	}
	rows := 0
	for _, part := range parts {
		t, err := readTable(metadataPath(dir, part))
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(t.cells)) {
			if err := ix.addFile(dir, part, name, t); err != nil {
				return err
			}
		}
		rows += t.n
	}
	switch {
	case s.Source != "" && rows != s.Rows:
		return fmt.Errorf("%s: %d of %d rows are embedded; a rerun of mmembed embed finishes", dir, rows, s.Rows)
	case ix.dim == 0:
		return fmt.Errorf("%s: none of the %d rows has a vector", dir, rows)
	}
	return nil
}

// addFile adds the vectors of one modality of a partition.
func (ix *Index) addFile(dir, part, name string, t *table) error {
	c := t.cells[name]
	if !slices.ContainsFunc(c.row, func(at int64) bool { return at >= 0 }) {
		return nil
	}
	path := vectorsPath(dir, name, part)
	vectors, dim, file, err := openNPY(path)
	if err != nil {
		return err
	}
	ix.files = append(ix.files, file)
	if ix.dim == 0 {
		ix.dim = dim
	}
	if dim != ix.dim {
		return fmt.Errorf("%s: vectors of %d values, expected %d as in the folder's other files", path, dim, ix.dim)
	}
	entries := make([]Entry, len(vectors)/dim)
	filled := make([]bool, len(entries))
	for i, at := range c.row {
		if at == -1 {
			continue
		}
		if at < -1 || at >= int64(len(entries)) {
			return fmt.Errorf("%s: row %d points at vector %d of the %d in %s", metadataPath(dir, part), i, at, len(entries), path)
		}
		if filled[at] {
			return fmt.Errorf("%s: row %d is the second that points at vector %d in %s", metadataPath(dir, part), i, at, path)
		}
		entries[at] = Entry{ID: t.id[i], Modality: name, Path: c.path[i], Text: t.caption[i], Lang: t.lang[i], Split: t.split[i]}
		filled[at] = true
	}
	if i := slices.Index(filled, false); i >= 0 {
		return fmt.Errorf("%s: vector %d has no row in %s", path, i, metadataPath(dir, part))
	}
	if err := ix.check(vectors, entries); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	ix.segment(name).add(chunk{vectors: vectors, entries: entries, mapped: true})
	return nil
}

// hasVectors reports whether the files of a partition hold a vector for each
// row that the table says has one.
func (t *table) hasVectors(dir, part string, dim int) bool {
	for name, c := range t.cells {
		want := 0
		for _, at := range c.row {
			if at >= 0 {
				want++
			}
		}
		if want == 0 {
			continue
		}
		var f *mapfile.File
		vectors, has, f, err := openNPY(vectorsPath(dir, name, part))
		if err != nil {
			return false
		}
		f.Close()
		if has != dim || len(vectors) != want*dim {
			return false
		}
	}
	return true
}

// Save writes an index as a folder of embeddings, a row for each entry. The
// folder must not hold embeddings yet.
func (ix *Index) Save(dir string) error {
	parts, err := partitions(dir)
	if err != nil {
		return err
	}
	old, err := readState(dir)
	if err != nil {
		return err
	}
	if len(parts) > 0 || old.Source != "" {
		return fmt.Errorf("%s holds embeddings already: take another folder", dir)
	}
	if err := (state{Model: ix.Model}).write(dir); err != nil {
		return err
	}
	t := newTable(ix.Len(""), ix.names)
	i := 0
	for _, name := range ix.names {
		vectors := make([][]float32, 0, ix.Len(name))
		for _, c := range ix.segments[name].chunks {
			for j, e := range c.entries {
				t.id[i], t.split[i], t.lang[i], t.caption[i] = e.ID, e.Split, e.Lang, e.Text
				t.cells[name].path[i], t.cells[name].row[i] = e.Path, int64(len(vectors))
				vectors = append(vectors, c.vectors[j*ix.dim:(j+1)*ix.dim])
				i++
			}
		}
		if err := writeNPY(vectorsPath(dir, name, "0"), ix.dim, vectors); err != nil {
			return err
		}
	}
	return t.write(metadataPath(dir, "0"))
}
