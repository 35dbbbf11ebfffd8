// Command mmembed embeds data with a trained model and searches what it
// embedded, across modalities.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	_ "github.com/onetrunk/onetrunk/datasets/all"
	"github.com/onetrunk/onetrunk/internal/command"
	_ "github.com/onetrunk/onetrunk/modalities/all"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/pretrained"
)

// app is the command line.
type app struct {
	Embed  embedCmd  `cmd:"" help:"Embed every row of a dataset into a folder."`
	Search searchCmd `cmd:"" help:"Search an embedded folder by a text, a picture or a sound."`
	Bench  benchCmd  `cmd:"" help:"Time embedding of random samples."`
}

var program = command.Program{
	Name: "mmembed",
	Description: "Embeds data with a trained model and searches it across modalities.\n\n" +
		"Examples:\n" +
		"  mmembed embed --model runs/demo --input demo:#test --out runs/demo/embeddings\n" +
		"  mmembed search --model runs/demo --index runs/demo/embeddings --modality image --text \"two red rings\"",
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait
	os.Exit(program.Run(ctx, &app{}, os.Args[1:], os.Stdout, os.Stderr))
}

// openModel opens a run or another library's model, of the latter the towers of
// some modalities alone if they are named, with int8 weights if they are asked
// for.
func openModel(dir string, int8 bool, modalities ...string) (*model.Model, error) {
	m, err := pretrained.Open(dir, modalities...)
	if err == nil && int8 {
		m.Int8()
	}
	return m, err
}
