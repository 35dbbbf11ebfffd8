package compare

import (
	"context"
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
				if err != nil {
					if ctx.Err() != nil {
						return err
					}
					v.steps = 1 // its rows fail in the same way, and say so
					break
				}
				v.steps = max(int(b.CPUSeconds/seconds), 1)
			}
		default:
			v.steps = b.Steps
		}
	}
	for _, r := range c.rows {
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

// Steps that are run to measure: the first of them are not counted.
const (
	warmup  = 3
	counted = 12
)

// stepSeconds measures the CPU time of a step of the variant. Evaluations and
// checkpoints are not part of it.
func (c *comparison) stepSeconds(ctx context.Context, v *variant) (float64, error) {
	dir := filepath.Join(c.Dir, runsDir, ".measure-"+v.name)
	if err := os.RemoveAll(dir); err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	o := c.options(v, 1, dir)
	o.Val = nil
	o.Settings.Steps = max(o.Settings.Steps, warmup+counted)
	o.Settings.SaveEvery = o.Settings.Steps
	o.MaxSteps = warmup + counted
	var began, ended float64
	o.Report = func(done, _ int) {
		switch done {
		case warmup:
			began = measure.CPUSeconds()
		case warmup + counted:
			ended = measure.CPUSeconds()
		}
	}
	if _, err := train.Run(ctx, o); err != nil {
		return 0, err
	}
	if !(ended > began) {
		return 0, fmt.Errorf("compare: the system does not say how much CPU time a step takes; give the budget in steps or samples")
	}
	return (ended - began) / counted, nil
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
