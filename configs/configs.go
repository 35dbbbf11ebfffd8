// Package configs holds the presets: one JSON file each, known by its name.
package configs

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/onetrunk/onetrunk/internal/strictjson"
)

//go:embed *.json
var files embed.FS

// Names lists the presets, sorted.
func Names() []string {
	paths, err := fs.Glob(files, "*.json")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	for i, p := range paths {
		paths[i] = strings.TrimSuffix(p, ".json")
	}
	return paths
}

// Read returns the config that ref names: a preset, or the path of a file.
func Read(ref string) ([]byte, error) {
	if data, err := files.ReadFile(ref + ".json"); err == nil {
		return data, nil
	}
	data, err := os.ReadFile(ref)
	if os.IsNotExist(err) && filepath.Ext(ref) == "" && !strings.ContainsRune(ref, filepath.Separator) {
		if near := strictjson.Nearest(ref, Names()); near != "" {
			return nil, fmt.Errorf("no preset or file %q (did you mean the preset %q?)", ref, near)
		}
		return nil, fmt.Errorf("no preset or file %q (presets: %s)", ref, strings.Join(Names(), ", "))
	}
	return data, err
}
