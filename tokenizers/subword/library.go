package subword

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// Libraries are the names that Follow takes.
var Libraries = []string{"openclip", "siglip"}

// Follow makes the tokenizer of a tokenizer.json give the ids of the library's
// own tokenizer, which does with a text what such a file cannot say:
//
//	openclip    OpenCLIP's SimpleTokenizer, over a vocabulary of CLIP. Texts
//	            are cleaned as ftfy and html.unescape do (see cleanOpenCLIP) and
//	            lowered with the final sigma. <start_of_text> and <end_of_text>
//	            inside a text are the ids around it; <|startoftext|> is text.
//	siglip      transformers' SiglipTokenizer, over a SentencePiece unigram.
//	            ASCII's punctuation goes, where </s> and <unk> do not stand.
//
// It is called before the tokenizer is used. What Save writes does not tell of
// it.
func (t *Tokenizer) Follow(library string) error {
	switch library {
	case "openclip":
		return t.followOpenCLIP()
	case "siglip":
		return t.followSigLIP()
	}
	return fmt.Errorf("%q is not one of %s", library, strings.Join(Libraries, ", "))
}

// The special tokens of OpenCLIP.
const (
	openclipStart = "<start_of_text>"
	openclipEnd   = "<end_of_text>"
)

func (t *Tokenizer) followOpenCLIP() error {
	m, ok := t.model.(*bpe)
	if !ok || m.suffix != "</w>" || len(t.before) != 1 || len(t.after) != 1 {
		return fmt.Errorf("openclip: expected CLIP's tokenizer: BPE with an end_of_word_suffix \"</w>\" and one token on each side of a text")
	}
	t.own = func(ids []int32, text string) []int32 {
		splitWords(lowerText(cleanOpenCLIP(text)), nextOpenCLIP, func(w string) {
			switch {
			case w == openclipStart:
				ids = append(ids, t.before...)
			case w == openclipEnd:
				ids = append(ids, t.after...)
			case w != " ":
				ids = append(ids, t.word(spell(w))...)
			}
		})
		return ids
	}
	return nil
}

// nextOpenCLIP is nextCLIP with OpenCLIP's special tokens. Its pattern does not
// tell cases apart: of what is lower, the long s is an s.
func nextOpenCLIP(text string) int {
	for _, token := range []string{openclipStart, openclipEnd, "'ſ"} {
		if strings.HasPrefix(text, token) {
			return len(token)
		}
	}
	return nextCLIP(text)
}

func (t *Tokenizer) followSigLIP() error {
	m, ok := t.model.(*unigram)
	if !ok || len(t.after) != 1 {
		return fmt.Errorf("siglip: expected a Unigram and one token behind every text")
	}
	replace, err := charsmapOf(t.source)
	if err != nil {
		return err
	}
	unknown := t.tokens[m.unknown]
	special := newAddedTokens([]addedToken{
		{ID: t.after[0], Content: t.tokens[t.after[0]]}, {ID: m.unknown, Content: unknown},
	}, nil).raw
	m = &unigram{ids: maps.Clone(m.ids), scores: m.scores, unknown: m.unknown, least: m.least, longest: m.longest, single: true}
	delete(m.ids, unknown) // SentencePiece does not look for it in texts
	// The library puts the unknown token's name in front of each piece of text,
	// so that SentencePiece puts no space there, and takes its subwords away.
	name := len(m.encode(pieces(unknown, replace)))
	t.own = func(ids []int32, text string) []int32 {
		text = space + strings.ReplaceAll(text, space, " ")
		addedTokens{}.cut(text, special, func(piece string, id int32) {
			if id >= 0 {
				ids = append(ids, id)
				return
			}
			of := m.encode(pieces(unknown+canonical(piece), replace))
			ids = append(ids, of[min(name, len(of)):]...)
		})
		return ids
	}
	return nil
}

// canonical is SiglipTokenizer's canonicalize_text: a text is lowered, loses
// ASCII's punctuation, and has single spaces within and none around it.
func canonical(s string) string {
	s = without(lowerText(s), func(r rune) bool { return r < 0x80 && isBertPunctuation(r) })
	return strings.Join(strings.FieldsFunc(s, isPythonSpace), " ")
}

// isPythonSpace is \s of Python's regular expressions.
func isPythonSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// space is how SentencePiece writes a space.
const space = "▁"

// pieces is SentencePiece's normalization: characters are replaced, spaces
// become visible, with one in front of the text, none behind it and one alone
// in a row.
func pieces(s string, replace *charsmap) string {
	b := []byte(space)
	spaced := true
	for len(s) > 0 {
		by, n := replace.longest(s)
		s = s[n:]
		for spaced && strings.HasPrefix(by, " ") {
			by = by[1:]
		}
		if by != "" {
			spaced = strings.HasSuffix(by, " ")
			b = append(b, strings.ReplaceAll(by, " ", space)...)
		}
	}
	out := string(b)
	for strings.HasSuffix(out, space) {
		out = strings.TrimSuffix(out, space)
	}
	return out
}

// lowerText is lower, but that a sigma which ends a word becomes ς: one with a
// letter before it and none behind, as Python has it.
func lowerText(s string) string {
	if !strings.ContainsRune(s, 'Σ') {
		return lower(s)
	}
	runes := []rune(s)
	// cased reports whether a letter that has cases stands next in a direction.
	cased := func(i, step int) bool {
		for i += step; i >= 0 && i < len(runes); i += step {
			if !isCaseIgnorable(runes[i]) {
				return unicode.In(runes[i], unicode.Lu, unicode.Ll, unicode.Lt, unicode.Other_Lowercase, unicode.Other_Uppercase)
			}
		}
		return false
	}
	final := slices.Clone(runes)
	for i, r := range runes {
		if r == 'Σ' && cased(i, -1) && !cased(i, 1) {
			final[i] = 'ς'
		}
	}
	return lower(string(final))
}

// isCaseIgnorable is Unicode's Case_Ignorable: marks, modifiers, and what may
// stand within a word.
func isCaseIgnorable(r rune) bool {
	return unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Lm, unicode.Sk) ||
		strings.ContainsRune("'.:\u00b7\u0387\u055f\u05f4\u2018\u2019\u2024\u2027\ufe13\ufe52\ufe55\uff07\uff0e\uff1a", r)
}
