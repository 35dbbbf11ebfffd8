// Command benchcompare measures training and embedding beside OpenCLIP on
// PyTorch and ONNX Runtime. Both sides run in turns in one run, on the same
// architecture, batch and numbers of tokens, and the ratio of each round
// counts: figures of different runs do not compare.
//
// It is run from the root of the repository, by make bench-compare. The peers
// need a Python environment, which make bench-peers makes.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/onetrunk/onetrunk/internal/atomicfile"
)

// What can be measured, and the presets clip-* that it is measured on.
var (
	groups  = []string{"train", "memory", "embed", "lengths"}
	configs = []string{"tiny", "small", "vitb32"}
)

// options is the command line.
type options struct {
	rounds        int
	seconds       float64
	only, configs []string
	threads       int
	venv          string
	bin           string // our two programs
	work          string // what is made once: the peers' ONNX files, our random model
	jsonFile      string
	markdownFile  string
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("benchcompare", flag.ContinueOnError)
	only := f.String("only", strings.Join(groups, ","), "what to measure, of "+strings.Join(groups, ","))
	on := f.String("configs", strings.Join(configs, ","), "presets clip-* to measure on; embedding is measured on "+embedConfig+" alone, lengths on "+lengthsConfig)
	f.IntVar(&o.rounds, "rounds", 5, "rounds, in each of which every side has its turn")
	f.Float64Var(&o.seconds, "seconds", 8, "seconds of training of one side in a round, at least three steps; a kind of embedding takes a quarter, at least five runs")
	f.IntVar(&o.threads, "threads", runtime.NumCPU(), "threads of each side")
	f.StringVar(&o.venv, "venv", "bench/venv", "the peers' Python environment")
	f.StringVar(&o.bin, "bin", "bin", "folder of mmtrain and mmembed")
	f.StringVar(&o.work, "work", "bench", "folder for the peers' ONNX files and our random model")
	f.StringVar(&o.jsonFile, "json", "", "also write all that was measured to this file")
	f.StringVar(&o.markdownFile, "markdown", "", "also write the table to this file")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected %q", f.Args())
	}
	if o.rounds < 1 || !(o.seconds > 0) || o.threads < 1 {
		return o, fmt.Errorf("-rounds, -seconds and -threads must be positive")
	}
	for _, l := range []struct {
		name, value string
		known       []string
		to          *[]string
	}{{"only", *only, groups, &o.only}, {"configs", *on, configs, &o.configs}} {
		for _, s := range strings.Split(l.value, ",") {
			if !slices.Contains(l.known, s) {
				return o, fmt.Errorf("-%s: %q is not one of %s", l.name, s, strings.Join(l.known, ", "))
			}
			*l.to = append(*l.to, s)
		}
	}
	return o, nil
}

// python is the interpreter of the peers' environment.
func (o *options) python() string { return filepath.Join(o.venv, "bin", "python") }

// wants reports whether a group is to be measured.
func (o *options) wants(group string) bool { return slices.Contains(o.only, group) }

// check makes sure that what is needed is there.
func (o *options) check() error {
	if _, err := os.Stat(preset("tiny")); err != nil {
		return fmt.Errorf("%w: run it from the root of the repository", err)
	}
	if _, err := os.Stat(o.python()); err != nil {
		return fmt.Errorf("no Python at %s: make bench-peers makes the peers' environment there (about 6 GB), or give one that has internal/benchcompare/requirements.txt installed: make bench-compare PEERS_VENV=DIR", o.python())
	}
	for _, name := range []string{"mmtrain", "mmembed"} {
		if _, err := os.Stat(o.program(name)); err != nil {
			return fmt.Errorf("no program %s: make build makes it", o.program(name))
		}
	}
	return nil
}

// program is the path of one of our programs.
func (o *options) program(name string) string { return filepath.Join(o.bin, name) }

// preset is the file of a preset.
func preset(config string) string { return filepath.Join("configs", "clip-"+config+".json") }

func main() {
	o, err := parse(os.Args[1:])
	if err == flag.ErrHelp {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchcompare:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "benchcompare:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if err := o.check(); err != nil {
		return err
	}
	b := &bench{options: o, report: report{Machine: machine(), Threads: o.threads, Rounds: o.rounds, Versions: map[string]string{"Go": strings.TrimPrefix(runtime.Version(), "go")}}}
	err := b.measure(ctx)
	// What was measured before an error counts too.
	if len(b.report.Rows) == 0 {
		return err
	}
	return errors.Join(err, b.write())
}

// measure measures what is wanted, training first.
func (b *bench) measure(ctx context.Context) error {
	for _, config := range b.configs {
		if err := b.training(ctx, config); err != nil {
			return fmt.Errorf("clip-%s: %w", config, err)
		}
	}
	if b.wants("embed") && slices.Contains(b.configs, embedConfig) {
		if err := b.embedding(ctx, embedConfig); err != nil {
			return fmt.Errorf("clip-%s: %w", embedConfig, err)
		}
	}
	if len(b.report.Rows) == 0 {
		return fmt.Errorf("nothing to measure: embedding is measured on %s, lengths on %s", embedConfig, lengthsConfig)
	}
	return nil
}

// write prints the table and writes the files that are wanted.
func (b *bench) write() error {
	table := b.report.markdown()
	fmt.Print(table)
	if b.markdownFile != "" {
		if err := atomicfile.WriteBytes(b.markdownFile, []byte(table)); err != nil {
			return err
		}
	}
	if b.jsonFile == "" {
		return nil
	}
	data, err := json.MarshalIndent(&b.report, "", " ")
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(b.jsonFile, append(data, '\n'))
}

// bench is a run in progress.
type bench struct {
	options
	report report
}

// versions notes the versions that a peer says it has.
func (b *bench) versions(v map[string]string) {
	for name, version := range v {
		b.report.Versions[name] = version
	}
}

// ours runs one of our programs and decodes the JSON that it prints. It
// returns the seconds of processor time that it took.
func (b *bench) ours(ctx context.Context, to any, name string, args ...string) (float64, error) {
	cmd := exec.CommandContext(ctx, b.program(name), args...)
	var says strings.Builder
	cmd.Stderr = &says
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(says.String()))
	}
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if err := json.Unmarshal(out, to); err != nil {
		return 0, fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return cpu.Seconds(), nil
}
