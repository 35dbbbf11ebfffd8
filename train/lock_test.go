package train_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/checkpoint"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/train"
)

// values reads the tensors of a run's latest checkpoint.
func values(t *testing.T, run string) map[string][]float32 {
	t.Helper()
	dir, err := model.Marked(run, "latest")
	if err != nil {
		t.Fatal(err)
	}
	f, err := checkpoint.Open(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string][]float32{}
	for _, name := range f.Names() {
		shape, _ := f.Shape(name)
		n := 1
		for _, d := range shape {
			n *= d
		}
		x := make([]float32, n)
		if err := f.Read(name, x, shape); err != nil {
			t.Fatal(err)
		}
		all[name] = x
	}
	return all
}

// TestInitAndLock begins from towers of other libraries, trains, and holds what
// is locked to what it began with, bit for bit, also after a resume.
func TestInitAndLock(t *testing.T) {
	const minilm, vit = "../pretrained/testdata/minilm", "../pretrained/testdata/vit"
	data := traces(t)
	for _, c := range []struct {
		name   string
		init   map[string]string
		lock   []string
		last   int
		locked func(name string) bool
	}{
		{
			"text tower",
			map[string]string{"text": minilm},
			[]string{"text"},
			0,
			func(n string) bool {
				return strings.HasPrefix(n, "tokenizers/text/") || strings.HasPrefix(n, "trunk@text/")
			},
		},
		{
			"text tower but its last block",
			map[string]string{"text": minilm},
			[]string{"text"},
			1,
			func(n string) bool {
				return strings.HasPrefix(n, "tokenizers/text/") || strings.HasPrefix(n, "trunk@text/0/")
			},
		},
		{
			"trunk",
			map[string]string{"trunk": vit},
			[]string{"trunk"},
			0,
			func(n string) bool { return strings.HasPrefix(n, "trunk/") },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			run := func(dir string, lr float64, change func(*train.Options)) train.Result {
				return mustRun(t, data, dir, change, func(s *train.Settings) {
					s.Init, s.Lock, s.UnlockLast = c.init, c.lock, c.last
					s.Steps, s.SaveEvery, s.LR, s.Warmup = 6, 3, lr, 0
				})
			}
			still, dir := t.TempDir(), t.TempDir()
			run(still, 0, nil) // nothing moves
			begun := values(t, still)
			run(dir, 1e-2, func(o *train.Options) { o.MaxSteps = 3 })
			res := run(dir, 1e-2, func(o *train.Options) { o.Resume = true })
			n := 0
			for name, x := range values(t, dir) {
				if c.locked(name) {
					n++
				}
				if slices.Equal(x, begun[name]) != c.locked(name) {
					t.Errorf("%s: moved %t, locked %t", name, !slices.Equal(x, begun[name]), c.locked(name))
				}
			}
			if n == 0 || res.Locked == nil || res.Locked.Tensors != n {
				t.Errorf("locked %+v, want %d tensors", res.Locked, n)
			}
		})
	}
}
