package emoji

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/internal/wavfile"
	_ "github.com/onetrunk/onetrunk/modalities/all"
)

// world is a set of packages and programs for a test, in place of the real
// ones.
type world struct {
	dir string // of the programs; they note their calls here too
	out string
}

// letters is the number of emoji of one code point, from U+1F600 on: enough
// for all sides.
const letters = 30

// The programs behave as the real ones do where the build relies on it.
const (
	fakeNPM = `#!/bin/sh
here=${0%/*}
echo "$@" >>"$here/npm.log"
while [ $# -gt 1 ]; do
	[ "$1" = --pack-destination ] && to=$2
	shift
done
file=$(echo "$1" | tr @ -).tgz
if ! [ -f "$here/$file" ]; then
	echo "npm error code E404" >&2
	exit 1
fi
cp "$here/$file" "$to/$file"
`
	fakeSynthesiser = `#!/bin/sh
here=${0%/*}
if [ "$1" = --voices=variant ]; then
	echo " 5  variant  --/M  m1  !v/m1"
	echo " 5  variant  --/F  f2  !v/f2"
	echo " 5  variant  --/M  m7  !v/m7"
	exit
fi
while [ "$1" != -- ]; do
	case "$1" in
	-v) voice=$2 ;;
	-w) file=$2 ;;
	esac
	shift
done
case "$voice" in
en* | de*) ;;
*)
	echo "Error: The specified espeak-ng voice does not exist." >&2
	exit 1
	;;
esac
[ -z "$file" ] && exit
echo "$voice $2" >>"$here/spoken.log"
if [ -f "$here/mute" ]; then
	echo "no such file" >&2
	exit 1
fi
cp "$here/voice.wav" "$file"
`
)

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{dir: t.TempDir(), out: filepath.Join(t.TempDir(), "set")}
	w.write(t, "npm", []byte(fakeNPM))
	w.write(t, "espeak-ng", []byte(fakeSynthesiser))
	voice, err := wavfile.Encode(make([]float32, 2205), 22050)
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, "voice.wav", voice)
	t.Setenv("PATH", w.dir+string(os.PathListSeparator)+os.Getenv("PATH"))

	var entries []map[string]any
	names := map[string]map[string]any{"en": {}, "de": {}}
	derived := map[string]map[string]any{"en": {}, "de": {}}
	drawn := map[string][]byte{}
	add := func(unified string, shade uint8, into map[string]map[string]any, en, de string) {
		file := strings.ToLower(unified) + ".png"
		entries = append(entries, map[string]any{"unified": unified, "image": file, "category": "Objects"})
		drawn[file] = dot(t, shade)
		bare, err := withoutSelectors(unified)
		if err != nil {
			t.Fatal(err)
		}
		for lang, name := range map[string]string{"en": en, "de": de} {
			if name != "" {
				into[lang][bare] = map[string]any{"default": []string{"x"}, "tts": []string{name}}
			}
		}
	}
	for i := range letters {
		add(fmt.Sprintf("%X", 0x1f600+i), uint8(i), names, fmt.Sprint("name ", i), fmt.Sprint("Name ", i, " auf Deutsch"))
	}
	add("1F468-200D-2695-FE0F", 100, derived, "", `"Arzt"`) // a sequence, a name with quotes, a language that lacks one
	add("1F9FF", 101, names, "", "")                        // without a name
	entries = append(entries, map[string]any{"unified": "1F3FB", "image": "1f3fb.png", "category": "Component"})

	for _, p := range []struct {
		name, folder string
		names        map[string]map[string]any
	}{{namesPackage, "annotations", names}, {derivedPackage, "annotationsDerived", derived}} {
		files := map[string][]byte{}
		for lang, m := range p.names {
			files["package/"+p.folder+"/"+lang+"/annotations.json"] = asJSON(t, map[string]any{p.folder: map[string]any{"annotations": m}})
		}
		w.pack(t, p.name, files)
	}
	for v, vendor := range []string{"google", "twitter", "apple"} {
		files := map[string][]byte{"package/emoji.json": asJSON(t, entries)}
		for file, data := range drawn {
			// Every vendor's dots have a width of their own.
			files["package/img/"+vendor+"/64/"+file] = widen(t, data, v+1)
		}
		if vendor == "twitter" {
			delete(files, "package/img/twitter/64/1f600.png")
		}
		w.pack(t, pictures(vendor), files)
	}
	return w
}

func (w *world) write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), data, 0o755); err != nil {
		t.Fatal(err)
	}
}

// calls returns how often a program noted a call.
func (w *world) calls(log string) int {
	data, _ := os.ReadFile(filepath.Join(w.dir, log))
	return bytes.Count(data, []byte("\n"))
}

func (w *world) pack(t *testing.T, name string, files map[string][]byte) {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	a := tar.NewWriter(z)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if err := a.WriteHeader(&tar.Header{Name: path, Mode: 0o644, Size: int64(len(files[path])), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Write(files[path]); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(a.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	w.write(t, name+"-"+versions[name]+".tgz", b.Bytes())
}

func asJSON(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// dot is a picture of one pixel.
func dot(t *testing.T, shade uint8) []byte {
	t.Helper()
	img := image.NewGray(image.Rect(0, 0, 1, 1))
	img.SetGray(0, 0, color.Gray{Y: shade})
	return encode(t, img)
}

// widen repeats a dot.
func widen(t *testing.T, data []byte, width int) []byte {
	t.Helper()
	src, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	img := image.NewGray(image.Rect(0, 0, width, 1))
	for x := range width {
		img.Set(x, 0, src.At(0, 0))
	}
	return encode(t, img)
}

func encode(t *testing.T, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (w *world) options() Options {
	return Options{
		Out: w.out, Langs: []string{"en", "de"},
		Vendors: []string{"google", "twitter", "apple"}, Voices: []string{"m1", "f2", "m7"},
	}
}

// readRows returns the manifest's rows as maps.
func readRows(t *testing.T, dir string) []map[string]string {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "manifest.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comma = '\t'
	all, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]string
	for _, cells := range all[1:] {
		row := map[string]string{}
		for i, name := range all[0] {
			row[name] = cells[i]
		}
		rows = append(rows, row)
	}
	return rows
}

// The manifest keeps the promises of the package's doc comment.
func TestBuild(t *testing.T) {
	w := newWorld(t)
	o := w.options()
	stages := map[string]int{}
	o.Progress = func(done, total int, what string) {
		if done < 0 || done > total {
			t.Errorf("%s: %d of %d", what, done, total)
		}
		stages[what] = total - done
	}
	report, err := Build(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(stages) != 3 || stages["packages"]+stages["pictures"]+stages["recordings"] != 0 {
		t.Errorf("left of the stages: %v", stages)
	}
	if report.Concepts != letters+1 {
		t.Errorf("%d concepts, want %d", report.Concepts, letters+1)
	}
	texts, ids := map[string]map[string]bool{}, map[string]map[string]bool{}
	for _, s := range Splits {
		texts[s], ids[s] = map[string]bool{}, map[string]bool{}
	}
	found := map[string]map[string]int{"pictures": {}, "recordings": {}}
	for _, r := range readRows(t, w.out) {
		split := r["split"]
		ids[split][r["id"]] = true
		kept := strings.HasPrefix(split, "test")
		file := r["image"] + r["audio"]
		if _, err := os.Stat(filepath.Join(w.out, file)); err != nil {
			t.Error(err)
		}
		switch {
		case r["image"] != "" && r["audio"]+r["text"]+r["lang"] == "":
			found["pictures"][split]++
			if r["note"] == "apple" != kept {
				t.Errorf("a picture by %s in %s", r["note"], split)
			}
		case r["image"] == "" && r["audio"] != "" && r["text"] != "" && r["lang"] != "":
			found["recordings"][split]++
			texts[split][r["text"]] = true
			if r["note"] == "m7" != kept {
				t.Errorf("a recording by %s in %s", r["note"], split)
			}
		default:
			t.Errorf("neither a picture nor a recording: %v", r)
		}
	}
	if !maps.Equal(ids["train"], ids["test-seen"]) {
		t.Error("test-seen has other concepts than train")
	}
	for _, s := range []string{"val", "test-unseen"} {
		for id := range ids[s] {
			if ids["train"][id] {
				t.Errorf("%s is in train and in %s", id, s)
			}
		}
		for text := range texts[s] {
			if texts["train"][text] {
				t.Errorf("%q is in train and in %s", text, s)
			}
		}
	}
	for _, s := range report.Splits {
		if s.Concepts == 0 || s.Concepts != len(ids[s.Name]) || s.Pictures != found["pictures"][s.Name] || s.Recordings != found["recordings"][s.Name] {
			t.Errorf("reported %+v, found %d concepts, %v", s, len(ids[s.Name]), found)
		}
		src, err := datasets.Open(w.out + "#" + s.Name)
		if err != nil {
			t.Fatal(err)
		}
		if src.Len() != s.Concepts || !slices.Equal(src.Modalities(), []string{"audio", "image", "text"}) {
			t.Errorf("%s opens with %d items of %v", s.Name, src.Len(), src.Modalities())
		}
	}
	// Every concept by all vendors and voices of its split, but for a picture
	// that was not drawn and a name that one language lacks.
	for _, split := range Splits {
		hands := 2 // and as many voices
		if strings.HasPrefix(split, "test") {
			hands = 1
		}
		pictures, recordings := hands*len(ids[split]), hands*2*len(ids[split])
		if ids[split]["1f600"] && hands == 2 {
			pictures--
		}
		if ids[split]["1f468-200d-2695-fe0f"] {
			recordings -= hands
		}
		if found["pictures"][split] != pictures || found["recordings"][split] != recordings {
			t.Errorf("%s: %d pictures and %d recordings, want %d and %d", split, found["pictures"][split], found["recordings"][split], pictures, recordings)
		}
	}
	if report.Pictures+report.Recordings+len(o.Vendors)+2 != report.Made {
		t.Errorf("made %d files, want %d pictures, %d recordings and the packages", report.Made, report.Pictures, report.Recordings)
	}
	data, err := os.ReadFile(filepath.Join(w.dir, "spoken.log"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte(`"Arzt"`)) {
		t.Error("the name with quotes was not spoken")
	}
}

// A second build does nothing and writes the same manifest; one that lacks a
// file makes that file alone; an empty file is not a recording.
func TestBuildGoesOn(t *testing.T) {
	w := newWorld(t)
	if _, err := Build(context.Background(), w.options()); err != nil {
		t.Fatal(err)
	}
	manifest := filepath.Join(w.out, "manifest.tsv")
	before, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	packed, spoken := w.calls("npm.log"), w.calls("spoken.log")
	recordings, err := filepath.Glob(filepath.Join(w.out, "speech", "en", "*", "*.wav"))
	if err != nil || len(recordings) < 2 {
		t.Fatal(recordings, err)
	}
	if err := errors.Join(os.Remove(recordings[0]), os.Truncate(recordings[1], 0), os.Remove(manifest)); err != nil {
		t.Fatal(err)
	}
	report, err := Build(context.Background(), w.options())
	if err != nil {
		t.Fatal(err)
	}
	if report.Made != 2 || w.calls("npm.log") != packed || w.calls("spoken.log") != spoken+2 {
		t.Errorf("made %d files, fetched %d, spoke %d; want 2, 0, 2", report.Made, w.calls("npm.log")-packed, w.calls("spoken.log")-spoken)
	}
	after, err := os.ReadFile(manifest)
	if err != nil || !bytes.Equal(before, after) {
		t.Error("another manifest: ", err)
	}
}

// A build that ends early says why, in one line, and leaves no manifest, no
// half-written and no temporary file.
func TestBuildFails(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(t *testing.T, w *world, o *Options)
		want []string
	}{
		{"no programs", func(t *testing.T, w *world, o *Options) { t.Setenv("PATH", w.out) }, []string{"missing programs", "npm", "apt-get install espeak-ng"}},
		{"one program", func(t *testing.T, w *world, o *Options) {
			if err := os.Remove(filepath.Join(w.dir, "npm")); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", w.dir)
		}, []string{"missing programs: npm"}},
		{"voice", func(t *testing.T, w *world, o *Options) { o.Voices = []string{"m1", "m9"} }, []string{`no voice "m9"`}},
		{"language", func(t *testing.T, w *world, o *Options) { o.Langs = []string{"xx"} }, []string{`language "xx"`, "does not exist"}},
		{"language without names", func(t *testing.T, w *world, o *Options) { o.Langs = []string{"en-AU"} }, []string{namesPackage + ` has no language "en-AU"`}},
		{"vendor", func(t *testing.T, w *world, o *Options) { o.Vendors = []string{"google", "acme"} }, []string{`vendor "acme"`, "apple"}},
		{"one vendor", func(t *testing.T, w *world, o *Options) { o.Vendors = []string{"google"} }, []string{"at least 2"}},
		{"path", func(t *testing.T, w *world, o *Options) { o.Voices = []string{"m1", "../m7"} }, []string{`voice "../m7"`}},
		{"twice", func(t *testing.T, w *world, o *Options) { o.Langs = []string{"en", "en"} }, []string{`"en" is given twice`}},
		{"no folder", func(t *testing.T, w *world, o *Options) { o.Out = "" }, []string{"no folder"}},
		{"package", func(t *testing.T, w *world, o *Options) { o.Vendors = []string{"google", "facebook"} }, []string{"npm pack", "emoji-datasource-facebook@", "E404"}},
		{"synthesiser", func(t *testing.T, w *world, o *Options) { w.write(t, "mute", nil) }, []string{"speech/", ".wav", "no such file"}},
		{"no sound", func(t *testing.T, w *world, o *Options) { w.write(t, "voice.wav", []byte("no")) }, []string{"speech/", ".wav"}},
		{"no archive", func(t *testing.T, w *world, o *Options) {
			w.write(t, namesPackage+"-"+versions[namesPackage]+".tgz", []byte("not an archive"))
		}, []string{namesPackage, "gzip", "delete the file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			o := w.options()
			c.do(t, w, &o)
			_, err := Build(context.Background(), o)
			if err == nil {
				t.Fatal("built")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v: no %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than a line: %q", err)
			}
			leftovers(t, w)
		})
	}
}

// Cancelling ends a build in the midst of its recordings; the next goes on.
func TestBuildCancelled(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	o := w.options()
	o.Progress = func(done, total int, what string) {
		if what == "recordings" && done == 5 {
			cancel()
		}
	}
	if _, err := Build(ctx, o); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v, want context.Canceled", err)
	}
	leftovers(t, w)
	before := w.calls("spoken.log")
	report, err := Build(context.Background(), w.options())
	if err != nil {
		t.Fatal(err)
	}
	if report.Made == 0 || report.Made >= report.Recordings || w.calls("spoken.log")-before != report.Made {
		t.Errorf("made %d of %d recordings, spoke %d", report.Made, report.Recordings, w.calls("spoken.log")-before)
	}
}

func leftovers(t *testing.T, w *world) {
	t.Helper()
	err := filepath.WalkDir(w.out, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && (strings.HasPrefix(d.Name(), ".tmp-") || d.Name() == "manifest.tsv") {
			t.Errorf("left %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
