package subword

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// spieceFixture is a model of SentencePiece; pretrained holds the ids of both
// libraries' tokenizers to theirs.
const spieceFixture = "../../pretrained/testdata/siglip/spiece.model"

// TestCleanOpenCLIP has what ftfy 6.3 and Python's html.unescape make of texts.
func TestCleanOpenCLIP(t *testing.T) {
	for in, want := range map[string]string{
		"":                      "",
		" a\r\nb\u2028c\u0085d": "a b c…d",
		// references
		"&lt;b&gt; &amp;amp;amp;eacute;":         "<b> é",
		"< &amp;amp;amp; &amp;eacute":            "< &amp; é",
		"&amp;amp;amp;\n&lt;\n< &amp;amp;amp;":   "& < < &amp;",
		"&EACUTE; &SZLIG; &nTILDE; &AMPX; &FJL;": "É SS &nTILDE; &X; &FJL;",
		"&notit; &copy2 &nLt; &semi; &; & &":     "¬it; ©2 ≪⃒ ; &; & &",
		"&#65 &#x42; &#X43 &#xg; &# &#; &#59;":   "A B C &#xg; &# &#; ;",
		"&#0;&#xd800;&#x110000;&#4294967361;":    "����",
		"[&#1;&#11;&#127;&#xfdd0;&#x1ffff;]":     "[]",
		"&#128;&#150;&#129;":                     "€–\u0081",
		// characters
		"“a” ‘b’ ʼn ŉ „c“":                   "\"a\" 'b' 'n 'n \"c\"",
		"ﬁ ﬄ ﬅ ﬆ ĳ ǅ ǳ æ":                    "fi ffl ſt st ij Dž dz æ",
		"Ａ１！ ﾊﾞ ￥ ①":                         "A1! バ ¥ ①",
		"\ufeffa\x00b\x7f\u206a\ufffc \x1fc": "ab c",
		"a\u200bb\u00adc\u200dd":             "a\u200bb\u00adc\u200dd",
		"\x1b[1;31mred\x1b[0m \x1b[3":        "red [3",
		"e\u0301":                            "é",
		// mojibake
		"schÃ¶n donâ€™t âœ”": "schön don't ✔",
		"â\u0080\u0099":      "'",
		"Ð¼Ð¸Ñ€":             "мир",
		"Ã\u0083Â©":          "é",
		"schÃ¶n 😀":           "schön 😀",
		"CAFÉ® SEÑOR’S É”":   "CAFÉ® SEÑOR'S É\"",
		"naïve Ümläut Ã":     "naïve Ümläut Ã",
	} {
		if got := cleanOpenCLIP(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	// References that stand in each other take no longer for being many.
	if got := cleanOpenCLIP("&" + strings.Repeat("amp;", 1<<18) + "lt;"); got != "<" {
		t.Errorf("%.20q...", got)
	}
}

func TestLowerText(t *testing.T) {
	for in, want := range map[string]string{
		"ΑΣ": "ας", "Σ": "σ", "ΑΣΑ": "ασα", "ΑΣ.": "ας.", "ΑΣ.Α": "ασ.α", "Α'Σ": "α'ς", "1Σ": "1σ", "ΑΣ\u0301 ΑΣ": "ας\u0301 ας", "İΣ": "i̇ς",
	} {
		if got := lowerText(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// TestPieces reads a table of SentencePiece's: the longest beginning counts.
func TestPieces(t *testing.T) {
	table, err := charsmapOf(fixture(t, "t5").source)
	if err != nil || table == nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"a": "▁a", "  a \u3000 b ": "▁a▁b", "ﬁ①": "▁fi1", "e\u0301x": "▁éx", "\u200b": "", "▁ a": "▁▁▁a", "": "",
	} {
		if got := pieces(in, table); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestFollowRefuses(t *testing.T) {
	for _, c := range []struct{ name, library, want string }{
		{"clip", "siglip", "Unigram"},
		{"siglip", "openclip", "CLIP"},
		{"clip", "ftfy", "one of openclip, siglip"},
	} {
		if err := fixture(t, c.name).Follow(c.library); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s as %s: error %v, want it to hold %q", c.name, c.library, err, c.want)
		}
	}
}

// TestSigLIP holds the file that is made of a spiece.model to the one that
// stands beside it, on a text that both cut alike.
func TestSigLIP(t *testing.T) {
	made, err := SigLIP(spieceFixture)
	if err != nil {
		t.Fatal(err)
	}
	beside, err := Load(filepath.Join(filepath.Dir(spieceFixture), "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "A photo, of a cat!", "한국어 naïve</s>x <unk>"} {
		if a, b := made.Encode(text), beside.Encode(text); !slices.Equal(a, b) {
			t.Errorf("%q: ids %v, by the tokenizer.json %v", text, a, b)
		}
	}
	data, err := os.ReadFile(spieceFixture)
	if err != nil {
		t.Fatal(err)
	}
	field := func(n byte, message string) string { return string([]byte{n<<3 | 2, byte(len(message))}) + message }
	for _, c := range []struct{ data, want string }{
		{"", "unk_id 0 in a vocabulary of 0 pieces"},
		{"\x0a\xff", "not a SentencePiece model"},
		{string(data) + field(2, "\x18\x02"), "model_type 2"},
		{string(data) + field(3, "\x18\x00"), "add_dummy_prefix 0"},
		{string(data) + field(1, "\x0a\x01x\x18\x04"), `"x" is user-defined`},
		{string(data) + field(1, "\x0a\x01\xff"), "not UTF-8"},
		{field(1, "\x0a\x01x"), `no token "</s>"`},
	} {
		path := filepath.Join(t.TempDir(), "spiece.model")
		if err := os.WriteFile(path, []byte(c.data), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := SigLIP(path); err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), path) {
			t.Errorf("error %v, want it to hold %q", err, c.want)
		}
	}
}

func FuzzSpiece(f *testing.F) {
	data, err := os.ReadFile(spieceFixture)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := parseSpiece(data); err == nil {
			if data, err = siglip(m, 0); err == nil {
				if tok, err := Parse("fuzz", data); err == nil && tok.Follow("siglip") == nil {
					tok.Encode("some text, 12 <s> 素早い")
				}
			}
		}
	})
}
