package pretrained

import (
	"fmt"
	"slices"
	"strings"

	"github.com/onetrunk/onetrunk/encoder"
	"github.com/onetrunk/onetrunk/sharing"
)

// readTransformers reads a folder of Hugging Face's transformers, or of
// sentence-transformers.
func readTransformers(dir string) (*foreign, error) {
	var c struct {
		Type          string   `json:"model_type"`
		Architectures []string `json:"architectures"`
	}
	found, err := readJSON(dir, "config.json", &c)
	if err != nil {
		return nil, err
	}
	if !found || c.Type == "" {
		return nil, errOurs
	}
	var layout func(dir string, fs *files) (*foreign, error)
	switch c.Type {
	case "clip":
		layout = readCLIP
	case "siglip":
		layout = readSigLIP
	case "vit":
		layout = readViT
	case "bert":
		layout = readBERT
	case "whisper":
		layout = readWhisper
	case "audio-spectrogram-transformer":
		layout = readAST
	case "clap":
		return nil, fmt.Errorf("CLAP's audio encoder is HTSAT, a Swin transformer with shifted windows, which is not a plain transformer and is not supported")
	default:
		return nil, fmt.Errorf("config.json: model_type %q (architectures %v) is not one of clip, siglip, vit, bert, whisper, audio-spectrogram-transformer", c.Type, c.Architectures)
	}
	fs, err := openFiles(dir, "model.safetensors")
	if err != nil {
		return nil, err
	}
	f, err := layout(dir, fs)
	if err != nil {
		return nil, err
	}
	f.files = fs
	if f.kind == "" {
		f.kind = c.Type + " model"
	}
	return f, nil
}

// activations are the libraries' names of ours.
var activations = map[string]string{
	"gelu": "gelu", "quick_gelu": "quick_gelu", "relu": "relu",
	"gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh",
}

func activation(name string) (string, error) {
	if a, ok := activations[name]; ok {
		return a, nil
	}
	return "", fmt.Errorf("config.json: hidden_act %q is not supported", name)
}

// parts are the names of a block's tensors, after the layer's prefix.
type parts struct {
	norm1, norm2, out, up, down string
	// qkv is one tensor, or three; bias of the second is missing with noKeyBias.
	qkv       []string
	noKeyBias bool
	// inProj says that the weight and bias of qkv are called QKV_weight and
	// QKV_bias, as PyTorch's MultiheadAttention has it.
	inProj bool
}

// block returns the tower's function of that name: prefix has a %d for the
// layer.
func (p parts) block(prefix string, c encoder.Config) func(layer int, r sharing.Role) (weight, bias []source) {
	d, h := c.Width, c.Hidden
	return func(layer int, r sharing.Role) (weight, bias []source) {
		at := fmt.Sprintf(prefix, layer)
		linear := func(name string, out, in int) (weight, bias []source) {
			return from(at+name+".weight", out, in), from(at+name+".bias", out)
		}
		switch r {
		case sharing.Norm1:
			return from(at+p.norm1+".weight", d), from(at+p.norm1+".bias", d)
		case sharing.Norm2:
			return from(at+p.norm2+".weight", d), from(at+p.norm2+".bias", d)
		case sharing.Out:
			return linear(p.out, d, d)
		case sharing.Up:
			return linear(p.up, h, d)
		case sharing.Down:
			return linear(p.down, d, h)
		}
		switch {
		case p.inProj:
			return from(at+p.qkv[0]+"_weight", 3*d, d), from(at+p.qkv[0]+"_bias", 3*d)
		case len(p.qkv) == 1:
			return linear(p.qkv[0], 3*d, d)
		}
		for i, name := range p.qkv {
			w, b := linear(name, d, d)
			if i == 1 && p.noKeyBias {
				b = zeros(d)
			}
			weight, bias = append(weight, w...), append(bias, b...)
		}
		return weight, bias
	}
}

// norm is the weights of a layer norm, under our name.
func norm(to map[string][]source, ours, theirs string, d int) {
	to[ours+"/weight"], to[ours+"/bias"] = from(theirs+".weight", d), from(theirs+".bias", d)
}

// linear is the weights of a linear map, under our name.
func linear(to map[string][]source, ours, theirs string, out, in int) {
	to[ours+"/weight"], to[ours+"/bias"] = from(theirs+".weight", out, in), from(theirs+".bias", out)
}

// preLN are settings that most towers have.
func preLN(width, layers, heads, hidden, embed int, act string, eps float64) encoder.Config {
	return encoder.Config{
		Width: width, Layers: layers, Heads: heads, Hidden: hidden, Embed: embed,
		Activation: act, Norm: "layer", NormPlace: "pre", Eps: eps,
	}
}

// prefixed returns the first of the prefixes that a tensor of that name has in
// the files.
func prefixed(fs *files, name string, prefixes ...string) (string, error) {
	for _, p := range prefixes {
		if fs.has(p + name) {
			return p, nil
		}
	}
	return "", fmt.Errorf("no tensor %s (with any prefix of %q); the files hold %s", name, prefixes, few(fs.names()))
}

// few lists some names.
func few(names []string) string {
	if len(names) > 8 {
		names = append(slices.Clone(names[:8]), fmt.Sprintf("and %d more", len(names)-8))
	}
	return strings.Join(names, ", ")
}
