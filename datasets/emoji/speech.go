package emoji

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/onetrunk/onetrunk/internal/atomicfile"
	"github.com/onetrunk/onetrunk/internal/par"
	"github.com/onetrunk/onetrunk/internal/wavfile"
	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/modalities/audio"
)

// rate of the recordings in Hz. It is that of the audio modality's defaults,
// so that training does not resample.
const rate = 16000

// utterance is a name to be spoken.
type utterance struct {
	concept                        *concept
	lang, voice, text, split, path string // the path in the set, with slashes
}

// utterances lists what the splits need, concept by concept.
func (b *builder) utterances(concepts []*concept) []utterance {
	var list []utterance
	for _, c := range concepts {
		for _, lang := range b.Langs {
			text := c.names[lang]
			if text == "" {
				continue
			}
			for i, voice := range b.Voices {
				if split := splitOf(c.side, i == len(b.Voices)-1); split != "" {
					path := "speech/" + lang + "/" + voice + "/" + c.id + ".wav"
					list = append(list, utterance{c, lang, voice, text, split, path})
				}
			}
		}
	}
	return list
}

// speak has the synthesiser speak what is not there yet, on all processors.
func (b *builder) speak(ctx context.Context, list []utterance) error {
	const what = "recordings"
	var missing []utterance
	for _, u := range list {
		if !b.exists(u.path) {
			missing = append(missing, u)
		}
	}
	done := len(list) - len(missing)
	b.Progress(done, len(list), what)
	if len(missing) == 0 {
		return nil
	}
	tmp, err := os.MkdirTemp(b.Out, ".tmp-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	m, err := modalities.Lookup("audio")
	if err != nil {
		return err
	}
	p, err := m.Open(json.RawMessage(`{"rate": `+strconv.Itoa(rate)+`}`), "")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pool := par.New(par.Threads(0))
	defer pool.Close()
	var mu sync.Mutex
	pool.For(len(missing), func(worker, i int) {
		if ctx.Err() != nil {
			return
		}
		if err := b.say(ctx, p, filepath.Join(tmp, strconv.Itoa(worker)+".wav"), missing[i]); err != nil {
			cancel(err) // the first one counts
			return
		}
		mu.Lock()
		defer mu.Unlock()
		done++
		b.made++
		b.Progress(done, len(list), what)
	})
	return context.Cause(ctx)
}

// say makes one recording; tmp is a file that nobody else uses.
func (b *builder) say(ctx context.Context, p modalities.Processor, tmp string, u utterance) error {
	fail := func(err error) error {
		return fmt.Errorf("%s: %q in %s by %s: %w", u.path, u.text, u.lang, u.voice, err)
	}
	if _, err := output(ctx, "espeak-ng", "-v", u.lang+"+"+u.voice, "-w", tmp, "--", u.text); err != nil {
		return fail(err)
	}
	f, err := os.Open(tmp)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	v, err := p.Decode(f, "espeak-ng's output")
	if err != nil {
		return fail(err)
	}
	data, err := wavfile.Encode(v.(audio.Clip).Samples, rate)
	if err != nil {
		return fail(err)
	}
	return atomicfile.WriteBytes(b.path(u.path), data)
}
