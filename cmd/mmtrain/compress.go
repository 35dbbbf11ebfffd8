package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/internal/command"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/train"
)

type compressCmd struct {
	Model    string         `required:"" help:"Run folder, or the folder of another library's model." placeholder:"RUN"`
	Method   string         `required:"" enum:"basis,kmeans,int8,recursion" help:"How: ${enum}." placeholder:"METHOD"`
	Out      string         `required:"" help:"Run folder to make, which is new or empty." placeholder:"DIR"`
	Rank     *int           `help:"For basis and recursion, the rank of what is factorised."`
	Ratio    *float64       `help:"For basis, the share of the weights that is left, instead of a rank."`
	Group    *int           `help:"For basis, how many neighbouring layers have one basis (1)."`
	Bits     *int           `help:"For kmeans, the bits of a weight, 1 to 8."`
	Unique   *int           `help:"For recursion, how many layers are left to serve all."`
	Scheme   *string        `help:"For recursion, which layers become one: cycle (without it), sequence, cycle_rev." placeholder:"SCHEME"`
	Roles    []sharing.Role `help:"For basis, kmeans and int8, the products to compress: qkv, out, up, down; all without it."`
	Data     string         `help:"Data to calibrate bases with, and to train on for --steps." placeholder:"SRC"`
	Steps    int            `help:"Train the smaller model for so many steps more."`
	LR       float64        `name:"lr" help:"Peak learning rate of --steps; a tenth of the run's without it."`
	Seconds  float64        `default:"3" help:"How long to measure the speed of embedding."`
	TestData string         `help:"Data to compare both models on." placeholder:"SRC"`
	MaxBad   float64        `default:"0.01" help:"Share of values that may be unreadable."`
	Threads  int            `help:"Threads to compute with; 0 takes one for each processor."`
	JSON     bool           `name:"json" help:"Print one JSON object."`
}

func (c *compressCmd) Help() string {
	return `Makes a smaller run of a trained one, for mmtrain eval, mmembed and all else that takes a run, and says what it costs: R@1 on --test-data, bytes on the disk, speed (the models take turns), and how far the weights are off.

basis: the weights of --group neighbouring layers become coefficients of one basis, by the SVD in the metric of what these layers read on --data (Basis Sharing, Wang et al. 2025). The bases of out and down are each layer's own. Weights are made whole again for embedding: fewer bytes, the same speed.

kmeans: a weight is one of 2^bits values of its tensor's codebook (Deep Compression, Han et al. 2016). --steps trains the values.

int8: a weight is an int8 number times the scale of its row, and products for embedding are int8's: a quarter of the bytes, and faster. --steps trains the scales, and what is not compressed.

recursion: --unique layers serve all, each the mean of those that it stands for, and a LoRA of --rank at every layer makes up for what is lost, from the SVD of the difference (relaxed recursive transformers, Bae et al. 2025). Norms and biases stay each layer's own; --rank 0 shares without LoRA.

Stopped while it trains, it leaves nothing behind.

Examples:
  mmtrain compress --model runs/demo --method int8 --out runs/demo-int8 --test-data demo:#test
  mmtrain compress --model runs/demo --method kmeans --bits 4 --steps 200 --data demo: --out runs/demo-4bit --test-data demo:#test
  mmtrain compress --model runs/demo --method basis --ratio 0.5 --group 3 --data demo: --out runs/demo-half
  mmtrain compress --model runs/demo --method recursion --unique 1 --rank 8 --steps 300 --data demo: --out runs/demo-one`
}

// check finds flags that do not go with the method.
func (c *compressCmd) check() error {
	for _, f := range []struct {
		flag    string
		given   bool
		methods []string
	}{
		{"--rank", c.Rank != nil, []string{"basis", "recursion"}},
		{"--ratio", c.Ratio != nil, []string{"basis"}},
		{"--group", c.Group != nil, []string{"basis"}},
		{"--bits", c.Bits != nil, []string{"kmeans"}},
		{"--unique", c.Unique != nil, []string{"recursion"}},
		{"--scheme", c.Scheme != nil, []string{"recursion"}},
		{"--roles", len(c.Roles) > 0, []string{"basis", "kmeans", "int8"}},
	} {
		fits := false
		for _, m := range f.methods {
			fits = fits || m == c.Method
		}
		if f.given && !fits {
			return command.Wrong("%s is for --method %s, not for %s", f.flag, f.methods[0], c.Method)
		}
	}
	for _, f := range []struct {
		method, flag string
		given        bool
	}{
		{"basis", "--rank or --ratio", (c.Rank != nil) != (c.Ratio != nil)},
		{"basis", "--data, to calibrate with", c.Data != ""},
		{"kmeans", "--bits", c.Bits != nil},
		{"recursion", "--unique", c.Unique != nil},
		{"recursion", "--rank", c.Rank != nil},
	} {
		if f.method == c.Method && !f.given {
			return command.Wrong("--method %s needs %s", f.method, f.flag)
		}
	}
	switch {
	case c.Steps < 0:
		return command.Wrong("--steps must be at least 0")
	case c.Steps > 0 && c.Data == "":
		return command.Wrong("--steps needs --data to train on")
	case c.LR != 0 && c.Steps == 0:
		return command.Wrong("--lr is for --steps")
	}
	return nil
}

// to makes the smaller model's block.
func (c *compressCmd) to(s sharing.Config) (sharing.Config, error) {
	rank, group, bits, ratio := 0, 0, 0, 0.0
	override(&rank, c.Rank)
	override(&group, c.Group)
	override(&bits, c.Bits)
	override(&ratio, c.Ratio)
	if c.Method == "recursion" {
		scheme, unique := "cycle", 0
		override(&scheme, c.Scheme)
		override(&unique, c.Unique)
		return s.Recursive(sharing.Layers{Scheme: scheme, Unique: unique, Depth: s.Layers.Depth}, rank)
	}
	s.Compress = &sharing.Compress{Kind: c.Method, Roles: c.Roles, Rank: rank, Ratio: ratio, Group: group, Bits: bits}
	return s, nil
}

func (c *compressCmd) Run(e *command.Env) error {
	if err := c.check(); err != nil {
		return err
	}
	o := train.CompressOptions{
		Model: c.Model, To: c.to, Steps: c.Steps, LR: c.LR, Seconds: c.Seconds, Dir: c.Out,
		MaxBad: c.MaxBad, Threads: c.Threads, Out: e.Stderr,
	}
	for _, src := range []struct {
		name string
		to   *datasets.Source
	}{{c.Data, &o.Data}, {c.TestData, &o.Test}} {
		if src.name == "" {
			continue
		}
		var err error
		if *src.to, err = datasets.Open(src.name); err != nil {
			return err
		}
	}
	r, err := train.Compress(e.Ctx, o)
	if err != nil {
		return err
	}
	if c.JSON {
		return e.PrintJSON(r)
	}
	return printCompressed(e.Stdout, c.Out, r)
}

// printCompressed draws both models' figures side by side.
func printCompressed(w io.Writer, run string, r train.Compressed) error {
	fmt.Fprintf(w, "%s: %s\n", run, r.Sharing)
	fmt.Fprintf(w, "the weights are off by %.3g%%", 100*r.Distance)
	if r.Steps > 0 {
		fmt.Fprintf(w, ", and by %.3g%% after %d more steps", 100*r.Tuned, r.Steps)
	}
	fmt.Fprint(w, "\n\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tbefore\tafter\tof before\t")
	row := func(name, format string, before, after float64) {
		fmt.Fprintf(t, "%s\t"+format+"\t"+format+"\t%.2f\t\n", name, before, after, after/before)
	}
	row("bytes on disk", "%.0f", float64(r.Before.Bytes), float64(r.After.Bytes))
	row("trained values", "%.0f", float64(r.Before.Parameters), float64(r.After.Parameters))
	row("samples/s", "%.0f", r.Before.SamplesPerS, r.After.SamplesPerS)
	if b, a := r.Before.Recall, r.After.Recall; b != nil {
		share := func(name string, before, after float64) {
			fmt.Fprintf(t, "R@1 %s\t%.1f%%\t%.1f%%\t\t\n", name, 100*before, 100*after)
		}
		for _, d := range b.Directions() {
			share(d, b.Pairs[d].R1, a.Pairs[d].R1)
		}
		share("mean", b.R1, a.R1)
	}
	return t.Flush()
}
