package demo

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// The attributes of a scene. A group's tuple is (shape, colour, size, count).
var (
	shapes  = []string{"circle", "square", "triangle", "cross", "ring", "bar"}
	colours = []string{"red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink"}
	sizes   = []string{"small", "large"}
	grounds = []string{"dark", "light", "striped"}
	places  = []string{"left", "middle", "right"}
)

const (
	maxCount = 3
	tuples   = 6 * 8 * 2 * maxCount
	heldOut  = 57 // tuples that no training scene has
)

// group is a number of equal objects.
type group struct {
	shape, colour, size, count int
}

// tuple numbers a group in [0, tuples).
func (g group) tuple() int {
	return ((g.shape*len(colours)+g.colour)*len(sizes)+g.size)*maxCount + g.count - 1
}

// scene is what a picture shows, a sound plays and a caption says: one group
// at a place, or a left and a right one.
type scene struct {
	groups []group
	place  int // of a single group
	ground int
}

// key is equal for scenes that mean the same.
func (s scene) key() string { return fmt.Sprint(s.groups, s.place, s.ground) }

func drawGroup(rng *rand.Rand) group {
	return group{rng.IntN(len(shapes)), rng.IntN(len(colours)), rng.IntN(len(sizes)), 1 + rng.IntN(maxCount)}
}

// drawScene draws a scene: three in ten have one group and a place, the
// others a left and a right group that differ in shape or colour.
func drawScene(rng *rand.Rand) scene {
	s := scene{ground: rng.IntN(len(grounds))}
	if rng.IntN(10) < 3 {
		s.groups = []group{drawGroup(rng)}
		s.place = rng.IntN(len(places))
		return s
	}
	for {
		a, b := drawGroup(rng), drawGroup(rng)
		if a.shape != b.shape || a.colour != b.colour {
			s.groups = []group{a, b}
			return s
		}
	}
}

// drawHeldOut picks the tuples that training never sees.
func drawHeldOut(seed uint64) map[int]bool {
	held := map[int]bool{}
	for _, t := range rand.New(rand.NewPCG(seed, 0x6865_6c64)).Perm(tuples)[:heldOut] {
		held[t] = true
	}
	return held
}

// drawScenes draws n different scenes that are not in seen, and adds them to
// it. Those of a held-out split have at least one held-out tuple, those for
// training none.
func drawScenes(rng *rand.Rand, n int, held map[int]bool, wantHeld bool, seen map[string]bool) []scene {
	scenes := make([]scene, 0, n)
	for len(scenes) < n {
		s := drawScene(rng)
		has := false
		for _, g := range s.groups {
			has = has || held[g.tuple()]
		}
		if has != wantHeld || seen[s.key()] {
			continue
		}
		seen[s.key()] = true
		scenes = append(scenes, s)
	}
	return scenes
}

// Words of captions. Each list begins with the attribute's own word.
var (
	shapeWords = [][2]string{
		{"circle", "disc"}, {"square", "box"}, {"triangle", "wedge"}, {"cross", "plus"}, {"ring", "hoop"}, {"bar", "stick"},
	}
	colourWords = [][2]string{
		{"red", "crimson"},
		{"orange", "amber"},
		{"yellow", "golden"},
		{"green", "emerald"},
		{"cyan", "turquoise"},
		{"blue", "azure"},
		{"purple", "violet"},
		{"pink", "rose"},
	}
	sizeWords   = [][3]string{{"small", "tiny", "little"}, {"large", "big", "huge"}}
	groundWords = [][3]string{{"dark", "black", "dim"}, {"light", "white", "bright"}, {"striped", "banded", "lined"}}
	placeWords  = []string{"on the left", "in the middle", "on the right"}
	countWords  = []string{"one", "two", "three"}
)

// phrase names a group: "two large amber discs".
func (g group) phrase(rng *rand.Rand) string {
	noun := shapeWords[g.shape][rng.IntN(2)]
	if g.count > 1 {
		switch {
		case strings.HasSuffix(noun, "s"), strings.HasSuffix(noun, "x"):
			noun += "es"
		default:
			noun += "s"
		}
	}
	return fmt.Sprintf("%s %s %s %s", countWords[g.count-1], sizeWords[g.size][rng.IntN(3)], colourWords[g.colour][rng.IntN(2)], noun)
}

// Templates of captions: %[1]s and %[2]s are groups, %[3]s the place of one
// group, %[4]s the ground.
var (
	single = []string{
		"%[1]s %[3]s of a %[4]s background",
		"a %[4]s background with %[1]s %[3]s",
		"%[3]s we see %[1]s, and the ground is %[4]s",
		"%[1]s over a %[4]s ground, %[3]s of it",
		"the %[4]s scene shows %[1]s %[3]s",
	}
	double = []string{
		"%[1]s on the left and %[2]s on the right of a %[4]s background",
		"%[2]s to the right of %[1]s on a %[4]s ground",
		"%[1]s to the left of %[2]s over a %[4]s background",
		"a %[4]s scene with %[1]s on the left and %[2]s on the right",
		"on the right %[2]s, on the left %[1]s, and a %[4]s ground",
		"the %[4]s background has %[2]s on its right and %[1]s on its left",
		"first %[1]s, then to the right %[2]s, on a %[4]s ground",
	}
)

// caption describes everything in the scene in one of several ways.
func (s scene) caption(rng *rand.Rand) string {
	ground := groundWords[s.ground][rng.IntN(3)]
	if len(s.groups) == 1 {
		return fmt.Sprintf(single[rng.IntN(len(single))], s.groups[0].phrase(rng), "", placeWords[s.place], ground)
	}
	return fmt.Sprintf(double[rng.IntN(len(double))], s.groups[0].phrase(rng), s.groups[1].phrase(rng), "", ground)
}
