package evaluate

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestOpenClasses(t *testing.T) {
	png := "\x89PNG\r\n\x1a\n........"
	dir := folder(t, map[string]string{
		"sea_lion/b.png":         "",
		"sea_lion/a.JPEG":        "",
		"sea_lion/notes.txt":     "",
		"sea_lion/._a.png":       "",
		"sea_lion/unknown.bin":   "what is this",
		"cat/images/0.jpg":       "",
		"cat/.thumbs/0.png":      "",
		"cat/without_extension":  png,
		".cache/x.png":           "",
		"readme.txt":             "",
		"empty but for links/.x": "",
	})
	away := folder(t, map[string]string{"fox/1.png": "", "fox/2.png": ""})
	for _, l := range []struct{ to, from string }{
		{filepath.Join(dir, "cat", "without_extension"), filepath.Join(dir, "empty but for links", "link.png")},
		{filepath.Join(dir, "nowhere"), filepath.Join(dir, "empty but for links", "lost.png")},
		{filepath.Join(dir, "cat"), filepath.Join(dir, "empty but for links", "folder.png")},
		{filepath.Join(away, "fox"), filepath.Join(dir, "fox")},
	} {
		if err := os.Symlink(l.to, l.from); err != nil {
			t.Skip(err)
		}
	}
	c, err := OpenClasses(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if c.Modality() != "image" || !slices.Equal(c.Modalities(), []string{"image"}) || c.Name() != dir {
		t.Errorf("%s: %s", c.Name(), c.Modality())
	}
	want := []Class{{"cat", "cat"}, {"empty but for links", "empty but for links"}, {"fox", "fox"}, {"sea_lion", "sea lion"}}
	if !slices.Equal(c.Classes(), want) {
		t.Errorf("classes %v, want %v", c.Classes(), want)
	}
	var files []string
	for i := range c.Len() {
		file := c.Item(i).ID
		if of, _, _ := strings.Cut(file, "/"); of != c.Classes()[c.Label(i)].Folder {
			t.Errorf("%s is of class %v", file, c.Classes()[c.Label(i)])
		}
		files = append(files, file)
	}
	wantFiles := []string{
		"cat/images/0.jpg", "cat/without_extension", "empty but for links/link.png", "empty but for links/lost.png",
		"fox/1.png", "fox/2.png", "sea_lion/a.JPEG", "sea_lion/b.png",
	}
	if !slices.Equal(files, wantFiles) {
		t.Errorf("files %v, want %v", files, wantFiles)
	}
}

func TestTextsOfClasses(t *testing.T) {
	c := openFolder(t, map[string]string{"good/1.txt": "", "bad/1.txt": ""}, "")
	if c.Modality() != "text" || c.Len() != 2 {
		t.Errorf("%d of %s, want 2 texts", c.Len(), c.Modality())
	}
}

func TestNamesOfClasses(t *testing.T) {
	c := openFolder(t, map[string]string{
		"n01/1.wav": "", "n02/1.wav": "",
		"classes.json": `{"n01": "a tench", "n02": "a shark", "n03": "a ray"}`,
	}, "audio")
	if want := []Class{{"n01", "a tench"}, {"n02", "a shark"}}; !slices.Equal(c.Classes(), want) {
		t.Errorf("classes %v, want %v", c.Classes(), want)
	}
}

func TestClassesMistakes(t *testing.T) {
	two := map[string]string{"a/1.png": "", "b/1.png": ""}
	with := func(name, content string) map[string]string {
		files := map[string]string{name: content}
		for n, c := range two {
			files[n] = c
		}
		return files
	}
	for name, c := range map[string]struct {
		files    map[string]string
		modality string
		want     string
	}{
		"one class":            {map[string]string{"a/1.png": "", "x.png": ""}, "", "at least two classes"},
		"two modalities":       {with("a/1.wav", ""), "", "holds 1 audio and 2 image files: say which to read (--modality)"},
		"nothing known":        {map[string]string{"a/1.xyz": "?", "b/1.xyz": "?"}, "", "no files of a modality that is known"},
		"an empty class":       {with("c/1.txt", ""), "", "no image files in c"},
		"none of the modality": {two, "audio", "no audio files in a, b"},
		"no such modality":     {two, "smell", `no modality "smell"`},
		"a class without name": {with("classes.json", `{"a": "ant"}`), "", `classes.json: no name for the folder "b"`},
		"an empty name":        {with("classes.json", `{"a": "ant", "b": " "}`), "", `no name for the folder "b"`},
		"names not of text":    {with("classes.json", `{"a": 1}`), "", "classes.json"},
		"a name twice in JSON": {with("classes.json", `{"a": "ant", "a": "bee", "b": "bee"}`), "", `key "a" is given twice`},
		"two of one name":      {with("classes.json", `{"a": "ant", "b": "ant"}`), "", `"a" and "b" are both called "ant"`},
	} {
		_, err := OpenClasses(folder(t, c.files), c.modality)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want it to hold %q", name, err, c.want)
		}
	}
	if _, err := OpenClasses(filepath.Join(t.TempDir(), "none"), ""); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("a folder that is not there: %v", err)
	}
}
