package main

import (
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/onetrunk/onetrunk/export"
	"github.com/onetrunk/onetrunk/internal/command"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/pretrained"
)

type exportCmd struct {
	Model  string `required:"" help:"Run folder, one checkpoint's folder, or the folder of another library's model." placeholder:"RUN"`
	Format string `required:"" enum:"safetensors,clip,onnx" help:"What to write: ${enum}." placeholder:"FORMAT"`
	Out    string `required:"" help:"Folder to write, which is new or empty." placeholder:"DIR"`
}

func (c *exportCmd) Help() string {
	return `safetensors: a run folder with the weights under our names, which every command takes as --model.

clip: a CLIPModel of Hugging Face's transformers, for a model of images and texts with CLIP's parts.

onnx: a file for each modality's tower, such as image.onnx, whose output "embedding" is of unit length.

Examples:
  mmtrain export --model runs/photos --format clip --out photos-clip
  mmtrain export --model runs/demo --format onnx --out demo-onnx`
}

func (c *exportCmd) Run(e *command.Env) error {
	m, err := pretrained.Open(c.Model)
	if err != nil {
		return err
	}
	write := map[string]func(*model.Model, string) error{"safetensors": export.Run, "clip": export.CLIP, "onnx": export.ONNX}[c.Format]
	if err := write(m, c.Out); err != nil {
		return fmt.Errorf("%s as %s: %w", c.Model, c.Format, err)
	}
	return filepath.WalkDir(c.Out, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			fmt.Fprintf(e.Stdout, "%s  %d bytes\n", path, info.Size())
		}
		return err
	})
}
