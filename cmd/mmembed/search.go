package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/onetrunk/onetrunk/internal/command"
	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/retrieval"
)

type searchCmd struct {
	Model    string `required:"" help:"Run folder, one checkpoint's folder, or the folder of another library's model." placeholder:"RUN"`
	Index    string `required:"" help:"Folder that mmembed embed wrote." placeholder:"DIR"`
	Text     string `help:"Search by a text." placeholder:"\"...\"" xor:"query"`
	Image    string `help:"Search by a picture." placeholder:"FILE" xor:"query"`
	Audio    string `help:"Search by a sound." placeholder:"FILE" xor:"query"`
	File     string `help:"Search by a file; its modality is recognised." placeholder:"FILE" xor:"query"`
	Query    string `help:"Search by a value of any modality: a file, or the text itself." placeholder:"MODALITY=VALUE" xor:"query"`
	Modality string `help:"Modality of the answers; all without it."`
	K        int    `short:"k" default:"10" help:"Number of answers."`
	Int8     bool   `name:"int8" help:"Round the trunk's weights to int8: faster, a quarter of the memory, embeddings a little off."`
	JSON     bool   `name:"json" help:"Print the answers as a JSON list, best first."`
}

func (c *searchCmd) Help() string {
	return `The answers stand best first, with their cosine to the query. The model must be the one that made the index.

Examples:
  mmembed search --model runs/demo --index runs/demo/embeddings --modality image --text "two red rings"
  mmembed search --model runs/photos --index photos/index --image query.jpg --modality text -k 5 --json`
}

func (c *searchCmd) Run(e *command.Env) error {
	if c.Text+c.Image+c.Audio+c.File+c.Query == "" {
		return command.Wrong("one of --text, --image, --audio, --file, --query is needed")
	}
	if name, value, ok := strings.Cut(c.Query, "="); c.Query != "" && (!ok || name == "" || value == "") {
		return command.Wrong("--query takes MODALITY=VALUE, as in --query image=ring.png")
	}
	if c.K < 1 {
		return command.Wrong("-k must be at least 1")
	}
	m, err := openModel(c.Model, c.Int8)
	if err != nil {
		return err
	}
	lib, err := retrieval.OpenLibrary(m, c.Index)
	if err != nil {
		return err
	}
	defer lib.Close()
	query, err := c.query(e, lib)
	if err != nil {
		return err
	}
	hits, err := lib.Search(query, retrieval.Options{K: c.K, Modality: c.Modality})
	if err != nil {
		return err
	}
	if c.JSON {
		if hits == nil {
			hits = []retrieval.Hit{}
		}
		return e.PrintJSON(hits)
	}
	t := tabwriter.NewWriter(e.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "score\tmodality\tid\tpath\ttext")
	for _, h := range hits {
		fmt.Fprintf(t, "%.3f\t%s\t%s\t%s\t%s\n", h.Score, h.Modality, h.ID, h.Path, strings.Join(strings.Fields(h.Text), " "))
	}
	return t.Flush()
}

// query embeds what is searched by.
func (c *searchCmd) query(e *command.Env, lib *retrieval.Library) (z []float32, err error) {
	switch {
	case c.Text != "":
		return lib.EmbedText(e.Ctx, c.Text)
	case c.Image != "":
		z, _, err = lib.EmbedFile(e.Ctx, "image", c.Image)
	case c.Audio != "":
		z, _, err = lib.EmbedFile(e.Ctx, "audio", c.Audio)
	case c.Query != "":
		name, value, _ := strings.Cut(c.Query, "=")
		if m, err := modalities.Lookup(name); err == nil && m.Inline() {
			return lib.EmbedReader(e.Ctx, name, strings.NewReader(value), name)
		}
		z, _, err = lib.EmbedFile(e.Ctx, name, value)
	default:
		z, _, err = lib.EmbedFile(e.Ctx, "", c.File)
	}
	return z, err
}
