// Package progress shows how far a job is: a bar with the time left on a
// terminal, a plain line every few seconds elsewhere. Nothing is shown in a
// job's first two seconds.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

const (
	quiet = 2 * time.Second // before anything is shown
	every = 5 * time.Second // between plain lines
)

// Bar is the progress of one job. All methods may be called on nil and by
// several goroutines.
type Bar struct {
	mu          sync.Mutex
	w           io.Writer
	label, note string
	done, total int
	first       int // done when the job began, not part of its rate
	began, last time.Time
	terminal    bool
	bar         *progressbar.ProgressBar // on a terminal, once shown
}

// New begins a job of total pieces on w; total 0 means that it is unknown. A
// nil writer shows nothing.
func New(w io.Writer, label string, total int) *Bar {
	if w == nil {
		return nil
	}
	f, ok := w.(*os.File)
	now := time.Now()
	return &Bar{w: w, label: label, total: total, began: now, last: now, terminal: ok && term.IsTerminal(int(f.Fd()))}
}

// Begin says that n pieces were done before the job began, as when a run is
// resumed.
func (b *Bar) Begin(n int) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done, b.first = n, n
}

// Add counts n more pieces.
func (b *Bar) Add(n int) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.set(b.done + n)
}

// Set says that n pieces are done.
func (b *Bar) Set(n int) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.set(n)
}

// Note sets the text behind the bar, shown with the next piece.
func (b *Bar) Note(format string, args ...any) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.note = fmt.Sprintf(format, args...)
}

// Done ends the job.
func (b *Bar) Done() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.bar != nil:
		b.bar.Describe(b.description())
		_ = b.bar.Exit() // as below
		fmt.Fprintln(b.w)
	case !b.terminal && time.Since(b.began) >= quiet:
		b.line()
	}
}

func (b *Bar) set(n int) {
	b.done = n
	now := time.Now()
	if now.Sub(b.began) < quiet {
		return
	}
	if !b.terminal {
		if now.Sub(b.last) >= every {
			b.last = now
			b.line()
		}
		return
	}
	if b.bar == nil {
		total := b.total
		if total == 0 {
			total = -1
		}
		b.bar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(b.w),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetWidth(20),
			progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(true),
		)
	}
	b.bar.Describe(b.description())
	// The error is the terminal's; a job does not fail for it.
	_ = b.bar.Set(n)
}

func (b *Bar) description() string { return strings.TrimSpace(b.label + "  " + b.note) }

// line writes a plain line: label, count, time left, note.
func (b *Bar) line() {
	elapsed := time.Since(b.began)
	s := fmt.Sprintf("%s: %d", b.label, b.done)
	if b.total > 0 {
		s += fmt.Sprintf("/%d", b.total)
	}
	s += fmt.Sprintf("  %s", elapsed.Round(time.Second))
	if did := b.done - b.first; did > 0 && b.done < b.total {
		left := time.Duration(float64(elapsed) / float64(did) * float64(b.total-b.done))
		s += fmt.Sprintf(", %s left", left.Round(time.Second))
	}
	if b.note != "" {
		s += "  " + b.note
	}
	fmt.Fprintln(b.w, s)
}
