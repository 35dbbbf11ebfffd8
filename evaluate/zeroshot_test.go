package evaluate

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// Each class has two sentences, between which its vector lies.
func TestZeroShot(t *testing.T) {
	c := openFolder(t, map[string]string{
		"a/1.png": "10", "a/2.png": "44", "a/3.png": "46",
		"b_b/1.png": "80", "b_b/2.png": "100", "b_b/3.png": "0",
	}, "")
	m := &compass{reads: []string{"image", "text"}, says: map[string]float64{
		"a": -20, "one a, a.": 20, // 0
		"b b": 60, "one b b, b b.": 120, // 90
	}}
	classes, err := ClassVectors(t.Context(), m, c.Classes(), []string{"{}", "one {}, {}."}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range at(0, 90) {
		if math.Abs(float64(x-classes[i])) > 1e-6 {
			t.Errorf("classes at %v, want 0 and 90 degrees", classes)
			break
		}
	}
	v, err := Embed(t.Context(), m, c, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ZeroShot(t.Context(), v, classes)
	if err != nil {
		t.Fatal(err)
	}
	if s.N != 6 || s.Top1 != 4./6 || s.Top5 != 1 || s.PerClass != 2./3 {
		t.Errorf("%+v", s)
	}
	if want := []Confusion{{"a", "b b", 1}, {"b b", "a", 1}}; !slices.Equal(s.Confusions, want) {
		t.Errorf("confusions %v, want %v", s.Confusions, want)
	}
}

// Every sentence counts alike: the mean is that of unit vectors.
func TestMeanDirection(t *testing.T) {
	for _, c := range []struct {
		z    []float32
		want []float32
	}{
		{at(30), at(30)},
		{at(0, 90), at(45)},
		{at(0, 0, 90), []float32{float32(2 / math.Sqrt(5)), float32(1 / math.Sqrt(5))}},
		{[]float32{1, 0, -1, 0}, []float32{0, 0}},
	} {
		got := meanDirection(c.z, 2)
		if len(got) != 2 || math.Abs(float64(got[0]-c.want[0])) > 1e-6 || math.Abs(float64(got[1]-c.want[1])) > 1e-6 {
			t.Errorf("%v has direction %v, want %v", c.z, got, c.want)
		}
	}
}

func TestZeroShotMistakes(t *testing.T) {
	classes := []Class{{"a", "a"}, {"b", "b"}}
	mute := &compass{reads: []string{"image"}}
	if _, err := ClassVectors(t.Context(), mute, classes, []string{"{}"}, nil); err == nil || !strings.Contains(err.Error(), "reads text") {
		t.Errorf("a model without text: %v", err)
	}
	m := &compass{reads: []string{"text"}, says: map[string]float64{"a": 1}}
	if _, err := ClassVectors(t.Context(), m, classes, []string{"{}"}, nil); err == nil || !strings.Contains(err.Error(), `class "b"`) {
		t.Errorf("a name that cannot be read: %v", err)
	}
	if _, err := ClassVectors(t.Context(), m, classes, nil, nil); err == nil || !strings.Contains(err.Error(), "template") {
		t.Errorf("no templates: %v", err)
	}
}

func TestReadTemplates(t *testing.T) {
	got, err := readTemplates(strings.NewReader("a {}.\n\n  {} and {} \r\n"))
	if want := []string{"a {}.", "{} and {}"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q (%v), want %q", got, err, want)
	}
	for in, want := range map[string]string{
		"\n \n":                    "no templates",
		"a {}.\n\na photo":         `line 3: the template "a photo" has no {}`,
		strings.Repeat("x", 1<<17): "too long",
	} {
		if _, err := readTemplates(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: error %v, want it to hold %q", in, err, want)
		}
	}
	for _, modality := range []string{"image", "audio", "text"} {
		for _, s := range Templates(modality) {
			if strings.Count(s, slot) != 1 {
				t.Errorf("%s: the template %q", modality, s)
			}
		}
	}
}
