package datasets

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// trimodal returns a source of n items. Each has two rows with a picture and
// a caption, and a third with a sound alone; every third has one row less.
func trimodal(t *testing.T, n int) Source {
	t.Helper()
	var b strings.Builder
	b.WriteString("id\timage\ttext\taudio\n")
	for i := range n {
		fmt.Fprintf(&b, "i%d\ta%d.png\tcaption one of %d\t\n", i, i, i)
		fmt.Fprintf(&b, "i%d\tb%d.png\tcaption two of %d\t\n", i, i, i)
		if i%3 != 0 {
			fmt.Fprintf(&b, "i%d\t\t\ts%d.wav\n", i, i)
		}
	}
	return openText(t, "m.tsv", b.String())
}

func loader(t *testing.T, src Source, o LoaderOptions) *Loader {
	t.Helper()
	if o.Processors == nil {
		o.Processors = processors("image", "text", "audio")
	}
	l, err := NewLoader(src, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// take returns n batches from first on.
func take(t *testing.T, l *Loader, first, n int) []*Batch {
	t.Helper()
	var list []*Batch
	for b, err := range l.Run(t.Context(), first) {
		if err != nil {
			t.Fatal(err)
		}
		if list = append(list, b); len(list) == n {
			break
		}
	}
	return list
}

func TestBatchesDependOnTheSeedAlone(t *testing.T) {
	src := trimodal(t, 10)
	augmenting := func() map[string]modalities.Processor {
		p := processors("image", "text", "audio")
		p["image"].(*fakeProcessor).augments = true
		return p
	}
	o := LoaderOptions{Processors: augmenting(), Batch: 4, Seed: 7, Workers: 1, Ahead: 1}
	want := take(t, loader(t, src, o), 0, 9)
	for _, o := range []LoaderOptions{
		{Workers: 7, Ahead: 3},
		{Workers: 3, CacheBytes: -1},
		{Workers: 2, CacheBytes: 1000}, // holds some cells
	} {
		o.Processors, o.Batch, o.Seed = augmenting(), 4, 7
		if diff := cmp.Diff(want, take(t, loader(t, src, o), 0, 9)); diff != "" {
			t.Errorf("%d workers, %d bytes: %s", o.Workers, o.CacheBytes, diff)
		}
	}
	l := loader(t, src, o)
	for _, k := range []int{5, 1, 0} { // with what the cache has by then
		if diff := cmp.Diff(want[k:k+3], take(t, l, k, 3)); diff != "" {
			t.Errorf("from batch %d: %s", k, diff)
		}
	}
	o.Seed = 8
	if cmp.Equal(want, take(t, loader(t, src, o), 0, 9)) {
		t.Error("another seed gave the same batches")
	}
}

func TestEpoch(t *testing.T) {
	l := loader(t, trimodal(t, 10), LoaderOptions{Batch: 3, Seed: 1})
	if l.StepsPerEpoch() != 3 {
		t.Fatalf("%d steps in an epoch of 10 items by 3", l.StepsPerEpoch())
	}
	var orders []string
	for epoch := range 3 {
		var ids []string
		for i, b := range take(t, l, 3*epoch, 3) {
			if b.Step != 3*epoch+i || b.Epoch != epoch || len(b.IDs) != 3 {
				t.Errorf("batch %d of epoch %d with %d items, want %d of %d with 3", b.Step, b.Epoch, len(b.IDs), 3*epoch+i, epoch)
			}
			ids = append(ids, b.IDs...)
		}
		orders = append(orders, strings.Join(ids, " "))
		slices.Sort(ids)
		if n := len(slices.Compact(ids)); n != 9 {
			t.Errorf("epoch %d drew %d different items in 9 places", epoch, n)
		}
	}
	if orders[0] == orders[1] || orders[1] == orders[2] {
		t.Errorf("epochs in the same order: %v", orders)
	}
}

func TestFewerItemsThanABatch(t *testing.T) {
	l := loader(t, trimodal(t, 3), LoaderOptions{Batch: 64})
	for i, b := range take(t, l, 0, 3) {
		slices.Sort(b.IDs)
		if b.Epoch != i || !slices.Equal(b.IDs, []string{"i0", "i1", "i2"}) {
			t.Errorf("batch %d: epoch %d, items %v", i, b.Epoch, b.IDs)
		}
	}
}

// Within a sample all cells are of one item, picture and caption of one row
// where the drawn row has both, and the sound comes from the row beside.
func TestSampleOfAnItem(t *testing.T) {
	rows := map[string]bool{}
	for _, b := range take(t, loader(t, trimodal(t, 12), LoaderOptions{Batch: 12}), 0, 40) {
		var names []string
		refs := make([]map[string]string, len(b.IDs))
		for i := range refs {
			refs[i] = map[string]string{}
		}
		for _, g := range b.Groups {
			names = append(names, g.Modality)
			if !slices.IsSorted(g.Rows) || len(g.Rows) != len(g.Tokens) || len(g.Rows) != len(g.Refs) {
				t.Fatalf("group of %d rows %v, %d tokens, %d refs", len(g.Rows), g.Rows, len(g.Tokens), len(g.Refs))
			}
			for i, row := range g.Rows {
				refs[row][g.Modality] = g.Refs[i]
				if g.Tokens[i].Len() != len(g.Refs[i]) { // the files hold their names
					t.Errorf("%d tokens of %q", g.Tokens[i].Len(), g.Refs[i])
				}
			}
		}
		if !slices.Equal(names, []string{"audio", "image", "text"}) {
			t.Fatalf("groups %v", names)
		}
		for i, id := range b.IDs {
			n, r := id[1:], refs[i]
			if number, _ := strconv.Atoi(n); number%3 == 0 && r["audio"] != "" || number%3 != 0 && r["audio"] != "s"+n+".wav" {
				t.Errorf("item %s has the sound %q", id, r["audio"])
			}
			switch {
			case r["image"] == "a"+n+".png" && r["text"] == "caption one of "+n,
				r["image"] == "b"+n+".png" && r["text"] == "caption two of "+n:
				rows["matched"] = true
			case r["audio"] != "": // the sound's row was drawn
				rows["mixed"] = true
			default:
				t.Errorf("item %s without a sound mixes %v", id, r)
			}
			rows[r["image"][:1]] = true
		}
	}
	for _, want := range []string{"matched", "mixed", "a", "b"} {
		if !rows[want] {
			t.Errorf("no sample in 480 was %s: the draw does not vary", want)
		}
	}
}

func TestOtherModalitiesAreLeftAlone(t *testing.T) {
	l := loader(t, trimodal(t, 4), LoaderOptions{Batch: 4, Processors: processors("text", "trace")})
	if b := take(t, l, 0, 1)[0]; len(b.Groups) != 1 || b.Groups[0].Modality != "text" {
		t.Errorf("groups %+v", b.Groups)
	}
}

func TestCacheDecodesOnce(t *testing.T) {
	p := processors("text", "image")
	p["image"].(*fakeProcessor).augments = true
	take(t, loader(t, trimodal(t, 4), LoaderOptions{Batch: 4, Processors: p, Workers: 1}), 0, 50)
	if n := p["text"].(*fakeProcessor).decoded.Load(); n > 8 {
		t.Errorf("8 captions were decoded %d times", n)
	}
	if n := p["image"].(*fakeProcessor).decoded.Load(); n < 200 {
		t.Errorf("200 augmented pictures came from %d decodings", n)
	}
}

// What does not fit is decoded again; what fitted stays.
func TestCacheIsBounded(t *testing.T) {
	c := &cache{left: 1000, tokens: map[Cell]tokenizers.Tokens{}}
	for i := range 100 {
		c.put(cell("text", fmt.Sprint(i)), tokenizers.Tokens{IDs: make([]int32, 50), Patches: make([]float32, 50)})
	}
	if n := len(c.tokens); n < 1 || n > 2 {
		t.Errorf("%d times 400 bytes of tokens fit into 1000 bytes", n)
	}
	if _, ok := c.get(cell("text", "0")); !ok {
		t.Error("the first cell had to go")
	}
}

// A sample that is drawn again in another epoch is augmented in another way.
func TestAugmentationsDiffer(t *testing.T) {
	p := processors("image")
	p["image"].(*fakeProcessor).augments = true
	src := openText(t, "m.csv", "image\na.png\n")
	seen := map[int32]bool{}
	for _, b := range take(t, loader(t, src, LoaderOptions{Batch: 1, Processors: p}), 0, 20) {
		ids := b.Groups[0].Tokens[0].IDs
		seen[ids[len(ids)-1]] = true
	}
	if len(seen) < 5 {
		t.Errorf("20 augmentations of one picture gave %d different ones", len(seen))
	}
}

func badSource(t *testing.T) Source {
	text := "id\timage\ttext\n"
	files := map[string]string{"corrupt.png": "corrupt"}
	for i := range 20 {
		text += fmt.Sprintf("%d\tgood%d.png\tgood\n", i, i)
		files[fmt.Sprintf("good%d.png", i)] = "good"
	}
	text += "two\tcorrupt.png\tfirst\ntwo\tspare.png\tsecond\n" // has another picture
	text += "one\tabsent.png\tlonely\n"                         // has none
	text += "one\t\t.\n"                                        // a caption without tokens
	files["spare.png"], files["m.tsv"] = "spare", text
	src, err := Open(write(t, files) + "/m.tsv")
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func TestBadCells(t *testing.T) {
	var heard []BadRow
	l := loader(t, badSource(t), LoaderOptions{
		Batch: 22, MaxBad: 0.11, Seed: 3, OnBad: func(b BadRow) { heard = append(heard, b) },
	})
	for _, b := range take(t, l, 0, 20) {
		if len(b.IDs) != 22 {
			t.Fatalf("a batch of %d items", len(b.IDs))
		}
		for _, g := range b.Groups {
			if g.Modality == "image" && (len(g.Rows) != 21 || slices.Contains(g.Rows, slices.Index(b.IDs, "one"))) {
				t.Errorf("pictures of %v: all but item one has one that can be read", g.Refs)
			}
			if g.Modality == "text" && (len(g.Rows) != 22 || g.Refs[slices.Index(b.IDs, "one")] != "lonely") {
				t.Errorf("captions %v: all items have one with tokens", g.Refs)
			}
		}
	}
	bad := l.Bad()
	if len(bad) != len(heard) {
		t.Errorf("%d bad cells are listed, %d were heard of", len(bad), len(heard))
	}
	got := map[string]string{}
	for _, b := range bad {
		got[fmt.Sprintf("%s %d %s", b.Item, b.Line, b.Cell.Ref)] = b.Err.Error()
	}
	want := map[string]string{
		"two 22 corrupt.png": `m.tsv: line 22, column "image"`,
		"one 24 absent.png":  `absent.png: no such file`,
		"one 25 .":           `text ".": it has no tokens`,
	}
	for k, text := range want {
		if !strings.Contains(got[k], text) {
			t.Errorf("bad cell %s: error %q, want it to hold %q", k, got[k], text)
		}
	}
	if len(bad) != len(want) {
		t.Errorf("%d bad cells, want each of %d once: %v", len(bad), len(want), got)
	}
}

// The cells that may be bad are a fraction of the source's 28 values: 23
// pictures and 5 different captions.
func TestTooManyBad(t *testing.T) {
	for _, c := range []struct {
		maxBad float64
		want   string
	}{
		{0, "2 values could not be read, at most 1 of its 28 may be bad; the first: "},
		{0.08, "3 values could not be read, at most 2 of its 28 may be bad; the first: "},
		{-1, "1 values could not be read, at most 0 of its 28 may be bad; the first: "},
	} {
		var steps []int
		for _, workers := range []int{1, 5} {
			l := loader(t, badSource(t), LoaderOptions{Batch: 2, MaxBad: c.maxBad, Workers: workers})
			good := 0
			var failed error
			for b, err := range l.Run(t.Context(), 0) {
				if failed != nil {
					t.Fatal("the iteration went on after its error")
				}
				if failed = err; b != nil {
					good++
				}
				if good > 5000 {
					break
				}
			}
			if failed == nil || !strings.Contains(failed.Error(), c.want) {
				t.Errorf("at most %v: error %v, want %q", c.maxBad, failed, c.want)
			}
			steps = append(steps, good)
		}
		if steps[0] != steps[1] {
			t.Errorf("the error came after %d batches with one worker, after %d with five", steps[0], steps[1])
		}
	}
}

func TestNewLoaderRefuses(t *testing.T) {
	src := trimodal(t, 2)
	for want, o := range map[string]LoaderOptions{
		"a batch of 0 items": {Processors: processors("text")},
		"has audio, image, text, none of which is read (trace)": {Batch: 1, Processors: processors("trace")},
	} {
		if _, err := NewLoader(src, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestEndOfContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var failed error
	n := 0
	for _, err := range loader(t, trimodal(t, 4), LoaderOptions{Batch: 2}).Run(ctx, 0) {
		if n++; n == 3 {
			cancel()
		}
		failed = err
	}
	if !errors.Is(failed, context.Canceled) {
		t.Errorf("the iteration ended with %v after %d batches", failed, n)
	}
}

// checkGoroutines fails when more goroutines run at the end than did before.
func checkGoroutines(t *testing.T, before int) {
	t.Helper()
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond) // one that has closed its channel may not have left yet
	}
	t.Errorf("%d goroutines are left, there were %d", runtime.NumGoroutine(), before)
}

func TestNoGoroutineIsLeft(t *testing.T) {
	src := trimodal(t, 10)
	before := runtime.NumGoroutine()
	for k := range 20 {
		take(t, loader(t, src, LoaderOptions{Batch: 3, Workers: 4}), k, 1+k%3)
	}
	func() {
		defer func() { _ = recover() }()
		for range loader(t, src, LoaderOptions{Batch: 3, Workers: 4}).Run(t.Context(), 0) {
			panic("the trainer failed")
		}
	}()
	checkGoroutines(t, before)
}
