// Command mmtrain trains, evaluates and inspects models, and builds data.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/onetrunk/onetrunk/configs"
	_ "github.com/onetrunk/onetrunk/datasets/all"
	_ "github.com/onetrunk/onetrunk/modalities/all"
)

// app is the command line.
type app struct {
	Train   trainCmd   `cmd:"" help:"Train a model on paired data."`
	Eval    evalCmd    `cmd:"" help:"Retrieval figures of a model on a dataset, for every ordered pair of modalities."`
	Inspect inspectCmd `cmd:"" help:"What a model is made of: the sharing map, parameters, FLOPs and bytes."`
	Bench   benchCmd   `cmd:"" help:"Time training steps of a config on synthetic samples of full length."`
}

// environment is what commands may use of the world.
type environment struct {
	ctx            context.Context
	stdout, stderr io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run parses and runs a command line and returns the exit code: 0, 1 for a
// failure, 2 for a wrong use.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	exited := false
	parser, err := kong.New(&app{},
		kong.Name("mmtrain"),
		kong.Description("Trains one shared transformer over images, audio and text.\n\n"+
			"Example: mmtrain train --config demo --train-data demo: --val-data demo:#val --logs runs --name demo"),
		kong.Writers(stdout, stderr),
		kong.Exit(func(c int) { code, exited = c, true }),
		kong.Vars{"presets": strings.Join(configs.Names(), ", ")},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		fmt.Fprintln(stderr, "mmtrain:", err)
		return 1
	}
	k, err := parser.Parse(args)
	if exited { // --help
		return code
	}
	if err != nil {
		fmt.Fprintf(stderr, "mmtrain: %v (see mmtrain --help)\n", err)
		return 2
	}
	err = k.Run(&environment{ctx: ctx, stdout: stdout, stderr: stderr})
	var wrong usageError
	switch {
	case errors.As(err, &wrong):
		fmt.Fprintln(stderr, "mmtrain:", err)
		return 2
	case err != nil:
		fmt.Fprintln(stderr, "mmtrain:", err)
		return 1
	}
	return 0
}

// usageError is a mistake in the command line that the parser cannot see.
type usageError struct{ error }
