package train

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A small draw has the histogram's mean, and no text is longer than the model
// reads.
func TestDrawStandsForTheHistogram(t *testing.T) {
	l := Lengths{3: 500, 5: 300, 9: 190, 60: 10}
	sum, cut := 0, 0
	const n = 200
	for _, x := range l.draw(n, 32, rand.New(rand.NewPCG(1, 2))) {
		if l[x] == 0 && x != 32 {
			t.Fatalf("drew the length %d, which no text has", x)
		}
		if x == 32 {
			cut++
		}
		sum += x
	}
	want := (3*500 + 5*300 + 9*190 + 32*10) / 1000.0
	if mean := float64(sum) / n; math.Abs(mean-want) > 0.1 || cut != 2 {
		t.Errorf("mean length %g with %d texts cut, want %g with 2", mean, cut, want)
	}
}

func TestReadLengths(t *testing.T) {
	for _, c := range []struct{ content, want string }{
		{`{"texts": 4, "lengths": {"3": 3, "12": 1}}`, ""},
		{`{"length": {"3": 3}}`, `"lengths"`},
		{`{"lengths": {"0": 3}}`, "length 0"},
		{`{"lengths": {"3": -1}}`, "-1 texts"},
		{`{"lengths": {"three": 1}}`, "three"},
	} {
		path := filepath.Join(t.TempDir(), "lengths.json")
		if err := os.WriteFile(path, []byte(c.content), 0o644); err != nil {
			t.Fatal(err)
		}
		l, err := ReadLengths(path)
		switch {
		case c.want == "":
			if err != nil || l[3] != 3 || l[12] != 1 || len(l) != 2 {
				t.Errorf("%s: %v (%v)", c.content, l, err)
			}
		case err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path):
			t.Errorf("%s: error %v, want one that names the file and %q", c.content, err, c.want)
		}
	}
}
