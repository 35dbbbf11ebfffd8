package compare

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"regexp"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/train"
)

func TestStat(t *testing.T) {
	if s := StatOf([]float64{1, 2, 6}); s.Mean != 3 || !near(s.SD, math.Sqrt(7)) || s.N != 3 {
		t.Errorf("%+v, want 3 and the root of (4+1+9)/2", s)
	}
	if s := StatOf([]float64{5}); s != (Stat{Mean: 5, N: 1}) {
		t.Errorf("%+v of one value", s)
	}
	if s := StatOf(nil); s != (Stat{}) {
		t.Errorf("%+v of none", s)
	}
}

// TestPairedTest holds the test against tables of Student's distribution.
func TestPairedTest(t *testing.T) {
	d := Difference{Stat: StatOf([]float64{1, 2, 3})} // t = 2*sqrt(3)/1
	d.test()
	// With 2 degrees of freedom the distribution function is
	// 1/2 + t/(2 sqrt(2+t^2)), and the quantile of 0.975 is 4.302653.
	p := 1 - math.Sqrt(12)/math.Sqrt(14)
	if !d.Tested || math.Abs(d.T-math.Sqrt(12)) > 1e-12 || math.Abs(d.P-p) > 1e-9 {
		t.Errorf("t %g, p %g, want %g and %g", d.T, d.P, math.Sqrt(12), p)
	}
	if half := 4.302653 / math.Sqrt(3); math.Abs(d.High-(2+half)) > 1e-5 || math.Abs(d.Low-(2-half)) > 1e-5 {
		t.Errorf("interval %g to %g, want 2 ± %g", d.Low, d.High, half)
	}
	for _, c := range []struct {
		values []float64
		tested bool
		p      float64
	}{
		{[]float64{1}, false, 0},
		{[]float64{0, 0, 0}, true, 1},
		{[]float64{2, 2}, true, 0},
	} {
		d := Difference{Stat: StatOf(c.values)}
		d.test()
		if d.Tested != c.tested || d.P != c.p || math.IsNaN(d.T) || math.IsInf(d.T, 0) {
			t.Errorf("%v: %+v, want tested %t, p %g", c.values, d, c.tested, c.p)
		}
	}
}

func TestPareto(t *testing.T) {
	points := func(costsAndScores ...float64) (ps []Point) {
		for i := 0; i < len(costsAndScores); i += 2 {
			ps = append(ps, Point{Cost: costsAndScores[i], R1: Stat{Mean: costsAndScores[i+1], N: 1}})
		}
		return ps
	}
	for _, c := range []struct {
		name   string
		points []Point
		want   string
	}{
		{"a chain, and one below it", points(1, 0.1, 2, 0.5, 3, 0.4, 4, 0.9), "yyny"},
		{"as good and dearer", points(1, 0.5, 2, 0.5), "yn"},
		{"as dear and worse", points(1, 0.5, 1, 0.6), "ny"},
		{"twice the same", points(1, 0.5, 1, 0.5), "yy"},
		{"alone", points(3, 0), "y"},
	} {
		pareto(c.points)
		got := ""
		for _, p := range c.points {
			got += map[bool]string{true: "y", false: "n"}[p.Best]
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 7: "7", 58723: "58.7k", 999: "999", 999999: "1M", 1318000: "1.32M", 0.25: "0.25", 2.5e9: "2.5G"} {
		if got := short(v); got != want {
			t.Errorf("%g is written %s, want %s", v, got, want)
		}
	}
	if got := strings.Join(labels([]float64{1320000, 1325000, 1330000}), " "); got != "1.32M 1.325M 1.33M" {
		t.Errorf("labels %s", got)
	}
	if got := signed(-0.034); got != "−3.4" {
		t.Errorf("written %s", got)
	}
}

func TestAxis(t *testing.T) {
	for _, c := range []struct {
		values []float64
		log    bool
		n      int // of ticks, at least
	}{
		{[]float64{1, 2, 3}, false, 4},
		{[]float64{7}, false, 2},
		{[]float64{0, 0}, false, 2},
		{[]float64{0.1 + 0.2, 0.3}, false, 2}, // equal but for rounding
		{[]float64{5e4, 9e6}, true, 5},
		{[]float64{1e6, 1.01e6}, true, 2},
	} {
		a := fit(c.values, 0, 100, c.log)
		ts := a.ticks(6)
		if len(ts) < c.n || len(ts) > 12 {
			t.Errorf("%v: ticks %v", c.values, ts)
		}
		for _, v := range append(ts, c.values...) {
			if at := a.at(v); !(at >= -1e-6 && at <= 100+1e-6) {
				t.Errorf("%v: %g is at %g", c.values, v, at)
			}
		}
	}
}

// checkPage holds the page of a report to be well-formed and to need nothing
// else, and returns it.
func checkPage(t *testing.T, r Report) string {
	t.Helper()
	var b strings.Builder
	if err := WriteHTML(&b, r); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	// The script is no XML; the rest is written so that it is.
	script := regexp.MustCompile(`(?s)<script>.*?</script>`)
	d := xml.NewDecoder(strings.NewReader(script.ReplaceAllString(strings.Replace(page, "<!doctype html>", "", 1), "")))
	d.Entity = xml.HTMLEntity
	ids := map[string]bool{}
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			line, _ := d.InputPos()
			t.Fatalf("line %d: %v", line, err)
		}
		if e, ok := tok.(xml.StartElement); ok {
			for _, a := range e.Attr {
				switch {
				case a.Name.Local == "id" && ids[a.Value]:
					t.Errorf("two elements have the id %s", a.Value)
				case a.Name.Local == "id":
					ids[a.Value] = true
				case a.Name.Local == "src" || a.Name.Local == "href":
					t.Errorf("%s loads %s", e.Name.Local, a.Value)
				}
			}
		}
	}
	for _, m := range regexp.MustCompile(`url\(#([^)]*)\)`).FindAllStringSubmatch(page, -1) {
		if !ids[m[1]] {
			t.Errorf("%s is painted with and not defined", m[1])
		}
	}
	if strings.Contains(page, "NaN") && !strings.Contains(page, "isNaN") || strings.Contains(page, "ZgotmplZ") || strings.Contains(page, "http://") && strings.Count(page, "http://") != strings.Count(page, "http://www.w3.org/2000/svg") {
		t.Error("the page holds NaN, a refused value or an address")
	}
	return page
}

func TestPage(t *testing.T) {
	o := options(t.TempDir(), hard, routed)
	o.Alone, o.Seeds = []string{"hard"}, 2
	r := mustRun(t, o)
	r.Configs[0].Sharing = `<script>"&`
	page := checkPage(t, r)
	for _, want := range []string{"2 configs under one budget", "<h2>Transfer</h2>", "<h2>Conflicts between gradients</h2>", "ear+eye and ear+nose", "<h2>Experts by modality</h2>", "<h2>Maps</h2>", "&lt;script&gt;&#34;&amp;", "nose → ear", "prefers-color-scheme:dark"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page holds no %q", want)
		}
	}
	var b strings.Builder
	if err := WriteMarkdown(&b, r); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	columns := 0
	for i, line := range lines {
		n := strings.Count(line, "|")
		if n > 0 && i > 0 && strings.HasPrefix(lines[i-1], "|") && n != columns {
			t.Errorf("line %d has %d bars, the one before %d: %s", i+1, n, columns, line)
		}
		columns = n
	}
	if !strings.Contains(b.String(), "| hard | "+percent(r.Configs[0].R1)+" |") {
		t.Errorf("no row of hard:\n%s", &b)
	}
}

func TestMeanConflicts(t *testing.T) {
	of := func(pairs map[string]float64, tensors ...string) *train.ConflictMap {
		m := &train.ConflictMap{}
		for _, name := range tensors {
			m.Tensors = append(m.Tensors, train.Conflict{Tensor: name, Pairs: pairs})
		}
		return m
	}
	got := meanConflicts([]*train.ConflictMap{
		of(map[string]float64{"p": 0.5, "q": 1}, "a"),
		of(map[string]float64{"p": -0.1}, "a", "b"), // a layer has split
	})
	if len(got.Tensors) != 2 || got.Tensors[0].Tensor != "a" || !near(got.Tensors[0].Pairs["p"], 0.2) || got.Tensors[0].Pairs["q"] != 1 || got.Tensors[1].Pairs["p"] != -0.1 {
		t.Errorf("%+v", got.Tensors)
	}
	if meanConflicts(nil) != nil {
		t.Error("a mean of nothing")
	}
}

func TestHeat(t *testing.T) {
	c := &train.ConflictMap{Tensors: []train.Conflict{
		{Tensor: "trunk/0/attn/qkv", Layer: 0, Role: "qkv", Pairs: map[string]float64{"a+b|a+c": -0.5}},
		{Tensor: "trunk/1/ffn@a/up", Layer: 1, Role: "up", Pairs: map[string]float64{"a+b|a+c": 0.25}},
		{Tensor: "trunk/1/ffn@b/up", Layer: 1, Role: "up", Pairs: map[string]float64{"a+b|a+c": 0.75}},
		{Tensor: "trunk/1/ffn/up/lora/a", Layer: 1, Role: "up", Pairs: map[string]float64{"a+b|a+c": -1}},
	}}
	drawn := string(heat(c, byPairs))
	for _, want := range []string{"a+b and a+c", ">−.50<", ">.50<", "cosine 0.500\ntrunk/1/ffn@a/up\ntrunk/1/ffn@b/up<"} {
		if !strings.Contains(drawn, want) {
			t.Errorf("no %q in %s", want, drawn)
		}
	}
	if drawn := heat(c, func(t train.Conflict) map[string]float64 { return t.Modalities }); drawn != "" {
		t.Errorf("drawn of nothing: %s", drawn)
	}
}
