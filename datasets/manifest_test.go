package datasets

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func items(src Source) []Item {
	var list []Item
	for i := range src.Len() {
		list = append(list, *src.Item(i))
	}
	return list
}

func cell(modality, ref string) Cell { return Cell{Modality: modality, Ref: ref} }

func TestItemsOfEqualIDs(t *testing.T) {
	src := openText(t, "m.tsv", "id\timage\ttext\tlang\tnote\n"+
		"cat\ta.png\ta cat\ten\tfirst\n"+
		"dog\tb.png\ta dog\ten\t\n"+
		"cat\t\teine Katze\tde\t\n"+
		"\n"+
		"cat\t./a.png\t \t\t\n")
	want := []Item{
		{ID: "cat", Rows: []Row{
			{Cells: []Cell{cell("image", "a.png"), cell("text", "a cat")}, Lang: "en", Line: 2},
			{Cells: []Cell{cell("text", "eine Katze")}, Lang: "de", Line: 4},
			{Cells: []Cell{cell("image", "a.png")}, Line: 6},
		}},
		{ID: "dog", Rows: []Row{
			{Cells: []Cell{cell("image", "b.png"), cell("text", "a dog")}, Lang: "en", Line: 3},
		}},
	}
	if diff := cmp.Diff(want, items(src)); diff != "" {
		t.Error(diff)
	}
	if got := src.Modalities(); !slices.Equal(got, []string{"image", "text"}) {
		t.Errorf("modalities %v", got)
	}
}

// Without ids the first file names the item, as in an OpenCLIP manifest with
// five captions a picture; a row without a file stands alone.
func TestItemsWithoutIDs(t *testing.T) {
	src := openText(t, "m.csv", "title,filepath,audio\n"+
		"one,a.png,\n"+
		"two,b.png,x.wav\n"+
		"three,a.png,\n"+
		"alone,,\n"+
		"alone,,\n"+
		"four,,x.wav\n")
	var got []string
	for _, it := range items(src) {
		got = append(got, fmt.Sprintf("%s %d", it.ID, len(it.Rows)))
	}
	want := []string{"a.png 2", "b.png 1", "line 5 1", "line 6 1", "x.wav 1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFormatsAgree(t *testing.T) {
	forms := map[string]string{
		"m.tsv": "id\timage\ttext\tx_size\n1\ta.png\t\"say \"\"a\"\",\nor b\"\t3\n2\t\tsay \"b\"\t\n",
		"m.csv": "\ufeffid,image,text,x_size\r\n1,a.png,\"say \"\"a\"\",\nor b\",3\r\n2,,say \"b\",\r\n",
		"m.jsonl": `{"id": 1, "image": "a.png", "text": "say \"a\",\nor b", "x_size": {"w": [3]}}` + "\n\n" +
			`{"id": "2", "image": null, "text": "say \"b\""}`,
	}
	want := []Item{
		{ID: "1", Rows: []Row{{Cells: []Cell{cell("image", "a.png"), cell("text", "say \"a\",\nor b")}}}},
		{ID: "2", Rows: []Row{{Cells: []Cell{cell("text", `say "b"`)}}}},
	}
	for name, text := range forms {
		src := openText(t, name, text)
		got := items(src)
		for _, it := range got {
			it.Rows[0].Line = 0
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestSplits(t *testing.T) {
	text := "text,split\na,train\nb,test\nc,\nd,train\n"
	dir := write(t, map[string]string{
		"manifest.csv": text,
		"other.csv":    strings.ReplaceAll(text, "train", "val"),
		"plain.csv":    "text\na\n",
		"c#/m.csv":     "text\na\n",
	})
	for _, c := range []struct {
		src, name string
		items     int
	}{
		{dir, dir + "#train", 2},
		{dir + "#test", dir + "#test", 1},
		{dir + "/manifest.csv#train", dir + "/manifest.csv#train", 2},
		{dir + "/other.csv", dir + "/other.csv", 4},
		{dir + "/plain.csv", dir + "/plain.csv", 1},
		{dir + "/c#/m.csv", dir + "/c#/m.csv", 1},
	} {
		src, err := Open(c.src)
		if err != nil {
			t.Error(err)
			continue
		}
		if src.Name() != c.name || src.Len() != c.items {
			t.Errorf("%s opened %s with %d items, want %s with %d", c.src, src.Name(), src.Len(), c.name, c.items)
		}
	}
}

// An id that occurs in two splits is an item of each, of that split's rows.
func TestSplitOfAnItem(t *testing.T) {
	dir := write(t, map[string]string{"m.csv": "id,text,split\n1,a,train\n2,b,test\n1,c,test\n"})
	src, err := Open(dir + "/m.csv#test")
	if err != nil {
		t.Fatal(err)
	}
	want := []Item{
		{ID: "2", Rows: []Row{{Cells: []Cell{cell("text", "b")}, Line: 3}}},
		{ID: "1", Rows: []Row{{Cells: []Cell{cell("text", "c")}, Line: 4}}},
	}
	if diff := cmp.Diff(want, items(src)); diff != "" {
		t.Error(diff)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct{ src, text, want string }{
		{"m.csv", "", "m.csv: empty"},
		{"m.csv", "text\n", "m.csv: no rows"},
		{"m.csv", "\"text\na", `m.csv: line 1: cell 1: the quote is not closed`},
		{"m.csv", "text,image\na,b\nc,\"d\"e\n", `m.csv: line 3: cell 2: more after the closing quote`},
		{"m.csv", "id,split\n1,train\n", "m.csv: line 1: no column holds a modality"},
		{"m.csv", "id,captoin\n1,a\n", `m.csv: line 1: unknown column "captoin" (did you mean "caption"?`},
		{"m.csv", "text,\na,b\n", `unknown column "" (known: audio, caption, filepath, id, image, lang, note, split, text, title, trace`},
		{"m.csv", "text,text\na,b\n", `m.csv: line 1: column "text" is given twice`},
		{"m.csv", "title,caption\na,b\n", `m.csv: line 1: columns "title" and "caption" both hold the text`},
		{"m.csv", "text,id\na,1\nb\n", "m.csv: line 3: 1 cells, expected 2 (text, id)"},
		{"m.csv", "text,id\na,1,x\n", "m.csv: line 2: 3 cells, expected 2 (text, id)"},
		{"m.csv", "text,image,id\na,,1\n, ,2\n", "m.csv: line 3: no value in any of the columns text, image"},
		{"m.csv", "text,id\na,1\nb,\n", `m.csv: line 3: column "id": the row has no id, the row in line 2 has one`},
		{"m.csv", "text,id\na,\nb,2\n", `m.csv: line 3: column "id": the row has an id, the row in line 2 has none`},
		{"m.csv#val", "text,split\na,train\nb,train\nc,test\n", `m.csv: no split "val" (there is test with 1 rows, train with 2 rows)`},
		{"m.csv#val", "text\na\n", `m.csv: no split "val": the rows have no split`},
		{"m.csv#", "text\na\n", "the name of a split is missing"},
		{"m.csv", "image\nx/1.png\nx/2.png\n", "m.csv: none of the first 2 files exists, such as "},
		{"m.jsonl", "", "m.jsonl: no rows"},
		{"m.jsonl", `["a"]`, "m.jsonl: line 1: expected a JSON object: found \"["},
		{"m.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"", "m.jsonl: line 2: expected a JSON object: unexpected"},
		{"m.jsonl", `{"text": "a"} {}`, "m.jsonl: line 1: expected a JSON object: more after"},
		{"m.jsonl", `{"text": ["a", "b"]}`, `m.jsonl: line 1: column "text": expected a string, found a list`},
		{"m.jsonl", `{"text": true}`, `m.jsonl: line 1: column "text": expected a string, found true`},
		{"m.jsonl", `{"text": "a", "text": "b"}`, `m.jsonl: line 1: column "text" is given twice`},
		{"m.jsonl", "{\"text\": \"a\"}\n{\"txet\": \"a\"}", `m.jsonl: line 2: unknown column "txet" (did you mean "text"?`},
		{"m.jsonl", "{\"id\": 3}", `m.jsonl: line 1: no value`},
		{"m.txt", "text\na\n", "m.txt: expected a manifest that ends in .csv, .tsv or .jsonl"},
	} {
		file, split, hash := strings.Cut(c.src, "#")
		path := filepath.Join(write(t, map[string]string{file: c.text}), file)
		if hash {
			path += "#" + split
		}
		_, err := Open(path)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: error %v, want one line that holds %q", c.text, err, c.want)
		}
	}
	two := write(t, map[string]string{"manifest.csv": "text\na\n", "manifest.tsv": "text\na\n"})
	for src, want := range map[string]string{
		two:                          "the folder holds 2 manifests",
		t.TempDir():                  "neither a manifest (manifest.tsv, .csv or .jsonl) nor a file",
		filepath.Join(two, "absent"): "no such file or folder, and no built-in dataset (known: made:)",
		"mode:":                      "mode:: no such file or folder, and no built-in dataset (known: made:)",
	} {
		if _, err := Open(src); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", src, err, want)
		}
	}
}

type made struct {
	Source
	rest, split string
}

func init() {
	RegisterScheme("made", func(rest, split string) (Source, error) { return made{rest: rest, split: split}, nil })
}

func TestScheme(t *testing.T) {
	src, err := Open("made:any/thing?n=3#test")
	if err != nil {
		t.Fatal(err)
	}
	if m := src.(made); m.rest != "any/thing?n=3" || m.split != "test" {
		t.Errorf("the scheme was given %+v", m)
	}
}

func TestLoad(t *testing.T) {
	dir := write(t, map[string]string{
		"sub/m.tsv":    "filepath\ttitle\ngood.png\ta cat\nbad.png\tcorrupt text\nabsent.png\t\n..\t\n../up.png\t\n",
		"sub/good.png": "pixels", "sub/bad.png": "corrupt", "up.png": "above",
	})
	src, err := Open(dir + "/sub/m.tsv")
	if err != nil {
		t.Fatal(err)
	}
	p := processors("image", "text")
	for _, c := range []struct {
		cell        Cell
		want, fails string
	}{
		{cell: cell("image", "good.png"), want: "pixels"},
		{cell: cell("image", filepath.Clean("../up.png")), want: "above"},
		{cell: cell("text", "a cat"), want: "a cat"},
		{cell: cell("image", "bad.png"), fails: `m.tsv: line 3, column "filepath": ` + filepath.Join(dir, "sub/bad.png") + ": not a image"},
		{cell: cell("text", "corrupt text"), fails: `m.tsv: line 3, column "title": "corrupt text": not a text`},
		{cell: cell("image", "absent.png"), fails: `m.tsv: line 4, column "filepath": stat ` + filepath.Join(dir, "sub/absent.png")},
		{cell: cell("image", ".."), fails: `m.tsv: line 5, column "filepath": ` + dir + ": not a regular file"},
	} {
		v, err := src.Load(c.cell, p[c.cell.Modality])
		switch {
		case c.fails == "" && (err != nil || v != c.want):
			t.Errorf("%v: loaded %v, %v", c.cell, v, err)
		case c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)):
			t.Errorf("%v: error %v, want it to hold %s", c.cell, err, c.fails)
		}
	}
}

// A manifest may hold the absolute paths of another folder's files.
func TestAbsolutePath(t *testing.T) {
	files := write(t, map[string]string{"a.png": "far"})
	path := filepath.Join(files, "a.png")
	dir := write(t, map[string]string{"m.csv": "image\n" + path + "\n"})
	src, err := Open(dir + "/m.csv")
	if err != nil {
		t.Fatal(err)
	}
	if v, err := src.Load(src.Item(0).Rows[0].Cells[0], processors("image")["image"]); err != nil || v != "far" {
		t.Errorf("loaded %v, %v", v, err)
	}
}

func TestDistinct(t *testing.T) {
	src := openText(t, "m.csv", "id,text,image\n1,cat,a.png\n2,dog,b.png\n1,kitty,a.png\n3,cat,\n3,,c.png\n3,cat,\n")
	want := []DistinctCell{
		{cell("text", "cat"), []int{0, 2}}, {cell("text", "kitty"), []int{0}}, {cell("text", "dog"), []int{1}},
	}
	if diff := cmp.Diff(want, Distinct(src, "text")); diff != "" {
		t.Error(diff)
	}
	if got := Distinct(src, "audio"); got != nil {
		t.Errorf("values of an absent modality: %v", got)
	}
}

func TestWriteBad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bad.tsv")
	err := WriteBad(path, []BadRow{{Item: "i", Line: 7, Cell: cell("image", "a.png"), Err: fmt.Errorf("no\ttable")}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	want := "id\tline\tmodality\tvalue\terror\ni\t7\timage\ta.png\t\"no\ttable\"\n"
	if err != nil || string(got) != want {
		t.Errorf("wrote %q, %v", got, err)
	}
}
