package autograd

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestUniformGradient(t *testing.T) {
	rng := rand.New(rand.NewPCG(14, 1))
	za, zb, scale := param(rng, "za", 3, 4, 0, 1), param(rng, "zb", 5, 4, 0, 1), param(rng, "scale", 1, 1, 0.5, 0)
	scale.Train(false)
	checkGradients(t, rng, []*Param{za, zb}, func(t *Tape) *Var { return t.Uniform(za.Var(), zb.Var(), scale.Var()) })
	za.Clear(cpu)
	checkGradients(t, rng, []*Param{za}, func(t *Tape) *Var { return t.Uniform(za.Var(), za.Var(), scale.Var()) })
	// Its least value is that of equal similarities.
	cpu.Fill(za.Value, 0)
	tape := NewTape(cpu, false)
	if got := float64(tape.Scalar(tape.Uniform(za.Var(), zb.Var(), scale.Var()))); math.Abs(got-math.Log(5)) > 1e-6 {
		t.Errorf("equal similarities: %g, want log 5", got)
	}
}
