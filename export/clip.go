package export

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/onetrunk/onetrunk/checkpoint"
	"github.com/onetrunk/onetrunk/internal/atomicfile"
	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/sharing"
)

// clipActivations are transformers' names of the activations.
var clipActivations = map[string]string{
	"gelu": "gelu", "quick_gelu": "quick_gelu", "relu": "relu", "gelu_tanh": "gelu_pytorch_tanh",
}

// CLIP writes a model of images and texts as the folder of a CLIPModel:
// config.json, model.safetensors, tokenizer.json, tokenizer_config.json and
// preprocessor_config.json. The model has CLIP's parts (Radford et al. 2021).
//
// A CLIPModel shares nothing, so a tensor that serves several places is
// written once for each. The bias of the patches, for which it has no place, is
// added to their positions, and a bridge is multiplied into the projection.
func CLIP(m *model.Model, dir string) error {
	if !slices.Equal(m.Modalities(), []string{"image", "text"}) {
		return fmt.Errorf("modalities: a CLIPModel reads image and text, the model %v", m.Modalities())
	}
	if m.Config.Temperature.Bias {
		return fmt.Errorf("temperature.bias: a CLIPModel adds none")
	}
	m, err := whole(m)
	if err != nil {
		return err
	}
	c := &clip{image: newTower(m, "image"), text: newTower(m, "text")}
	if err := c.check(); err != nil {
		return err
	}
	config, err := c.config()
	if err != nil {
		return err
	}
	processing, err := c.processing()
	if err != nil {
		return err
	}
	if err := fresh(dir); err != nil {
		return err
	}
	if err := c.tokenizer(dir); err != nil {
		return err
	}
	for _, f := range []struct {
		name    string
		content any
	}{{"config.json", config}, {"preprocessor_config.json", processing}} {
		if err := writeJSON(filepath.Join(dir, f.name), f.content); err != nil {
			return err
		}
	}
	return checkpoint.Write(filepath.Join(dir, "model.safetensors"), c.tensors(), map[string]string{"format": "pt"})
}

// clip is a model in CLIP's shape.
type clip struct {
	image, text *tower
	// start and end are the ids around a text. A text's own id may be the end
	// token's, where a text spells it; there the tower of transformers pools.
	start, end int32
	raw        bool // whether texts reach the tokenizer as they are
}

// check refuses what a CLIPModel has no part for.
func (c *clip) check() error {
	const not = "is not what a CLIPModel has, "
	for _, t := range []*tower{c.image, c.text} {
		at := "trunk"
		if t.m.Config.Modalities[t.modality].Trunk != nil {
			at = "modalities." + t.modality + ".trunk"
		}
		if err := t.networks("a CLIPModel"); err != nil {
			return err
		}
		switch {
		case t.trunk.Norm != "layer":
			return fmt.Errorf("%s.norm: %q %s\"layer\"", at, t.trunk.Norm, not)
		case t.trunk.NormPlace != "pre":
			return fmt.Errorf("%s.norm_place: %q %s\"pre\"", at, t.trunk.NormPlace, not)
		}
		if err := t.plain(); err != nil {
			return err
		}
		s, pool := t.sequence, "class"
		if t == c.text {
			pool = "last"
		}
		for _, v := range []struct {
			key         string
			found, want any
		}{
			{"pool", s.Pool, pool},
			{"causal", s.Causal, t == c.text},
			{"stem", s.Stem, "patch"},
			{"stem_norm", s.StemNorm, t == c.image},
			{"head_norm", s.HeadNorm, "pooled"},
		} {
			if v.found != v.want {
				return t.refuse(v.key, v.found, fmt.Sprintf("%s%v", not, v.want))
			}
		}
		if s.Projection == "bias" {
			return t.refuse("projection", s.Projection, not+"linear")
		}
	}
	return nil
}

// config returns the content of config.json.
func (c *clip) config() (map[string]any, error) {
	var in struct {
		Pad, Stop *int32
		Raw       bool
	}
	p := c.text.m.Processors()["text"]
	if err := json.Unmarshal(p.Config(), &in); err != nil {
		return nil, err
	}
	if in.Pad != nil {
		return nil, c.text.refuse("input.pad", *in.Pad, "fills texts up, and a CLIPModel pools at their end token")
	}
	// The end token is what the tokenizer puts behind every text.
	none, err := p.Tokenize("")
	if err != nil {
		return nil, err
	}
	word, err := p.Tokenize("a")
	if err != nil {
		return nil, err
	}
	n := len(none.IDs)
	if n == 0 || len(word.IDs) <= n || word.IDs[len(word.IDs)-1] != none.IDs[n-1] || slices.Contains(none.IDs[:n-1], none.IDs[n-1]) {
		return nil, fmt.Errorf("modalities.text.input: the tokenizer puts no token behind every text that stands there alone, and a CLIPModel pools at one")
	}
	c.raw, c.start, c.end = in.Raw, none.IDs[0], none.IDs[n-1]
	if in.Stop != nil && *in.Stop != c.end {
		return nil, c.text.refuse("input.stop", *in.Stop, fmt.Sprintf("is not the token behind every text, %d", c.end))
	}
	if c.end == 2 {
		return nil, fmt.Errorf("modalities.text.input: the end token has the id 2, by which transformers means that a text ends at its greatest id")
	}
	image, err := c.imageInput()
	if err != nil {
		return nil, err
	}
	block := func(t *tower) map[string]any {
		return map[string]any{
			"hidden_size": t.trunk.Width, "intermediate_size": t.trunk.Hidden,
			"num_hidden_layers": t.trunk.Layers, "num_attention_heads": t.trunk.Heads,
			"hidden_act": clipActivations[t.trunk.Activation], "layer_norm_eps": t.trunk.Eps,
			"projection_dim": t.m.Dim(),
		}
	}
	vision, text := block(c.image), block(c.text)
	vision["model_type"], text["model_type"] = "clip_vision_model", "clip_text_model"
	vision["image_size"], vision["patch_size"], vision["num_channels"] = image.Size, image.Patch, 3
	text["vocab_size"], text["max_position_embeddings"] = c.text.layout.Vocab, c.text.layout.Grid[1]
	text["bos_token_id"], text["eos_token_id"], text["pad_token_id"] = c.start, c.end, c.end
	return map[string]any{
		"architectures": []string{"CLIPModel"}, "model_type": "clip", "dtype": "float32",
		"projection_dim": c.image.m.Dim(), "vision_config": vision, "text_config": text,
	}, nil
}

// imageInput is what is read of the image modality's "input" block.
type imageInput struct {
	Size, Patch, Resize int
	Fit, Filter         string
	Mean, Std           [3]float64
}

func (c *clip) imageInput() (in imageInput, err error) {
	err = json.Unmarshal(c.image.m.Processors()["image"].Config(), &in)
	if in.Resize == 0 {
		in.Resize = in.Size
	}
	return in, err
}

// pillow holds Pillow's numbers of the filters.
var pillow = map[string]int{"lanczos": 1, "bilinear": 2, "bicubic": 3}

// processing returns the content of preprocessor_config.json. With fit "crop" a
// centre between two pixels can go to the other one than here.
func (c *clip) processing() (map[string]any, error) {
	in, err := c.imageInput()
	if err != nil {
		return nil, err
	}
	square := func(n int) map[string]any { return map[string]any{"height": n, "width": n} }
	p := map[string]any{
		"image_processor_type": "CLIPImageProcessor",
		"do_convert_rgb":       true, "do_resize": true, "resample": pillow[in.Filter],
		"do_rescale": true, "rescale_factor": 1.0 / 255,
		"do_normalize": true, "image_mean": in.Mean, "image_std": in.Std,
	}
	switch in.Fit {
	case "crop", "crop_floor":
		p["size"] = map[string]any{"shortest_edge": in.Resize}
		p["do_center_crop"], p["crop_size"] = true, square(in.Size)
	case "squash":
		p["size"] = square(in.Size)
		p["do_center_crop"], p["crop_size"] = false, square(in.Size)
	default:
		return nil, c.image.refuse("input.fit", in.Fit, "makes images that are not square; a CLIPModel takes squares")
	}
	return p, nil
}

// tokenizer writes tokenizer.json and tokenizer_config.json. Where texts do not
// reach the tokenizer as they are, it is told to do what is done with them
// before.
func (c *clip) tokenizer(dir string) error {
	f, ok := c.text.m.Processors()["text"].(modalities.Fitter)
	if !ok {
		return fmt.Errorf("modalities.text: there is no tokenizer to write")
	}
	if err := f.Save(dir); err != nil {
		return err
	}
	path := filepath.Join(dir, "tokenizer.json")
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var file map[string]json.RawMessage
	var parts struct {
		Added []struct {
			ID      int32
			Content string
		} `json:"added_tokens"`
		Model struct{ Vocab json.RawMessage }
	}
	if err := errors.Join(json.Unmarshal(data, &file), json.Unmarshal(data, &parts)); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if !c.raw {
		before := []json.RawMessage{
			json.RawMessage(`{"type": "NFC"}`),
			json.RawMessage(`{"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}`),
			json.RawMessage(`{"type": "Strip", "strip_left": true, "strip_right": true}`),
		}
		if own := file["normalizer"]; len(own) > 0 && string(own) != "null" {
			before = append(before, own)
		}
		if file["normalizer"], err = plainJSON(map[string]any{"type": "Sequence", "normalizers": before}); err != nil {
			return err
		}
		if err := writeJSON(path, file); err != nil {
			return err
		}
	}
	names := map[int32]string{}
	var vocab map[string]int32
	if json.Unmarshal(parts.Model.Vocab, &vocab) == nil { // Unigram has a list
		for s, id := range vocab {
			names[id] = s
		}
	}
	for _, a := range parts.Added {
		names[a.ID] = a.Content
	}
	if names[c.end] == "" || names[c.start] == "" {
		return fmt.Errorf("%s: the tokens %d and %d around a text have no names in it", path, c.start, c.end)
	}
	return writeJSON(filepath.Join(dir, "tokenizer_config.json"), map[string]any{
		"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": c.text.layout.Grid[1],
		"bos_token": names[c.start], "eos_token": names[c.end], "pad_token": names[c.end], "unk_token": names[c.end],
	})
}

// tensors returns the weights under transformers' names.
func (c *clip) tensors() []checkpoint.Tensor {
	var ts []checkpoint.Tensor
	add := func(name string, x []float32, shape ...int) {
		ts = append(ts, checkpoint.Tensor{Name: name, Shape: shape, Data: x})
	}
	for _, t := range []*tower{c.image, c.text} {
		d, h := t.trunk.Width, t.trunk.Hidden
		prefix, head := "vision_model.", "visual_projection.weight"
		if t == c.text {
			prefix, head = "text_model.", "text_projection.weight"
		}
		pair := func(theirs, ours string, shape ...int) {
			add(prefix+theirs+".weight", t.values(ours+"/weight"), shape...)
			add(prefix+theirs+".bias", t.values(ours+"/bias"), shape[0])
		}
		of := t.m.Trunk(t.modality)
		for l := range t.trunk.Layers {
			at := fmt.Sprintf("encoder.layers.%d.", l)
			name := func(r sharing.Role) string { return of.Tensor(l, t.modality, r) }
			pair(at+"layer_norm1", name(sharing.Norm1), d)
			pair(at+"layer_norm2", name(sharing.Norm2), d)
			pair(at+"self_attn.out_proj", name(sharing.Out), d, d)
			pair(at+"mlp.fc1", name(sharing.Up), h, d)
			pair(at+"mlp.fc2", name(sharing.Down), d, h)
			w, b := t.values(name(sharing.Qkv)+"/weight"), t.values(name(sharing.Qkv)+"/bias")
			for i, which := range []string{"q", "k", "v"} {
				add(prefix+at+"self_attn."+which+"_proj.weight", w[i*d*d:(i+1)*d*d], d, d)
				add(prefix+at+"self_attn."+which+"_proj.bias", b[i*d:(i+1)*d], d)
			}
		}
		add(head, t.projection(), t.m.Dim(), d)
		positions := t.values(t.stem("positions"))
		if t == c.image {
			side := patchSide(t)
			add(prefix+"embeddings.patch_embedding.weight", t.values(t.stem("patch/weight")), d, 3, side, side)
			bias := t.values(t.stem("patch/bias"))
			for i := d; i < len(positions); i++ {
				positions[i] += bias[i%d]
			}
			add(prefix+"embeddings.class_embedding", t.values(t.stem("class")), d)
			pair("pre_layrnorm", t.stem("norm"), d) // as it is spelled there
			pair("post_layernorm", t.head("norm"), d)
		} else {
			add(prefix+"embeddings.token_embedding.weight", t.values(t.stem("subword")), t.layout.Vocab, d)
			pair("final_layer_norm", t.head("norm"), d)
		}
		add(prefix+"embeddings.position_embedding.weight", positions, len(positions)/d, d)
	}
	scale := c.image.m.Bank.Read(c.image.m.LogScale("image", "text"))
	add("logit_scale", scale)
	return ts
}

// projection returns the matrix [E, D] that makes an embedding of a pooled row.
func (t *tower) projection() []float32 {
	d, own, embed := t.trunk.Width, t.trunk.Embed, t.m.Dim()
	var w []float32
	if t.sequence.Projection == "none" {
		w = make([]float32, d*d)
		for i := range d {
			w[i*d+i] = 1
		}
	} else {
		w = t.values(t.head("projection/weight"))
	}
	if t.m.Bank.Has(t.head("bridge/weight")) {
		w = product(t.values(t.head("bridge/weight")), w, embed, own, d)
	}
	return w
}

// patchSide is the side of an image's patches, in pixels.
func patchSide(t *tower) int {
	side := 1
	for 3*side*side < t.layout.Patch {
		side++
	}
	return side
}

// plainJSON is v as JSON, in which < and > stand as themselves.
func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(v)
	return b.Bytes(), err
}

func writeJSON(path string, v any) error {
	data, err := plainJSON(v)
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(path, data)
}
