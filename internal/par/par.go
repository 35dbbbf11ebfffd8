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
	busy    sync.Mutex
	helpers []*sleeper
	caller  *sleeper
	calls   atomic.Uint32 // of For; a helper works once for each
	working atomic.Int32  // helpers that are not done
	closed  atomic.Bool
	next    atomic.Int64
	n       int
	f       func(worker, piece int)
	failed  atomic.Pointer[any]
}

// New makes a pool of the given number of workers, at least one.
func New(workers int) *Pool {
	// Where there are fewer processors than workers, one that looks would keep
	// another from its work.
	looks := looks
	if workers > runtime.GOMAXPROCS(0) {
		looks = 0
	}
	p := &Pool{caller: newSleeper(looks)}
	for w := 1; w < workers; w++ {
		h := newSleeper(looks)
		p.helpers = append(p.helpers, h)
		go func() {
			for call := uint32(1); ; call++ {
				h.wait(func() bool { return p.calls.Load() == call })
				if p.closed.Load() {
					return
				}
				p.drain(w)
				if p.working.Add(-1) == 0 {
					p.caller.rouse()
				}
			}
		}()
	}
	return p
}

// Workers returns the size of the team.
func (p *Pool) Workers() int { return len(p.helpers) + 1 }

// Close ends the waiting goroutines. The pool must be idle.
func (p *Pool) Close() {
	p.closed.Store(true)
	p.call()
	p.helpers = nil
}

// For calls f(worker, piece) once for every piece in [0, n), in any order and
// on any worker, and returns when all are done. 0 <= worker < Workers(), and
// no two calls that run at the same time within one For share a worker
// number. A panic in f is raised again here.
func (p *Pool) For(n int, f func(worker, piece int)) {
	if n <= 1 || len(p.helpers) == 0 || !p.busy.TryLock() {
		for i := range n {
			f(0, i)
		}
		return
	}
	defer p.busy.Unlock()
	p.n, p.f = n, f
	p.next.Store(0)
	p.working.Store(int32(len(p.helpers)))
	p.call()
	p.drain(0)
	p.caller.wait(func() bool { return p.working.Load() == 0 })
	p.f = nil
	if e := p.failed.Swap(nil); e != nil {
		panic(*e)
	}
}

// call lets the helpers work.
func (p *Pool) call() {
	p.calls.Add(1)
	for _, h := range p.helpers {
		h.rouse()
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

// sleeper waits for what another goroutine brings about: awake at first, since
// a kernel is often followed by the next within less time than it takes to
// wake a thread, and asleep after that.
type sleeper struct {
	looks  int
	asleep atomic.Bool
	wake   chan struct{}
}

// looks is how often a sleeper looks before it sleeps: for about 50 us.
const looks = 20000

func newSleeper(looks int) *sleeper { return &sleeper{looks: looks, wake: make(chan struct{}, 1)} }

// wait returns once ready does true. Who makes it true calls rouse after that,
// which may come so late that it ends the sleep of the next wait: what is true
// then is looked at again.
func (s *sleeper) wait(ready func() bool) {
	for {
		for range s.looks {
			if ready() {
				return
			}
		}
		s.asleep.Store(true)
		if ready() && s.asleep.CompareAndSwap(true, false) {
			return
		}
		<-s.wake
	}
}

func (s *sleeper) rouse() {
	if s.asleep.CompareAndSwap(true, false) {
		s.wake <- struct{}{}
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
