package main

import (
	"fmt"
	"math/rand/v2"

	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/model"
)

// saveRandom writes a model as a run folder that opens. What learns from data
// learns from made-up words, as many as fill its vocabulary.
func saveRandom(m *model.Model, dir string) error {
	for _, p := range m.Processors() {
		if f, ok := p.(modalities.Fitter); ok && !f.Fitted() {
			want := p.Layout()
			if err := f.Fit(madeUpWords(want.Vocab)); err != nil {
				return err
			}
			if p.Layout() != want {
				return fmt.Errorf("%d made-up entries of a vocabulary of %d", p.Layout().Vocab, want.Vocab)
			}
		}
	}
	if err := m.SaveConfig(dir); err != nil {
		return err
	}
	step := model.CheckpointDir(dir, 0)
	if err := m.Save(step); err != nil {
		return err
	}
	return model.Mark(step, "latest")
}

// madeUpWords yields random words of letters, each twice, enough of them to
// fill a vocabulary of n.
func madeUpWords(n int) func(yield func(modalities.Value) bool) {
	return func(yield func(modalities.Value) bool) {
		rng := rand.New(rand.NewPCG(3, 4))
		for range 2 * n {
			word := make([]byte, 3+rng.IntN(6))
			for i := range word {
				word[i] = byte('a' + rng.IntN(26))
			}
			if !yield(string(word) + " " + string(word)) {
				return
			}
		}
	}
}
