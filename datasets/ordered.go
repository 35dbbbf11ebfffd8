package datasets

import (
	"context"
	"iter"
	"runtime"
	"sync"
)

// ordered does jobs on several goroutines and yields their results in the
// order of the jobs, with at most ahead results finished and waiting. The end
// of ctx is yielded as its error, once. All goroutines have ended when the
// iteration has. Zero workers means one for each processor.
func ordered[J, R any](ctx context.Context, workers, ahead int, jobs iter.Seq[J], do func(J) R) iter.Seq2[R, error] {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	type slot struct {
		job    J
		result R
		done   chan struct{}
	}
	return func(yield func(R, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()

		queue := make(chan *slot, max(1, ahead)) // in order, for the consumer
		work := make(chan *slot)                 // for any worker
		complete := false
		wg.Go(func() {
			defer close(queue)
			defer close(work)
			for j := range jobs {
				s := &slot{job: j, done: make(chan struct{})}
				for _, c := range []chan *slot{queue, work} {
					select {
					case c <- s:
					case <-ctx.Done():
						return
					}
				}
			}
			complete = true // happens before queue is closed
		})
		for range workers {
			wg.Go(func() {
				for s := range work {
					s.result = do(s.job)
					close(s.done)
				}
			})
		}

		var zero R
		for s := range queue {
			select {
			case <-s.done:
			case <-ctx.Done():
				yield(zero, ctx.Err())
				return
			}
			if !yield(s.result, nil) {
				return
			}
		}
		if !complete {
			yield(zero, ctx.Err())
		}
	}
}
