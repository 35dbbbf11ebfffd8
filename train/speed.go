package train

import (
	"context"
	"time"

	"github.com/onetrunk/onetrunk/internal/measure"
	"github.com/onetrunk/onetrunk/model"
)

// EmbedSpeeds returns how many samples a second models of the same modalities
// embed: random ones of full length, 32 of each modality at a time. The models take
// turns for about that many seconds together, so that what else the machine does
// meets all of them; the figures are of median times.
func EmbedSpeeds(ctx context.Context, seconds float64, models ...*model.Model) ([]float64, error) {
	const batch, warmup, least = 32, 2, 5
	times := make([][]float64, len(models))
	samples := 0
	began := time.Now()
	for round := 0; round < warmup+least || time.Since(began).Seconds() < seconds; round++ {
		for i, m := range models {
			if round%2 == 1 { // each comes first as often as last
				i = len(models) - 1 - i
				m = models[i]
			}
			inputs, err := synthetic(m, batch, nil)
			if err != nil {
				return nil, err
			}
			t0 := time.Now()
			for _, in := range inputs {
				if _, err := m.Embed(ctx, in.Modality, in.Tokens); err != nil {
					return nil, err
				}
			}
			if round >= warmup {
				times[i] = append(times[i], time.Since(t0).Seconds())
			}
			samples = batch * len(inputs)
		}
	}
	speeds := make([]float64, len(models))
	for i := range speeds {
		speeds[i] = float64(samples) / measure.Median(times[i])
	}
	return speeds, nil
}
