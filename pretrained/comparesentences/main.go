// Command comparesentences holds a sentence encoder to sentence-transformers:
// the same embeddings, and the speed beside it, both sides in turns. It is run
// by make compare-minilm.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"time"

	"github.com/onetrunk/onetrunk/internal/measure"
	_ "github.com/onetrunk/onetrunk/modalities/all"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/pretrained"
	"github.com/onetrunk/onetrunk/tensor"
	"github.com/onetrunk/onetrunk/tokenizers"
)

func main() {
	python := flag.String("python", "bench/venv/bin/python", "Python with sentence-transformers")
	dir := flag.String("model", "models/minilm", "folder of the model")
	rounds := flag.Int("rounds", 5, "rounds, in each of which both sides embed everything")
	threads := flag.Int("threads", 2, "threads of each side")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *python, *dir, *rounds, *threads); err != nil {
		fmt.Fprintln(os.Stderr, "comparesentences:", err)
		os.Exit(1)
	}
}

// most is the greatest difference that an element may have.
const most = 1e-5

// answer is the other side's.
type answer struct {
	Seconds    float64     `json:"seconds"`
	Embeddings [][]float32 `json:"embeddings"`
}

func run(ctx context.Context, python, dir string, rounds, threads int) error {
	m, err := pretrained.OpenOn(dir, tensor.CPU(threads))
	if err != nil {
		return err
	}
	texts, err := sentences()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, python, "pretrained/comparesentences/sentences.py", dir, strconv.Itoa(threads))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		in.Close()
		_ = cmd.Wait() // what it computed has been read
	}()
	out := bufio.NewReader(pipe)
	versions, err := out.ReadString('\n')
	if err != nil {
		return fmt.Errorf("%s: %w", python, err)
	}
	fmt.Printf("beside %s", versions)
	for _, c := range []struct {
		what  string
		texts []string
		batch int
	}{{"all sentences, 32 at a time", texts, 32}, {"one sentence of 8 words", texts[len(texts)-1:], 1}} {
		var ours, theirs, ratios []float64
		worst, least := 0.0, 1.0
		for range rounds {
			their, err := ask(in, out, c.texts, c.batch)
			if err != nil {
				return err
			}
			began := time.Now()
			z, err := embed(ctx, m, c.texts, c.batch)
			if err != nil {
				return err
			}
			ours, theirs = append(ours, time.Since(began).Seconds()), append(theirs, their.Seconds)
			ratios = append(ratios, their.Seconds/ours[len(ours)-1])
			for i, row := range their.Embeddings {
				var cos float64
				for j, want := range row {
					got := z[i*m.Dim()+j]
					worst = max(worst, math.Abs(float64(got-want)))
					cos += float64(got) * float64(want)
				}
				least = min(least, cos)
			}
		}
		fmt.Printf("%s (%d): greatest difference of an element %.1e, least cosine %.7f; %.1f ms, theirs %.1f ms, %.2f times as fast\n",
			c.what, len(c.texts), worst, least, 1e3*measure.Median(ours), 1e3*measure.Median(theirs), measure.Median(ratios))
		if !(worst <= most) {
			return fmt.Errorf("embeddings differ by %g, at most %g is wanted", worst, most)
		}
	}
	return nil
}

func ask(in io.Writer, out *bufio.Reader, texts []string, batch int) (a answer, err error) {
	data, err := json.Marshal(map[string]any{"texts": texts, "batch": batch})
	if err != nil {
		return a, err
	}
	if _, err := in.Write(append(data, '\n')); err != nil {
		return a, err
	}
	line, err := out.ReadBytes('\n')
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(line, &a)
}

func embed(ctx context.Context, m *model.Model, texts []string, batch int) ([]float32, error) {
	p, err := m.Processor("text")
	if err != nil {
		return nil, err
	}
	var z []float32
	for len(texts) > 0 {
		n := min(batch, len(texts))
		var tokens []tokenizers.Tokens
		for _, text := range texts[:n] {
			t, err := p.Tokenize(text)
			if err != nil {
				return nil, err
			}
			tokens = append(tokens, t)
		}
		vectors, err := m.Embed(ctx, "text", tokens)
		if err != nil {
			return nil, err
		}
		z = append(z, vectors...)
		texts = texts[n:]
	}
	return z, nil
}

// sentences returns the texts of the fixtures, and sentences that are made of
// words.
func sentences() ([]string, error) {
	data, err := os.ReadFile("pretrained/testdata/expected.json")
	if err != nil {
		return nil, err
	}
	var f struct {
		Texts []string `json:"texts"`
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, err
	}
	for _, who := range []string{"a small dog", "the old man", "my neighbour's cat", "a red bird"} {
		for _, does := range []string{"sleeps", "runs and jumps", "is waiting for somebody", "eats an apple"} {
			for _, where := range []string{"in the garden", "on the other side of the river", "under a tree", "at home", "near the sea at night"} {
				f.Texts = append(f.Texts, who+" "+does+" "+where)
			}
		}
	}
	return append(f.Texts, "two dogs are playing with a ball outside"), nil
}
