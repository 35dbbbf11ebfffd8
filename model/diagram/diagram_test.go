package diagram

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/sharing"
)

var three = []string{"audio", "image", "text"}

// report describes a trunk of two layers in which serving says what serves a
// place.
func report(serving func(layer int, modality string, r sharing.Role) []string) model.Report {
	r := model.Report{Tensors: map[string]int{}}
	for l := range 2 {
		for _, role := range sharing.Roles {
			for _, m := range three {
				names := serving(l, m, role)
				tensor, _ := physical(names[0], role)
				for _, n := range names {
					r.Tensors[n] = 10
				}
				r.Map = append(r.Map, model.Place{Entry: sharing.Entry{Layer: l, Modality: m, Role: role, Tensor: tensor}, Serving: names})
			}
		}
	}
	return r
}

// tensors are the names of a trunk with norms private, attention shared and
// layer 1 using layer 0's feed-forward network.
func tensors(layer int, modality string, r sharing.Role) []string {
	name := map[sharing.Role]string{
		sharing.Norm1: fmt.Sprintf("trunk/%d/norm1@%s", layer, modality), sharing.Norm2: fmt.Sprintf("trunk/%d/norm2@%s", layer, modality),
		sharing.Qkv: fmt.Sprintf("trunk/%d/attn/qkv", layer), sharing.Out: fmt.Sprintf("trunk/%d/attn/out", layer),
		sharing.Up: "trunk/0/ffn/up", sharing.Down: "trunk/0/ffn/down",
	}[r]
	return []string{name + "/weight", name + "/bias"}
}

func text(t *testing.T, d Diagram, p Paint) string {
	t.Helper()
	var b strings.Builder
	if err := d.WriteText(&b, p); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTextShowsWhatIsShared(t *testing.T) {
	got := text(t, New(report(tensors)), None)
	want := `trunk        norm1       qkv        out       norm2       up        down
            a  i  t    a  i  t    a  i  t    a  i  t    a  i  t    a  i  t
layer 0     A  B  C    D  D  D    E  E  E    F  G  H    I  I  I    J  J  J
layer 1     K  L  M    N  N  N    O  O  O    P  Q  R    I  I  I    J  J  J

trunk: a audio, i image, t text
`
	if !strings.HasPrefix(got, want) {
		t.Errorf("drawn:\n%s\nwant:\n%s", got, want)
	}
	if !strings.Contains(got, "I trunk/0/ffn/up") {
		t.Errorf("the legend does not name tensor I:\n%s", got)
	}
}

func TestMarksAreWhatServesBeside(t *testing.T) {
	for _, c := range []struct {
		name    string
		extra   []string // beside qkv of layer 1
		cell    string
		legends string
	}{
		{"low rank", []string{"trunk/1/attn/qkv/lora/a", "trunk/1/attn/qkv/lora/b"}, "N+", "+ lora: "},
		{"per sample", []string{"trunk/1/apg/modalities", "trunk/1/attn/qkv/apg/s/weight"}, "N+", "+ apg: "},
		{"a mask", []string{"trunk/1/attn@audio/qkv/mask"}, "N/", "/ mask: "},
		{"units", []string{"trunk/1/ffn@audio/up/units"}, "N/", "/ units: "},
		{"a basis", []string{"trunk/1/attn/qkv/coefficients", "trunk/0/attn/qkv/basis"}, "N~=", "= basis: "},
		{"a codebook", []string{"trunk/1/attn/qkv/codebook"}, "N#", "# codebook: "},
		{"two marks", []string{"trunk/1/attn/qkv/taps/delta", "trunk/1/attn/policy"}, "N+?", "? policy: "},
		{"unknown", []string{"trunk/1/attn/qkv/novelty/weight"}, "N!", "! novelty: "},
		{"a bank", []string{"trunk/1/attn#1/qkv/weight", "trunk/1/attn#1/qkv/bias", "trunk/1/attn@audio/qkv/mix"}, "NO~", "~ mix: "},
	} {
		got := text(t, New(report(func(l int, m string, r sharing.Role) []string {
			names := tensors(l, m, r)
			if l == 1 && r == sharing.Qkv {
				names = append(names, c.extra...)
			}
			return names
		})), None)
		if n := strings.Count(got, " "+c.cell+" "); n != 3 || !strings.Contains(got, "\n"+c.legends) {
			t.Errorf("%s: %d cells %q, want 3, and a legend %q:\n%s", c.name, n, c.cell, c.legends, got)
		}
	}
}

// wellFormed reads XML to its end and returns the text of all titles.
func wellFormed(t *testing.T, s string) (titles []string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(s))
	in := false
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return titles
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, s)
		}
		switch x := tok.(type) {
		case xml.StartElement:
			in = x.Name.Local == "title"
		case xml.CharData:
			if in {
				titles = append(titles, string(x))
			}
		case xml.EndElement:
			in = false
		}
	}
}

func TestSVG(t *testing.T) {
	d := New(report(func(l int, m string, r sharing.Role) []string {
		names := tensors(l, m, r)
		switch {
		case r == sharing.Qkv && l == 1:
			names = append(names, "trunk/1/attn#1/qkv/weight", "trunk/1/attn@"+m+"/qkv/mix", "trunk/1/attn@"+m+"/qkv/mask")
		case r == sharing.Out:
			names = append(names, "trunk/1/attn@"+m+"/out/lora/a")
		}
		return names
	}))
	var a, b strings.Builder
	if err := errors.Join(d.WriteSVG(&a, "x"), d.WriteSVG(&b, "x")); err != nil {
		t.Fatal(err)
	}
	if a.String() != b.String() {
		t.Error("two drawings differ")
	}
	titles := wellFormed(t, a.String())
	// Norms 3+3 a layer, and a bar for each other role.
	if want := 2*6 + 2*4; len(titles) != want {
		t.Errorf("%d bars, want %d", len(titles), want)
	}
	if !slices.ContainsFunc(titles, func(s string) bool {
		return strings.HasPrefix(s, "layer 0, out, audio + image + text\nE  trunk/0/attn/out  20 values\n+  trunk/1/attn@audio/out/lora/a\n")
	}) {
		t.Errorf("no title tells of layer 0's out: %q", titles)
	}
	for _, m := range regexp.MustCompile(`url\(#([^)]*)\)`).FindAllStringSubmatch(a.String(), -1) {
		if !strings.Contains(a.String(), `id="`+m[1]+`"`) {
			t.Errorf("%s is painted with and not defined", m[1])
		}
	}
}

func TestColours(t *testing.T) {
	seen := map[Colour]string{}
	for _, g := range []string{"", "@audio", "@image", "@text", "@audio+image", "@audio+text", "@image+text"} {
		for l := range 6 {
			for _, role := range []string{"attn%s/qkv", "attn%s/out", "ffn%s/up", "ffn%s/down", "norm1%s"} {
				name := fmt.Sprintf("trunk/%d/"+role, l, g)
				c := colourOf(name)
				if other, taken := seen[c]; taken {
					t.Errorf("%s has the colour of %s", name, other)
				}
				seen[c] = name
			}
		}
	}
	for c, want := range map[Colour]int{{0, 0, 0}: 16, {255, 255, 255}: 231, {95, 135, 175}: 67, {250, 130, 10}: 208} {
		if got := c.index(); got != want {
			t.Errorf("%v is colour %d, want %d", c, got, want)
		}
	}
}

func TestPaint(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want Paint
	}{
		{nil, None},
		{map[string]string{"TERM": "xterm-256color"}, Indexed},
		{map[string]string{"TERM": "xterm-256color", "COLORTERM": "truecolor"}, True},
		{map[string]string{"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": "1"}, None},
		{map[string]string{"TERM": "dumb", "COLORTERM": "truecolor"}, None},
	} {
		if got := PaintOf(func(k string) string { return c.env[k] }); got != c.want {
			t.Errorf("%v: paint %d, want %d", c.env, got, c.want)
		}
	}
	d := New(report(tensors))
	bare := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(text(t, d, True), "")
	bare = strings.ReplaceAll(bare, " \n", "\n") // colours reach to the cell's end
	if plain := text(t, d, None); bare != plain {
		t.Errorf("without its colours it is\n%s\nwant\n%s", bare, plain)
	}
}

func TestShort(t *testing.T) {
	for _, c := range []struct{ names, want []string }{
		{[]string{"audio", "image", "text"}, []string{"a", "i", "t"}},
		{[]string{"text", "trace"}, []string{"te", "tr"}},
		{[]string{"a", "ab"}, []string{"a", "ab"}},
	} {
		if got := short(c.names); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.names, got, c.want)
		}
	}
}
