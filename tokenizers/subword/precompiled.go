package subword

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// charsmap is a table of replacements that SentencePiece compiled: the texts
// to replace, a double-array trie as darts-clone writes it, and the
// replacements, each closed by a zero byte.
type charsmap struct {
	units        []uint32
	replacements string
}

// parseCharsmap reads a "precompiled_charsmap": the number of bytes of the
// trie, its units, the replacements, all in base64.
func parseCharsmap(s string) (*charsmap, error) {
	data, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("precompiled_charsmap: %w", err)
	}
	if len(data) < 4 {
		return nil, fmt.Errorf("precompiled_charsmap: %d bytes, expected at least 4", len(data))
	}
	size := int64(binary.LittleEndian.Uint32(data))
	data = data[4:]
	if size < 4 || size%4 != 0 || size > int64(len(data)) {
		return nil, fmt.Errorf("precompiled_charsmap: a trie of %d bytes in %d", size, len(data))
	}
	c := &charsmap{replacements: string(data[size:])}
	if !utf8.ValidString(c.replacements) {
		return nil, fmt.Errorf("precompiled_charsmap: its replacements are not UTF-8")
	}
	for at := int64(0); at < size; at += 4 {
		c.units = append(c.units, binary.LittleEndian.Uint32(data[at:]))
	}
	return c, nil
}

// normalize replaces what the table knows, first whole grapheme clusters of
// less than 6 bytes, then single runes. As in the Python library, a cluster is
// replaced whole where its beginning is in the table.
func (c *charsmap) normalize(s string) string {
	var b strings.Builder
	for state := -1; len(s) > 0; {
		var cluster string
		cluster, s, _, state = uniseg.FirstGraphemeClusterInString(s, state)
		if len(cluster) < 6 {
			if by, n := c.find(cluster, false); n > 0 {
				b.WriteString(by)
				continue
			}
		}
		for _, r := range cluster {
			one := string(r)
			if by, n := c.find(one, false); n > 0 {
				one = by
			}
			b.WriteString(one)
		}
	}
	return b.String()
}

// longest returns what a text begins with as it is replaced, and the length of
// that in the text: the longest of its beginnings that is in the table, or a
// rune. It serves a nil table too.
func (c *charsmap) longest(s string) (by string, n int) {
	if c != nil {
		if by, n = c.find(s, true); n > 0 {
			return by, n
		}
	}
	_, n = utf8.DecodeRuneInString(s)
	return s[:n], n
}

// find returns the replacement of the shortest, or longest, beginning of s that
// is in the table, and its length; 0 where there is none. A unit of the trie
// holds from the lowest bit: the byte that leads to it (8 bits), whether a
// replacement ends there, whether its offset is in units of 256, and the offset
// (22 bits), which with the next byte makes the place of the next unit. A unit
// with the highest bit set is the place of a replacement; it stands where a byte
// 0 would lead to.
func (c *charsmap) find(s string, longest bool) (by string, n int) {
	at := offset(c.units[0])
	for i := 0; i < len(s) && s[i] != 0; i++ {
		at ^= uint32(s[i])
		u := c.unit(at)
		if u&(1<<31|0xff) != uint32(s[i]) {
			break
		}
		at ^= offset(u)
		if u>>8&1 == 1 {
			place := c.unit(at) & (1<<31 - 1)
			if int64(place) > int64(len(c.replacements)) {
				break
			}
			by, _, _ = strings.Cut(c.replacements[place:], "\x00")
			if n = i + 1; !longest {
				break
			}
		}
	}
	return by, n
}

// charsmapOf returns the table in the normalizer of a tokenizer.json; nil where
// it has none.
func charsmapOf(source []byte) (*charsmap, error) {
	var f file
	if err := json.Unmarshal(source, &f); err != nil {
		return nil, err
	}
	for steps := []json.RawMessage{f.Normalizer}; len(steps) > 0; steps = steps[1:] {
		var o struct {
			Type        string            `json:"type"`
			Charsmap    string            `json:"precompiled_charsmap"`
			Normalizers []json.RawMessage `json:"normalizers"`
		}
		if err := json.Unmarshal(steps[0], &o); err != nil {
			return nil, err
		}
		if o.Type == "Precompiled" {
			return parseCharsmap(o.Charsmap)
		}
		steps = append(steps, o.Normalizers...)
	}
	return nil, nil
}

// unit returns a unit, or in a damaged table 0, which no byte leads to.
func (c *charsmap) unit(at uint32) uint32 {
	if int64(at) >= int64(len(c.units)) {
		return 0
	}
	return c.units[at]
}

func offset(unit uint32) uint32 { return unit >> 10 << (unit >> 9 & 1 * 8) }
