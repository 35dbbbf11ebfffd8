// Package progress shows how far a job is: a bar with the time left on a
// terminal, a plain line every five seconds elsewhere and one at the end. A
// job of less than two seconds shows nothing in either place.
package progress

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

const (
	quiet  = 2 * time.Second        // before anything is shown
	every  = 5 * time.Second        // between plain lines
	redraw = 100 * time.Millisecond // between two states of the bar
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
	if time.Since(b.began) < quiet {
		return
	}
	b.show()
	if b.bar != nil {
		_ = b.bar.Exit() // as in show
		fmt.Fprintln(b.w)
	}
}

func (b *Bar) set(n int) {
	b.done = n
	now := time.Now()
	gap := every
	if b.terminal {
		gap = redraw
	}
	if now.Sub(b.began) >= quiet && now.Sub(b.last) >= gap {
		b.last = now
		b.show()
	}
}

// show writes a line or draws the bar.
func (b *Bar) show() {
	if !b.terminal {
		b.line()
		return
	}
	if b.bar == nil {
		total := b.total
		if total == 0 {
			total = -1
		}
		b.bar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(b.w),
			progressbar.OptionSetWidth(20),
			progressbar.OptionShowCount(),
			progressbar.OptionShowDescriptionAtLineEnd(),
			// The library's own estimate counts what an earlier run did, and
			// its spinner would go on turning after Done.
			progressbar.OptionSetPredictTime(false),
			progressbar.OptionSetElapsedTime(false),
			progressbar.OptionSetSpinnerChangeInterval(0),
		)
	}
	_ = b.bar.Set(b.done) // the error is the terminal's; a job does not fail for it
	b.bar.Describe(b.label + ": " + b.status())
}

// line writes a plain line: label, count, status.
func (b *Bar) line() {
	count := fmt.Sprint(b.done)
	if b.total > 0 {
		count += fmt.Sprintf("/%d", b.total)
	}
	fmt.Fprintf(b.w, "%s: %s  %s\n", b.label, count, b.status())
}

// status is the time spent, the rate, the time left and the note.
func (b *Bar) status() string {
	elapsed := time.Since(b.began)
	s := elapsed.Round(time.Second).String()
	if did := b.done - b.first; did > 0 {
		s += fmt.Sprintf(", %.3g/s", float64(did)/elapsed.Seconds())
		if b.done < b.total {
			left := time.Duration(float64(elapsed) / float64(did) * float64(b.total-b.done))
			s += fmt.Sprintf(", %s left", left.Round(time.Second))
		}
	}
	if b.note != "" {
		s += "  " + b.note
	}
	return s
}
