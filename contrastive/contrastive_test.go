package contrastive

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/tensor"
)

func TestGroups(t *testing.T) {
	got := Groups(6, func(join func(string, int)) {
		join("id:a", 0)
		join("id:b", 1)
		join("id:a", 2)
		join("text:x", 3)
		join("text:x", 1)
		join("text:y", 3)
		join("text:y", 5)
	})
	if want := []int32{0, 1, 0, 1, 4, 1}; !reflect.DeepEqual(got, want) {
		t.Errorf("groups %v, want %v", got, want)
	}
}

// reference is the symmetric loss in float64, row by row.
func reference(za, zb [][]float64, scale float64, groups []int32) float64 {
	n := len(za)
	one := func(a, b [][]float64) float64 {
		var loss float64
		for i := range n {
			var z, own, positives float64
			for j := range n {
				var s float64
				for k := range a[i] {
					s += a[i][k] * b[j][k]
				}
				z += math.Exp(scale * s)
				if groups[i] == groups[j] {
					own += scale * s
					positives++
				}
			}
			loss += math.Log(z) - own/positives
		}
		return loss / float64(n)
	}
	return (one(za, zb) + one(zb, za)) / 2
}

func TestMissingModalitiesAndWeights(t *testing.T) {
	dev := tensor.CPU(1)
	rng := rand.New(rand.NewPCG(1, 2))
	tape := autograd.NewTape(dev, false)
	unit := func(n int) (*autograd.Var, [][]float64) {
		x := make([]float32, n*4)
		rows := make([][]float64, n)
		for i := range rows {
			var norm float64
			rows[i] = make([]float64, 4)
			for k := range rows[i] {
				rows[i][k] = rng.NormFloat64()
				norm += rows[i][k] * rows[i][k]
			}
			for k := range rows[i] {
				rows[i][k] /= math.Sqrt(norm)
				x[i*4+k] = float32(rows[i][k])
			}
		}
		return tape.Input(n, 4, x), rows
	}
	za, a := unit(4)
	zi, im := unit(5)
	zt, te := unit(3)
	logScale := tape.Input(1, 1, []float32{float32(math.Log(5))})
	groups := []int32{0, 1, 2, 3, 1, 5}
	vs := []Vectors{
		{"audio", za, []int{0, 1, 2, 4}},
		{"image", zi, []int{0, 1, 3, 4, 5}},
		{"text", zt, []int{1, 2, 3}},
	}
	o := Objective{
		Weight: func(a, b string) float64 {
			return map[string]float64{"audioimage": 2, "audiotext": 1, "imagetext": 0}[a+b]
		},
		LogScale: func(a, b string) *autograd.Var { return logScale },
	}
	r := o.Forward(tape, vs, groups)
	if len(r.Pairs) != 2 || r.Pairs[0].N != 3 || r.Pairs[1].N != 2 {
		t.Fatalf("pairs %+v, want audio+image of 3 rows and audio+text of 2", r.Pairs)
	}
	ai := reference([][]float64{a[0], a[1], a[3]}, [][]float64{im[0], im[1], im[3]}, 5, []int32{0, 1, 1})
	at := reference([][]float64{a[1], a[2]}, [][]float64{te[0], te[1]}, 5, []int32{1, 2})
	want := (2*ai + at) / 3
	if got := float64(tape.Scalar(r.Loss)); math.Abs(got-want) > 1e-5 {
		t.Errorf("loss %.6f, want %.6f", got, want)
	}
}

func TestNoCommonRows(t *testing.T) {
	tape := autograd.NewTape(tensor.CPU(1), false)
	z := tape.Input(2, 2, []float32{1, 0, 0, 1})
	o := Objective{LogScale: func(a, b string) *autograd.Var { return tape.Input(1, 1, []float32{0}) }}
	if r := o.Forward(tape, []Vectors{{"a", z, []int{0, 1}}, {"b", z, []int{2, 3}}}, []int32{0, 1, 2, 3}); r.Loss != nil {
		t.Error("a loss without a common row")
	}
}
