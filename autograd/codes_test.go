package autograd

import (
	"math/rand/v2"
	"testing"
)

func TestLookupGradient(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 1))
	table := param(rng, "table", 1, 5, 0, 1)
	codes := make([]uint8, 6*7)
	for i := range codes {
		codes[i] = uint8(rng.IntN(4)) // the last value serves nothing
	}
	of := cpu.Codes(6, 7, codes)
	checkGradients(t, rng, []*Param{table}, func(t *Tape) *Var { return t.Lookup(table.Var(), of) })
	// A number that a step of training gives, not that of another piece's sums.
	tape := NewTape(cpu, true)
	seed := make([]float32, len(codes))
	want := make([]float32, 5)
	for i := range seed {
		seed[i] = float32(i)
		want[codes[i]] += float32(i)
	}
	table.Clear(cpu)
	tape.Backward(tape.Lookup(table.Var(), of), seed)
	got := make([]float32, 5)
	cpu.Read(got, table.Grad())
	for k := range want {
		if got[k] != want[k] {
			t.Errorf("gradient of value %d is %g, want the sum of its members' %g", k, got[k], want[k])
		}
	}
}
