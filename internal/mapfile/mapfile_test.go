package mapfile

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	for _, content := range []string{"", "x", "some bytes"} {
		path := filepath.Join(dir, "file")
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if string(f.Data) != content {
			t.Errorf("%q was mapped as %q", content, f.Data)
		}
		for range 2 {
			if err := f.Close(); err != nil {
				t.Errorf("closing: %v", err)
			}
		}
	}
	for _, path := range []string{dir, filepath.Join(dir, "missing")} {
		if f, err := Open(path); err == nil {
			f.Close()
			t.Errorf("%s was opened", path)
		}
	}
}
