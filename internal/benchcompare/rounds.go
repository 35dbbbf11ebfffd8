package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// side is one of those that have turns.
type side struct {
	name string
	// measure returns figures by name, and the seconds of processor time that
	// they took.
	measure func(ctx context.Context, seconds float64) (figures map[string]float64, cpu float64, err error)
}

// measurement is what a side gave in a round.
type measurement struct {
	What    string             `json:"what"`
	Side    string             `json:"side"`
	Round   int                `json:"round"`
	Figures map[string]float64 `json:"figures"`
	// Others is the share of the machine that other programs used meanwhile.
	Others float64 `json:"others_cpu_share"`
}

// settle is how long idle threads of the side before may still spin.
const settle = 300 * time.Millisecond

// turns lets every side measure the same once in each round, in an order that
// is another in each.
func (b *bench) turns(ctx context.Context, what string, seconds float64, sides []side) error {
	for round := range b.rounds {
		for i := range sides {
			s := sides[(i+round)%len(sides)]
			time.Sleep(settle)
			began, before := time.Now(), machineCPU()
			figures, cpu, err := s.measure(ctx, seconds)
			if err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				return fmt.Errorf("%s: %w", s.name, err)
			}
			m := measurement{What: what, Side: s.name, Round: round + 1, Figures: figures}
			m.Others = others(machineCPU()-before, cpu, time.Since(began).Seconds())
			b.report.Measurements = append(b.report.Measurements, m)
			fmt.Fprintf(os.Stderr, "%s, round %d of %d, %s:%s\n", what, round+1, b.rounds, s.name, brief(figures))
		}
	}
	return nil
}

// brief prints figures in a line.
func brief(figures map[string]float64) string {
	var s strings.Builder
	for _, name := range slices.Sorted(maps.Keys(figures)) {
		fmt.Fprintf(&s, " %s %.4g", name, figures[name])
	}
	return s.String()
}

// series returns a figure of a side, one value a round.
func (r *report) series(what, side, figure string) []float64 {
	var x []float64
	for _, m := range r.Measurements {
		if m.What == what && m.Side == side {
			x = append(x, m.Figures[figure])
		}
	}
	return x
}
