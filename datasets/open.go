package datasets

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
)

var (
	schemesMu sync.RWMutex
	schemes   = map[string]func(rest, split string) (Source, error){}
)

// RegisterScheme makes a built-in dataset known: Open hands it what follows
// "name:", and the split ("" where the user named none). It panics when the
// name is taken.
func RegisterScheme(name string, open func(rest, split string) (Source, error)) {
	schemesMu.Lock()
	defer schemesMu.Unlock()
	if _, taken := schemes[name]; taken {
		panic("datasets: the scheme " + name + " is registered twice")
	}
	schemes[name] = open
}

// Open opens SRC or SRC#split. SRC is a built-in dataset ("demo:"), a manifest
// (.csv, .tsv or .jsonl), a folder that holds one named manifest, or else a
// folder of files, each an item. Without a split it opens "train" where there
// is one, and else all rows. See docs/data.md.
func Open(src string) (Source, error) {
	base, split, err := cutSplit(src)
	if err != nil {
		return nil, err
	}
	scheme, rest, colon := strings.Cut(base, ":")
	if colon {
		schemesMu.RLock()
		open := schemes[scheme]
		schemesMu.RUnlock()
		if open != nil {
			return open(rest, split)
		}
	}
	info, err := os.Stat(base)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: no such file or folder, and no built-in dataset (known: %s)", base, strings.Join(schemeNames(), ", "))
	case err != nil:
		return nil, err
	}
	path := base
	if info.IsDir() {
		if path, err = manifestIn(base); err != nil {
			return nil, err
		}
		if path == "" {
			if split != "" {
				return nil, fmt.Errorf("%s: a folder without a manifest has no split %q", base, split)
			}
			return openFolder(base)
		}
	}
	return openManifest(base, path, split)
}

// cutSplit cuts "data.tsv#test" at its last #. What holds a slash cannot be
// a split, so that a folder may have a # in its name.
func cutSplit(src string) (base, split string, err error) {
	at := strings.LastIndexByte(src, '#')
	if at < 0 || strings.ContainsAny(src[at:], `/\`) {
		return src, "", nil
	}
	if at == len(src)-1 {
		return "", "", fmt.Errorf("%s: the name of a split is missing after the #", src)
	}
	return src[:at], src[at+1:], nil
}

func schemeNames() []string {
	schemesMu.RLock()
	defer schemesMu.RUnlock()
	var names []string
	for n := range schemes {
		names = append(names, n+":")
	}
	sort.Strings(names)
	return names
}

// manifestIn finds the one manifest of a folder; "" where there is none.
func manifestIn(dir string) (string, error) {
	var found []string
	for _, ext := range []string{".tsv", ".csv", ".jsonl"} {
		path := filepath.Join(dir, "manifest"+ext)
		if _, err := os.Stat(path); err == nil {
			found = append(found, path)
		}
	}
	switch len(found) {
	case 0:
		return "", nil
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%s: the folder holds %d manifests (%s): name the one to read", dir, len(found), strings.Join(found, ", "))
}
