package subword

import (
	"html"
	"regexp"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/language"
	"golang.org/x/text/unicode/norm"
)

// cleanOpenCLIP is what OpenCLIP does with a text before it is lowered: ftfy's
// fix_text (version 6, as it is configured by default), html.unescape twice,
// and white space that becomes single spaces.
//
// Of fix_text it has, for each line, over and over until nothing changes:
// character references that end in a semicolon are replaced, unless a < stands
// in this line or one before it; UTF-8 that was read as Windows-1252 is decoded
// (see mojibake); characters are replaced as in straighten; terminal escapes
// and control characters go; and the line is brought to the form NFC.
//
// Of ftfy's fix_encoding it does not have more than that: a text that was read
// in another encoding, or that has lost characters since, stays as it is, and
// what weighs how likely a text is mojibake is simpler here.
func cleanOpenCLIP(s string) string {
	var b strings.Builder
	unescape := true
	for line := range strings.Lines(s) {
		unescape = unescape && !strings.Contains(line, "<")
		b.WriteString(fixLine(line, unescape))
	}
	s = b.String()
	for range 2 {
		s = unescapeHTML(s, reference)
	}
	return strings.Join(strings.Fields(s), " ")
}

func fixLine(s string, unescape bool) string {
	for {
		before := s
		if unescape {
			s = unescapeHTML(s, closedReference)
		}
		s = straighten(mojibake(s))
		s = without(terminalEscape.ReplaceAllString(s, ""), isInvisible)
		if s = norm.NFC.String(s); s == before {
			return s
		}
	}
}

// terminalEscape is a sequence that colours a terminal's text.
var terminalEscape = regexp.MustCompile(`\x1b\[[\p{Nd};]*[a-zA-Z]`)

// isInvisible are the control characters that go: those of ASCII but for white
// space, Arabic's deprecated ones, the byte order mark, and those of
// annotations and objects.
func isInvisible(r rune) bool {
	switch r {
	case '\t', '\n', '\f', '\r':
		return false
	}
	return r < ' ' || r == 0x7f || r >= 0x206a && r <= 0x206f || r == 0xfeff || r >= 0xfff9 && r <= 0xfffc
}

// straighten replaces characters: C1's control characters by those that
// Windows-1252 has there, Latin ligatures and digraphs by their letters, wide
// and narrow forms by common ones, curly quotes by straight ones.
func straighten(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r >= 0x80 && r <= 0x9f {
			r = windows1252(r)
		}
		switch {
		case r == 'ŉ':
			b.WriteString("'n")
		case r == 'ﬅ':
			b.WriteString("ſt")
		case r == 'Ĳ', r == 'ĳ', r >= 'Ǆ' && r <= 'ǌ', r >= 'Ǳ' && r <= 'ǳ', r >= 'ﬀ' && r <= 'ﬆ', r >= 0xff01 && r <= 0xffef, r == 0x3000:
			b.WriteString(norm.NFKC.String(string(r)))
		case r == 0x2bc || r >= 0x2018 && r <= 0x201b:
			b.WriteByte('\'')
		case r >= 0x201c && r <= 0x201f:
			b.WriteByte('"')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// windows1252 returns the character of a byte from 0x80 to 0x9f; where there is
// none, the control character of that number.
func windows1252(r rune) rune {
	if c := charmap.Windows1252.DecodeByte(byte(r)); c != utf8.RuneError {
		return c
	}
	return r
}

// mojibake decodes UTF-8 that was read as Latin-1 or Windows-1252, as often as
// that was done. A text is taken for such where all of it is characters of one
// of these and its bytes there are UTF-8; but not where it only is so because
// capital letters stand before marks at the end of a word, as in CAFÉ®. In other
// texts two characters are taken for one where the first is Â or Ã, and so are
// three or four.
func mojibake(s string) string {
	for {
		decoded, ok := decodeWhole(s, func(r rune) (byte, bool) { return byte(r), r <= 0xff })
		if !ok {
			decoded, ok = decodeWhole(s, toWindows1252)
		}
		if !ok {
			decoded = decodeWithin(s)
		}
		if decoded == s {
			return s
		}
		s = decoded
	}
}

// toWindows1252 also encodes what windows1252 leaves.
func toWindows1252(r rune) (byte, bool) {
	if r >= 0x80 && r <= 0x9f && windows1252(r) == r {
		return byte(r), true
	}
	return charmap.Windows1252.EncodeRune(r)
}

// decodeWithin decodes the characters of a text that look like the UTF-8 of one.
func decodeWithin(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		var bytes []byte
		n := 0 // bytes of s
		for n < len(s) && len(bytes) < utf8.UTFMax && !utf8.FullRune(bytes) {
			r, size := utf8.DecodeRuneInString(s[n:])
			c, ok := toWindows1252(r)
			if r <= 0xff {
				c, ok = byte(r), true
			}
			if !ok {
				break
			}
			bytes = append(bytes, c)
			n += size
		}
		r, size := utf8.DecodeRune(bytes)
		if size < len(bytes) || size < 2 || size == 2 && r > 0xff {
			r, n = utf8.DecodeRuneInString(s)
		}
		b.WriteRune(r)
		s = s[n:]
	}
	return b.String()
}

// marks may stand behind a word.
const marks = "®™”»’…–—·¡¿«“‘•€£¢¥›‹„‚\u00ad"

// decodeWhole returns the text whose UTF-8 the runes of s are in an encoding.
func decodeWhole(s string, encode func(r rune) (byte, bool)) (string, bool) {
	var bytes []byte
	var last rune
	strange := false
	for i, r := range s {
		c, ok := encode(r)
		if !ok {
			return "", false
		}
		if c >= 0x80 && c < 0xc0 {
			_, size := utf8.DecodeRuneInString(s[i:])
			next, _ := utf8.DecodeRuneInString(s[i+size:])
			inWord := isAlphanumeric(next) && r != '’'
			strange = strange || inWord || !strings.ContainsRune("ÀÁÄÅÆÇÈÉÊËÌÍÏÑÒÓÔÖØÙÚÛÜÝÞß", last) || !strings.ContainsRune(marks, r)
		}
		bytes = append(bytes, c)
		last = r
	}
	if !strange || !utf8.Valid(bytes) {
		return "", false
	}
	return string(bytes), true
}

// unescapeHTML replaces the character references that read finds.
func unescapeHTML(s string, read func(s string) (by string, n int)) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '&')
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		s = s[i:]
		by, n := read(s)
		if n == 0 {
			by, n = "&", 1
		}
		b.WriteString(by)
		s = s[n:]
	}
}

// reference reads the character reference at the beginning of a text, as
// Python's html.unescape does, and returns what it stands for and its length; 0
// where there is none.
func reference(s string) (by string, n int) {
	if strings.HasPrefix(s, "&#") {
		return numericReference(s)
	}
	n = 1 + run(s[1:], isAlphanumeric)
	if n < len(s) && s[n] == ';' {
		n++
	}
	return named(s[:n]), n
}

// named replaces a named reference. The html package has all names but two; it
// reads numbers in another way than Python.
func named(s string) string {
	switch s {
	case "&nLt;":
		return "≪⃒"
	case "&nGt;":
		return "≫⃒"
	}
	return html.UnescapeString(s)
}

// closedReference is reference for ftfy, which wants a semicolon, and reads the
// names of small letters in capitals too: &EACUTE; is É. What &amp; becomes the
// beginning of is read at once.
func closedReference(s string) (by string, n int) {
	for body := s[1:]; ; {
		found, m := closedName(body)
		switch {
		case m == 0 && n == 0:
			return "", 0
		case m == 0:
			return by, 1 + n
		}
		if by, n = found, n+m; by != "&" {
			return by, 1 + n
		}
		body = body[m:]
	}
}

// closedName reads a reference of at most 24 letters and digits without its &.
func closedName(body string) (by string, n int) {
	number := strings.HasPrefix(body, "#")
	if number {
		n = 1
	}
	n += run(body[n:min(len(body), n+25)], isAlphanumeric)
	if n >= len(body) || body[n] != ';' || n > 25 || n > 24 && !number {
		return "", 0
	}
	n++
	name := "&" + body[:n]
	if number {
		if by, m := numericReference(name); m == len(name) && by != ";" {
			return by, n
		}
		return "", 0
	}
	if by = named(name); by == name && strings.ToUpper(name) == name {
		if small := strings.ToLower(name); isWhole(named(small), small) {
			return cases.Upper(language.Und).String(named(small)), n
		}
	}
	if !isWhole(by, name) {
		return "", 0
	}
	return by, n
}

// isWhole reports whether all of a name and its semicolon was replaced.
func isWhole(by, name string) bool { return by != name && (by == ";" || !strings.HasSuffix(by, ";")) }

// numericReference reads &#65; or &#x41; with or without the semicolon. What is
// not a character is left out, or becomes U+FFFD.
func numericReference(s string) (by string, n int) {
	n = len("&#")
	base, digits := rune(10), "0123456789"
	if rest := s[n:]; rest != "" && (rest[0] == 'x' || rest[0] == 'X') {
		base, digits = 16, "0123456789abcdefABCDEF"
		n++
	}
	start, v := n, rune(0)
	for ; n < len(s); n++ {
		d := strings.IndexByte(digits, s[n])
		if d > 15 {
			d -= 6 // a capital letter
		}
		if d < 0 {
			break
		}
		v = min(v*base+rune(d), utf8.MaxRune+1)
	}
	if n == start {
		return "", 0
	}
	if n < len(s) && s[n] == ';' {
		n++
	}
	switch {
	case v == 0 || v > utf8.MaxRune || v >= 0xd800 && v <= 0xdfff:
		return "\ufffd", n
	case v >= 0x80 && v <= 0x9f:
		return string(windows1252(v)), n
	case v == '\v' || v < '\t' || v >= 0x0e && v < ' ' || v == 0x7f || v >= 0xfdd0 && v <= 0xfdef || v&0xfffe == 0xfffe:
		return "", n
	}
	return string(v), n
}

func isAlphanumeric(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
}
