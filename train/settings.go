package train

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/onetrunk/onetrunk/internal/strictjson"
	"github.com/onetrunk/onetrunk/model"
)

// Settings is the "train" block of a config.
type Settings struct {
	// Batch is the number of samples of one forward pass, Accumulate the
	// number of passes whose gradients make one step. Each pass contrasts its
	// own samples alone.
	Batch      int `json:"batch"`
	Accumulate int `json:"accumulate"`
	// Steps is the length of the schedule.
	Steps int `json:"steps"`
	// LR is the peak learning rate: it grows linearly over the first Warmup
	// (a share of Steps) and falls along a cosine to FinalLR (a share of LR).
	LR      float64 `json:"lr"`
	Warmup  float64 `json:"warmup"`
	FinalLR float64 `json:"final_lr"`
	// Beta1, Beta2, Eps and Decay are AdamW's (Loshchilov and Hutter 2019).
	// Norms, biases, positions and temperatures do not decay.
	Beta1 float64 `json:"beta1"`
	Beta2 float64 `json:"beta2"`
	Eps   float64 `json:"eps"`
	Decay float64 `json:"decay"`
	// Clip bounds the norm of the whole gradient; 0 does not.
	Clip float64 `json:"clip"`
	// Pairs weighs the losses: {"image+text": 1, "audio+text": 0.5}. Pairs
	// that are not named weigh 0; without the key all weigh 1.
	Pairs map[string]float64 `json:"pairs,omitempty"`
	// Positives says which samples of a batch belong together: those with
	// equal "ids", or with equal ids or an equal value of some modality
	// ("values": two samples with one caption), or each with itself alone
	// ("rows").
	Positives string `json:"positives"`
	// Init names folders of other libraries' models to begin from, by the place
	// of each: a modality whose tower it becomes, or "trunk" for the trunk of
	// all modalities.
	Init map[string]string `json:"init,omitempty"`
	// Lock lists what is not trained: modalities, of each what is its own but
	// for the bridge into the shared space, or "trunk" for the shared trunk.
	// The last UnlockLast blocks of every trunk are trained all the same.
	Lock       []string `json:"lock,omitempty"`
	UnlockLast int      `json:"unlock_last,omitempty"`
	// Seed decides first values, order and augmentation.
	Seed uint64 `json:"seed"`
	// SaveEvery and EvalEvery are in steps; 0 stands for a twentieth and a
	// tenth of Steps.
	SaveEvery int `json:"save_every,omitempty"`
	EvalEvery int `json:"eval_every,omitempty"`
}

// ParseSettings reads the "train" block of a config. name is used in errors.
func ParseSettings(name string, c model.Config) (Settings, error) {
	s := Settings{
		Batch: 64, Accumulate: 1, Steps: 1000,
		LR: 5e-4, Warmup: 0.1, FinalLR: 0,
		Beta1: 0.9, Beta2: 0.98, Eps: 1e-6, Decay: 0.2, Clip: 1,
		Positives: "values", Seed: 1,
	}
	if len(c.Train) > 0 {
		if err := strictjson.Unmarshal(name+": train", c.Train, &s); err != nil {
			return Settings{}, err
		}
	}
	if err := s.Validate(c); err != nil {
		return Settings{}, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// Validate checks the settings for a model.
func (s *Settings) Validate(c model.Config) error {
	for _, v := range []struct {
		key       string
		value, lo float64
		hi        float64
	}{
		{"batch", float64(s.Batch), 2, math.Inf(1)},
		{"accumulate", float64(s.Accumulate), 1, math.Inf(1)},
		{"steps", float64(s.Steps), 1, math.Inf(1)},
		{"lr", s.LR, 0, math.Inf(1)},
		{"warmup", s.Warmup, 0, 1},
		{"final_lr", s.FinalLR, 0, 1},
		{"beta1", s.Beta1, 0, 0.999999},
		{"beta2", s.Beta2, 0, 0.999999},
		{"eps", s.Eps, 0, 1},
		{"decay", s.Decay, 0, math.Inf(1)},
		{"clip", s.Clip, 0, math.Inf(1)},
		{"save_every", float64(s.SaveEvery), 0, math.Inf(1)},
		{"eval_every", float64(s.EvalEvery), 0, math.Inf(1)},
		{"unlock_last", float64(s.UnlockLast), 0, math.Inf(1)},
	} {
		if !(v.value >= v.lo && v.value <= v.hi) {
			return fmt.Errorf("train.%s: expected a number in [%g, %g], found %g", v.key, v.lo, v.hi, v.value)
		}
	}
	if !slices.Contains([]string{"values", "ids", "rows"}, s.Positives) {
		return fmt.Errorf("train.positives: %q is not one of values, ids, rows", s.Positives)
	}
	for _, what := range s.Lock {
		if s.Init[what] == "" {
			return fmt.Errorf("train.lock: %q begins with random values, which nothing would ever change: name what it begins from (--init %s=DIR)", what, what)
		}
	}
	if err := validPairs("train.pairs", s.Pairs, c); err != nil {
		return err
	}
	weights := []func(a, b string) float64{s.weight}
	for i, p := range c.Sharing.Phases {
		if err := validPairs(fmt.Sprintf("sharing.phases[%d].pairs", i), p.Pairs, c); err != nil {
			return err
		}
		if p.Pairs != nil {
			weights = append(weights, func(a, b string) float64 { return p.Pairs[a+"+"+b] })
		}
	}
	return validBalance(c, weights)
}

// validPairs checks the weights of pairs; errors call them at.
func validPairs(at string, pairs map[string]float64, c model.Config) error {
	some := pairs == nil
	for pair, w := range pairs {
		a, b, ok := strings.Cut(pair, "+")
		_, hasA := c.Modalities[a]
		_, hasB := c.Modalities[b]
		if !ok || !hasA || !hasB || a >= b {
			return fmt.Errorf("%s: %q is not two of the model's modalities in alphabetical order, as in \"image+text\"", at, pair)
		}
		if !(w >= 0) || math.IsInf(w, 0) {
			return fmt.Errorf("%s: the weight of %q is %g, expected at least 0", at, pair, w)
		}
		some = some || w > 0
	}
	if !some {
		return fmt.Errorf("%s: no pair weighs anything", at)
	}
	return nil
}

// validBalance checks that a balance can measure the pairs that have weight.
func validBalance(c model.Config, weights []func(a, b string) float64) error {
	if b := c.Sharing.Balance; b == nil || b.Kind != "gradnorm" {
		return nil
	}
	for a, of := range c.Modalities {
		for b, other := range c.Modalities {
			apart := of.Trunk != nil && other.Trunk != nil && a < b
			if apart && slices.ContainsFunc(weights, func(w func(a, b string) float64) bool { return w(a, b) > 0 }) {
				return fmt.Errorf("sharing.balance: gradnorm measures gradients on the shared trunk's last block, which the pair %s+%s never reaches: each of the two has a trunk of its own", a, b)
			}
		}
	}
	return nil
}

// weight returns the weight of a pair, for contrastive.Objective.
func (s *Settings) weight(a, b string) float64 {
	if s.Pairs == nil {
		return 1
	}
	return s.Pairs[a+"+"+b]
}

// rate returns the learning rate of a step, from 1 to Steps.
func (s *Settings) rate(step int) float64 {
	warm := s.Warmup * float64(s.Steps)
	x := float64(step)
	if x < warm {
		return s.LR * x / warm
	}
	done := min((x-warm)/max(float64(s.Steps)-warm, 1), 1)
	return s.LR * (s.FinalLR + (1-s.FinalLR)*0.5*(1+math.Cos(math.Pi*done)))
}

// orDefault fills in what the schedule decides and returns the whole block as
// JSON for the run folder.
func (s *Settings) orDefault() json.RawMessage {
	if s.SaveEvery == 0 {
		s.SaveEvery = max(s.Steps/20, 1)
	}
	if s.EvalEvery == 0 {
		s.EvalEvery = max(s.Steps/10, 1)
	}
	data, err := json.Marshal(s)
	if err != nil {
		panic(err) // numbers and strings, checked to be finite
	}
	return data
}
