package train

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
)

// Lengths is a histogram of the lengths of texts: how many have so many
// tokens, the start and the end of a text counted.
type Lengths map[int]int

// ReadLengths reads {"lengths": {"5": 120, "6": 80}} from a JSON file, whose
// other keys say where it is from.
func ReadLengths(path string) (Lengths, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file struct {
		Lengths Lengths `json:"lengths"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(file.Lengths) == 0 {
		return nil, fmt.Errorf("%s: expected \"lengths\" with at least one entry", path)
	}
	for n, count := range file.Lengths {
		if n < 1 || count < 1 {
			return nil, fmt.Errorf("%s: lengths: expected positive numbers, found %d texts of length %d", path, count, n)
		}
	}
	return file.Lengths, nil
}

// draw returns n lengths, those above most cut to it: one from each of n
// equal shares of the histogram, so that few of them stand for all, in random
// order.
func (l Lengths) draw(n, most int, rng *rand.Rand) []int {
	keys := slices.Sorted(maps.Keys(l))
	total := 0
	for _, k := range keys {
		total += l[k]
	}
	drawn := make([]int, n)
	at, below := 0, 0 // texts shorter than keys[at]
	for i := range drawn {
		rank := (float64(i) + rng.Float64()) / float64(n) * float64(total)
		for at+1 < len(keys) && rank >= float64(below+l[keys[at]]) {
			below += l[keys[at]]
			at++
		}
		drawn[i] = min(keys[at], most)
	}
	rng.Shuffle(n, func(i, j int) { drawn[i], drawn[j] = drawn[j], drawn[i] })
	return drawn
}
