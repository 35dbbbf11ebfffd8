package subword

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// pattern is a "pattern" of a component: a string or a regular expression.
type pattern struct {
	String *string `json:"String"`
	Regex  *string `json:"Regex"`
}

// typeOf returns the "type" of a component; "" for null.
func typeOf(c json.RawMessage) (string, error) {
	var t struct {
		Type string `json:"type"`
	}
	if len(c) == 0 || string(c) == "null" {
		return "", nil
	}
	err := json.Unmarshal(c, &t)
	if err == nil && t.Type == "" {
		err = fmt.Errorf("no \"type\"")
	}
	return t.Type, err
}

// parseNormalizer makes the function of a "normalizer".
func parseNormalizer(c json.RawMessage) (func(string) string, error) {
	kind, err := typeOf(c)
	if err != nil {
		return nil, err
	}
	var o struct {
		Normalizers  []json.RawMessage `json:"normalizers"`
		StripLeft    *bool             `json:"strip_left"`
		StripRight   *bool             `json:"strip_right"`
		Pattern      pattern           `json:"pattern"`
		Content      string            `json:"content"`
		Prepend      string            `json:"prepend"`
		CleanText    *bool             `json:"clean_text"`
		Chinese      *bool             `json:"handle_chinese_chars"`
		StripAccents *bool             `json:"strip_accents"`
		Lowercase    *bool             `json:"lowercase"`
		Charsmap     string            `json:"precompiled_charsmap"`
	}
	if kind != "" {
		if err := json.Unmarshal(c, &o); err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
	}
	switch kind {
	case "":
		return func(s string) string { return s }, nil
	case "Sequence":
		var all []func(string) string
		for _, n := range o.Normalizers {
			f, err := parseNormalizer(n)
			if err != nil {
				return nil, err
			}
			all = append(all, f)
		}
		return func(s string) string {
			for _, f := range all {
				s = f(s)
			}
			return s
		}, nil
	case "NFC":
		return norm.NFC.String, nil
	case "NFD":
		return norm.NFD.String, nil
	case "NFKC":
		return norm.NFKC.String, nil
	case "NFKD":
		return norm.NFKD.String, nil
	case "Lowercase":
		return lower, nil
	case "Strip":
		left, right := orTrue(o.StripLeft), orTrue(o.StripRight)
		return func(s string) string {
			if left {
				s = strings.TrimLeftFunc(s, unicode.IsSpace)
			}
			if right {
				s = strings.TrimRightFunc(s, unicode.IsSpace)
			}
			return s
		}, nil
	case "StripAccents":
		return func(s string) string { return without(s, func(r rune) bool { return unicode.Is(unicode.M, r) }) }, nil
	case "Replace":
		switch {
		case o.Pattern.String != nil:
			from := *o.Pattern.String
			return func(s string) string { return strings.ReplaceAll(s, from, o.Content) }, nil
		case o.Pattern.Regex != nil && *o.Pattern.Regex == `\s+`:
			return func(s string) string { return replaceSpaces(s, 1, o.Content) }, nil
		case o.Pattern.Regex != nil && *o.Pattern.Regex == " {2,}":
			return func(s string) string { return replaceRuns(s, 2, func(r rune) bool { return r == ' ' }, o.Content) }, nil
		case o.Pattern.Regex != nil:
			if set := literals(*o.Pattern.Regex); set != "" {
				return func(s string) string { return replaceAny(s, set, o.Content) }, nil
			}
		}
		return nil, fmt.Errorf("a Replace of %s is not supported", string(c))
	case "Precompiled":
		m, err := parseCharsmap(o.Charsmap)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		return m.normalize, nil
	case "Prepend":
		return func(s string) string {
			if s == "" {
				return s
			}
			return o.Prepend + s
		}, nil
	case "BertNormalizer":
		clean, chinese, low := orTrue(o.CleanText), orTrue(o.Chinese), orTrue(o.Lowercase)
		strip := low
		if o.StripAccents != nil {
			strip = *o.StripAccents
		}
		return func(s string) string { return bertNormalize(s, clean, chinese, strip, low) }, nil
	}
	return nil, fmt.Errorf("%q is not supported", kind)
}

func orTrue(b *bool) bool { return b == nil || *b }

// lower lowers each rune by itself, as Rust's char::to_lowercase does: the
// capital I with a dot becomes two runes.
func lower(s string) string {
	if strings.ContainsRune(s, 'İ') {
		s = strings.ReplaceAll(s, "İ", "i̇")
	}
	return strings.Map(unicode.ToLower, s)
}

func without(s string, drop func(rune) bool) string {
	return strings.Map(func(r rune) rune {
		if drop(r) {
			return -1
		}
		return r
	}, s)
}

// literals returns the characters of a regular expression that is a class of
// single ASCII characters, such as [!"\#\-] ; "" for any other.
func literals(regex string) string {
	if len(regex) < 3 || regex[0] != '[' || regex[len(regex)-1] != ']' {
		return ""
	}
	var set []byte
	for class := regex[1 : len(regex)-1]; class != ""; class = class[1:] {
		switch c := class[0]; {
		case c == '\\' && len(class) > 1 && isBertPunctuation(rune(class[1])):
			class = class[1:]
			set = append(set, class[0])
		case c >= 0x80 || strings.IndexByte(`\[]^-&`, c) >= 0:
			return "" // an escape, a nested or negated class, a range, an intersection
		default:
			set = append(set, c)
		}
	}
	return string(set)
}

// replaceAny replaces each character that set holds.
func replaceAny(s, set, by string) string {
	var b strings.Builder
	for _, r := range s {
		if strings.ContainsRune(set, r) {
			b.WriteString(by)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func replaceSpaces(s string, least int, by string) string {
	return replaceRuns(s, least, unicode.IsSpace, by)
}

// replaceRuns replaces each run of at least so many runes that satisfy is.
func replaceRuns(s string, least int, is func(rune) bool, by string) string {
	var b strings.Builder
	for len(s) > 0 {
		n := run(s, is)
		count := len([]rune(s[:n]))
		switch {
		case n == 0:
			m := run(s, func(r rune) bool { return !is(r) })
			b.WriteString(s[:m])
			n = m
		case count >= least:
			b.WriteString(by)
		default:
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// bertNormalize is BERT's: control characters go and white space becomes a
// space, CJK ideographs stand alone, accents go, letters are lowered.
func bertNormalize(s string, clean, chinese, strip, low bool) string {
	var b strings.Builder
	for _, r := range s {
		if clean {
			if r == 0 || r == 0xfffd || isControl(r) {
				continue
			}
			if isBertSpace(r) {
				r = ' '
			}
		}
		if chinese && isIdeograph(r) {
			b.WriteRune(' ')
			b.WriteRune(r)
			b.WriteRune(' ')
			continue
		}
		b.WriteRune(r)
	}
	s = b.String()
	if strip {
		s = without(norm.NFD.String(s), func(r rune) bool { return unicode.Is(unicode.Mn, r) })
	}
	if low {
		s = lower(s)
	}
	return s
}

func isBertSpace(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || unicode.IsSpace(r)
}

func isControl(r rune) bool {
	if r == '\t' || r == '\n' || r == '\r' {
		return false
	}
	// What is not assigned stays, as in the Python library.
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs)
}

func isIdeograph(r rune) bool {
	for _, b := range [][2]rune{
		{0x4e00, 0x9fff},
		{0x3400, 0x4dbf},
		{0x20000, 0x2a6df},
		{0x2a700, 0x2b73f},
		{0x2b740, 0x2b81f},
		{0x2b920, 0x2ceaf},
		{0xf900, 0xfaff},
		{0x2f800, 0x2fa1f},
	} {
		if r >= b[0] && r <= b[1] {
			return true
		}
	}
	return false
}
