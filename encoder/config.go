package encoder

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/onetrunk/onetrunk/tensor"
)

// Config is the "trunk" block of a config.
type Config struct {
	// Width is D, the size of a token in the trunk; Layers the number of
	// blocks that run; Heads the number of attention heads, a divisor of
	// Width; Hidden the inner size of the feed-forward network.
	Width  int `json:"width"`
	Layers int `json:"layers"`
	Heads  int `json:"heads"`
	Hidden int `json:"hidden"`
	// Embed is E, the size of the shared space.
	Embed int `json:"embed"`
	// Activation is "gelu" (by the error function), "gelu_tanh", "quick_gelu" or
	// "relu".
	Activation string `json:"activation"`
	// Norm is "layer" or "rms", NormPlace where it stands: "pre" of each half of
	// a block, or "post" of the sum that the half makes with its input, as in
	// BERT.
	Norm      string `json:"norm"`
	NormPlace string `json:"norm_place"`
	// Eps is added to the variance in norms.
	Eps float64 `json:"eps"`
}

// NormOf returns the trunk's norm.
func (c *Config) NormOf() tensor.Norm {
	return tensor.Norm{RMS: c.Norm == "rms", Eps: float32(c.Eps)}
}

// Default returns the settings that a config need not state.
func Default() Config {
	return Config{Activation: "gelu", Norm: "layer", NormPlace: "pre", Eps: 1e-5}
}

// Defaults fills in what a trunk of one modality need not state: its size of
// the shared space and its kind of activation and norm are the shared trunk's.
func (c *Config) Defaults(shared Config) {
	c.Embed = cmp.Or(c.Embed, shared.Embed)
	c.Activation = cmp.Or(c.Activation, shared.Activation)
	c.Norm = cmp.Or(c.Norm, shared.Norm)
	c.NormPlace = cmp.Or(c.NormPlace, shared.NormPlace)
	c.Eps = cmp.Or(c.Eps, shared.Eps)
}

// Validate checks the block; errors call it at.
func (c *Config) Validate(at string) error {
	for _, v := range []struct {
		key   string
		value int
	}{{"width", c.Width}, {"layers", c.Layers}, {"heads", c.Heads}, {"hidden", c.Hidden}, {"embed", c.Embed}} {
		if v.value < 1 {
			return fmt.Errorf("%s.%s: expected at least 1, found %d", at, v.key, v.value)
		}
	}
	if c.Width%c.Heads != 0 {
		return fmt.Errorf("%s.heads: %d does not divide the width %d", at, c.Heads, c.Width)
	}
	if _, ok := activations[c.Activation]; !ok {
		return fmt.Errorf("%s.activation: %q is not one of gelu, gelu_tanh, quick_gelu, relu", at, c.Activation)
	}
	if c.Norm != "layer" && c.Norm != "rms" {
		return fmt.Errorf("%s.norm: %q is not one of layer, rms", at, c.Norm)
	}
	if c.NormPlace != "pre" && c.NormPlace != "post" {
		return fmt.Errorf("%s.norm_place: %q is not one of pre, post", at, c.NormPlace)
	}
	if !(c.Eps > 0) {
		return fmt.Errorf("%s.eps: expected a positive number, found %g", at, c.Eps)
	}
	return nil
}

var activations = map[string]tensor.Act{
	"gelu": tensor.GELU, "gelu_tanh": tensor.GELUTanh, "quick_gelu": tensor.QuickGELU, "relu": tensor.ReLU,
}

// Act returns the activation. It panics when the name is not known.
func (c *Config) Act() tensor.Act {
	act, ok := activations[c.Activation]
	if !ok {
		panic("encoder: activation " + c.Activation)
	}
	return act
}

// Sequence says how a modality's tokens are read, and how one vector is made
// of what the trunk makes of them.
type Sequence struct {
	// Pool makes one row of a sample's rows: "mean", "first", "last", "class"
	// (a learned token in front of the others), "classes" (the mean of two
	// such tokens) or "attention" (of a learned query to all rows, and a
	// feed-forward network on what it finds, as in SigLIP).
	Pool string `json:"pool"`
	// Causal lets a token see itself and those before it alone.
	Causal bool `json:"causal"`
	// Stem is "patch" for the rows as the tokenizer gives them, "conv" for a
	// convolution over every two of them and their neighbours, with an
	// activation before and after it, as in Whisper, "residual" for convolutions
	// of a picture's pixels, as in MS-CLIP, or "gru" for the states of gated
	// recurrent units that read a sequence.
	Stem string `json:"stem"`
	// Factor, if not 0, is the length of the rows of a table of ids, which a
	// matrix leads to the width, as in ALBERT.
	Factor int `json:"factor,omitempty"`
	// Branch, if not nil, is a convolution network beside the trunk.
	Branch *Branch `json:"branch,omitempty"`
	// StemNorm normalises the rows before the first block, as CLIP does those
	// of images.
	StemNorm bool `json:"stem_norm,omitempty"`
	// HeadNorm says what is normalised after the last block: the "pooled" row,
	// all "rows" before they are pooled, or "none".
	HeadNorm string `json:"head_norm"`
	// Projection is "linear", "bias" (linear with a bias) or "none": the row is
	// the embedding.
	Projection string `json:"projection"`
}

// Branch adds rows that convolutions of a picture's pixels make to the rows of
// the picture as they enter later blocks (MS-CLIP's parallel branch, You et al.
// 2022; tokenizers.Branch says how).
type Branch struct {
	// Layers are the blocks, from 0, that the stages' rows enter, one stage each,
	// in rising order.
	Layers []int `json:"layers"`
	// Channels is what each stage has; a quarter of the width unless stated.
	Channels int `json:"channels"`
}

func (b *Branch) validate(at string, layers int) error {
	if len(b.Layers) == 0 {
		return fmt.Errorf("%s.layers: expected at least one of 0..%d", at, layers-1)
	}
	for i, l := range b.Layers {
		if l < 0 || l >= layers || i > 0 && l <= b.Layers[i-1] {
			return fmt.Errorf("%s.layers: expected rising numbers in 0..%d, found %v", at, layers-1, b.Layers)
		}
	}
	if b.Channels < 1 {
		return fmt.Errorf("%s.channels: expected at least 1, found %d", at, b.Channels)
	}
	return nil
}

// Defaults fills in what a config need not state, for a trunk of a width.
func (s *Sequence) Defaults(width int) {
	s.Pool = cmp.Or(s.Pool, "mean")
	s.Stem = cmp.Or(s.Stem, "patch")
	s.HeadNorm = cmp.Or(s.HeadNorm, "pooled")
	s.Projection = cmp.Or(s.Projection, "linear")
	if s.Branch != nil {
		s.Branch.Channels = cmp.Or(s.Branch.Channels, max(width/4, 1))
	}
}

// Classes returns the number of learned tokens in front of a sample's own.
func (s *Sequence) Classes() int {
	switch s.Pool {
	case "class":
		return 1
	case "classes":
		return 2
	}
	return 0
}

// Validate checks a modality's sequence settings for a trunk; errors begin with
// at.
func (s *Sequence) Validate(at string, trunk Config) error {
	for _, v := range []struct {
		key, value string
		known      []string
	}{
		{"pool", s.Pool, []string{"mean", "first", "last", "class", "classes", "attention"}},
		{"stem", s.Stem, []string{"patch", "conv", "residual", "gru"}},
		{"head_norm", s.HeadNorm, []string{"pooled", "rows", "none"}},
		{"projection", s.Projection, []string{"linear", "bias", "none"}},
	} {
		if !slices.Contains(v.known, v.value) {
			return fmt.Errorf("%s.%s: %q is not one of %s", at, v.key, v.value, strings.Join(v.known, ", "))
		}
	}
	if s.Causal && (s.Pool == "first" || s.Classes() > 0) {
		return fmt.Errorf("%s.pool: %q stands first and sees nothing when causal; use \"last\"", at, s.Pool)
	}
	if s.Stem == "conv" && s.Classes() > 0 {
		return fmt.Errorf("%s.stem: \"conv\" has no place for the class token of pool %q", at, s.Pool)
	}
	if s.Branch != nil {
		if err := s.Branch.validate(at+".branch", trunk.Layers); err != nil {
			return err
		}
	}
	if s.Projection == "none" && trunk.Embed != trunk.Width {
		return fmt.Errorf("%s.projection: \"none\" needs a trunk whose embed (%d) is its width (%d)", at, trunk.Embed, trunk.Width)
	}
	return nil
}
