// Package configs holds the presets: one JSON file each, known by its name.
package configs

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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

// Read returns the config that ref names: a preset, or the path of a file. A
// config may begin from another: where it has the key "base", which names a
// preset or a file beside it, it is that one with its own keys laid over it,
// object by object.
func Read(ref string) ([]byte, error) { return read(ref, nil) }

// read is Read within configs that begin from it.
func read(ref string, within []string) ([]byte, error) {
	if slices.Contains(within, ref) {
		return nil, fmt.Errorf("%s: \"base\" leads back to %s", within[0], ref)
	}
	data, err := one(ref)
	if err != nil {
		return nil, err
	}
	var own map[string]any
	if json.Unmarshal(data, &own) != nil || own["base"] == nil {
		return data, nil // whoever parses it says what is wrong
	}
	base, ok := own["base"].(string)
	if !ok || base == "" {
		return nil, fmt.Errorf("%s: key \"base\": expected a preset or a file", ref)
	}
	if strings.HasSuffix(base, ".json") && !filepath.IsAbs(base) {
		base = filepath.Join(filepath.Dir(ref), base)
	}
	below, err := read(base, append(within, ref))
	if err != nil {
		return nil, fmt.Errorf("%s: base: %w", ref, err)
	}
	var whole map[string]any
	if err := json.Unmarshal(below, &whole); err != nil {
		return nil, fmt.Errorf("%s: base %s: %w", ref, base, err)
	}
	delete(own, "base")
	lay(whole, own)
	return json.MarshalIndent(whole, "", "  ")
}

// lay puts the keys of over in place of those of under; objects in both are
// laid over each other.
func lay(under, over map[string]any) {
	for k, v := range over {
		a, isA := under[k].(map[string]any)
		b, isB := v.(map[string]any)
		if isA && isB {
			lay(a, b)
		} else {
			under[k] = v
		}
	}
}

// one returns the config that ref names as it is written.
func one(ref string) ([]byte, error) {
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
