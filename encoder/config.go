package encoder

import (
	"cmp"
	"fmt"

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
	// Norm is "layer" or "rms".
	Norm string `json:"norm"`
	// Eps is added to the variance in norms.
	Eps float64 `json:"eps"`
}

// NormOf returns the trunk's norm.
func (c *Config) NormOf() tensor.Norm {
	return tensor.Norm{RMS: c.Norm == "rms", Eps: float32(c.Eps)}
}

// Default returns the settings that a config need not state.
func Default() Config {
	return Config{Activation: "gelu", Norm: "layer", Eps: 1e-5}
}

// Defaults fills in what a trunk of one modality need not state: its size of
// the shared space and its kind of activation and norm are the shared trunk's.
func (c *Config) Defaults(shared Config) {
	c.Embed = cmp.Or(c.Embed, shared.Embed)
	c.Activation = cmp.Or(c.Activation, shared.Activation)
	c.Norm = cmp.Or(c.Norm, shared.Norm)
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
	if _, err := activation(c.Activation); err != nil {
		return fmt.Errorf("%s.activation: %w", at, err)
	}
	if c.Norm != "layer" && c.Norm != "rms" {
		return fmt.Errorf("%s.norm: %q is not one of layer, rms", at, c.Norm)
	}
	if !(c.Eps > 0) {
		return fmt.Errorf("%s.eps: expected a positive number, found %g", at, c.Eps)
	}
	return nil
}

func activation(name string) (tensor.Act, error) {
	switch name {
	case "gelu":
		return tensor.GELU, nil
	case "gelu_tanh":
		return tensor.GELUTanh, nil
	case "quick_gelu":
		return tensor.QuickGELU, nil
	case "relu":
		return tensor.ReLU, nil
	}
	return tensor.Identity, fmt.Errorf("%q is not one of gelu, gelu_tanh, quick_gelu, relu", name)
}

// Sequence says how a modality's tokens are read.
type Sequence struct {
	// Pool makes one vector of a sample's rows: "mean", "class" (a learned
	// first token) or "last".
	Pool string `json:"pool"`
	// Causal lets a token see itself and those before it alone.
	Causal bool `json:"causal"`
	// StemNorm normalises the rows before the first block, as CLIP does those
	// of images.
	StemNorm bool `json:"stem_norm,omitempty"`
}

// Validate checks a modality's sequence settings; errors begin with at.
func (s *Sequence) Validate(at string) error {
	switch s.Pool {
	case "mean", "last":
	case "class":
		if s.Causal {
			return fmt.Errorf("%s.pool: \"class\" stands first and sees nothing when causal; use \"last\"", at)
		}
	default:
		return fmt.Errorf("%s.pool: %q is not one of mean, class, last", at, s.Pool)
	}
	return nil
}
