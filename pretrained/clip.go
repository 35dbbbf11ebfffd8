package pretrained

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/onetrunk/onetrunk/encoder"
)

// textInput is what we set of the text modality's "input" block.
type textInput struct {
	Tokenizer string `json:"tokenizer"`
	Entries   int    `json:"entries"`
	Length    int    `json:"length"`
	Raw       bool   `json:"raw"`
	Library   string `json:"library,omitempty"`
	Pad       *int   `json:"pad,omitempty"`
	Stop      *int   `json:"stop,omitempty"`
}

// readText returns the settings of a text tower with a table of that many
// entries. The tokenizer is looked for when it is needed, so that a folder
// without one can embed what is not text.
func readText(dir string, entries, length int) textInput {
	in := textInput{Tokenizer: filepath.Join(dir, "tokenizer.json"), Entries: entries, Length: length, Raw: true}
	if vocab := filepath.Join(dir, "vocab.json"); !isFile(in.Tokenizer) && isFile(vocab) {
		in.Tokenizer = vocab
	}
	return in
}

// isFile reports whether something is at a path.
func isFile(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// clipTower holds the keys that the towers of CLIP and SigLIP have in
// config.json.
type clipTower struct {
	Width    int     `json:"hidden_size"`
	Hidden   int     `json:"intermediate_size"`
	Layers   int     `json:"num_hidden_layers"`
	Heads    int     `json:"num_attention_heads"`
	Act      string  `json:"hidden_act"`
	Eps      float64 `json:"layer_norm_eps"`
	Channels int     `json:"num_channels"`
	Size     int     `json:"image_size"`
	Patch    int     `json:"patch_size"`
	Vocab    int     `json:"vocab_size"`
	Length   int     `json:"max_position_embeddings"`
	End      *int    `json:"eos_token_id"`
	Pad      *int    `json:"pad_token_id"`
	// Embed is SigLIP's projection of texts.
	Embed int `json:"projection_size"`
}

// trunk returns the tower's sizes.
func (c *clipTower) trunk(embed int) (encoder.Config, error) {
	act, err := activation(c.Act)
	if err == nil && c.Channels != 3 {
		err = fmt.Errorf("config.json: images of %d channels are not supported", c.Channels)
	}
	return preLN(c.Width, c.Layers, c.Heads, c.Hidden, embed, act, c.Eps), err
}

// clipParts are the blocks of CLIP and SigLIP.
var clipParts = parts{
	norm1: "layer_norm1", norm2: "layer_norm2", out: "self_attn.out_proj", up: "mlp.fc1", down: "mlp.fc2",
	qkv: []string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
}

// readCLIP reads a CLIPModel (Radford et al. 2021).
func readCLIP(dir string, _ *files) (*foreign, error) {
	c := struct {
		Embed  int       `json:"projection_dim"`
		Vision clipTower `json:"vision_config"`
		Text   clipTower `json:"text_config"`
	}{
		Embed:  512,
		Vision: clipTower{Width: 768, Hidden: 3072, Layers: 12, Heads: 12, Act: "quick_gelu", Eps: 1e-5, Channels: 3, Size: 224, Patch: 32},
		Text:   clipTower{Width: 512, Hidden: 2048, Layers: 12, Heads: 8, Act: "quick_gelu", Eps: 1e-5, Channels: 3, Vocab: 49408, Length: 77},
	}
	if _, err := readJSON(dir, "config.json", &c); err != nil {
		return nil, err
	}
	vision, err := c.Vision.trunk(c.Embed)
	if err != nil {
		return nil, err
	}
	text, err := c.Text.trunk(c.Embed)
	if err != nil {
		return nil, err
	}
	image, err := processing(3, side{Shortest: 224}, true, clipMean, clipStd).input(dir, c.Vision.Size, c.Vision.Patch)
	if err != nil {
		return nil, err
	}
	if image.Fit == "crop" {
		image.Fit = "crop_floor"
	}
	d := vision.Width
	pictures := tower{
		modality: "image", trunk: vision, input: image,
		sequence: encoder.Sequence{Pool: "class", Stem: "patch", StemNorm: true, HeadNorm: "pooled", Projection: "linear"},
		block:    clipParts.block("vision_model.encoder.layers.%d.", vision),
		stem: map[string][]source{
			"patch/weight": from("vision_model.embeddings.patch_embedding.weight", d, 3, c.Vision.Patch, c.Vision.Patch),
			"patch/bias":   zeros(d),
			"class":        from("vision_model.embeddings.class_embedding", d),
			"positions":    from("vision_model.embeddings.position_embedding.weight", patches(c.Vision.Size, c.Vision.Patch)+1, d),
		},
		head: map[string][]source{"projection/weight": from("visual_projection.weight", c.Embed, d)},
	}
	norm(pictures.stem, "norm", "vision_model.pre_layrnorm", d) // as it is spelled there
	norm(pictures.head, "norm", "vision_model.post_layernorm", d)

	d = text.Width
	words := tower{
		modality: "text", trunk: text, input: stopping(readText(dir, c.Text.Vocab, c.Text.Length), c.Text.End),
		sequence: encoder.Sequence{Pool: "last", Causal: true, Stem: "patch", HeadNorm: "pooled", Projection: "linear"},
		block:    clipParts.block("text_model.encoder.layers.%d.", text),
		stem: map[string][]source{
			"subword":   from("text_model.embeddings.token_embedding.weight", c.Text.Vocab, d),
			"positions": from("text_model.embeddings.position_embedding.weight", c.Text.Length, d),
		},
		head: map[string][]source{"projection/weight": from("text_projection.weight", c.Embed, d)},
	}
	norm(words.head, "norm", "text_model.final_layer_norm", d)
	return &foreign{
		kind: "CLIPModel", towers: []tower{pictures, words}, scale: &source{name: "logit_scale"},
		ignore: []string{"vision_model.embeddings.position_ids", "text_model.embeddings.position_ids"},
	}, nil
}

// stopping cuts texts behind the first end token, where the tower pools. The
// files of the first conversions say 2, which is not the end token: there the
// tower pools at the greatest id, which is the last of the vocabulary.
func stopping(in textInput, end *int) textInput {
	stop := in.Entries - 1
	if end != nil && *end != 2 {
		stop = *end
	}
	in.Stop = &stop
	return in
}

// patches is the number of patches of a square.
func patches(size, patch int) int { return (size / max(patch, 1)) * (size / max(patch, 1)) }

// readSigLIP reads a SiglipModel (Zhai et al. 2023).
func readSigLIP(dir string, _ *files) (*foreign, error) {
	c := struct {
		Vision clipTower `json:"vision_config"`
		Text   clipTower `json:"text_config"`
	}{
		Vision: clipTower{Width: 768, Hidden: 3072, Layers: 12, Heads: 12, Act: "gelu_pytorch_tanh", Eps: 1e-6, Channels: 3, Size: 224, Patch: 16},
		Text:   clipTower{Width: 768, Hidden: 3072, Layers: 12, Heads: 12, Act: "gelu_pytorch_tanh", Eps: 1e-6, Channels: 3, Vocab: 32000, Length: 64},
	}
	if _, err := readJSON(dir, "config.json", &c); err != nil {
		return nil, err
	}
	if c.Text.Embed == 0 {
		c.Text.Embed = c.Text.Width
	}
	vision, err := c.Vision.trunk(c.Vision.Width)
	if err != nil {
		return nil, err
	}
	text, err := c.Text.trunk(c.Text.Embed)
	if err != nil {
		return nil, err
	}
	image, err := processing(3, side{Height: 224, Width: 224}, false, half, half).input(dir, c.Vision.Size, c.Vision.Patch)
	if err != nil {
		return nil, err
	}
	d, h := vision.Width, vision.Hidden
	const v = "vision_model."
	pictures := tower{
		modality: "image", trunk: vision, input: image,
		sequence: encoder.Sequence{Pool: "attention", Stem: "patch", HeadNorm: "rows", Projection: "none"},
		block:    clipParts.block(v+"encoder.layers.%d.", vision),
		stem: map[string][]source{
			"patch/weight": from(v+"embeddings.patch_embedding.weight", d, 3, c.Vision.Patch, c.Vision.Patch),
			"patch/bias":   from(v+"embeddings.patch_embedding.bias", d),
			"positions":    from(v+"embeddings.position_embedding.weight", patches(c.Vision.Size, c.Vision.Patch), d),
		},
		head: map[string][]source{
			"pool/query":      from(v+"head.probe", 1, 1, d),
			"pool/qkv/weight": from(v+"head.attention.in_proj_weight", 3*d, d),
			"pool/qkv/bias":   from(v+"head.attention.in_proj_bias", 3*d),
		},
	}
	norm(pictures.head, "norm", v+"post_layernorm", d)
	linear(pictures.head, "pool/out", v+"head.attention.out_proj", d, d)
	norm(pictures.head, "pool/norm", v+"head.layernorm", d)
	linear(pictures.head, "pool/up", v+"head.mlp.fc1", h, d)
	linear(pictures.head, "pool/down", v+"head.mlp.fc2", d, h)

	d = text.Width
	const t = "text_model."
	in := readText(dir, c.Text.Vocab, c.Text.Length)
	// The library reads spiece.model and passes over a tokenizer.json.
	if own := filepath.Join(dir, "spiece.model"); isFile(own) {
		in.Tokenizer, in.Library = own, "siglip"
	}
	pad := 1
	if c.Text.Pad != nil {
		pad = *c.Text.Pad
	}
	in.Pad = &pad
	words := tower{
		modality: "text", trunk: text, input: in,
		sequence: encoder.Sequence{Pool: "last", Stem: "patch", HeadNorm: "pooled", Projection: "bias"},
		block:    clipParts.block(t+"encoder.layers.%d.", text),
		stem: map[string][]source{
			"subword":   from(t+"embeddings.token_embedding.weight", c.Text.Vocab, d),
			"positions": from(t+"embeddings.position_embedding.weight", c.Text.Length, d),
		},
		head: map[string][]source{},
	}
	norm(words.head, "norm", t+"final_layer_norm", d)
	linear(words.head, "projection", t+"head", text.Embed, d)
	return &foreign{
		kind: "SiglipModel", towers: []tower{pictures, words},
		scale:  &source{name: "logit_scale", shape: []int{1}},
		bias:   &source{name: "logit_bias", shape: []int{1}},
		ignore: []string{v + "embeddings.position_ids", t + "embeddings.position_ids"},
	}, nil
}
