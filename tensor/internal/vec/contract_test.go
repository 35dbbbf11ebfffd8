package vec

import (
	"slices"
	"testing"
)

// TestShortArgumentsPanic fails when a slice that is too short, though its
// memory goes on, is read or written past its end.
func TestShortArgumentsPanic(t *testing.T) {
	const n = 20
	panics := func(f func()) (did bool) {
		defer func() { did = recover() != nil }()
		f()
		return false
	}
	each(t, func(t *testing.T) {
		for _, c := range calls {
			for short := 1; short < c.args; short++ {
				a, same := newArguments(1, c.args, n, 1, true), newArguments(1, c.args, n, 1, true)
				a.parts[short] = a.parts[short][:n-1]
				if !panics(func() { c.run(a.parts) }) {
					t.Errorf("%s does not panic when argument %d is short", c.name, short)
				}
				for i := range a.whole {
					if !slices.Equal(a.whole[i], same.whole[i]) {
						t.Errorf("%s with a short argument %d wrote argument %d before it panicked", c.name, short, i)
					}
				}
			}
		}
		x := make([]float32, 4*n)
		for name, f := range map[string]func(){
			"DotRows":            func() { DotRows(x[:3], x[n:4*n-1:4*n-1], x[:n]) },
			"DotRows, capacity":  func() { DotRows(x[:3], x[n:4*n-1], x[:n]) },
			"SumRows":            func() { SumRows(x[:n], x[n:4*n-1:4*n-1], 3, n) },
			"SumRows, capacity":  func() { SumRows(x[:n], x[n:4*n-1], 3, n) },
			"unknown activation": func() { BiasAct(x, nil, x, nil, GELUTanh+1) },
			"unknown derivative": func() { ActGrad(x, x, x, GELUTanh+1) },
		} {
			if !panics(f) {
				t.Errorf("%s does not panic", name)
			}
		}
	})
}

// TestResultsMayBeSources fails when a function reads what it has overwritten.
func TestResultsMayBeSources(t *testing.T) {
	// Argument of the result, argument that it may be.
	may := map[string][][2]int{
		"Add":                  {{0, 1}, {0, 2}},
		"BiasAct Identity":     {{0, 2}, {1, 2}},
		"BiasAct GELU":         {{0, 2}, {1, 2}},
		"BiasAct QuickGELU":    {{0, 2}, {1, 2}},
		"BiasAct ReLU":         {{0, 2}, {1, 2}},
		"BiasAct GELUTanh":     {{0, 2}, {1, 2}},
		"BiasAct without pre":  {{0, 1}},
		"BiasAct without bias": {{0, 2}, {1, 2}},
		"BiasAct of x alone":   {{0, 1}},
		"ActGrad Identity":     {{0, 1}, {0, 2}},
		"ActGrad GELU":         {{0, 1}, {0, 2}},
		"ActGrad QuickGELU":    {{0, 1}, {0, 2}},
		"ActGrad ReLU":         {{0, 1}, {0, 2}},
		"ActGrad GELUTanh":     {{0, 1}, {0, 2}},
		"Exp":                  {{0, 1}},
		"Tanh":                 {{0, 1}},
		"Erf":                  {{0, 1}},
		"Log":                  {{0, 1}},
		"ExpMinus":             {{0, 1}},
		"SoftmaxGrad":          {{0, 1}, {0, 2}},
		"LayerNorm":            {{0, 1}},
		"LayerNormGrad":        {{0, 3}, {0, 4}},
		"RMSNorm":              {{0, 1}},
		"RMSNormGrad":          {{0, 2}, {0, 3}},
	}
	equal := func(a, b float32) bool { return near(a, b, 0) } // NaN is NaN
	each(t, func(t *testing.T) {
		for _, c := range calls {
			for _, pair := range may[c.name] {
				for _, n := range lengths {
					apart, shared := newArguments(1, c.args, n, 1, false), newArguments(1, c.args, n, 1, false)
					shared.parts[pair[0]] = shared.parts[pair[1]]
					c.run(apart.parts)
					c.run(shared.parts)
					if !slices.EqualFunc(apart.parts[pair[0]], shared.parts[pair[0]], equal) {
						t.Errorf("%s of %d elements with argument %d as %d differs", c.name, n, pair[0], pair[1])
					}
				}
			}
		}
	})
}

// TestNothingAllocates fails when a call leaves work to the collector.
func TestNothingAllocates(t *testing.T) {
	const n = 100
	each(t, func(t *testing.T) {
		for _, c := range calls {
			a := newArguments(1, c.args, n, 1, true)
			if got := testing.AllocsPerRun(10, func() { c.run(a.parts) }); got != 0 {
				t.Errorf("%s allocates %g times", c.name, got)
			}
		}
		x := make([]float32, 6*n)
		if got := testing.AllocsPerRun(10, func() { DotRows(x[:5], x[n:], x[:n]); SumRows(x[:n], x[n:], 5, n) }); got != 0 {
			t.Errorf("DotRows and SumRows allocate %g times", got)
		}
	})
}
