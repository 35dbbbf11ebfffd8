package train

import "testing"

func TestPlanKeepsTheLastBlocks(t *testing.T) {
	const mb = 1 << 20
	for _, c := range []struct {
		kept []int64
		room float64
		want int
	}{
		{[]int64{100 * mb, 100 * mb, 100 * mb, 100 * mb}, 0, 3}, // one is in use at a time anyway
		{[]int64{100 * mb, 100 * mb, 100 * mb, 100 * mb}, 115, 2},
		{[]int64{100 * mb, 100 * mb, 100 * mb, 100 * mb}, 1000, 0},
		{[]int64{100 * mb, 100 * mb, 10 * mb, 10 * mb}, 0, 2},
		{nil, 10, 0},
	} {
		if got := plan(c.kept, c.room); got != c.want {
			t.Errorf("blocks %v, room %g MB: %d are computed again, want %d", c.kept, c.room, got, c.want)
		}
	}
}
