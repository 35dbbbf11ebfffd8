package compare

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"

	"github.com/onetrunk/onetrunk/internal/measure"
	"github.com/onetrunk/onetrunk/train"
)

// Budget is what a row may spend on training; one of its fields is set. With none,
// all rows have as many steps as the first config says.
type Budget struct {
	// Steps is the length of every schedule.
	Steps int `json:"steps,omitempty"`
	// Samples is the number that every row sees: its schedule has as many steps
	// as batches of its size fit in.
	Samples int `json:"samples,omitempty"`
	// CPUSeconds is the time that the steps of every row take, over all its
	// threads. The schedule's length follows from the time of its first steps,
	// measured while nothing else runs here.
	CPUSeconds float64 `json:"cpu_seconds,omitempty"`
}

func (b Budget) validate() error {
	set := 0
	for _, v := range []float64{float64(b.Steps), float64(b.Samples), b.CPUSeconds} {
		if !(v >= 0) || math.IsInf(v, 0) {
			return fmt.Errorf("compare: a budget of %g, expected more than 0", v)
		}
		if v > 0 {
			set++
		}
	}
	if set > 1 {
		return fmt.Errorf("compare: one budget of steps, samples and CPU time, found %d", set)
	}
	return nil
}

// String describes the budget.
func (b Budget) String() string {
	switch {
	case b.Samples > 0:
		return fmt.Sprintf("%d samples", b.Samples)
	case b.CPUSeconds > 0:
		return fmt.Sprintf("%g s of CPU time", b.CPUSeconds)
	}
	return fmt.Sprintf("%d steps", b.Steps)
}

// schedule gives every variant the length of its schedule.
func (c *comparison) schedule(ctx context.Context) error {
	for _, v := range c.variants {
		batch := v.settings.Batch * v.settings.Accumulate
		switch b := c.Budget; {
		case b.Samples > 0:
			v.steps = max(b.Samples/batch, 1)
		case b.CPUSeconds > 0:
			if v.steps = c.measured(v); v.steps == 0 {
				seconds, err := c.stepSeconds(ctx, v)
				if ctx.Err() != nil {
					return err
				}
				if err != nil {
					v.err = err
					break
				}
				v.steps = max(int(b.CPUSeconds/seconds), 1)
			}
		default:
			v.steps = b.Steps
		}
	}
	for _, r := range c.rows {
		if r.of.err != nil {
			continue
		}
		r.record.Steps = r.of.steps
		if err := r.save(); err != nil {
			return err
		}
	}
	return nil
}

// measured returns the schedule that rows of the variant have already, or 0.
func (c *comparison) measured(v *variant) int {
	for _, r := range c.rows {
		if r.of == v && r.record.Steps > 0 {
			return r.record.Steps
		}
	}
	return 0
}

// What is measured begins after some steps that are not counted, and ends when
// there are enough steps and enough time to tell.
const (
	warmup  = 3
	counted = 12
	enough  = 0.3 // seconds
)

// stepSeconds measures the CPU time of a step of the variant. Evaluations and
// checkpoints are not part of it.
func (c *comparison) stepSeconds(ctx context.Context, v *variant) (seconds float64, err error) {
	dir := filepath.Join(c.Dir, runsDir, ".measure-"+v.name)
	if err := os.RemoveAll(dir); err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	o := c.options(v, 1, dir)
	o.Val = nil
	o.Settings.SaveEvery = math.MaxInt
	o.Settings.Steps = max(o.Settings.Steps, warmup+counted)
	measuring, stop := context.WithCancel(ctx)
	defer stop()
	var began float64
	o.Report = func(done, of int) {
		now := measure.CPUSeconds()
		switch n := done - warmup; {
		case n <= 0:
			began = now
		case now > began && (n >= counted && now-began >= enough || done == of):
			seconds = (now - began) / float64(n)
			stop()
		}
	}
	if _, err := train.Run(measuring, o); err != nil && (ctx.Err() != nil || !errors.Is(err, train.ErrInterrupted)) {
		return 0, err
	}
	if seconds == 0 {
		return 0, fmt.Errorf("compare: the CPU time of a step cannot be measured here; give the budget in steps or samples")
	}
	return seconds, nil
}

// clock divides the CPU time of the process among the rows that run: those that
// run at once, with as many threads each, share it equally. Its zero value is
// ready.
type clock struct {
	mu      sync.Mutex
	last    float64
	running []*float64
}

// start adds what a row uses from now on to spent.
func (c *clock) start(spent *float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.share()
	c.running = append(c.running, spent)
}

// stop ends what start began.
func (c *clock) stop(spent *float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.share()
	for i, s := range c.running {
		if s == spent {
			c.running = append(c.running[:i], c.running[i+1:]...)
			return
		}
	}
}

// read returns what spent has come to.
func (c *clock) read(spent *float64) float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.share()
	return *spent
}

func (c *clock) share() {
	now := measure.CPUSeconds()
	for _, s := range c.running {
		*s += (now - c.last) / float64(len(c.running))
	}
	c.last = now
}
