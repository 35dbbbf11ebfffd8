package datasets

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
)

func TestStream(t *testing.T) {
	src := trimodal(t, 30)
	var cells []Cell
	for _, name := range []string{"audio", "image", "text"} {
		for _, d := range Distinct(src, name) {
			cells = append(cells, d.Cell)
		}
	}
	cells = append(cells, cell("text", "corrupt"), cell("text", "."), cell("trace", "x"))
	before := runtime.NumGoroutine()
	i := 0
	for l, err := range Stream(t.Context(), src, cells, processors("image", "text", "audio"), 5, 3) {
		if err != nil {
			t.Fatal(err)
		}
		if l.Index != i {
			t.Fatalf("cell %d came in place %d", l.Index, i)
		}
		if left := len(cells) - i; left <= 3 != (l.Err != nil) {
			t.Errorf("cell %v: error %v", cells[i], l.Err)
		} else if left > 3 && l.Tokens.Len() != len(cells[i].Ref) {
			t.Errorf("cell %v: %d tokens", cells[i], l.Tokens.Len())
		} else if left <= 3 && !strings.Contains(l.Err.Error(), src.Name()) {
			t.Errorf("cell %v: the error %v does not name the source", cells[i], l.Err)
		}
		i++
	}
	if i != len(cells) {
		t.Errorf("%d of %d cells came", i, len(cells))
	}
	for range Stream(t.Context(), src, cells, processors("text"), 0, 0) {
		break
	}
	for range Stream(t.Context(), src, nil, nil, 2, 2) {
		t.Error("a cell from nowhere")
	}
	checkGoroutines(t, before)
}

func TestStreamEndOfContext(t *testing.T) {
	src := trimodal(t, 3)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var failed error
	n := 0
	for _, err := range Stream(ctx, src, make([]Cell, 1000), nil, 1, 1) {
		failed, n = err, n+1
	}
	if !errors.Is(failed, context.Canceled) || n > 1000 {
		t.Errorf("%v after %d cells", failed, n)
	}
}

// However slow the consumer, no more than ahead results wait, beside the one
// each worker holds and those that the consumer and the producer have in hand.
func TestOrderedIsBounded(t *testing.T) {
	const ahead, workers = 5, 3
	var done, taken atomic.Int64
	jobs := func(yield func(int) bool) {
		for i := 0; yield(i); i++ {
		}
	}
	for r, err := range ordered(t.Context(), workers, ahead, jobs, func(i int) int { done.Add(1); return i }) {
		if err != nil || int64(r) != taken.Load() {
			t.Fatalf("result %d in place %d, %v", r, taken.Load(), err)
		}
		for range 100 {
			runtime.Gosched()
		}
		taken.Add(1)
		if waiting := done.Load() - taken.Load(); waiting > ahead+workers+1 {
			t.Fatalf("%d results wait", waiting)
		}
		if taken.Load() == 500 {
			break
		}
	}
}
