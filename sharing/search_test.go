package sharing

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestPartitions(t *testing.T) {
	for n, want := range []int{1, 1, 2, 5, 15, 52} { // Bell's numbers
		if got := len(Partitions([]string{"a", "b", "c", "d", "e"}[:n])); got != want {
			t.Errorf("%d names have %d partitions, want %d", n, got, want)
		}
	}
	if got := fmt.Sprint(Partitions(three)); got != "[[[audio image text]] [[audio image] [text]] [[audio text] [image]] [[audio] [image text]] [[audio] [image] [text]]]" {
		t.Error(got)
	}
}

// twoLayers are four units of sizes 10 and 20.
func twoLayers() []Unit {
	var us []Unit
	for l := range 2 {
		us = append(us, Unit{Layer: l, Roles: []Role{Qkv, Out}, Size: 10}, Unit{Layer: l, Roles: []Role{Up, Down}, Size: 20})
	}
	return us
}

func TestBestKeepsTheBudget(t *testing.T) {
	units := twoLayers()
	ways := Partitions(three)
	rng := rand.New(rand.NewPCG(3, 1))
	scores := make([][]float64, len(units))
	for i := range scores {
		for range ways {
			scores[i] = append(scores[i], rng.NormFloat64())
		}
	}
	for _, budget := range []int{60, 100, 110, 1000} {
		rs, err := Best(units, three, budget, func(i, j int) float64 { return scores[i][j] })
		if err != nil {
			t.Fatal(err)
		}
		// All maps, one by one.
		best, bestRules := -1e9, ""
		for n := range 5 * 5 * 5 * 5 {
			chosen := []int{n % 5, n / 5 % 5, n / 25 % 5, n / 125}
			score := 0.0
			for i, j := range chosen {
				score += scores[i][j]
			}
			if all := rules(units, ways, chosen); Size(units, all) <= budget && score > best {
				best, bestRules = score, fmt.Sprint(all)
			}
		}
		if fmt.Sprint(rs) != bestRules {
			t.Errorf("budget %d: %v, want %s", budget, rs, bestRules)
		}
	}
	if _, err := Best(units, three, 59, func(int, int) float64 { return 0 }); err == nil || !strings.Contains(err.Error(), "it takes 60") {
		t.Errorf("too small a budget: %v", err)
	}
}

func TestRandomMapsFillTheBudgetEvenly(t *testing.T) {
	units := twoLayers()
	rng := rand.New(rand.NewPCG(3, 2))
	seen := map[string]int{}
	const n = 4000
	for range n {
		rs, err := Random(units, three, 90, 100, rng)
		if err != nil {
			t.Fatal(err)
		}
		if s := Size(units, rs); s < 90 || s > 100 {
			t.Fatalf("%v has %d parameters", rs, s)
		}
		seen[fmt.Sprint(rs)]++
	}
	maps := 0
	for i := range 625 {
		rs := rules(units, Partitions(three), []int{i % 5, i / 5 % 5, i / 25 % 5, i / 125})
		if s := Size(units, rs); s >= 90 && s <= 100 {
			maps++
			if got, want := float64(seen[fmt.Sprint(rs)]), float64(n); got == 0 {
				t.Errorf("%v never comes (of %.0f)", rs, want)
			}
		}
	}
	if len(seen) != maps {
		t.Errorf("%d maps seen, there are %d", len(seen), maps)
	}
	if _, err := Random(units, three, 61, 69, rng); err == nil {
		t.Error("no map has 61 to 69 parameters, and none was missed")
	}
}
