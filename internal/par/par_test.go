package par

import (
	"sync/atomic"
	"testing"
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
