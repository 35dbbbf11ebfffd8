package model

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/checkpoint"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

// random makes a model of a sharing block and, for words, a trunk of their own or
// none, with random values in all tensors.
func random(t *testing.T, sharing, own string) *Model {
	t.Helper()
	c, err := ParseConfig("random", fmt.Appendf(nil, `{
		"trunk": {"width": 8, "layers": 4, "heads": 2, "hidden": 16, "embed": 6},
		"modalities": {"signal": {"pool": "class"}, "word": {"pool": "last", "causal": true %s}},
		"sharing": {%s}}`, own, sharing))
	if err != nil {
		t.Fatal(err)
	}
	ps, err := c.OpenProcessors("")
	if err != nil {
		t.Fatal(err)
	}
	m := New(c, ps, tensor.CPU(1), 1)
	rng := rand.New(rand.NewPCG(9, 1))
	for _, p := range m.Bank.Params() {
		x := m.Bank.Read(p)
		for i := range x {
			x[i] += float32(0.2 * rng.NormFloat64())
		}
		if err := m.Bank.Write(p, x); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// vectors embeds a few samples of both modalities.
func vectors(t *testing.T, m *Model) []float32 {
	t.Helper()
	z, err := m.Embed(t.Context(), "signal", signals(5))
	if err != nil {
		t.Fatal(err)
	}
	y, err := m.Embed(t.Context(), "word", words(7))
	if err != nil {
		t.Fatal(err)
	}
	return append(z, y...)
}

func furthest(a, b []float32) (d float64) {
	for i := range a {
		d = max(d, math.Abs(float64(a[i]-b[i])))
	}
	return d
}

// saved writes a model as a run folder and opens it.
func saved(t *testing.T, m *Model) (*Model, string) {
	t.Helper()
	run := t.TempDir()
	dir := CheckpointDir(run, 0)
	for _, err := range []error{m.SaveConfig(run), m.Save(dir), Mark(dir, "latest")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := OpenOn(run, tensor.CPU(1))
	if err != nil {
		t.Fatal(err)
	}
	return got, run
}

const ownTrunk = `, "trunk": {"width": 12, "layers": 3, "heads": 2, "hidden": 20, "embed": 5}`

// TestCompressedRuns: a compressed model embeds as the run does that it is written
// as, in as many bytes as it says; what is exact embeds as the model did.
func TestCompressedRuns(t *testing.T) {
	const plain = `"private": ["norm1", "norm2", "up"]`
	for _, c := range []struct {
		of, own string
		by      sharing.Compress
		far     float64 // of embeddings
	}{
		{plain, "", sharing.Compress{Kind: "basis", Rank: 16, Group: 2}, 1e-4},
		{plain, ownTrunk, sharing.Compress{Kind: "basis", Rank: 16, Group: 3}, 1e-4},
		{plain, ownTrunk, sharing.Compress{Kind: "basis", Ratio: 0.6, Group: 2}, 2},
		{plain, "", sharing.Compress{Kind: "int8"}, 0.1},
		{plain, ownTrunk, sharing.Compress{Kind: "int8", Roles: []sharing.Role{sharing.Qkv}}, 0.1},
		{plain, ownTrunk, sharing.Compress{Kind: "kmeans", Bits: 8}, 0.1},
		{`"layers": {"scheme": "cycle", "unique": 2}, "delta": {"kind": "lora", "by": "both", "rank": 2}`, "", sharing.Compress{Kind: "kmeans", Bits: 5}, 0.7},
		{`"layers": {"scheme": "cycle", "unique": 2}, "delta": {"kind": "apg", "of": "tokens", "rank": 2}`, "", sharing.Compress{Kind: "int8"}, 0.1},
	} {
		m := random(t, c.of, c.own)
		want := vectors(t, m)
		moments, stop := m.Observe()
		vectors(t, m)
		stop()
		to := m.Config.Sharing
		to.Compress = &c.by
		k, err := m.Compressed(t.Context(), to, moments, nil)
		if err != nil {
			t.Fatalf("%s: %v", to, err)
		}
		got := vectors(t, k)
		if d := furthest(got, want); d > c.far || d == 0 {
			t.Errorf("%s: embeddings are off by %g, want at most %g", to, d, c.far)
		}
		if d := m.Distance(k); !(d > 0 && d < 1) || c.far < 1e-3 && d > 1e-5 {
			t.Errorf("%s: weights are off by %g", to, d)
		}
		run, dir := saved(t, k)
		if d := furthest(vectors(t, run), got); d != 0 {
			t.Errorf("%s: the run's embeddings differ by %g", to, d)
		}
		if run.Fingerprint() != k.Fingerprint() || run.Fingerprint() == m.Fingerprint() {
			t.Errorf("%s: fingerprints %s, %s, of the model %s", to, run.Fingerprint(), k.Fingerprint(), m.Fingerprint())
		}
		n, err := DiskBytes(dir)
		if r := run.Inspect(); err != nil || n < r.Bytes || n > r.Bytes+20000 {
			t.Errorf("%s: %d bytes on disk, %d of values (%v)", to, n, r.Bytes, err)
		}
		if m.Int8(); c.by.Kind == "int8" && c.by.Roles == nil && c.of == plain {
			// What is kept as int8 is what rounding for products makes.
			if d := furthest(vectors(t, m), got); d > 1e-5 {
				t.Errorf("%s: int8 products differ from --int8's by %g", to, d)
			}
		}
		if _, err := k.Compressed(t.Context(), to, nil, nil); err == nil || !strings.Contains(err.Error(), "compressed already") {
			t.Errorf("compressed twice: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := random(t, c.of, c.own).Compressed(ctx, to, moments, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("a context that has ended: %v", err)
		}
	}
}

func TestRecursiveRunsAreTheUntied(t *testing.T) {
	for _, of := range []string{`"private": ["norm1", "norm2"]`, `"private": ["norm1"], "experts": "modality"`} {
		m := random(t, of, "")
		want := vectors(t, m)
		for rank, far := range map[int]float64{8: 1e-4, 0: 2} {
			to, err := m.Config.Sharing.Recursive(sharing.Layers{Scheme: "sequence", Unique: 2}, rank)
			if err != nil {
				t.Fatal(err)
			}
			k, err := m.Compressed(t.Context(), to, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if d := furthest(vectors(t, k), want); d > far || rank == 0 && d < 1e-3 {
				t.Errorf("%s: embeddings are off by %g at rank %d", to, d, rank)
			}
			run, _ := saved(t, k)
			if d := furthest(vectors(t, run), vectors(t, k)); d != 0 {
				t.Errorf("%s: the run's embeddings differ by %g", to, d)
			}
		}
	}
	m := random(t, "", ownTrunk)
	to, err := m.Config.Sharing.Recursive(sharing.Layers{Scheme: "sequence", Unique: 2}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Compressed(t.Context(), to, nil, nil); err == nil || !strings.Contains(err.Error(), "modalities.word.trunk") {
		t.Errorf("a trunk of its own: %v", err)
	}
}

// TestWholeEmbedsTheSame, for every way to make weights.
func TestWholeEmbedsTheSame(t *testing.T) {
	for _, of := range []string{
		`"private": ["up"]`,
		`"layers": {"scheme": "cycle", "unique": 2, "depth": true}, "delta": {"kind": "lora", "by": "both", "rank": 2, "bias": true}`,
		`"mix": {"kind": "stitch"}`,
		`"experts": "modality", "compress": {"kind": "kmeans", "bits": 3}`,
		`"layers": {"scheme": "universal"}, "compress": {"kind": "basis", "rank": 3}`,
	} {
		for _, own := range []string{"", ownTrunk} {
			if own != "" && strings.Contains(of, "depth") {
				continue
			}
			m := random(t, of, own)
			w, err := m.Whole()
			if err != nil {
				t.Fatal(err)
			}
			if d := furthest(vectors(t, w), vectors(t, m)); d > 1e-5 {
				t.Errorf("%s: whole tensors embed with a difference of %g", of, d)
			}
		}
	}
	if _, err := random(t, `"delta": {"kind": "apg", "of": "tokens", "rank": 2}`, "").Whole(); err == nil || !strings.Contains(err.Error(), "sharing.delta.kind") {
		t.Errorf("apg: %v", err)
	}
}

// TestBrokenCodesAreNamed: a checkpoint whose codes are missing or of another size.
func TestBrokenCodesAreNamed(t *testing.T) {
	m := random(t, `"compress": {"kind": "kmeans", "bits": 3}`, "")
	_, run := saved(t, m)
	path := filepath.Join(CheckpointDir(run, 0), weightsFile)
	for want, change := range map[string]func(bs []checkpoint.Bytes) []checkpoint.Bytes{
		"missing tensors [trunk/3/ffn/down/codes U8 [8 6]]": func(bs []checkpoint.Bytes) []checkpoint.Bytes { return bs[:len(bs)-1] },
		"has shape [8 1], expected [8 6]": func(bs []checkpoint.Bytes) []checkpoint.Bytes {
			last := &bs[len(bs)-1]
			last.Shape, last.Data = []int{8, 1}, last.Data[:8]
			return bs
		},
		"is I8, expected U8": func(bs []checkpoint.Bytes) []checkpoint.Bytes { bs[len(bs)-1].DType = "I8"; return bs },
		"extra tensors [trunk/0/attn/more]": func(bs []checkpoint.Bytes) []checkpoint.Bytes {
			return append(bs, checkpoint.Bytes{Name: "trunk/0/attn/more", DType: "U8", Shape: []int{1}, Data: []byte{1}})
		},
	} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := checkpoint.WriteBytes(path, Tensors(m.Bank), change(codes(m.Bank)), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(run); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to hold %q", err, want)
		}
	}
}
