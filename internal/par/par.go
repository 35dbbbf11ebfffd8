// Package par runs numbered pieces of work on a fixed set of goroutines.
package par

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Pool is a team of workers. Worker 0 is the caller of For; the others wait
// for work between calls. A Pool serves one For at a time: a second caller
// runs its pieces alone, on its own goroutine, so nothing ever waits.
type Pool struct {
	busy   sync.Mutex
	wake   []chan struct{}
	done   sync.WaitGroup
	next   atomic.Int64
	n      int
	f      func(worker, piece int)
	failed atomic.Pointer[any]
}

// New makes a pool of the given number of workers, at least one.
func New(workers int) *Pool {
	p := &Pool{}
	for w := 1; w < workers; w++ {
		wake := make(chan struct{}, 1)
		p.wake = append(p.wake, wake)
		go func() {
			for range wake {
				p.drain(w)
				p.done.Done()
			}
		}()
	}
	return p
}

// Workers returns the size of the team.
func (p *Pool) Workers() int { return len(p.wake) + 1 }

// Close ends the waiting goroutines. The pool must be idle.
func (p *Pool) Close() {
	for _, c := range p.wake {
		close(c)
	}
	p.wake = nil
}

// For calls f(worker, piece) once for every piece in [0, n), in any order and
// on any worker, and returns when all are done. 0 <= worker < Workers(), and
// no two calls that run at the same time within one For share a worker
// number. A panic in f is raised again here.
func (p *Pool) For(n int, f func(worker, piece int)) {
	if n <= 1 || len(p.wake) == 0 || !p.busy.TryLock() {
		for i := range n {
			f(0, i)
		}
		return
	}
	defer p.busy.Unlock()
	p.n, p.f = n, f
	p.next.Store(0)
	helpers := min(len(p.wake), n-1)
	p.done.Add(helpers)
	for _, c := range p.wake[:helpers] {
		c <- struct{}{}
	}
	p.drain(0)
	p.done.Wait()
	p.f = nil
	if e := p.failed.Swap(nil); e != nil {
		panic(*e)
	}
}

func (p *Pool) drain(worker int) {
	defer func() {
		if e := recover(); e != nil {
			kept := e // on the heap only when there is something to keep
			p.failed.CompareAndSwap(nil, &kept)
			p.next.Store(int64(p.n))
		}
	}()
	for {
		i := int(p.next.Add(1)) - 1
		if i >= p.n {
			return
		}
		p.f(worker, i)
	}
}

// Split cuts n rows into about parts even pieces of at least least rows and
// returns the number of rows in a piece (the last may have fewer). It depends
// on its arguments alone, so that results do not vary with scheduling.
func Split(n, parts, least int) int {
	return max((n+parts-1)/max(parts, 1), least, 1)
}

// Threads returns n, or the number of processors when n is not positive.
func Threads(n int) int {
	if n <= 0 {
		return runtime.GOMAXPROCS(0)
	}
	return n
}
