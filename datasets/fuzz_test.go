package datasets

import (
	"bytes"
	"encoding/csv"
	"io"
	"slices"
	"strings"
	"testing"
)

// FuzzDelimited: whatever encoding/csv reads under its strict rules, this
// reader reads as the same cells.
func FuzzDelimited(f *testing.F) {
	f.Add([]byte("a,b\n1,\"x \"\"y\"\"\n z\"\r\n\n,\n"))
	f.Add([]byte("a\r\r\n\"\"\n\"\r\n\"\r"))
	f.Fuzz(func(t *testing.T, data []byte) {
		strict := csv.NewReader(bytes.NewReader(data))
		strict.FieldsPerRecord = -1
		want, err := strict.ReadAll()
		strictly := err == nil && !bytes.HasPrefix(data, []byte("\ufeff"))
		d := newDelimited(bytes.NewReader(data), ',')
		var cells [][]byte
		for i := 0; ; i++ {
			if cells, _, err = d.next(cells); err != nil {
				if strictly && (err != io.EOF || i != len(want)) {
					t.Fatalf("%d records and then %v, encoding/csv has %d", i, err, len(want))
				}
				return
			}
			var got []string
			for _, c := range cells {
				got = append(got, string(c))
			}
			if strictly && (i >= len(want) || !slices.Equal(got, want[i])) {
				t.Fatalf("record %d: %q, encoding/csv has %q", i, got, want)
			}
		}
	})
}

// FuzzManifest: any file is read into items that keep every row, or refused
// with one line that names it.
func FuzzManifest(f *testing.F) {
	f.Add(0, []byte("id,image,text,split,lang\n1,a.png,\"a, b\",train,en\n2,,c,test,\n"))
	f.Add(1, []byte("filepath\ttitle\tx_y\na.png\ta \"b\"\t\n"))
	f.Add(2, []byte("{\"text\":\"a\",\"id\":1}\n{\"audio\":\"b.wav\",\"id\":1e3,\"note\":[[]]}\n"))
	f.Add(2, []byte(`"not an object\nbut two lines"`))
	f.Fuzz(func(t *testing.T, format int, data []byte) {
		name := "m" + []string{".csv", ".tsv", ".jsonl"}[uint(format)%3]
		tab := newTable(name)
		err := tab.read(bytes.NewReader(data))
		var split string
		if err == nil {
			split, err = tab.choose("")
		}
		if err != nil {
			if s := err.Error(); !strings.HasPrefix(s, name+": ") || strings.Contains(s, "\n") {
				t.Fatalf("the error is %q", s)
			}
			return
		}
		rows, last := 0, map[string]int{}
		for _, it := range tab.list(split) {
			if _, twice := last[it.ID]; twice && tab.hasIDs || it.ID == "" {
				t.Fatalf("the id %q is not one item's", it.ID)
			}
			for _, r := range it.Rows {
				if rows++; len(r.Cells) == 0 || r.Line <= last[it.ID] {
					t.Fatalf("item %q: row %+v", it.ID, r)
				}
				last[it.ID] = r.Line
				for _, c := range r.Cells {
					if strings.TrimSpace(c.Ref) == "" || c.Modality == "" {
						t.Fatalf("item %q: cell %+v", it.ID, c)
					}
				}
			}
		}
		if rows == 0 || split == "" && rows != len(tab.rows) {
			t.Fatalf("%d of %d rows are left", rows, len(tab.rows))
		}
	})
}
