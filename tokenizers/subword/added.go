package subword

import (
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// addedToken is an entry of "added_tokens": a token that is found in the text
// itself.
type addedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// addedTokens holds the tokens that are looked for before and after the text
// is normalized, the longest first.
type addedTokens struct {
	raw, normalized []addedToken
}

func newAddedTokens(tokens []addedToken, normalize func(string) string) addedTokens {
	var a addedTokens
	for _, t := range tokens {
		if t.Normalized {
			t.Content = normalize(t.Content)
		}
		switch {
		case t.Content == "":
		case t.Normalized:
			a.normalized = append(a.normalized, t)
		default:
			a.raw = append(a.raw, t)
		}
	}
	for _, list := range [][]addedToken{a.raw, a.normalized} {
		sort.SliceStable(list, func(i, j int) bool { return len(list[i].Content) > len(list[j].Content) })
	}
	return a
}

// cut yields the pieces of a text in order: a token with its id, what lies
// between tokens with -1. The leftmost token wins, of those the longest.
func (a addedTokens) cut(text string, tokens []addedToken, yield func(piece string, id int32)) {
	start := 0 // of what has not been yielded
	for at := 0; at < len(text); {
		t, ok := find(text, at, tokens)
		if !ok {
			_, n := utf8.DecodeRuneInString(text[at:])
			at += n
			continue
		}
		lo, hi := at, at+len(t.Content)
		if t.LStrip {
			lo = start + len(strings.TrimRightFunc(text[start:lo], unicode.IsSpace))
		}
		if t.RStrip {
			hi = len(text) - len(strings.TrimLeftFunc(text[hi:], unicode.IsSpace))
		}
		if lo > start {
			yield(text[start:lo], -1)
		}
		yield(text[lo:hi], t.ID)
		start, at = hi, hi
	}
	if start < len(text) {
		yield(text[start:], -1)
	}
}

// find returns the longest token that stands at a place.
func find(text string, at int, tokens []addedToken) (addedToken, bool) {
	for _, t := range tokens {
		if !strings.HasPrefix(text[at:], t.Content) {
			continue
		}
		if t.SingleWord {
			before, _ := utf8.DecodeLastRuneInString(text[:at])
			after, _ := utf8.DecodeRuneInString(text[at+len(t.Content):])
			if at > 0 && isWord(before) || at+len(t.Content) < len(text) && isWord(after) {
				continue
			}
		}
		return t, true
	}
	return addedToken{}, false
}

// isWord is \w of the Rust regular expressions.
func isWord(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsMark(r) || unicode.Is(unicode.Nd, r) || unicode.Is(unicode.Pc, r) || unicode.Is(unicode.Join_Control, r)
}
