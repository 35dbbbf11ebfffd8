package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/onetrunk/onetrunk/datasets/demo"
	"github.com/onetrunk/onetrunk/datasets/emoji"
	"github.com/onetrunk/onetrunk/internal/command"
	"github.com/onetrunk/onetrunk/internal/progress"
)

// dataCmd holds the recipes.
type dataCmd struct {
	Emoji emojiCmd `cmd:"" help:"Build pictures, speech and text of emoji; needs npm and espeak-ng. See docs/emoji.md."`
	Demo  demoCmd  `cmd:"" help:"Write scenes of the built-in world as files, to look at and listen to."`
}

type emojiCmd struct {
	Out     string   `required:"" help:"Folder to build in; what a stopped build left there is used." placeholder:"DIR"`
	Langs   []string `default:"${langs}" help:"Languages of the names (${default})." placeholder:"LANG"`
	Vendors []string `default:"${vendors}" help:"Who draws the pictures; the last is kept for the tests (${default})." placeholder:"VENDOR"`
	Voices  []string `default:"${voices}" help:"Variants of espeak-ng's voices; the last is kept for the tests (${default})." placeholder:"VOICE"`
}

func (c *emojiCmd) Run(e *command.Env) error {
	var bar *progress.Bar
	stage := ""
	report, err := emoji.Build(e.Ctx, emoji.Options{
		Out: c.Out, Langs: c.Langs, Vendors: c.Vendors, Voices: c.Voices,
		Progress: func(done, total int, what string) {
			if what != stage {
				bar.Done()
				stage, bar = what, progress.New(e.Stderr, what, total)
				bar.Begin(done)
			}
			bar.Set(done)
		},
	})
	bar.Done()
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(e.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "split\tconcepts\tpictures\trecordings\t")
	for _, s := range report.Splits {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t\n", s.Name, s.Concepts, s.Pictures, s.Recordings)
	}
	fmt.Fprintf(t, "all\t%d\t%d\t%d\t\n", report.Concepts, report.Pictures, report.Recordings)
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(e.Stdout, "%s: %d files made\n", c.Out, report.Made)
	return nil
}

type demoCmd struct {
	Out   string `required:"" help:"Folder to write to." placeholder:"DIR"`
	Split string `default:"test" enum:"train,val,test" help:"Split to write (${enum})."`
	N     int    `name:"n" default:"100" help:"Scenes to write: the first so many."`
}

func (c *demoCmd) Run(e *command.Env) error {
	if c.N < 1 {
		return command.Wrong("--n: expected at least 1, found %d", c.N)
	}
	if err := demo.WriteFiles(e.Ctx, c.Out, c.Split, c.N); err != nil {
		return err
	}
	fmt.Fprintf(e.Stdout, "%s: %d scenes\n", c.Out, c.N)
	return nil
}
