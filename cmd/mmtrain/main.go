// Command mmtrain trains, evaluates and inspects models, and builds data.
package main

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/onetrunk/onetrunk/configs"
	_ "github.com/onetrunk/onetrunk/datasets/all"
	"github.com/onetrunk/onetrunk/datasets/emoji"
	"github.com/onetrunk/onetrunk/internal/command"
	_ "github.com/onetrunk/onetrunk/modalities/all"
)

// app is the command line.
type app struct {
	Train    trainCmd    `cmd:"" help:"Train a model on paired data."`
	Eval     evalCmd     `cmd:"" help:"Figures of a model: retrieval, zero-shot classification, nearest neighbours, a linear probe."`
	Compare  compareCmd  `cmd:"" help:"Train several configs under one budget and report what came of each."`
	Design   designCmd   `cmd:"" help:"Find which modalities share what, within a budget of parameters."`
	Compress compressCmd `cmd:"" help:"Make a smaller run of a trained one."`
	Forget   forgetCmd   `cmd:"" help:"Make a run that no longer knows some items."`
	Inspect  inspectCmd  `cmd:"" help:"What a model is made of: the sharing map, parameters, FLOPs and bytes."`
	Export   exportCmd   `cmd:"" help:"Write a model for other programs."`
	Bench    benchCmd    `cmd:"" help:"Time training steps of a config on synthetic samples of full length."`
	Data     dataCmd     `cmd:"" help:"Build datasets."`
}

var program = command.Program{
	Name: "mmtrain",
	Description: "Trains one shared transformer over images, audio and text.\n\n" +
		"Examples:\n" +
		"  mmtrain train --config demo --train-data demo: --val-data demo:#val --logs runs --name demo\n" +
		"  mmtrain eval --model runs/demo --data demo:#test\n" +
		"  mmtrain inspect --model base",
	Vars: map[string]string{
		"size_help": command.SizeHelp + ". Blocks are computed again in the backward pass where it is needed: the same bits in less memory and more time.",
		"presets":   strings.Join(configs.Names(), ", "),
		"langs":     strings.Join(emoji.DefaultLangs, ","),
		"vendors":   strings.Join(emoji.DefaultVendors, ","),
		"voices":    strings.Join(emoji.DefaultVoices, ","),
	},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(program.Run(ctx, &app{}, os.Args[1:], os.Stdout, os.Stderr))
}
