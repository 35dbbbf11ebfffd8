package emoji

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"testing"
)

// made returns concepts without names or pictures in common.
func made(n int) []*concept {
	var list []*concept
	for i := range n {
		c := &concept{id: fmt.Sprintf("%x", 0x1f300+i), names: map[string]string{"en": fmt.Sprint("name ", i)}, pictures: map[string]picture{}}
		list = append(list, c)
	}
	return list
}

// Concepts that share a name, in whatever language and case, or a picture go
// to one side, also through others between them.
func TestAssignSidesKeepsGroups(t *testing.T) {
	list := made(400)
	same := picture{sum: sha256.Sum256([]byte("a picture"))}
	for i := 0; i+3 < len(list); i += 4 {
		list[i].names["de"] = fmt.Sprint("Straße ", i)
		list[i+1].names["fr"] = fmt.Sprint("STRAßE ", i)
		list[i+1].names["es"] = fmt.Sprint("cafe\u0301 ", i)
		list[i+2].names["en"] = fmt.Sprint("caf\u00e9 ", i)
	}
	for _, i := range []int{0, 100, 200, 300} {
		list[i].pictures["google"] = same
	}
	assignSides(list)
	mixed := 0
	for i := 0; i+3 < len(list); i += 4 {
		if list[i].side != list[i+1].side || list[i].side != list[i+2].side {
			t.Errorf("concepts %d, %d and %d: %s, %s, %s", i, i+1, i+2, list[i].side, list[i+1].side, list[i+2].side)
		}
		if list[i].side != list[i+3].side {
			mixed++
		}
	}
	if mixed == 0 {
		t.Error("concepts that share nothing are on one side everywhere")
	}
	for _, i := range []int{100, 200, 300} {
		if list[i].side != list[0].side {
			t.Errorf("concepts 0 and %d have one picture and are on sides %s and %s", i, list[0].side, list[i].side)
		}
	}
}

// Sides depend on the concepts and not on their order.
func TestAssignSidesWithoutOrder(t *testing.T) {
	list := made(200)
	for i := range 50 {
		list[i].names["de"] = fmt.Sprint("Name ", i%7)
	}
	assignSides(list)
	want := map[string]side{}
	for _, c := range list {
		want[c.id] = c.side
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	assignSides(list)
	for _, c := range list {
		if c.side != want[c.id] {
			t.Errorf("%s: %s, and %s in another order", c.id, want[c.id], c.side)
		}
	}
}

// Eight of ten concepts are for training. The bounds are five standard
// deviations of 5,000 draws.
func TestSideShares(t *testing.T) {
	counts := map[side]int{}
	for _, c := range made(5000) {
		counts[sideOf(c.id)]++
	}
	for s, want := range map[side]int{forTraining: 4000, forVal: 500, forTest: 500} {
		if d := counts[s] - want; d < -140 || d > 140 {
			t.Errorf("%s: %d of 5000, want about %d", s, counts[s], want)
		}
	}
}

func TestWithoutSelectors(t *testing.T) {
	if got, err := withoutSelectors("0023-FE0F-20E3"); err != nil || got != "#\u20e3" {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"", "1F600-", "../x", "1F600-110000", "-1", "0", "FFFFFFFFFF"} {
		if got, err := withoutSelectors(bad); err == nil {
			t.Errorf("%q is %q", bad, got)
		}
	}
}
