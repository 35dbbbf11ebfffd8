package subword

import (
	"unicode"
	"unicode/utf8"
)

// splitWords cuts text as GPT-2's pattern does:
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// The pieces join to the text.
func splitWords(text string, yield func(word string)) {
	for len(text) > 0 {
		n := nextWord(text)
		yield(text[:n])
		text = text[n:]
	}
}

var contractions = []string{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}

// nextWord returns the length of the first word of a text that is not empty.
func nextWord(text string) int {
	for _, c := range contractions {
		if len(text) >= len(c) && text[:len(c)] == c {
			return len(c)
		}
	}
	start := 0
	if text[0] == ' ' && len(text) > 1 {
		start = 1
	}
	if n := run(text[start:], unicode.IsLetter); n > 0 {
		return start + n
	}
	if n := run(text[start:], unicode.IsNumber); n > 0 {
		return start + n
	}
	if n := run(text[start:], isOther); n > 0 {
		return start + n
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
