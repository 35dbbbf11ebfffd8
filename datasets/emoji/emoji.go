// Package emoji builds a set of pictures, speech and text from free packages:
// emoji as several vendors draw them, their names in several languages, and
// the names as several voices of a synthesiser speak them.
//
// An item is a concept: one emoji, whose id is its code points. The tones of
// skin are variants of a concept and left out. Concepts that share a name in
// any of the chosen languages, or a picture of any of the chosen vendors, form
// a group. A group goes by the SHA-256 of its least id as a whole to one side:
// 8 of 10 are for training, one is for val and one for test.
//
// The last vendor and the last voice are kept for the tests. So the splits are
//
//	train        concepts of the training side, by all vendors and voices but the last
//	val          concepts of the val side, by all vendors and voices but the last
//	test-seen    concepts of the training side, by the last vendor and the last voice
//	test-unseen  concepts of the test side, by the last vendor and the last voice
//
// A name in test-seen is one that training has shown, and that is meant: new
// are the hand that draws and the voice that speaks. No name and no picture
// of val or test-unseen is in train.
package emoji

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Options says what to build. Langs, Vendors and Voices have defaults.
type Options struct {
	// Out is the folder to build in; it is made where it is missing. What a
	// build that was stopped has left there is used.
	Out string
	// Langs are languages by the codes of CLDR and of the synthesiser; nil
	// stands for DefaultLangs.
	Langs []string
	// Vendors draw the pictures; the last is kept for the tests. There are at
	// least two; nil stands for DefaultVendors.
	Vendors []string
	// Voices are the synthesiser's variants, as "f2"; the last is kept for the
	// tests. There are at least two; nil stands for DefaultVoices.
	Voices []string
	// Progress, where it is not nil, is told how many of the pieces of a
	// stage are done; what names the stage. Calls do not overlap.
	Progress func(done, total int, what string)
}

// Defaults of Options.
var (
	DefaultLangs   = []string{"en", "de", "fr", "es"}
	DefaultVendors = []string{"google", "twitter", "facebook", "apple"}
	DefaultVoices  = []string{"m1", "f2", "m3", "f4", "m7"}
)

// Splits are the names of the splits.
var Splits = []string{"train", "val", "test-seen", "test-unseen"}

// Report says what was built.
type Report struct {
	// Concepts, Pictures and Recordings are counts of the whole set; Made
	// counts the files that this build wrote and did not find there.
	Concepts, Pictures, Recordings, Made int
	// Splits are in the order of the variable Splits.
	Splits []SplitReport
}

// SplitReport is the size of a split.
type SplitReport struct {
	Name                                 string
	Concepts, Pictures, Recordings, Rows int
}

// builder is a build under way.
type builder struct {
	Options
	made int
}

// Build makes Out/manifest.tsv and the files it names: Out/images and
// Out/speech. The packages it reads are kept in Out/packages, which may be
// deleted afterwards. A missing program, a language, vendor or voice that is
// not known, and a package that cannot be had are errors; so is an end of
// ctx. Files that exist are not made again, and no file is ever half written,
// so a build that was stopped goes on where it was.
func Build(ctx context.Context, o Options) (Report, error) {
	b := &builder{Options: o.withDefaults()}
	if err := b.check(); err != nil {
		return Report{}, err
	}
	if err := checkPrograms(ctx, b.Options); err != nil {
		return Report{}, err
	}
	if err := b.fetch(ctx); err != nil {
		return Report{}, err
	}
	concepts, err := b.readConcepts()
	if err != nil {
		return Report{}, err
	}
	if err := b.readPictures(ctx, concepts); err != nil {
		return Report{}, err
	}
	assignSides(concepts)
	drawings, utterances := b.drawings(concepts), b.utterances(concepts)
	if err := b.writePictures(ctx, drawings); err != nil {
		return Report{}, err
	}
	if err := b.speak(ctx, utterances); err != nil {
		return Report{}, err
	}
	report, err := b.writeManifest(drawings, utterances)
	report.Concepts = len(concepts)
	return report, err
}

func (o Options) withDefaults() Options {
	if o.Langs == nil {
		o.Langs = DefaultLangs
	}
	if o.Vendors == nil {
		o.Vendors = DefaultVendors
	}
	if o.Voices == nil {
		o.Voices = DefaultVoices
	}
	if o.Progress == nil {
		o.Progress = func(int, int, string) {}
	}
	return o
}

// check looks at what the user chose. All of it becomes parts of paths.
func (b *builder) check() error {
	if b.Out == "" {
		return errors.New("emoji: no folder to build in")
	}
	for _, list := range []struct {
		what    string
		names   []string
		atLeast int
	}{
		{"language", b.Langs, 1}, {"vendor", b.Vendors, 2}, {"voice", b.Voices, 2},
	} {
		if len(list.names) < list.atLeast {
			return fmt.Errorf("emoji: %d names of a %s, expected at least %d (the last vendor and the last voice are kept for the tests)", len(list.names), list.what, list.atLeast)
		}
		for i, name := range list.names {
			if !plain(name) {
				return fmt.Errorf("emoji: %s %q: expected letters, digits, - and _", list.what, name)
			}
			if slices.Contains(list.names[:i], name) {
				return fmt.Errorf("emoji: %s %q is given twice", list.what, name)
			}
		}
	}
	for _, v := range b.Vendors {
		if _, known := versions[pictures(v)]; !known {
			return fmt.Errorf("emoji: no pictures by the vendor %q (known: %s)", v, strings.Join(DefaultVendors, ", "))
		}
	}
	return nil
}

func plain(name string) bool {
	return name != "" && name[0] != '-' && !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	})
}

// path returns where a file of the set lies; rel has slashes.
func (b *builder) path(rel string) string { return filepath.Join(b.Out, filepath.FromSlash(rel)) }

// exists reports whether a file of the set was made before.
func (b *builder) exists(rel string) bool {
	info, err := os.Stat(b.path(rel))
	return err == nil && info.Mode().IsRegular() && info.Size() > 0
}
