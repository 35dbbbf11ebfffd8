package tensor

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestGreatest holds the choice to a stable sort of all elements by magnitude.
func TestGreatest(t *testing.T) {
	dev := CPU(2)
	rng := rand.New(rand.NewPCG(3, 1))
	type place struct{ k, i int }
	for _, n := range []int{0, 1, 5, 17, 40, 1000} {
		var scores, within, masks []*Tensor
		var values [][]float32
		var places []place
		for k, shape := range [][2]int{{3, 5}, {7, 4}, {1, 9}} {
			s, w := dev.New(shape[0], shape[1]), dev.New(shape[0], shape[1])
			x, in := make([]float32, s.Len()), make([]float32, s.Len())
			for i := range x {
				x[i] = float32(rng.IntN(7)-3) * float32(math.Pow(10, float64(rng.IntN(3)-1))) // with equal ones
				if rng.IntN(3) > 0 {
					in[i] = 1
					places = append(places, place{k, i})
				}
			}
			x[2] = float32(math.NaN())
			dev.Write(s, x)
			dev.Write(w, in)
			scores, within, masks = append(scores, s), append(within, w), append(masks, w)
			values = append(values, x)
		}
		size := func(p place) float64 {
			if v := math.Abs(float64(values[p.k][p.i])); v == v {
				return v
			}
			return 0
		}
		slices.SortStableFunc(places, func(a, b place) int { return cmp.Compare(size(b), size(a)) })
		want := map[place]bool{}
		for _, p := range places[:min(n, len(places))] {
			want[p] = true
		}
		dev.Greatest(masks, scores, within, n)
		for k, m := range masks {
			got := make([]float32, m.Len())
			dev.Read(got, m)
			for i, v := range got {
				if (v == 1) != want[place{k, i}] || v != 0 && v != 1 {
					t.Fatalf("n %d: tensor %d has %v at %d, where the score is %g", n, k, v, i, values[k][i])
				}
			}
		}
	}
	x, m := dev.New(1, 4), dev.New(1, 4)
	dev.Write(x, []float32{1, -3, 2, 3})
	dev.Greatest([]*Tensor{m}, []*Tensor{x}, nil, 2)
	got := make([]float32, 4)
	if dev.Read(got, m); !slices.Equal(got, []float32{0, 1, 0, 1}) {
		t.Errorf("the two greatest of 1, -3, 2, 3 by magnitude: %v", got)
	}
}
