package pretrained

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/onetrunk/onetrunk/encoder"
)

// openclipModel is a model's JSON of OpenCLIP (Ilharco et al. 2021). A key that
// is not here would make another model, and is an error.
type openclipModel struct {
	Embed     int  `json:"embed_dim"`
	QuickGELU bool `json:"quick_gelu"`
	Vision    struct {
		Size      int     `json:"image_size"`
		Layers    int     `json:"layers"`
		Width     int     `json:"width"`
		HeadWidth int     `json:"head_width"`
		Patch     int     `json:"patch_size"`
		Ratio     float64 `json:"mlp_ratio"`
		Pool      string  `json:"pool_type"`
		Dropout   float64 `json:"patch_dropout"`
	} `json:"vision_cfg"`
	Text struct {
		Length int     `json:"context_length"`
		Vocab  int     `json:"vocab_size"`
		Width  int     `json:"width"`
		Heads  int     `json:"heads"`
		Layers int     `json:"layers"`
		Ratio  float64 `json:"mlp_ratio"`
		Pool   string  `json:"pool_type"`
	} `json:"text_cfg"`
}

// The files of the layout.
const (
	openclipConfig  = "open_clip_config.json"
	openclipWeights = "open_clip_model.safetensors"
)

// readOpenCLIP reads a folder of OpenCLIP: open_clip_config.json, or a model's
// JSON alone, under any name, beside one safetensors file.
func readOpenCLIP(dir string) (*foreign, error) {
	name, model, prep, err := openclipFiles(dir)
	if err != nil {
		return nil, err
	}
	var c openclipModel
	c.Vision.HeadWidth, c.Vision.Ratio, c.Vision.Pool = 64, 4, "tok"
	c.Vision.Layers, c.Vision.Width, c.Vision.Patch, c.Vision.Size = 12, 768, 16, 224
	c.Text.Ratio, c.Text.Pool = 4, "argmax"
	c.Text.Length, c.Text.Vocab, c.Text.Width, c.Text.Heads, c.Text.Layers = 77, 49408, 512, 8, 12
	d := json.NewDecoder(bytes.NewReader(model))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return nil, fmt.Errorf("%s: a model that is not a plain CLIP: %w", name, err)
	}
	switch {
	case c.Vision.Pool != "tok":
		return nil, fmt.Errorf("%s: vision_cfg.pool_type %q is not supported, \"tok\" is", name, c.Vision.Pool)
	case c.Text.Pool != "argmax":
		return nil, fmt.Errorf("%s: text_cfg.pool_type %q is not supported, \"argmax\" is", name, c.Text.Pool)
	case c.Vision.HeadWidth < 1 || c.Vision.Patch < 1:
		return nil, fmt.Errorf("%s: vision_cfg: expected positive sizes, found %+v", name, c.Vision)
	}
	image, err := prep.input(name, c.Vision.Size, c.Vision.Patch)
	if err != nil {
		return nil, err
	}
	act := "gelu"
	if c.QuickGELU {
		act = "quick_gelu"
	}
	weights, err := openclipTensors(dir)
	if err != nil {
		return nil, err
	}
	fs, err := openFiles(dir, weights)
	if err != nil {
		return nil, err
	}

	w := c.Vision.Width
	vision := preLN(w, c.Vision.Layers, w/c.Vision.HeadWidth, int(c.Vision.Ratio*float64(w)), c.Embed, act, 1e-5)
	blocks := parts{
		norm1: "ln_1", norm2: "ln_2", out: "attn.out_proj", up: "mlp.c_fc", down: "mlp.c_proj",
		qkv: []string{"attn.in_proj"}, inProj: true,
	}
	pictures := tower{
		modality: "image", trunk: vision, input: image,
		sequence: encoder.Sequence{Pool: "class", Stem: "patch", StemNorm: true, HeadNorm: "pooled", Projection: "linear"},
		block:    blocks.block("visual.transformer.resblocks.%d.", vision),
		stem: map[string][]source{
			"patch/weight": from("visual.conv1.weight", w, 3, c.Vision.Patch, c.Vision.Patch),
			"patch/bias":   zeros(w),
			"class":        from("visual.class_embedding", w),
			"positions":    from("visual.positional_embedding", patches(c.Vision.Size, c.Vision.Patch)+1, w),
		},
		head: map[string][]source{"projection/weight": transposed("visual.proj", w, c.Embed)},
	}
	norm(pictures.stem, "norm", "visual.ln_pre", w)
	norm(pictures.head, "norm", "visual.ln_post", w)

	w = c.Text.Width
	text := preLN(w, c.Text.Layers, c.Text.Heads, int(c.Text.Ratio*float64(w)), c.Embed, act, 1e-5)
	in := stopping(readText(dir, c.Text.Vocab, c.Text.Length), nil)
	in.Library = "openclip"
	words := tower{
		modality: "text", trunk: text, input: in,
		sequence: encoder.Sequence{Pool: "last", Causal: true, Stem: "patch", HeadNorm: "pooled", Projection: "linear"},
		block:    blocks.block("transformer.resblocks.%d.", text),
		stem: map[string][]source{
			"subword":   from("token_embedding.weight", c.Text.Vocab, w),
			"positions": from("positional_embedding", c.Text.Length, w),
		},
		head: map[string][]source{"projection/weight": transposed("text_projection", w, c.Embed)},
	}
	norm(words.head, "norm", "ln_final", w)
	return &foreign{
		kind: "OpenCLIP model", towers: []tower{pictures, words}, scale: &source{name: "logit_scale"},
		files: fs, ignore: []string{"attn_mask"},
	}, nil
}

// openclipFiles finds the JSON of a folder's model and how images are read.
func openclipFiles(dir string) (name string, model []byte, prep openclipImages, err error) {
	prep = openclipImages{Mean: clipMean, Std: clipStd, Interpolation: "bicubic", Resize: "shortest"}
	var c struct {
		Model json.RawMessage `json:"model_cfg"`
		Prep  *openclipImages `json:"preprocess_cfg"`
	}
	c.Prep = &prep
	found, err := readJSON(dir, openclipConfig, &c)
	if err != nil {
		return "", nil, prep, err
	}
	if found {
		return openclipConfig, c.Model, prep, nil
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return "", nil, prep, err
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return "", nil, prep, err
		}
		var keys map[string]json.RawMessage
		if json.Unmarshal(data, &keys) == nil && keys["embed_dim"] != nil && keys["vision_cfg"] != nil {
			return filepath.Base(path), data, prep, nil
		}
	}
	return "", nil, prep, errOurs
}

// openclipTensors finds the weights' file.
func openclipTensors(dir string) (string, error) {
	if isFile(filepath.Join(dir, openclipWeights)) {
		return openclipWeights, nil
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	switch {
	case err != nil:
		return "", err
	case len(paths) == 0:
		return "", errors.New("no safetensors file beside the model's JSON")
	case len(paths) > 1:
		return "", fmt.Errorf("%d safetensors files beside the model's JSON; which one is meant?", len(paths))
	}
	return filepath.Base(paths[0]), nil
}

// openclipImages is the "preprocess_cfg" of a folder.
type openclipImages struct {
	Mean          [3]float64 `json:"mean"`
	Std           [3]float64 `json:"std"`
	Interpolation string     `json:"interpolation"`
	Resize        string     `json:"resize_mode"`
}

func (p openclipImages) input(name string, size, patch int) (imageInput, error) {
	in := imageInput{Size: size, Patch: patch, Filter: p.Interpolation, Alpha: "drop", Mean: p.Mean, Std: p.Std}
	fits := map[string]string{"shortest": "crop", "squash": "squash"}
	if in.Fit = fits[p.Resize]; in.Fit == "" {
		return in, fmt.Errorf("%s: preprocess_cfg.resize_mode %q is not one of shortest, squash", name, p.Resize)
	}
	if !slices.Contains([]string{"bicubic", "bilinear"}, p.Interpolation) {
		return in, fmt.Errorf("%s: preprocess_cfg.interpolation %q is not one of bicubic, bilinear", name, p.Interpolation)
	}
	return in, nil
}
