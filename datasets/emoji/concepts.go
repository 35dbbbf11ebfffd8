package emoji

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// concept is one emoji.
type concept struct {
	id       string             // code points in hexadecimal: "1f468-200d-1f466"
	file     string             // of its picture in the packages
	names    map[string]string  // by language
	pictures map[string]picture // by vendor
	side     side
}

// picture is a file of the set.
type picture struct {
	data []byte
	sum  [sha256.Size]byte
}

// side says what a concept is for.
type side string

const (
	forTraining side = "train"
	forVal      side = "val"
	forTest     side = "test"
)

// entry is what emoji.json says about an emoji, as far as it is used.
type entry struct {
	Unified  string `json:"unified"`
	Image    string `json:"image"`
	Category string `json:"category"`
}

// readConcepts lists the emoji that have a name in any of the languages.
func (b *builder) readConcepts() ([]*concept, error) {
	var entries []entry
	first := pictures(b.Vendors[0])
	err := b.readPackage(first, func(path string, r io.Reader) error {
		if path != "emoji.json" {
			return nil
		}
		if err := json.NewDecoder(r).Decode(&entries); err != nil {
			return err
		}
		return errStop
	})
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("%s: no emoji.json, or an empty one", b.archive(first))
	}
	names, err := b.readNames()
	if err != nil {
		return nil, err
	}
	var concepts []*concept
	for i, e := range entries {
		if e.Category == "Component" { // the tones of skin by themselves
			continue
		}
		bare, err := withoutSelectors(e.Unified)
		if err != nil {
			return nil, fmt.Errorf("%s: emoji.json: emoji %d: %w", b.archive(first), i, err)
		}
		c := &concept{id: strings.ToLower(e.Unified), file: e.Image, names: map[string]string{}, pictures: map[string]picture{}}
		for _, lang := range b.Langs {
			if name := names[lang][bare]; name != "" {
				c.names[lang] = name
			}
		}
		if len(c.names) > 0 {
			concepts = append(concepts, c)
		}
	}
	if len(concepts) == 0 {
		return nil, fmt.Errorf("%s: none of its %d emoji has a name", b.archive(first), len(entries))
	}
	return concepts, nil
}

// withoutSelectors turns "0023-FE0F-20E3" into the string of its code points
// without variation selectors, which is how CLDR names it.
func withoutSelectors(unified string) (string, error) {
	var s strings.Builder
	for _, hex := range strings.Split(unified, "-") {
		v, err := strconv.ParseUint(hex, 16, 21)
		if err != nil || v == 0 || v > 0x10ffff {
			return "", fmt.Errorf("unified: expected code points as 1F468-200D-1F466, found %q", unified)
		}
		if v != 0xfe0f {
			s.WriteRune(rune(v))
		}
	}
	return s.String(), nil
}

// readNames returns the names by language and emoji.
func (b *builder) readNames() (map[string]map[string]string, error) {
	names := map[string]map[string]string{}
	for _, p := range []struct{ name, folder string }{
		// Names of single emoji are in the first; they stand where both have one.
		{namesPackage, "annotations"},
		{derivedPackage, "annotationsDerived"},
	} {
		found := map[string]bool{}
		err := b.readPackage(p.name, func(path string, r io.Reader) error {
			lang, ok := strings.CutPrefix(path, p.folder+"/")
			if !ok {
				return nil
			}
			lang, ok = strings.CutSuffix(lang, "/annotations.json")
			if !ok || !slices.Contains(b.Langs, lang) {
				return nil
			}
			var file map[string]struct {
				Annotations map[string]struct {
					TTS []string `json:"tts"`
				} `json:"annotations"`
			}
			if err := json.NewDecoder(r).Decode(&file); err != nil {
				return err
			}
			found[lang] = true
			if names[lang] == nil {
				names[lang] = map[string]string{}
			}
			for emoji, a := range file[p.folder].Annotations {
				if len(a.TTS) > 0 && names[lang][emoji] == "" {
					names[lang][emoji] = strings.Join(strings.Fields(a.TTS[0]), " ")
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		for _, lang := range b.Langs {
			if !found[lang] {
				return nil, fmt.Errorf("emoji: %s has no language %q", p.name, lang)
			}
		}
	}
	return names, nil
}

// assignSides groups the concepts and gives every group its side. Neither the
// order of the concepts nor that of anything else plays a part.
func assignSides(concepts []*concept) {
	parent := make([]int, len(concepts))
	for i := range parent {
		parent[i] = i
	}
	find := func(i int) int {
		for parent[i] != i {
			parent[i] = parent[parent[i]]
			i = parent[i]
		}
		return i
	}
	owner := map[any]int{} // of a name in any language, or the sum of a picture
	join := func(i int, key any) {
		if j, ok := owner[key]; ok {
			parent[find(i)] = find(j)
		} else {
			owner[key] = i
		}
	}
	for i, c := range concepts {
		for _, name := range c.names {
			join(i, norm.NFKC.String(strings.ToLower(name)))
		}
		for _, p := range c.pictures {
			join(i, p.sum)
		}
	}
	least := map[int]string{}
	for i, c := range concepts {
		root := find(i)
		if id, ok := least[root]; !ok || c.id < id {
			least[root] = c.id
		}
	}
	for i, c := range concepts {
		c.side = sideOf(least[find(i)])
	}
}

func sideOf(id string) side {
	switch sum := sha256.Sum256([]byte(id)); sum[0] % 10 {
	case 0:
		return forTest
	case 1:
		return forVal
	}
	return forTraining
}
