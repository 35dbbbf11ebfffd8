package evaluate

import (
	"context"
	"math"
	"slices"

	"gonum.org/v1/gonum/optimize"
)

// lbfgs minimises a smooth function from x, which it changes, by the
// limited-memory BFGS method (Nocedal and Wright 2006, algorithm 7.5). f
// returns the value at x and writes the gradient there. It ends when ten steps
// together have won less than 1e-6 of the value, or when no step can be found
// along the descent: what f's rounding leaves to see is then used up.
func lbfgs(ctx context.Context, f func(grad, x []float64) float64, x []float64) error {
	// The value and the gradient are asked for one after the other.
	var at, grad []float64
	var value float64
	compute := func(x []float64) {
		if at != nil && slices.Equal(at, x) {
			return
		}
		if grad == nil {
			grad = make([]float64, len(x))
		}
		at = append(at[:0], x...)
		value = f(grad, x)
	}
	problem := optimize.Problem{
		Func: func(x []float64) float64 { compute(x); return value },
		Grad: func(g, x []float64) { compute(x); copy(g, grad) },
		Status: func() (optimize.Status, error) {
			if err := ctx.Err(); err != nil {
				return optimize.Failure, err
			}
			return optimize.NotTerminated, nil
		},
	}
	settings := &optimize.Settings{
		MajorIterations: 1000,
		Converger:       &optimize.FunctionConverge{Relative: 1e-6, Iterations: 10},
	}
	r, err := optimize.Minimize(problem, x, settings, &optimize.LBFGS{Store: 15})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if r == nil {
		return err
	}
	// An error is a line search that finds nothing better.
	if r.MajorIterations > 0 && !math.IsNaN(r.F) {
		copy(x, r.X)
	}
	return nil
}
