package pretrained

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/onetrunk/onetrunk/encoder"
	"github.com/onetrunk/onetrunk/model"
)

// Start is where training begins: towers of other libraries' models in place
// of first values.
type Start struct {
	parts []part
}

// part is a tower in its place.
type part struct {
	place string // "trunk", or the modality whose tower it is
	from  *foreign
	tower *tower
}

// SharedTrunk is the place of a tower that becomes the trunk of all modalities.
const SharedTrunk = "trunk"

// Begin reads the towers that dirs names by their places, and changes a config
// so that they fit in: a tower in the place of its modality is that modality's
// own trunk, and brings its tokenizer and head; as the shared trunk it brings
// the sizes of the blocks, and what belongs to its own modality where the
// config reads that (Zhang et al. 2023, Meta-Transformer). The shared space
// keeps its size.
func Begin(c model.Config, dirs map[string]string) (*Start, model.Config, error) {
	s := &Start{}
	c.Modalities = maps.Clone(c.Modalities)
	for _, place := range slices.Sorted(maps.Keys(dirs)) {
		dir := dirs[place]
		f, err := read(dir)
		if errors.Is(err, errOurs) {
			return nil, c, fmt.Errorf("%s: not the folder of a model of another library (no config.json with a model_type or an architecture, no %s)", dir, openclipConfig)
		}
		if err != nil {
			return nil, c, err
		}
		p := part{place: place, from: f}
		if place == SharedTrunk {
			p.tower = &f.towers[0]
			err = p.share(&c)
		} else if p.tower, err = f.tower(place); err == nil {
			err = p.own(&c)
		}
		if err == nil {
			err = layersDiffer(c, p.tower.trunk)
		}
		if err != nil {
			return nil, c, fmt.Errorf("%s: %w", dir, err)
		}
		s.parts = append(s.parts, p)
	}
	data, err := json.Marshal(c)
	if err != nil {
		return nil, c, err
	}
	c, err = model.ParseConfig("the config with what training begins from", data)
	return s, c, err
}

// own makes the tower its modality's own trunk.
func (p *part) own(c *model.Config) error {
	m, err := p.tower.config()
	if err != nil {
		return err
	}
	if m.Input, err = augmented(m.Input, c.Modalities[p.place].Input); err != nil {
		return err
	}
	c.Modalities[p.place] = m
	return nil
}

// share makes the tower the trunk of all modalities that have none of their
// own.
func (p *part) share(c *model.Config) error {
	if c.Sharing.Router != nil {
		return fmt.Errorf("sharing.router: experts cannot begin as a tower's layers, which have one feed-forward network")
	}
	embed := c.Trunk.Embed
	c.Trunk = p.tower.trunk
	c.Trunk.Embed = embed
	m, reads := c.Modalities[p.tower.modality]
	if !reads || m.Trunk != nil {
		return nil
	}
	own, err := p.tower.config()
	if err != nil {
		return err
	}
	own.Trunk = nil
	own.Projection = "linear"
	if own.Input, err = augmented(own.Input, m.Input); err != nil {
		return err
	}
	c.Modalities[p.tower.modality] = own
	return nil
}

// augmented gives an input block the augmentation of another.
func augmented(input, config json.RawMessage) (json.RawMessage, error) {
	if len(config) == 0 {
		return input, nil
	}
	var to, from map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(input, &to), json.Unmarshal(config, &from)); err != nil {
		return nil, err
	}
	if from["augment"] != nil {
		to["augment"] = from["augment"]
	}
	return json.Marshal(to)
}

// Fill writes the towers' values into a model of the config that Begin gave.
func (s *Start) Fill(m *model.Model) error {
	for _, p := range s.parts {
		rules := map[string][]source{}
		if p.place == SharedTrunk {
			for _, name := range m.Modalities() {
				if m.Config.Modalities[name].Trunk == nil {
					p.tower.rules(rules, m.Trunk(name), name)
				}
			}
			if of, reads := m.Config.Modalities[p.tower.modality]; reads && of.Trunk == nil {
				p.tower.outside(rules)
				delete(rules, "heads/"+p.tower.modality+"/projection/weight")
				delete(rules, "heads/"+p.tower.modality+"/projection/bias")
			}
		} else {
			p.tower.rules(rules, m.Trunk(p.place), p.place)
			p.tower.outside(rules)
		}
		for name, from := range rules {
			to := m.Bank.Param(name)
			x, _, err := p.from.files.read(from, to.Value.Rows, to.Value.Cols)
			if err == nil {
				err = m.Bank.Write(to, x)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", p.from.dir, err)
			}
		}
	}
	return nil
}

// layersDiffer is what a tower cannot begin: layers that share tensors.
func layersDiffer(c model.Config, t encoder.Config) error {
	if c.Sharing.Compress != nil {
		return fmt.Errorf("sharing.compress: a tower begins whole; train, then compress the run")
	}
	if c.Sharing.Layers.Scheme != "none" && t.Layers > 1 {
		return fmt.Errorf("sharing.layers.scheme %q: layers that share their tensors cannot begin as the tower's, which differ", c.Sharing.Layers.Scheme)
	}
	return nil
}
