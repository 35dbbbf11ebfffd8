package datasets

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.tsv")
	if err := os.WriteFile(path, []byte("id\ttext\na\tone\nb\ttwo\nc\tthree\na\tmore\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	src, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	named, rest, err := Part(src, []string{"c", "a", "c"})
	if err != nil {
		t.Fatal(err)
	}
	if named.Len() != 2 || named.Item(0).ID != "a" || len(named.Item(0).Rows) != 2 || named.Item(1).ID != "c" || rest.Len() != 1 || rest.Item(0).ID != "b" {
		t.Errorf("parts of %d and %d items", named.Len(), rest.Len())
	}
	for want, ids := range map[string][]string{
		`no items of these ids: "x", "y"`:                   {"a", "x", "y"},
		`"1", "2", "3", "4", "5", 2 more`:                   {"1", "2", "3", "4", "5", "6", "7"},
		"0 of 3 items are named":                            nil,
		"3 of 3 items are named, expected some and not all": {"a", "b", "c"},
	} {
		if _, _, err := Part(src, ids); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("error %v, want it to hold %q", err, want)
		}
	}
}
