// Package demo is the built-in world: scenes of coloured shapes, drawn as
// pictures, played as sounds and told as captions. It is made by a procedure
// from a seed and needs no files. The source is called demo:, its splits
// demo:#train, demo:#val and demo:#test.
//
// 57 of the 288 combinations of shape, colour, size and count are held out:
// no training scene has one, every scene of val and test has at least one.
package demo

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/modalities"
)

func init() {
	datasets.RegisterScheme("demo", func(rest, split string) (datasets.Source, error) {
		if rest != "" {
			return nil, fmt.Errorf("demo: takes nothing behind the colon, found %q", rest)
		}
		return Open(split, Options{})
	})
}

// Options says how large the world is.
type Options struct {
	// Seed makes another world; 0 is the built-in one.
	Seed uint64
	// Train, Val and Test are the numbers of scenes; 0 stands for 10,000, 500
	// and 500. Captions is that of a training scene, 0 for 6; scenes of val
	// and test have one.
	Train, Val, Test, Captions int
}

func orElse(n, other int) int {
	if n == 0 {
		return other
	}
	return n
}

// Open makes a split: "train" (also ""), "val" or "test".
func Open(split string, o Options) (datasets.Source, error) {
	if split == "" {
		split = "train"
	}
	s := &source{split: split, seed: o.Seed}
	held := drawHeldOut(o.Seed)
	seen := map[string]bool{}
	rng := rand.New(rand.NewPCG(o.Seed, 0x7363_656e))
	captions := 1
	// Test is drawn first and then val, so that all splits know each other.
	test := drawScenes(rng, orElse(o.Test, 500), held, true, seen)
	val := drawScenes(rng, orElse(o.Val, 500), held, true, seen)
	switch split {
	case "test":
		s.scenes = test
	case "val":
		s.scenes = val
	case "train":
		s.scenes = drawScenes(rng, orElse(o.Train, 10000), held, false, seen)
		captions = orElse(o.Captions, 6)
	default:
		return nil, fmt.Errorf("demo: has the splits train, val and test, not %q", split)
	}
	s.items = make([]datasets.Item, len(s.scenes))
	for i, sc := range s.scenes {
		s.items[i] = s.item(i, sc, captions)
	}
	return s, nil
}

// source is one split.
type source struct {
	split  string
	seed   uint64
	scenes []scene
	items  []datasets.Item
}

// rng returns a generator for one aspect of a scene.
func (s *source) rng(aspect string, i int) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprint(h, s.split, "/", aspect, "/", i)
	return rand.New(rand.NewPCG(s.seed, h.Sum64()))
}

func (s *source) item(i int, sc scene, captions int) datasets.Item {
	id := fmt.Sprintf("%s/%05d", s.split, i)
	item := datasets.Item{ID: id}
	rng := s.rng("caption", i)
	for k := range captions {
		row := datasets.Row{Lang: "en", Cells: []datasets.Cell{{Modality: "text", Ref: sc.caption(rng)}}}
		if k == 0 {
			row.Cells = append(row.Cells,
				datasets.Cell{Modality: "image", Ref: "demo:" + id + ".png"},
				datasets.Cell{Modality: "audio", Ref: "demo:" + id + ".wav"})
		}
		item.Rows = append(item.Rows, row)
	}
	return item
}

func (s *source) Name() string              { return "demo:#" + s.split }
func (s *source) Modalities() []string      { return []string{"audio", "image", "text"} }
func (s *source) Len() int                  { return len(s.items) }
func (s *source) Item(i int) *datasets.Item { return &s.items[i] }

func (s *source) Load(c datasets.Cell, p modalities.Processor) (modalities.Value, error) {
	if c.Modality == "text" {
		return p.Decode(strings.NewReader(c.Ref), "caption")
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(c.Ref, "demo:"+s.split+"/"), ".")
	i, err := strconv.Atoi(name)
	if err != nil || i < 0 || i >= len(s.scenes) {
		return nil, fmt.Errorf("%s: no scene %q", s.Name(), c.Ref)
	}
	if c.Modality == "image" {
		return s.scenes[i].picture(s.rng("picture", i)), nil
	}
	return s.scenes[i].sound(s.rng("sound", i)), nil
}
