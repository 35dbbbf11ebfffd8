package hugepage

import "testing"

// TestFloats fails when advice reaches beyond an array or changes its values.
func TestFloats(t *testing.T) {
	for _, n := range []int{0, 1, 1000, size/4 - 1, size / 2, size, 3*size + 5} {
		x := Floats(n)
		if len(x) != n {
			t.Fatalf("%d values, want %d", len(x), n)
		}
		for i, v := range x {
			if v != 0 {
				t.Fatalf("value %d of %d is %g", i, n, v)
			}
			x[i] = float32(i % 1000)
		}
		for i, v := range x {
			if v != float32(i%1000) {
				t.Fatalf("value %d of %d was %d and is %g", i, n, i%1000, v)
			}
		}
	}
}
