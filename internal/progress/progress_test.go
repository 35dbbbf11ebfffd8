package progress

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestPlainLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		b := New(&out, "embed", 100)
		for range 90 {
			time.Sleep(250 * time.Millisecond)
			b.Note("loss %.1f", 0.5)
			b.Add(1)
		}
		b.Done()
		want := "embed: 20/100  5s, 4/s, 20s left  loss 0.5\n" +
			"embed: 40/100  10s, 4/s, 15s left  loss 0.5\n" +
			"embed: 60/100  15s, 4/s, 10s left  loss 0.5\n" +
			"embed: 80/100  20s, 4/s, 5s left  loss 0.5\n" +
			"embed: 90/100  23s, 4/s, 3s left  loss 0.5\n"
		if out.String() != want {
			t.Errorf("got\n%swant\n%s", out.String(), want)
		}
	})
}

func TestShortJobIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, terminal := range []bool{false, true} {
			var out bytes.Buffer
			b := New(&out, "embed", 10)
			b.terminal = terminal
			for range 10 {
				time.Sleep(190 * time.Millisecond)
				b.Add(1)
			}
			b.Done()
			if out.Len() > 0 {
				t.Errorf("terminal %v: a job of 1.9 s shows %q", terminal, out.String())
			}
		}
	})
}

// A resumed job's rate is that of its own pieces: 4 a second, not 500.
func TestResumedJobCountsItsOwnPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, terminal := range []bool{false, true} {
			var out bytes.Buffer
			b := New(&out, "train", 1020)
			b.terminal = terminal
			b.Begin(980)
			for range 20 {
				time.Sleep(250 * time.Millisecond)
				b.Add(1)
			}
			b.Done()
			if s := out.String(); !strings.Contains(s, "1000/1020") || !strings.Contains(s, "4/s, 5s left") {
				t.Errorf("terminal %v: %q", terminal, s)
			}
		}
	})
}

func TestBarIsQuietAfterDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, total := range []int{0, 40} {
			var out bytes.Buffer
			b := New(&out, "vocabulary", total)
			b.terminal = true
			for i := range 20 {
				time.Sleep(250 * time.Millisecond)
				b.Note("%d merges", i)
				b.Set(i + 1)
			}
			b.Done()
			shown := out.String()
			time.Sleep(time.Minute)
			if out.String() != shown {
				t.Errorf("total %d: written after Done: %q", total, out.String()[len(shown):])
			}
			if !strings.Contains(shown, "\r") || !strings.Contains(shown, "vocabulary: 5s, 4/s") || !strings.Contains(shown, "merges") || !strings.HasSuffix(shown, "\n") {
				t.Errorf("total %d: the bar is %q", total, shown)
			}
		}
	})
}

func TestNilShowsNothing(t *testing.T) {
	b := New(nil, "nothing", 1)
	if b != nil {
		t.Fatal("a nil writer made a bar")
	}
	b.Begin(1)
	b.Note("x")
	b.Set(1)
	b.Add(1)
	b.Done()
}
