// Package strictjson reads JSON into structs and refuses what it does not
// know: an unknown key is an error that names its path and the nearest key
// that would have been right.
package strictjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"sort"
	"strings"
)

// Unmarshal reads data, which errors call name, into the struct that v points
// to. Keys are compared exactly; a key given twice, unknown keys and data
// after the value are errors. A json.RawMessage field takes anything.
func Unmarshal(name string, data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := check(dec, reflect.TypeOf(v).Elem(), nil, 0); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if s, ok := err.(*json.SyntaxError); ok {
			return fmt.Errorf("%s: line %d: %w", name, line(data, s.Offset), err)
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("%s: line %d: more data after the JSON value", name, line(data, dec.InputOffset()))
	}
	if err := json.Unmarshal(data, v); err != nil {
		if t, ok := err.(*json.UnmarshalTypeError); ok {
			return fmt.Errorf("%s: key %q: expected %s, found %s", name, t.Field, kind(t.Type), t.Value)
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func line(data []byte, offset int64) int {
	return 1 + bytes.Count(data[:min(int(offset), len(data))], []byte("\n"))
}

func kind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Int, reflect.Int64, reflect.Uint64, reflect.Int32:
		return "a whole number"
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "a list"
	default:
		return "an object"
	}
}

var (
	raw         = reflect.TypeFor[json.RawMessage]()
	unmarshaler = reflect.TypeFor[json.Unmarshaler]()
)

// maxDepth bounds the nesting of what is read.
const maxDepth = 100

// path is where a value stands: a key or, in a list, an index, below another.
// It is written out for errors alone.
type path struct {
	above *path
	key   string
	index int // of a list, where key is empty
}

func (p *path) String() string {
	if p == nil {
		return ""
	}
	if p.key == "" {
		return fmt.Sprintf("%s[%d]", p.above, p.index)
	}
	return strings.TrimPrefix(p.above.String()+"."+p.key, ".")
}

// check reads one value from dec and holds its keys against t; t is nil where
// anything goes.
func check(dec *json.Decoder, t reflect.Type, at *path, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested more than %d deep", maxDepth)
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t != nil && (t == raw || reflect.PointerTo(t).Implements(unmarshaler)) {
		t = nil
	}
	tok, err := dec.Token()
	if err != nil {
		return err
	}
	switch tok {
	case json.Delim('['):
		var elem reflect.Type
		if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
			elem = t.Elem()
		}
		for i := 0; dec.More(); i++ {
			if err := check(dec, elem, &path{above: at, index: i}, depth+1); err != nil {
				return err
			}
		}
		_, err = dec.Token()
	case json.Delim('{'):
		var known map[string]reflect.Type
		if t != nil && t.Kind() == reflect.Struct {
			known = map[string]reflect.Type{}
			fields(t, known)
		}
		seen := map[string]bool{}
		for dec.More() {
			k, err := dec.Token()
			if err != nil {
				return err
			}
			key := k.(string)
			below := &path{above: at, key: key}
			if seen[key] {
				return fmt.Errorf("key %q is given twice", below)
			}
			seen[key] = true
			var elem reflect.Type
			if known != nil {
				ft, ok := known[key]
				if !ok {
					return unknown(below.String(), key, known)
				}
				elem = ft
			} else if t != nil && t.Kind() == reflect.Map {
				elem = t.Elem()
			}
			if err := check(dec, elem, below, depth+1); err != nil {
				return err
			}
		}
		_, err = dec.Token()
	}
	return err
}

func fields(t reflect.Type, into map[string]reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			fields(f.Type, into)
		case name == "-" || !f.IsExported():
		case name != "":
			into[name] = f.Type
		default:
			into[f.Name] = f.Type
		}
	}
}

func unknown(at, key string, known map[string]reflect.Type) error {
	var names []string
	for n := range known {
		names = append(names, n)
	}
	sort.Strings(names)
	if best := Nearest(key, names); best != "" {
		return fmt.Errorf("unknown key %q (did you mean %q?)", at, best)
	}
	return fmt.Errorf("unknown key %q (known: %s)", at, strings.Join(names, ", "))
}

// Nearest returns the candidate with the smallest edit distance to word, or
// "" when none is near: within half of word's length, at least 2.
func Nearest(word string, candidates []string) string {
	best, least := "", max(2, len(word)/2)+1
	for _, c := range candidates {
		if d := distance(word, c); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance is Levenshtein's edit distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
