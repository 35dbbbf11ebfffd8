package model

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/onetrunk/onetrunk/encoder"
	"github.com/onetrunk/onetrunk/internal/strictjson"
	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// Config is one JSON file: it describes a model, its sharing and its
// training. A run folder holds it as config.json.
type Config struct {
	// Trunk gives the sizes of the shared transformer.
	Trunk encoder.Config `json:"trunk"`
	// Modalities names what the model reads, by the registry's names.
	Modalities map[string]Modality `json:"modalities"`
	// Sharing says which weights serve where.
	Sharing sharing.Config `json:"sharing"`
	// Temperature divides the similarities in the contrastive loss.
	Temperature Temperature `json:"temperature"`
	// Train is read by the trainer.
	Train json.RawMessage `json:"train,omitempty"`
}

// Modality says how one modality is read.
type Modality struct {
	encoder.Sequence
	// Trunk, if not nil, is a trunk of the modality's own, of other sizes than
	// the shared one. Layers are shared in it as in that one. Where its
	// embedding is of another size than the shared space, a bridge of a matrix
	// leads there.
	Trunk *encoder.Config `json:"trunk,omitempty"`
	// Input belongs to the modality's own folder, which documents its keys.
	Input json.RawMessage `json:"input,omitempty"`
}

// Temperature is learned, one for each pair of modalities.
type Temperature struct {
	// Initial is its first value, Least the value that it does not go below.
	Initial float64 `json:"initial"`
	Least   float64 `json:"least"`
	// Bias adds a learned number to scaled similarities, as SigLIP's sigmoid
	// loss needs (Zhai et al. 2023). The softmax of InfoNCE does not see it.
	Bias bool `json:"bias,omitempty"`
}

// ParseConfig reads a config; errors call it name. Keys that are left out
// have their defaults, unknown keys are errors.
func ParseConfig(name string, data []byte) (Config, error) {
	c := Config{
		Trunk:       encoder.Default(),
		Sharing:     sharing.Default(),
		Temperature: Temperature{Initial: 0.07, Least: 0.01},
	}
	if err := strictjson.Unmarshal(name, data, &c); err != nil {
		return Config{}, err
	}
	for m, settings := range c.Modalities {
		width := c.Trunk.Width
		if settings.Trunk != nil {
			settings.Trunk.Defaults(c.Trunk)
			width = settings.Trunk.Width
		}
		settings.Defaults(width)
		c.Modalities[m] = settings
	}
	if err := c.validate(); err != nil {
		return Config{}, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// ReadConfig reads a config file.
func ReadConfig(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, err
	}
	return ParseConfig(path, data)
}

func (c *Config) validate() error {
	if err := c.Trunk.Validate("trunk"); err != nil {
		return err
	}
	if err := c.Sharing.Validate(c.Trunk.Layers, c.together()); err != nil {
		return err
	}
	if len(c.Modalities) == 0 {
		return fmt.Errorf("modalities: expected at least one of %v", modalities.Names())
	}
	for _, m := range c.names() {
		if _, err := modalities.Lookup(m); err != nil {
			return fmt.Errorf("modalities: %w", err)
		}
		s := c.Modalities[m]
		if err := s.Validate("modalities."+m, c.trunk(m)); err != nil {
			return err
		}
		if s.Trunk == nil {
			continue
		}
		at := "modalities." + m + ".trunk"
		if err := s.Trunk.Validate(at); err != nil {
			return err
		}
		if err := c.Sharing.Layers.Validate(s.Trunk.Layers); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	t := c.Temperature
	if !(t.Least > 0 && t.Initial >= t.Least && t.Initial <= 1) {
		return fmt.Errorf("temperature: expected 0 < least <= initial <= 1, found least %g, initial %g", t.Least, t.Initial)
	}
	return nil
}

// names lists the modalities, sorted.
func (c *Config) names() []string {
	return slices.Sorted(maps.Keys(c.Modalities))
}

// together lists the modalities of the shared trunk, sorted.
func (c *Config) together() []string {
	return slices.DeleteFunc(c.names(), func(m string) bool { return c.Modalities[m].Trunk != nil })
}

// trunk returns the sizes of the trunk that a modality runs through.
func (c *Config) trunk(modality string) encoder.Config {
	if own := c.Modalities[modality].Trunk; own != nil {
		return *own
	}
	return c.Trunk
}

// stem returns what a modality's stem is made by.
func (c *Config) stem(modality string) tokenizers.StemOptions {
	of, t := c.Modalities[modality], c.trunk(modality)
	o := tokenizers.StemOptions{Width: t.Width, Classes: of.Classes(), Kind: of.Stem, Factor: of.Factor, Act: t.Act()}
	if of.StemNorm {
		n := t.NormOf()
		o.Norm = &n
	}
	return o
}

// branch returns what the branch of a modality that has one is made by.
func (c *Config) branch(modality string) tokenizers.BranchOptions {
	b, t := c.Modalities[modality].Branch, c.trunk(modality)
	return tokenizers.BranchOptions{Width: t.Width, Stages: len(b.Layers), Channels: b.Channels, Act: t.Act()}
}

// OpenProcessors opens the processor of every modality. What they learned is
// read from dir; dir is empty for a model that has not been trained.
func (c *Config) OpenProcessors(dir string) (map[string]modalities.Processor, error) {
	ps := map[string]modalities.Processor{}
	for _, name := range c.names() {
		m, err := modalities.Lookup(name)
		if err != nil {
			return nil, err
		}
		p, err := m.Open(c.Modalities[name].Input, dir)
		if err != nil {
			return nil, fmt.Errorf("modalities.%s.input: %w", name, err)
		}
		if err := c.stem(name).Validate(p.Layout()); err != nil {
			return nil, fmt.Errorf("modalities.%s.%w", name, err)
		}
		if c.Modalities[name].Branch != nil {
			if err := c.branch(name).Validate(p.Layout()); err != nil {
				return nil, fmt.Errorf("modalities.%s.%w", name, err)
			}
		}
		ps[name] = p
	}
	return ps, nil
}
