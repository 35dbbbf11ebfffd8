package sharing

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
)

// Unit is what a search decides on: the attention or the feed-forward network
// of a physical layer, whose tensors the modalities share in one of their
// Partitions.
type Unit struct {
	Layer int
	Roles []Role
	// Size is the number of parameters of its tensors, once.
	Size int
	// Policy is the parameter of the logits, in a search.
	Policy string
}

// String names the unit: layer 0 attention.
func (u Unit) String() string {
	if u.Roles[0].attention() {
		return fmt.Sprintf("layer %d attention", u.Layer)
	}
	return fmt.Sprintf("layer %d feed-forward", u.Layer)
}

// Units lists the units of a trunk whose tensors are in the bank.
func (w *Weights) Units() []Unit {
	var units []Unit
	for l := range w.Layers {
		for _, roles := range [][]Role{{Qkv, Out}, {Up, Down}} {
			at := w.physical[roles[0]][l]
			if slices.ContainsFunc(units, func(u Unit) bool { return u.Layer == at && u.Roles[0] == roles[0] }) {
				continue
			}
			u := Unit{Layer: at, Roles: roles, Policy: w.policyName(at, roles[0])}
			for _, r := range roles {
				for _, n := range w.Serving(l, w.Modalities[0], r)[:2] {
					u.Size += w.Bank.Param(n).Value.Len()
				}
			}
			units = append(units, u)
		}
	}
	return units
}

// choice is a way to share each of some units.
type choice struct {
	size  int
	score float64
	ways  []int
}

// Best returns the rules of the map of at most budget parameters in its units
// whose scores have the greatest sum. score is that of unit i shared in way j of
// Partitions(modalities). It is an error when even one tensor for all is too
// much.
func Best(units []Unit, modalities []string, budget int, score func(i, j int) float64) ([]Rule, error) {
	ways := Partitions(modalities)
	// The maps of the first units that no other beats in both size and score.
	front := []choice{{}}
	for i, u := range units {
		var next []choice
		for _, c := range front {
			for j, way := range ways {
				if size := c.size + len(way)*u.Size; size <= budget {
					next = append(next, choice{size, c.score + score(i, j), append(slices.Clone(c.ways), j)})
				}
			}
		}
		slices.SortStableFunc(next, func(a, b choice) int {
			if a.size != b.size {
				return a.size - b.size
			}
			switch {
			case a.score > b.score:
				return -1
			case a.score < b.score:
				return 1
			}
			return 0
		})
		front = front[:0:0]
		best := math.Inf(-1)
		for _, c := range next {
			if c.score > best {
				front, best = append(front, c), c.score
			}
		}
	}
	if len(front) == 0 {
		least := 0
		for _, u := range units {
			least += u.Size
		}
		return nil, fmt.Errorf("a budget of %d parameters for what may be shared; shared by all modalities it takes %d", budget, least)
	}
	return rules(units, ways, front[len(front)-1].ways), nil
}

// Random returns the rules of a random map whose units take between least and
// budget parameters, every such map being as likely as any other. It is an
// error when there seems to be none.
func Random(units []Unit, modalities []string, least, budget int, rng *rand.Rand) ([]Rule, error) {
	ways := Partitions(modalities)
	// How many maps of the units from i on have each size.
	counts := make([]map[int]float64, len(units)+1)
	counts[len(units)] = map[int]float64{0: 1}
	for i := len(units) - 1; i >= 0; i-- {
		counts[i] = map[int]float64{}
		for size, n := range counts[i+1] {
			for _, way := range ways {
				counts[i][size+len(way)*units[i].Size] += n
			}
		}
	}
	within := func(i, used int) (n float64) {
		for _, size := range slices.Sorted(maps.Keys(counts[i])) {
			if s := used + size; s >= least && s <= budget {
				n += counts[i][size]
			}
		}
		return n
	}
	if within(0, 0) == 0 {
		return nil, fmt.Errorf("no map has between %d and %d parameters in what may be shared", least, budget)
	}
	var chosen []int
	used := 0
	for i, u := range units {
		at := rng.Float64() * within(i, used)
		pick := -1
		for j, way := range ways {
			n := within(i+1, used+len(way)*u.Size)
			if n == 0 {
				continue
			}
			pick = j
			if at -= n; at < 0 {
				break
			}
		}
		chosen = append(chosen, pick)
		used += len(ways[pick]) * u.Size
	}
	return rules(units, ways, chosen), nil
}

// rules writes a choice of ways as the rules of a map.
func rules(units []Unit, ways [][][]string, chosen []int) []Rule {
	var rs []Rule
	for i, u := range units {
		rs = append(rs, Rule{Layers: []int{u.Layer}, Roles: u.Roles, Groups: ways[chosen[i]]})
	}
	return rs
}

// Size returns the number of parameters that rules give to units.
func Size(units []Unit, rs []Rule) (n int) {
	for i, u := range units {
		n += len(rs[i].Groups) * u.Size
	}
	return n
}
