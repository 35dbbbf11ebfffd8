package pretrained

import (
	"fmt"
	"math"
	"strings"

	"github.com/onetrunk/onetrunk/encoder"
)

// vitConfig holds the keys that ViT and AST have in config.json.
type vitConfig struct {
	Width     int     `json:"hidden_size"`
	Hidden    int     `json:"intermediate_size"`
	Layers    int     `json:"num_hidden_layers"`
	Heads     int     `json:"num_attention_heads"`
	Act       string  `json:"hidden_act"`
	Eps       float64 `json:"layer_norm_eps"`
	Channels  int     `json:"num_channels"`
	Size      int     `json:"image_size"`
	Patch     int     `json:"patch_size"`
	QKVBias   bool    `json:"qkv_bias"`
	Mels      int     `json:"num_mel_bins"`
	Frames    int     `json:"max_length"`
	FreqSteps int     `json:"frequency_stride"`
	TimeSteps int     `json:"time_stride"`
}

func vitDefaults() vitConfig {
	return vitConfig{
		Width: 768, Hidden: 3072, Layers: 12, Heads: 12, Act: "gelu", Eps: 1e-12, Channels: 3, Size: 224, Patch: 16, QKVBias: true,
		Mels: 128, Frames: 1024, FreqSteps: 10, TimeSteps: 10,
	}
}

func (c *vitConfig) trunk() (encoder.Config, error) {
	act, err := activation(c.Act)
	switch {
	case err != nil:
	case c.Channels != 3:
		err = fmt.Errorf("config.json: images of %d channels are not supported", c.Channels)
	case !c.QKVBias:
		err = fmt.Errorf("config.json: qkv_bias false is not supported")
	}
	return preLN(c.Width, c.Layers, c.Heads, c.Hidden, c.Width, act, c.Eps), err
}

// vitParts are the blocks of ViT and AST.
var vitParts = parts{
	norm1: "layernorm_before", norm2: "layernorm_after",
	out: "attention.output.dense", up: "intermediate.dense", down: "output.dense",
	qkv: []string{"attention.attention.query", "attention.attention.key", "attention.attention.value"},
}

// readViT reads a ViTModel (Dosovitskiy et al. 2021): an image's embedding is
// its class token after the last norm.
func readViT(dir string, fs *files) (*foreign, error) {
	c := vitDefaults()
	if _, err := readJSON(dir, "config.json", &c); err != nil {
		return nil, err
	}
	trunk, err := c.trunk()
	if err != nil {
		return nil, err
	}
	image, err := processing(2, side{Height: 224, Width: 224}, false, half, half).input(dir, c.Size, c.Patch)
	if err != nil {
		return nil, err
	}
	at, err := prefixed(fs, "embeddings.cls_token", "", "vit.")
	if err != nil {
		return nil, err
	}
	d := c.Width
	t := tower{
		modality: "image", trunk: trunk, input: image,
		sequence: encoder.Sequence{Pool: "class", Stem: "patch", HeadNorm: "pooled", Projection: "none"},
		block:    vitParts.block(at+"encoder.layer.%d.", trunk),
		stem: map[string][]source{
			"class":     from(at+"embeddings.cls_token", 1, 1, d),
			"positions": from(at+"embeddings.position_embeddings", 1, patches(c.Size, c.Patch)+1, d),
		},
		head: map[string][]source{},
	}
	t.stem["patch/weight"] = from(at+"embeddings.patch_embeddings.projection.weight", d, 3, c.Patch, c.Patch)
	t.stem["patch/bias"] = from(at+"embeddings.patch_embeddings.projection.bias", d)
	norm(t.head, "norm", at+"layernorm", d)
	return &foreign{kind: "ViTModel", towers: []tower{t}, ignore: []string{at + "pooler.", "classifier.", at + "embeddings.mask_token"}}, nil
}

// readAST reads an ASTModel (Gong et al. 2021): a sound's embedding is the mean
// of its two class tokens after the last norm.
func readAST(dir string, fs *files) (*foreign, error) {
	c := vitDefaults()
	if _, err := readJSON(dir, "config.json", &c); err != nil {
		return nil, err
	}
	trunk, err := c.trunk()
	if err != nil {
		return nil, err
	}
	p := struct {
		Rate   int     `json:"sampling_rate"`
		Mels   int     `json:"num_mel_bins"`
		Frames int     `json:"max_length"`
		Mean   float64 `json:"mean"`
		Std    float64 `json:"std"`
	}{16000, 128, 1024, -4.2677393, 4.5689974}
	if _, err := readJSON(dir, "preprocessor_config.json", &p); err != nil {
		return nil, err
	}
	if p.Mels != c.Mels || p.Frames != c.Frames {
		return nil, fmt.Errorf("preprocessor_config.json: %d bands and %d frames; the model reads %d and %d", p.Mels, p.Frames, c.Mels, c.Frames)
	}
	at, err := prefixed(fs, "embeddings.cls_token", "", "audio_spectrogram_transformer.")
	if err != nil {
		return nil, err
	}
	d := c.Width
	rows := ((c.Mels-c.Patch)/c.FreqSteps+1)*((c.Frames-c.Patch)/c.TimeSteps+1) + 2
	t := tower{
		modality: "audio", trunk: trunk, input: astInput(p.Rate, c, p.Mean, p.Std),
		sequence: encoder.Sequence{Pool: "classes", Stem: "patch", HeadNorm: "rows", Projection: "none"},
		block:    vitParts.block(at+"encoder.layer.%d.", trunk),
		stem: map[string][]source{
			"patch/weight": from(at+"embeddings.patch_embeddings.projection.weight", d, 1, c.Patch, c.Patch),
			"patch/bias":   from(at+"embeddings.patch_embeddings.projection.bias", d),
			"class": {
				{name: at + "embeddings.cls_token", shape: []int{1, 1, d}},
				{name: at + "embeddings.distillation_token", shape: []int{1, 1, d}},
			},
			"positions": from(at+"embeddings.position_embeddings", 1, rows, d),
		},
		head: map[string][]source{},
	}
	norm(t.head, "norm", at+"layernorm", d)
	return &foreign{kind: "ASTModel", towers: []tower{t}, ignore: []string{"classifier."}}, nil
}

// readTimm reads a vision transformer of timm (Wightman 2019), with a class
// token.
func readTimm(dir string) (*foreign, error) {
	var c struct {
		Architecture string `json:"architecture"`
		Pool         string `json:"global_pool"`
		Args         struct {
			Heads int `json:"num_heads"`
		} `json:"model_args"`
		Config struct {
			InputSize     [3]int      `json:"input_size"`
			Interpolation string      `json:"interpolation"`
			CropPct       float64     `json:"crop_pct"`
			CropMode      string      `json:"crop_mode"`
			Mean          *[3]float64 `json:"mean"`
			Std           *[3]float64 `json:"std"`
		} `json:"pretrained_cfg"`
	}
	found, err := readJSON(dir, "config.json", &c)
	if err != nil {
		return nil, err
	}
	if !found || c.Architecture == "" {
		return nil, errOurs
	}
	if !strings.HasPrefix(c.Architecture, "vit_") && !strings.HasPrefix(c.Architecture, "deit_") {
		return nil, fmt.Errorf("config.json: the architecture %q is not a plain vision transformer (vit_*, deit_*)", c.Architecture)
	}
	if c.Pool != "" && c.Pool != "token" {
		return nil, fmt.Errorf("config.json: global_pool %q is not supported, \"token\" is", c.Pool)
	}
	fs, err := openFiles(dir, "model.safetensors")
	if err != nil {
		return nil, err
	}
	// The sizes stand in the tensors alone.
	dims := func(name string, rank int) []int {
		shape, ok := fs.shape(name)
		if err == nil && (!ok || len(shape) != rank) {
			err = fmt.Errorf("tensor %s is %v, expected %d dimensions", name, shape, rank)
		}
		if err != nil {
			return make([]int, rank)
		}
		return shape
	}
	kernel, table, up := dims("patch_embed.proj.weight", 4), dims("pos_embed", 3), dims("blocks.0.mlp.fc1.weight", 2)
	if err != nil {
		return nil, err
	}
	d, patch, layers := kernel[0], kernel[2], 0
	for fs.has(fmt.Sprintf("blocks.%d.norm1.weight", layers)) {
		layers++
	}
	heads := c.Args.Heads
	if heads == 0 {
		heads = d / 64
		if strings.Contains(c.Architecture, "_huge") {
			heads = 16
		}
	}
	if heads == 0 || d%heads != 0 {
		return nil, fmt.Errorf("config.json: model_args.num_heads is needed for the width %d", d)
	}
	size := c.Config.InputSize[1]
	if size == 0 {
		size = patch * int(math.Round(math.Sqrt(float64(table[1]-1))))
	}
	image := imageInput{Size: size, Patch: patch, Fit: "crop", Filter: c.Config.Interpolation, Alpha: "drop", Mean: half, Std: half}
	if c.Config.Mean != nil && c.Config.Std != nil {
		image.Mean, image.Std = *c.Config.Mean, *c.Config.Std
	}
	if pct := c.Config.CropPct; pct > 0 {
		if r := int(math.Floor(float64(size) / pct)); r != size {
			image.Resize = r
		}
	}
	switch {
	case image.Filter == "":
		image.Filter = "bicubic"
	case image.Filter != "bicubic" && image.Filter != "bilinear":
		return nil, fmt.Errorf("config.json: pretrained_cfg.interpolation %q is not supported", image.Filter)
	case c.Config.CropMode != "" && c.Config.CropMode != "center":
		return nil, fmt.Errorf("config.json: pretrained_cfg.crop_mode %q is not supported", c.Config.CropMode)
	}
	trunk := preLN(d, layers, heads, up[0], d, "gelu", 1e-6)
	t := tower{
		modality: "image", trunk: trunk, input: image,
		sequence: encoder.Sequence{Pool: "class", Stem: "patch", HeadNorm: "pooled", Projection: "none"},
		block: parts{
			norm1: "norm1", norm2: "norm2", out: "attn.proj", up: "mlp.fc1", down: "mlp.fc2", qkv: []string{"attn.qkv"},
		}.block("blocks.%d.", trunk),
		stem: map[string][]source{
			"patch/weight": from("patch_embed.proj.weight", d, 3, patch, patch),
			"patch/bias":   from("patch_embed.proj.bias", d),
			"class":        from("cls_token", 1, 1, d),
			"positions":    from("pos_embed", 1, patches(size, patch)+1, d),
		},
		head: map[string][]source{},
	}
	norm(t.head, "norm", "norm", d)
	return &foreign{kind: c.Architecture, towers: []tower{t}, files: fs, ignore: []string{"head."}}, nil
}
