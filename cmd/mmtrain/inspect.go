package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/onetrunk/onetrunk/internal/command"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/pretrained"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

type inspectCmd struct {
	Model string `required:"" help:"Run folder, preset (${presets}) or a JSON config." placeholder:"RUN|PRESET|FILE"`
	JSON  bool   `name:"json" help:"Print one JSON object."`
}

func (c *inspectCmd) Run(e *command.Env) error {
	m, err := openForInspection(c.Model)
	if err != nil {
		return err
	}
	r := m.Inspect()
	if c.JSON {
		return e.PrintJSON(r)
	}
	return printReport(e.Stdout, m, r)
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

// printReport draws the map as a table of layers by role and modality, then
// the figures.
func printReport(w io.Writer, m *model.Model, r model.Report) error {
	c := m.Config.Trunk
	fmt.Fprintf(w, "trunk of %d layers, width %d, %d heads, hidden %d; embeddings of %d\nsharing: %s\n\n",
		c.Layers, c.Width, c.Heads, c.Hidden, c.Embed, m.Config.Sharing)
	layers := 0
	for _, name := range m.Modalities() {
		own := m.Config.Modalities[name].Trunk
		if own == nil {
			layers = max(layers, c.Layers)
			continue
		}
		layers = max(layers, own.Layers)
		fmt.Fprintf(w, "%s has a trunk of its own: %d layers, width %d, %d heads, hidden %d\n\n", name, own.Layers, own.Width, own.Heads, own.Hidden)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "layer\trole")
	for _, name := range m.Modalities() {
		fmt.Fprintf(t, "\t%s", name)
	}
	fmt.Fprintln(t)
	// A place of a routed layer has the tensors of several experts.
	tensors := map[sharing.Entry]string{}
	for _, e := range r.Map {
		at := sharing.Entry{Layer: e.Layer, Modality: e.Modality, Role: e.Role}
		if tensors[at] != "" {
			e.Tensor = tensors[at] + ", " + e.Expert
		}
		tensors[at] = e.Tensor
	}
	for l := range layers {
		for _, role := range slices.Concat(sharing.Roles, []sharing.Role{sharing.Gate, sharing.Residual}) {
			if !slices.ContainsFunc(r.Map, func(e sharing.Entry) bool { return e.Layer == l && e.Role == role }) {
				continue
			}
			fmt.Fprintf(t, "%d\t%s", l, role)
			last := ""
			for _, name := range m.Modalities() {
				tensor := tensors[sharing.Entry{Layer: l, Modality: name, Role: role}]
				if tensor == last && tensor != "" {
					fmt.Fprint(t, "\t=")
				} else {
					fmt.Fprintf(t, "\t%s", tensor)
				}
				last = tensor
			}
			fmt.Fprintln(t)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%d unique parameters (%d in the trunk), %.1f MB in a checkpoint\n\n",
		r.Parameters.Unique, r.Parameters.Trunk, float64(r.Bytes)/1e6)
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "modality\ttokens\tactive parameters\tMFLOP a sample\t")
	for _, name := range m.Modalities() {
		fmt.Fprintf(t, "%s\t%d\t%d\t%.1f\t\n", name, r.Tokens[name], r.Parameters.Active[name], float64(r.FLOPs[name])/1e6)
	}
	return t.Flush()
}
