// Package export writes models for other programs: as a run folder, as a
// CLIPModel of Hugging Face's transformers, and as ONNX files.
//
// What a format has no place for is refused with the key of the config that
// asks for it: a model that was nearly the same would embed wrongly without
// anyone noticing.
package export

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/onetrunk/onetrunk/encoder"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// Run writes a run folder with one checkpoint, of step 0, in float32: each
// physical tensor once, under its own name.
func Run(m *model.Model, dir string) error {
	if err := fresh(dir); err != nil {
		return err
	}
	if err := m.SaveConfig(dir); err != nil {
		return err
	}
	step := model.CheckpointDir(dir, 0)
	if err := os.MkdirAll(step, 0o777); err != nil {
		return err
	}
	if err := m.Save(step); err != nil {
		return err
	}
	return model.Mark(step, "latest")
}

// whole returns a model whose places are served by whole tensors, for formats that
// know no others.
func whole(m *model.Model) (*model.Model, error) {
	if m.Config.Sharing.Layers.Depth {
		return nil, fmt.Errorf("sharing.layers.depth: the format has no place for rows that layers add")
	}
	if m.Config.Sharing.Router != nil {
		return nil, fmt.Errorf("sharing.router: the format has no place for gates")
	}
	return m.Whole()
}

// fresh makes a folder, or takes one that is there and empty.
func fresh(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return os.MkdirAll(dir, 0o777)
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("%s: the folder is not empty", dir)
	}
	return nil
}

// tower is what one modality of a model runs through.
type tower struct {
	m        *model.Model
	modality string
	trunk    encoder.Config
	sequence encoder.Sequence
	layout   tokenizers.Layout
}

func newTower(m *model.Model, modality string) *tower {
	of := m.Config.Modalities[modality]
	t := &tower{m: m, modality: modality, trunk: m.Config.Trunk, sequence: of.Sequence, layout: m.Processors()[modality].Layout()}
	if of.Trunk != nil {
		t.trunk = *of.Trunk
	}
	return t
}

// networks is an error where the tower's trunk has experts with a gate, for which
// what is called that has no place.
func (t *tower) networks(what string) error {
	for l := range t.trunk.Layers {
		if t.m.Trunk(t.modality).Routed(l) {
			return fmt.Errorf("sharing.router: %s has one feed-forward network in a layer; layer %d has experts with a gate", what, l)
		}
	}
	return nil
}

// stem and head are the full names of the tower's tensors outside the trunk.
func (t *tower) stem(name string) string { return "tokenizers/" + t.modality + "/" + name }
func (t *tower) head(name string) string { return "heads/" + t.modality + "/" + name }

// values returns a copy of a tensor's values.
func (t *tower) values(name string) []float32 { return t.m.Bank.Read(t.m.Bank.Param(name)) }

// refuse is the error for a setting of the tower's modality.
func (t *tower) refuse(key string, found any, reason string) error {
	return fmt.Errorf("modalities.%s.%s: %v %s", t.modality, key, found, reason)
}

// plain refuses what is more than a stem of patches or ids and blocks of one
// tensor a place.
func (t *tower) plain() error {
	s, of := t.sequence, t.m.Config.Sharing
	if t.m.Config.Modalities[t.modality].Trunk != nil {
		of.Mix, of.Delta, of.Mask = nil, nil, nil // which are the shared trunk's
	}
	switch {
	case s.Stem == "residual" || s.Stem == "gru":
		return t.refuse("stem", s.Stem, "cannot be exported")
	case s.Factor > 0:
		return t.refuse("factor", s.Factor, "cannot be exported: the table of ids is a product of two")
	case s.Branch != nil:
		return t.refuse("branch", s.Branch.Layers, "cannot be exported")
	case of.Mix != nil:
		return fmt.Errorf("sharing.mix: tensors that are made of several cannot be exported")
	case of.Delta != nil:
		return fmt.Errorf("sharing.delta: cannot be exported")
	case of.Mask != nil:
		return fmt.Errorf("sharing.mask: entries that modalities do not use cannot be exported")
	case of.Layers.Depth:
		return fmt.Errorf("sharing.layers.depth: cannot be exported")
	}
	return nil
}

// product returns a [n, k] times b [k, m].
func product(a, b []float32, n, k, m int) []float32 {
	y := make([]float32, n*m)
	row := make([]float64, m)
	for i := range n {
		clear(row)
		for j := range k {
			for c, v := range b[j*m : (j+1)*m] {
				row[c] += float64(a[i*k+j]) * float64(v)
			}
		}
		for c, v := range row {
			y[i*m+c] = float32(v)
		}
	}
	return y
}
