package emoji

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// versions are the packages a build reads, as they were when the numbers in
// docs/emoji.md were taken.
var versions = map[string]string{
	"emoji-datasource-google":       "16.0.0",
	"emoji-datasource-twitter":      "16.0.0",
	"emoji-datasource-facebook":     "16.0.0",
	"emoji-datasource-apple":        "16.0.0",
	"cldr-annotations-full":         "48.2.0",
	"cldr-annotations-derived-full": "48.2.0",
}

// The names of emoji: single ones, and sequences such as flags and families.
const (
	namesPackage   = "cldr-annotations-full"
	derivedPackage = "cldr-annotations-derived-full"
)

// pictures is the package of a vendor's pictures.
func pictures(vendor string) string { return "emoji-datasource-" + vendor }

// checkPrograms makes sure that the programs are there and know the voices: a
// voice that the synthesiser does not know it replaces by another, silently.
func checkPrograms(ctx context.Context, o Options) error {
	var missing []string
	for _, p := range []struct{ name, install string }{
		{"npm", "npm (comes with Node.js; apt-get install npm, brew install node)"},
		{"espeak-ng", "espeak-ng (apt-get install espeak-ng, brew install espeak-ng)"},
	} {
		if _, err := exec.LookPath(p.name); err != nil {
			missing = append(missing, p.install)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("emoji: missing programs: %s", strings.Join(missing, "; "))
	}
	list, err := output(ctx, "espeak-ng", "--voices=variant")
	if err != nil {
		return err
	}
	known := strings.Fields(string(list))
	for _, v := range o.Voices {
		if !slices.Contains(known, "!v/"+v) {
			return fmt.Errorf("emoji: espeak-ng has no voice %q (espeak-ng --voices=variant lists them behind !v/)", v)
		}
	}
	for _, lang := range o.Langs {
		if _, err := output(ctx, "espeak-ng", "-q", "-v", lang, "--", "a"); err != nil {
			return fmt.Errorf("emoji: language %q: %w", lang, err)
		}
	}
	return nil
}

// output runs a program and returns what it prints. An error holds what it
// says.
func output(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out, says bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &says
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		text := strings.Join(strings.Fields(says.String()), " ")
		return nil, fmt.Errorf("%s %s: %w: %.300s", name, strings.Join(args, " "), err, text)
	}
	return out.Bytes(), nil
}

// packages lists what the build needs.
func (b *builder) packages() []string {
	list := []string{namesPackage, derivedPackage}
	for _, v := range b.Vendors {
		list = append(list, pictures(v))
	}
	return list
}

// archive is the path of a package.
func (b *builder) archive(name string) string {
	return b.path("packages/" + name + "-" + versions[name] + ".tgz")
}

// fetch brings the packages that are not there yet.
func (b *builder) fetch(ctx context.Context) error {
	list := b.packages()
	for i, name := range list {
		b.Progress(i, len(list), "packages")
		if _, err := os.Stat(b.archive(name)); err == nil {
			continue
		}
		if err := b.fetchOne(ctx, name); err != nil {
			return err
		}
		b.made++
	}
	b.Progress(len(list), len(list), "packages")
	return nil
}

func (b *builder) fetchOne(ctx context.Context, name string) error {
	dir := filepath.Dir(b.archive(name))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// npm writes under the final name, so it writes elsewhere first.
	tmp, err := os.MkdirTemp(dir, ".tmp-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if _, err := output(ctx, "npm", "pack", "--loglevel=error", "--pack-destination", tmp, name+"@"+versions[name]); err != nil {
		return err
	}
	got := filepath.Join(tmp, filepath.Base(b.archive(name)))
	if _, err := os.Stat(got); err != nil {
		return fmt.Errorf("npm pack %s: left no %s", name, filepath.Base(got))
	}
	return os.Rename(got, b.archive(name))
}

// errStop ends the walk over an archive early.
var errStop = errors.New("stop")

// readPackage calls f with every file of a package, by its path in it. f may
// return errStop.
func (b *builder) readPackage(name string, f func(path string, r io.Reader) error) error {
	file, err := os.Open(b.archive(name))
	if err != nil {
		return err
	}
	defer file.Close()
	fail := func(err error) error {
		return fmt.Errorf("%s: %w (delete the file to fetch it again)", file.Name(), err)
	}
	z, err := gzip.NewReader(file)
	if err != nil {
		return fail(err)
	}
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fail(err)
		}
		// The first folder is "package" in some and the name in others.
		_, path, _ := strings.Cut(h.Name, "/")
		if h.Typeflag != tar.TypeReg || path == "" {
			continue
		}
		if err := f(path, t); errors.Is(err, errStop) {
			return nil
		} else if err != nil {
			return fail(fmt.Errorf("%s: %w", h.Name, err))
		}
	}
}
