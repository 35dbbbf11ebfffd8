package retrieval

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
)

// A folder of embeddings has clip-retrieval's layout:
//
//	image_emb/image_emb_0.npy    float32 [n, E], unit length; and audio_emb, text_emb
//	metadata/metadata_0.parquet  a line for each input row
//
// with a number for each partition, zero-padded to the width of the last.
// Where every row has every modality, row i of each file is row i of the
// metadata, as clip-retrieval expects.

func vectorsPath(dir, modality, part string) string {
	return filepath.Join(dir, modality+"_emb", fmt.Sprintf("%s_emb_%s.npy", modality, part))
}

func metadataPath(dir, part string) string {
	return filepath.Join(dir, "metadata", fmt.Sprintf("metadata_%s.parquet", part))
}

var metadataName = regexp.MustCompile(`^metadata_(\d+)\.parquet$`)

// Open reads a folder of embeddings into an index that is searched by the
// given number of threads (0: one for each processor).
func Open(dir string, threads int) (*Index, error) {
	files, err := filepath.Glob(metadataPath(dir, "*"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var ix *Index
	for _, file := range files {
		m := metadataName.FindStringSubmatch(filepath.Base(file))
		if m == nil {
			continue
		}
		rows, err := readMetadata(file)
		if err != nil {
			return nil, err
		}
		if ix, err = addPartition(ix, dir, m[1], rows, threads); err != nil {
			return nil, err
		}
	}
	if ix == nil {
		return nil, fmt.Errorf("%s: no embeddings (expected metadata/metadata_0.parquet, as mmembed embed writes)", dir)
	}
	return ix, nil
}

func addPartition(ix *Index, dir, part string, rows []row, threads int) (*Index, error) {
	var names []string
	for _, r := range rows {
		for name, at := range r.rows {
			if at >= 0 && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	for _, name := range names {
		path := vectorsPath(dir, name, part)
		vectors, dim, err := readNPY(path)
		if err != nil {
			return nil, err
		}
		if ix == nil {
			ix = NewIndex(dim, threads)
		}
		if dim != ix.dim {
			return nil, fmt.Errorf("%s: vectors of %d values, expected %d as in the folder's other files", path, dim, ix.dim)
		}
		entries := make([]Entry, len(vectors)/dim)
		filled := make([]bool, len(entries))
		for i, r := range rows {
			at := r.rows[name]
			if at < 0 {
				continue
			}
			if at >= int64(len(entries)) || filled[at] {
				return nil, fmt.Errorf("%s: row %d points at vector %d of the %d in %s", metadataPath(dir, part), i, at, len(entries), path)
			}
			entries[at] = Entry{ID: r.id, Modality: name, Path: r.paths[name], Text: r.caption, Lang: r.lang}
			filled[at] = true
		}
		if i := slices.Index(filled, false); i >= 0 {
			return nil, fmt.Errorf("%s: vector %d has no row in %s", path, i, metadataPath(dir, part))
		}
		if err := ix.Add(vectors, entries); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	if ix == nil && len(rows) == 0 {
		return nil, nil
	}
	return ix, nil
}

// Save writes an index as a folder of embeddings, a row for each entry.
func (ix *Index) Save(dir string) error {
	var rows []row
	for _, name := range ix.names {
		s := ix.segments[name]
		for i, e := range s.entries {
			r := row{id: e.ID, lang: e.Lang, caption: e.Text, paths: map[string]string{name: e.Path}, rows: map[string]int64{}}
			for _, other := range ix.names {
				r.rows[other] = -1
			}
			r.rows[name] = int64(i)
			rows = append(rows, r)
		}
		if err := writeNPY(vectorsPath(dir, name, "0"), s.vectors, ix.dim); err != nil {
			return err
		}
	}
	return writeMetadata(metadataPath(dir, "0"), ix.names, rows)
}
