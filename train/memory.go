package train

import (
	"fmt"
	"io"
	"math"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/internal/measure"
)

// memory keeps the resident memory of a run under a bound, by having the tape
// compute blocks again in the backward pass instead of keeping what they need.
// The results are the same bits.
//
// The first step computes all blocks again, and shows what a step needs at
// least and what each block would keep. The last blocks are kept then, as many
// as there is room for: their memory is free again when the first ones are
// computed a second time.
type memory struct {
	limit float64 // MB; 0 for none
	tape  *autograd.Tape
	out   io.Writer
}

// all is a number of blocks that no trunk has.
const all = math.MaxInt

func newMemory(limit float64, tape *autograd.Tape, out io.Writer) *memory {
	m := &memory{limit: limit, tape: tape, out: out}
	if limit > 0 {
		tape.Recompute = all
	}
	return m
}

// after looks at what step n has left behind.
func (m *memory) after(n int) error {
	if m.limit == 0 {
		return nil
	}
	resident := measure.ResidentMB()
	kept := m.tape.Kept()
	switch {
	case resident == 0:
		return fmt.Errorf("a bound of the memory needs a system that tells how much is resident, as Linux does")
	case m.tape.Recompute == all:
		if resident > m.limit {
			return fmt.Errorf("a step needs at least %.0f MB, with all blocks computed again; the bound is %.0f MB: lower the batch size", resident, m.limit)
		}
		m.tape.Recompute = plan(kept, m.limit-resident)
		m.say(kept)
	case resident > m.limit && m.tape.Recompute < len(kept):
		// A batch was longer than those before.
		m.tape.Recompute++
		m.say(kept)
	case resident > m.limit:
		return fmt.Errorf("step %d needed %.0f MB, with all blocks computed again; the bound is %.0f MB: lower the batch size", n, resident, m.limit)
	}
	return nil
}

// plan returns how many of the first blocks are to be computed again, so that
// the others keep at most room MB more than the largest block takes by itself.
// A part of the room is left for batches that are longer.
func plan(kept []int64, room float64) int {
	const mb = 1 << 20
	var largest int64
	for _, k := range kept {
		largest = max(largest, k)
	}
	left := int64(0.9*room*mb) + largest
	n := len(kept)
	for n > 0 && kept[n-1] <= left {
		n--
		left -= kept[n]
	}
	return n
}

// say tells what the bound costs.
func (m *memory) say(kept []int64) {
	if m.out == nil {
		return
	}
	n := m.tape.Recompute
	var again, whole int64
	for i, k := range kept {
		whole += k
		if i < n {
			again += k
		}
	}
	fmt.Fprintf(m.out, "memory: %d of %d blocks are computed again in the backward pass to stay under %.0f MB: about %.0f%% more work a step\n",
		n, len(kept), m.limit, 100*float64(again)/float64(max(whole, 1))/3)
}

// recomputed returns the number of blocks that are computed again.
func (m *memory) recomputed() int { return min(m.tape.Recompute, len(m.tape.Kept())) }
