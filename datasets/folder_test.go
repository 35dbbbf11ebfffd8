package datasets

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A folder without a manifest is its files, each an item.
func TestFolder(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b.text", "a/c.text", ".hidden/d.text", "a/.e.text", "f.unknown"} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("a text"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	src, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for i := range src.Len() {
		ids = append(ids, src.Item(i).ID)
	}
	if !slices.Equal(ids, []string{"a/c.text", "b.text"}) || !slices.Equal(src.Modalities(), []string{"text"}) {
		t.Errorf("items %v of %v", ids, src.Modalities())
	}
	if _, err := Open(dir + "#test"); err == nil || !strings.Contains(err.Error(), `no split "test"`) {
		t.Errorf("a split of a folder: %v", err)
	}
}
