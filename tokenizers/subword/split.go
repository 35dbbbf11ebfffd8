package subword

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// splitter cuts or changes pieces of text.
type splitter func(pieces []string) []string

// parseSplitter makes the function of a "pre_tokenizer".
func parseSplitter(c json.RawMessage) (splitter, error) {
	kind, err := typeOf(c)
	if err != nil {
		return nil, err
	}
	var o struct {
		Pretokenizers    []json.RawMessage `json:"pretokenizers"`
		AddPrefixSpace   *bool             `json:"add_prefix_space"`
		UseRegex         *bool             `json:"use_regex"`
		Pattern          pattern           `json:"pattern"`
		Behavior         string            `json:"behavior"`
		Invert           bool              `json:"invert"`
		Replacement      string            `json:"replacement"`
		PrependScheme    string            `json:"prepend_scheme"`
		Split            *bool             `json:"split"`
		IndividualDigits bool              `json:"individual_digits"`
	}
	if kind != "" {
		if err := json.Unmarshal(c, &o); err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
	}
	switch kind {
	case "":
		return func(p []string) []string { return p }, nil
	case "Sequence":
		var all []splitter
		for _, p := range o.Pretokenizers {
			f, err := parseSplitter(p)
			if err != nil {
				return nil, err
			}
			all = append(all, f)
		}
		return func(p []string) []string {
			for _, f := range all {
				p = f(p)
			}
			return p
		}, nil
	case "ByteLevel":
		prefix, regex := orTrue(o.AddPrefixSpace), orTrue(o.UseRegex)
		return each(func(s string, out []string) []string {
			if prefix && !strings.HasPrefix(s, " ") {
				s = " " + s
			}
			if !regex {
				return append(out, spell(s))
			}
			splitWords(s, nextGPT2, func(w string) { out = append(out, spell(w)) })
			return out
		}), nil
	case "Split":
		if next := clipPatterns[orEmpty(o.Pattern.Regex)]; next != nil && o.Behavior == "Removed" && o.Invert {
			return each(func(s string, out []string) []string {
				splitWords(s, next, func(w string) {
					if r, _ := utf8.DecodeRuneInString(w); !unicode.IsSpace(r) {
						out = append(out, w)
					}
				})
				return out
			}), nil
		}
		if orEmpty(o.Pattern.Regex) == gpt2Pattern && (o.Behavior == "Isolated" || o.Behavior == "Removed" && o.Invert) {
			return each(func(s string, out []string) []string {
				splitWords(s, nextGPT2, func(w string) { out = append(out, w) })
				return out
			}), nil
		}
		return nil, fmt.Errorf("a Split by %s is not supported", string(c))
	case "WhitespaceSplit":
		return each(func(s string, out []string) []string { return append(out, strings.Fields(s)...) }), nil
	case "Whitespace":
		return each(func(s string, out []string) []string {
			splitWords(s, func(s string) int {
				if n := run(s, isWord); n > 0 {
					return n
				}
				if n := run(s, func(r rune) bool { return !isWord(r) && !unicode.IsSpace(r) }); n > 0 {
					return n
				}
				return run(s, unicode.IsSpace)
			}, func(w string) {
				if strings.TrimSpace(w) != "" {
					out = append(out, w)
				}
			})
			return out
		}), nil
	case "BertPreTokenizer":
		return each(func(s string, out []string) []string {
			for _, f := range strings.FieldsFunc(s, unicode.IsSpace) {
				out = isolate(f, isBertPunctuation, out)
			}
			return out
		}), nil
	case "Punctuation":
		if o.Behavior != "" && o.Behavior != "Isolated" {
			return nil, fmt.Errorf("a Punctuation with behavior %q is not supported", o.Behavior)
		}
		return each(func(s string, out []string) []string { return isolate(s, isBertPunctuation, out) }), nil
	case "Digits":
		return each(func(s string, out []string) []string {
			if o.IndividualDigits {
				return isolate(s, unicode.IsNumber, out)
			}
			splitWords(s, func(s string) int {
				if n := run(s, unicode.IsNumber); n > 0 {
					return n
				}
				return run(s, func(r rune) bool { return !unicode.IsNumber(r) })
			}, func(w string) { out = append(out, w) })
			return out
		}), nil
	case "Metaspace":
		return parseMetaspace(o.Replacement, o.PrependScheme, o.AddPrefixSpace, orTrue(o.Split))
	}
	return nil, fmt.Errorf("%q is not supported", kind)
}

// parseMetaspace writes spaces as a visible rune and cuts in front of each.
func parseMetaspace(replacement, scheme string, addPrefix *bool, split bool) (splitter, error) {
	if scheme == "" && addPrefix != nil && !*addPrefix {
		scheme = "never"
	}
	if scheme == "first" {
		return nil, fmt.Errorf("a Metaspace with prepend_scheme \"first\" is not supported")
	}
	return each(func(s string, out []string) []string {
		s = strings.ReplaceAll(s, " ", replacement)
		if scheme != "never" && !strings.HasPrefix(s, replacement) {
			s = replacement + s
		}
		if !split {
			return append(out, s)
		}
		for len(s) > 0 {
			_, first := utf8.DecodeRuneInString(s)
			n := len(s)
			if i := strings.Index(s[first:], replacement); i >= 0 {
				n = first + i
			}
			out = append(out, s[:n])
			s = s[n:]
		}
		return out
	}), nil
}

func each(f func(s string, out []string) []string) splitter {
	return func(pieces []string) []string {
		var out []string
		for _, p := range pieces {
			if p != "" {
				out = f(p, out)
			}
		}
		return out
	}
}

// isolate cuts out each rune that satisfies is.
func isolate(s string, is func(rune) bool, out []string) []string {
	start := 0
	for i, r := range s {
		if !is(r) {
			continue
		}
		if i > start {
			out = append(out, s[start:i])
		}
		start = i + utf8.RuneLen(r)
		out = append(out, s[i:start])
	}
	if start < len(s) {
		out = append(out, s[start:])
	}
	return out
}

// isBertPunctuation also counts ASCII's symbols.
func isBertPunctuation(r rune) bool {
	if r < 0x80 {
		return r >= '!' && r <= '/' || r >= ':' && r <= '@' || r >= '[' && r <= '`' || r >= '{' && r <= '~'
	}
	return unicode.IsPunct(r)
}

// splitWords cuts text into words; next returns the length of the first word
// of a text that is not empty, at least 1.
func splitWords(text string, next func(string) int, yield func(word string)) {
	for len(text) > 0 {
		n := next(text)
		yield(text[:n])
		text = text[n:]
	}
}

const gpt2Pattern = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

// clipPattern is CLIP's, which clipTokens may stand in front of.
const (
	clipPattern = `'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+`
	clipTokens  = `<\|startoftext\|>|<\|endoftext\|>|`
)

var clipPatterns = map[string]func(string) int{clipPattern: nextCLIP, clipTokens + clipPattern: nextCLIPToken}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

var contractions = []string{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}

func contraction(text string) int {
	for _, c := range contractions {
		if strings.HasPrefix(text, c) {
			return len(c)
		}
	}
	return 0
}

// nextGPT2 is gpt2Pattern.
func nextGPT2(text string) int {
	if n := contraction(text); n > 0 {
		return n
	}
	start := 0
	if text[0] == ' ' {
		start = 1
	}
	for _, is := range []func(rune) bool{unicode.IsLetter, unicode.IsNumber, isOther} {
		if n := run(text[start:], is); n > 0 {
			return start + n
		}
	}
	// White space: all of it at the end of the text, else all but the last,
	// which belongs to the word that follows.
	n := run(text, unicode.IsSpace)
	if n == len(text) {
		return n
	}
	_, last := utf8.DecodeLastRuneInString(text[:n])
	if n > last {
		return n - last
	}
	return n
}

// nextCLIP is CLIP's pattern; white space, which it passes over, is a word.
func nextCLIP(text string) int {
	if n := contraction(text); n > 0 {
		return n
	}
	if n := run(text, unicode.IsLetter); n > 0 {
		return n
	}
	if r, n := utf8.DecodeRuneInString(text); unicode.IsNumber(r) {
		return n
	}
	if n := run(text, isOther); n > 0 {
		return n
	}
	return run(text, unicode.IsSpace)
}

// nextCLIPToken is nextCLIP, but for the special tokens.
func nextCLIPToken(text string) int {
	for _, token := range []string{clipStart, clipEnd} {
		if strings.HasPrefix(text, token) {
			return len(token)
		}
	}
	return nextCLIP(text)
}

func isOther(r rune) bool {
	return !unicode.IsSpace(r) && !unicode.IsLetter(r) && !unicode.IsNumber(r)
}

// run returns the length in bytes of the first runes that satisfy is.
func run(text string, is func(rune) bool) int {
	for i, r := range text {
		if !is(r) {
			return i
		}
	}
	return len(text)
}

// alphabet shows each byte as a printable rune, as GPT-2's vocabulary does.
var alphabet = func() (a [256]rune) {
	next := rune(256)
	for b := range a {
		r := rune(b)
		if (r >= '!' && r <= '~') || (r >= 0xa1 && r <= 0xac) || (r >= 0xae && r <= 0xff) {
			a[b] = r
		} else {
			a[b] = next
			next++
		}
	}
	return a
}()

// spell writes the bytes of a text in the alphabet.
func spell(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(alphabet[s[i]])
	}
	return b.String()
}
