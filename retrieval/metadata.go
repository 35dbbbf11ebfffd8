package retrieval

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"

	"github.com/onetrunk/onetrunk/internal/atomicfile"
)

// row is a line of the metadata: what an input row was, and for each modality
// the place of its vector in that modality's .npy file, -1 without one.
//
// As parquet: id, lang, caption, and for each modality M the columns M_path
// (empty for a text that stands in a manifest) and M_row.
type row struct {
	id, lang, caption string
	paths             map[string]string
	rows              map[string]int64
}

// columns lists the metadata's columns, sorted as parquet keeps them.
func columns(modalities []string) []string {
	names := []string{"id", "lang", "caption"}
	for _, m := range modalities {
		names = append(names, m+"_row", m+"_path")
	}
	slices.Sort(names)
	return names
}

// writeMetadata writes rows as parquet, whole or not at all.
func writeMetadata(path string, modalities []string, rows []row) error {
	group := parquet.Group{}
	names := columns(modalities)
	for _, n := range names {
		if strings.HasSuffix(n, "_row") {
			group[n] = parquet.Int(64)
		} else {
			group[n] = parquet.String()
		}
	}
	return atomicfile.Write(path, func(w io.Writer) error {
		pw := parquet.NewWriter(w, parquet.NewSchema("metadata", group))
		for _, r := range rows {
			values := make(parquet.Row, len(names))
			for i, n := range names {
				var v parquet.Value
				switch {
				case n == "id":
					v = parquet.ByteArrayValue([]byte(r.id))
				case n == "lang":
					v = parquet.ByteArrayValue([]byte(r.lang))
				case n == "caption":
					v = parquet.ByteArrayValue([]byte(r.caption))
				case strings.HasSuffix(n, "_row"):
					v = parquet.Int64Value(r.rows[strings.TrimSuffix(n, "_row")])
				default:
					v = parquet.ByteArrayValue([]byte(r.paths[strings.TrimSuffix(n, "_path")]))
				}
				values[i] = v.Level(0, 0, i)
			}
			if _, err := pw.WriteRows([]parquet.Row{values}); err != nil {
				return err
			}
		}
		return pw.Close()
	})
}

// readMetadata reads what writeMetadata wrote.
func readMetadata(path string) (rows []row, err error) {
	defer func() { // the parquet reader panics on some damaged files
		if e := recover(); e != nil {
			err = fmt.Errorf("%s: damaged: %v", path, e)
		}
	}()
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	pf, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var names []string
	for _, c := range pf.Schema().Columns() {
		names = append(names, strings.Join(c, "."))
	}
	for _, want := range []string{"id", "caption"} {
		if !slices.Contains(names, want) {
			return nil, fmt.Errorf("%s: no column %q among %v", path, want, names)
		}
	}
	for _, g := range pf.RowGroups() {
		r := g.Rows()
		buf := make([]parquet.Row, 256)
		for {
			n, err := r.ReadRows(buf)
			for _, values := range buf[:n] {
				rows = append(rows, parseRow(names, values))
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				r.Close()
				return nil, fmt.Errorf("%s: %w", path, err)
			}
		}
		r.Close()
	}
	return rows, nil
}

func parseRow(names []string, values parquet.Row) row {
	r := row{paths: map[string]string{}, rows: map[string]int64{}}
	for _, v := range values {
		n := names[v.Column()]
		switch {
		case n == "id":
			r.id = v.String()
		case n == "lang":
			r.lang = v.String()
		case n == "caption":
			r.caption = v.String()
		case strings.HasSuffix(n, "_row"):
			r.rows[strings.TrimSuffix(n, "_row")] = v.Int64()
		case strings.HasSuffix(n, "_path"):
			r.paths[strings.TrimSuffix(n, "_path")] = v.String()
		}
	}
	return r
}
