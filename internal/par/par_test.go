package par

import (
	"sync/atomic"
	"testing"
	"time"
)

func TestForRunsEachPieceOnce(t *testing.T) {
	for _, workers := range []int{1, 2, 5} {
		p := New(workers)
		for _, n := range []int{0, 1, 2, 3, 1000} {
			count := make([]atomic.Int32, n)
			p.For(n, func(w, i int) {
				if w < 0 || w >= workers {
					t.Errorf("worker %d of %d", w, workers)
				}
				count[i].Add(1)
				if i == 0 { // a For inside a For runs its pieces too
					p.For(3, func(int, int) {})
				}
			})
			for i := range count {
				if c := count[i].Load(); c != 1 {
					t.Fatalf("workers %d: piece %d of %d ran %d times", workers, i, n, c)
				}
			}
		}
		p.Close()
	}
}

// TestForReturnsWhenAllIsDone calls For again and again, at once and after
// pauses in which workers fall asleep: what a piece wrote must be there.
func TestForReturnsWhenAllIsDone(t *testing.T) {
	for _, workers := range []int{2, 3, 8} {
		p := New(workers)
		wrote := make([]int, 16)
		for round := 1; round <= 3000; round++ {
			p.For(len(wrote), func(_, i int) {
				if round%100 == 0 && i == round/100%16 {
					time.Sleep(200 * time.Microsecond)
				}
				wrote[i] = round
			})
			for i, r := range wrote {
				if r != round {
					t.Fatalf("%d workers: piece %d of round %d was not done when For returned", workers, i, round)
				}
			}
			if round%50 == 0 {
				time.Sleep(200 * time.Microsecond)
			}
		}
		p.Close()
	}
}

func TestPanicReachesTheCaller(t *testing.T) {
	p := New(2)
	defer p.Close()
	for range 100 {
		func() {
			defer func() {
				if e := recover(); e != "boom" {
					t.Fatalf("recovered %v", e)
				}
			}()
			p.For(10, func(_, i int) {
				if i == 5 {
					panic("boom")
				}
			})
		}()
		n := atomic.Int32{}
		p.For(4, func(int, int) { n.Add(1) })
		if n.Load() != 4 {
			t.Fatal("the pool does not work after a panic")
		}
	}
}
