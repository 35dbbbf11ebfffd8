package main

import (
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"golang.org/x/term"

	"github.com/onetrunk/onetrunk/internal/atomicfile"
	"github.com/onetrunk/onetrunk/internal/command"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/model/diagram"
	"github.com/onetrunk/onetrunk/pretrained"
	"github.com/onetrunk/onetrunk/tensor"
)

type inspectCmd struct {
	Model string `required:"" help:"Run folder, preset (${presets}) or a JSON config." placeholder:"RUN|PRESET|FILE"`
	SVG   string `name:"svg" help:"Draw the map into this file, as an SVG." placeholder:"FILE"`
	JSON  bool   `name:"json" help:"Print one JSON object."`
}

func (c *inspectCmd) Help() string {
	return `The map is drawn as a grid of layers by role and modality: the same letter, and in a terminal the same colour, is the same tensor. Letters alone are printed where the output is no terminal or NO_COLOR is set.

Examples:
  mmtrain inspect --model demo
  mmtrain inspect --model runs/demo --svg map.svg
  mmtrain inspect --model runs/demo --json`
}

// inspected is what the command prints as JSON.
type inspected struct {
	model.Report
	// DiskBytes is the size of a run's file of weights.
	DiskBytes int64 `json:"disk_bytes,omitempty"`
}

func (c *inspectCmd) Run(e *command.Env) error {
	m, err := openForInspection(c.Model)
	if err != nil {
		return err
	}
	r := inspected{Report: m.Inspect()}
	if n, err := model.DiskBytes(c.Model); err == nil { // it is a run
		r.DiskBytes = n
	}
	d := diagram.New(r.Report)
	if c.SVG != "" {
		if err := atomicfile.Write(c.SVG, func(w io.Writer) error { return d.WriteSVG(w, "map") }); err != nil {
			return err
		}
	}
	if c.JSON {
		return e.PrintJSON(r)
	}
	paint := diagram.None
	if f, ok := e.Stdout.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		paint = diagram.PaintOf(os.Getenv)
	}
	return printReport(e.Stdout, m, r, d, paint)
}

// openForInspection opens a run, or makes an untrained model of a config.
func openForInspection(ref string) (*model.Model, error) {
	if info, err := os.Stat(ref); err == nil && info.IsDir() {
		return pretrained.Open(ref)
	}
	cfg, _, err := readConfig(ref)
	if err != nil {
		return nil, err
	}
	processors, err := cfg.OpenProcessors("")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	return model.New(cfg, processors, tensor.CPU(0), 0), nil
}

// printReport prints what the model is, its map and the figures.
func printReport(w io.Writer, m *model.Model, r inspected, d diagram.Diagram, paint diagram.Paint) error {
	c := m.Config.Trunk
	fmt.Fprintf(w, "trunk of %d layers, width %d, %d heads, hidden %d; embeddings of %d\nsharing: %s\n\n",
		c.Layers, c.Width, c.Heads, c.Hidden, c.Embed, m.Config.Sharing)
	for _, name := range m.Modalities() {
		if own := m.Config.Modalities[name].Trunk; own != nil {
			fmt.Fprintf(w, "%s has a trunk of its own: %d layers, width %d, %d heads, hidden %d\n\n", name, own.Layers, own.Width, own.Heads, own.Hidden)
		}
	}
	if err := d.WriteText(w, paint); err != nil {
		return err
	}
	p := r.Parameters
	fmt.Fprintf(w, "\n%d unique parameters (%d in the trunk), %d stored, %.1f MB in a checkpoint", p.Unique, p.Trunk, p.Stored, float64(r.Bytes)/1e6)
	if r.DiskBytes > 0 {
		fmt.Fprintf(w, " (%.1f MB on disk)", float64(r.DiskBytes)/1e6)
	}
	fmt.Fprint(w, "\n\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "modality\ttokens\tactive parameters\tMFLOP a sample\t")
	for _, name := range m.Modalities() {
		fmt.Fprintf(t, "%s\t%d\t%d\t%.1f\t\n", name, r.Tokens[name], p.Active[name], float64(r.FLOPs[name])/1e6)
	}
	fmt.Fprintf(t, "mean\t%.0f\t%.0f\t%.1f\t\n", model.Mean(r.Tokens), model.Mean(p.Active), model.Mean(r.FLOPs)/1e6)
	return t.Flush()
}
