// Package pretrained reads models that other libraries have written, from
// local folders in their usual layouts:
//
//	CLIPModel, SiglipModel, ViTModel, BertModel, WhisperModel, ASTModel
//	    config.json, model.safetensors (or its index and shards),
//	    tokenizer.json (or vocab.json and merges.txt, or spiece.model), preprocessor_config.json
//	sentence-transformers: modules.json and 1_Pooling/config.json besides
//	OpenCLIP: open_clip_config.json (or the model's JSON alone) and a safetensors file
//	timm's vision transformers: config.json with "architecture", model.safetensors
//
// A folder is translated: what the model is becomes one of our configs, and
// each of our tensors is made of the file's by a rule. A missing, extra or
// mis-shaped tensor is an error that lists them, as is what we have no part
// for: a model that was nearly the same would embed wrongly without anyone
// noticing.
package pretrained

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/onetrunk/onetrunk/encoder"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

// Open opens the model of a folder: a run of ours, one checkpoint of it, or a
// model of another library. Of the latter it opens the towers of these
// modalities alone, or all when none is given.
func Open(dir string, modalities ...string) (*model.Model, error) {
	return OpenOn(dir, tensor.CPU(0), modalities...)
}

// OpenOn is Open on a given device.
func OpenOn(dir string, dev tensor.Device, modalities ...string) (*model.Model, error) {
	f, err := read(dir)
	if errors.Is(err, errOurs) {
		return model.OpenOn(dir, dev)
	}
	if err != nil {
		return nil, err
	}
	if err := f.keep(modalities); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return f.open(dev)
}

// errOurs says that a folder does not hold a model of another library.
var errOurs = errors.New("not a model of another library")

// foreign is a model of another library in our words.
type foreign struct {
	dir    string
	kind   string // what errors call it: "CLIPModel"
	towers []tower
	// scale and bias are the logarithm of 1/temperature and what is added to
	// scaled similarities; nil where there is none.
	scale, bias *source
	ignore      []string // prefixes of tensors that embedding does not need
	files       *files
}

// tower is one modality's part of a model.
type tower struct {
	modality string
	trunk    encoder.Config
	sequence encoder.Sequence
	input    any // the modality's "input" block
	// block returns what the weight and the bias of a role in a layer are made
	// of.
	block func(layer int, r sharing.Role) (weight, bias []source)
	// stem and head hold what tensors outside the blocks are made of, by the
	// rest of their names: "patch/weight".
	stem, head map[string][]source
}

// layouts read the kinds of folders. Each returns errOurs for a folder that is
// not of its kind.
var layouts = []func(dir string) (*foreign, error){readOpenCLIP, readTimm, readTransformers}

// read translates a folder.
func read(dir string) (*foreign, error) {
	for _, layout := range layouts {
		f, err := layout(dir)
		if errors.Is(err, errOurs) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
		f.dir = dir
		if err := f.check(); err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
		return f, nil
	}
	return nil, errOurs
}

// keep leaves the towers of these modalities, or all of none.
func (f *foreign) keep(modalities []string) error {
	if len(modalities) == 0 {
		return nil
	}
	var kept []tower
	for _, name := range modalities {
		t, err := f.tower(name)
		if err != nil {
			return err
		}
		kept = append(kept, *t)
	}
	f.towers = kept
	return nil
}

// tower returns the tower of a modality.
func (f *foreign) tower(modality string) (*tower, error) {
	var have []string
	for i := range f.towers {
		if f.towers[i].modality == modality {
			return &f.towers[i], nil
		}
		have = append(have, f.towers[i].modality)
	}
	return nil, fmt.Errorf("the %s reads %v, not %q", f.kind, have, modality)
}

// config returns the model's config: each tower is its modality's own trunk,
// and none is shared.
func (f *foreign) config() (model.Config, error) {
	c := model.Config{
		Trunk:       f.towers[0].trunk,
		Modalities:  map[string]model.Modality{},
		Sharing:     sharing.Config{Layers: sharing.Layers{Scheme: "none", Roles: "all"}, Experts: "none"},
		Temperature: model.Temperature{Initial: 0.07, Least: 0.01},
	}
	for _, t := range f.towers {
		m, err := t.config()
		if err != nil {
			return c, err
		}
		c.Modalities[t.modality] = m
	}
	c.Temperature.Bias = f.biased()
	data, err := json.Marshal(c)
	if err != nil {
		return c, err
	}
	return model.ParseConfig(f.dir, data)
}

// biased reports whether similarities have a bias.
func (f *foreign) biased() bool { return f.bias != nil && len(f.towers) > 1 }

// config returns the tower as a modality with a trunk of its own.
func (t *tower) config() (model.Modality, error) {
	input, err := json.Marshal(t.input)
	if err != nil {
		return model.Modality{}, err
	}
	trunk := t.trunk
	return model.Modality{Sequence: t.sequence, Trunk: &trunk, Input: input}, nil
}

// open makes the model. Its values stay in the files where they can be used as
// they lie.
func (f *foreign) open(dev tensor.Device) (*model.Model, error) {
	c, err := f.config()
	if err != nil {
		return nil, err
	}
	processors, err := c.OpenProcessors("")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.dir, err)
	}
	m := model.NewEmpty(c, processors, dev)
	for name, from := range f.rules(m) {
		p := m.Bank.Param(name)
		x, owner, err := f.files.read(from, p.Value.Rows, p.Value.Cols)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.dir, err)
		}
		m.Bank.Set(p, dev.Hold(p.Value.Rows, p.Value.Cols, x, owner))
	}
	return m, nil
}

// rules returns what each of the model's tensors is made of.
func (f *foreign) rules(m *model.Model) map[string][]source {
	rules := map[string][]source{}
	for _, t := range f.towers {
		t.rules(rules, m.Trunk(t.modality), t.modality)
		t.outside(rules)
	}
	for i, a := range f.towers {
		for _, b := range f.towers[i+1:] {
			if f.scale != nil {
				rules[m.LogScale(a.modality, b.modality).Name] = []source{*f.scale}
			}
			if f.bias != nil {
				rules[m.LogitBias(a.modality, b.modality).Name] = []source{*f.bias}
			}
		}
	}
	return rules
}

// rules adds the rules of the tower's blocks, for the tensors that a map has
// for a modality.
func (t *tower) rules(rules map[string][]source, of *sharing.Map, modality string) {
	for l := range of.Layers {
		for _, r := range sharing.Roles {
			name := of.Tensor(l, modality, r)
			w, b := t.block(l, r)
			rules[name+"/weight"] = w
			if b != nil {
				rules[name+"/bias"] = b
			}
		}
	}
}

// outside adds the rules of the tensors outside the blocks.
func (t *tower) outside(rules map[string][]source) {
	for name, from := range t.stem {
		rules["tokenizers/"+t.modality+"/"+name] = from
	}
	for name, from := range t.head {
		rules["heads/"+t.modality+"/"+name] = from
	}
}

// check compares the tensors that the model is made of with those in the
// files.
func (f *foreign) check() error {
	wanted := map[string][]int{}
	want := func(from []source) {
		for _, s := range from {
			for _, name := range s.names() {
				wanted[name] = s.shape
			}
			if s.plus != "" {
				wanted[s.plus] = nil // its shape is checked when it is read
			}
		}
	}
	for _, t := range f.towers {
		for l := range t.trunk.Layers {
			for _, r := range sharing.Roles {
				w, b := t.block(l, r)
				want(w)
				want(b)
			}
		}
		for _, rest := range []map[string][]source{t.stem, t.head} {
			for _, from := range rest {
				want(from)
			}
		}
	}
	for _, s := range []*source{f.scale, f.bias} {
		if s != nil {
			want([]source{*s})
		}
	}
	var missing, wrong, extra []string
	for name, shape := range wanted {
		have, ok := f.files.shape(name)
		switch {
		case !ok:
			missing = append(missing, fmt.Sprintf("%s %v", name, shape))
		case shape != nil && !slices.Equal(have, shape):
			wrong = append(wrong, fmt.Sprintf("%s is %v, expected %v", name, have, shape))
		}
	}
	for _, name := range f.files.names() {
		if _, ok := wanted[name]; !ok && !slices.ContainsFunc(f.ignore, func(p string) bool { return strings.HasPrefix(name, p) }) {
			shape, _ := f.files.shape(name)
			extra = append(extra, fmt.Sprintf("%s %v", name, shape))
		}
	}
	var parts []string
	for _, list := range []struct {
		what  string
		names []string
	}{{"missing tensors", missing}, {"tensors of another shape", wrong}, {"extra tensors", extra}} {
		if len(list.names) > 0 {
			slices.Sort(list.names)
			parts = append(parts, list.what+": "+strings.Join(list.names, ", "))
		}
	}
	if len(parts) > 0 {
		return fmt.Errorf("the tensors are not those of the %s that the config describes; %s", f.kind, strings.Join(parts, "; "))
	}
	return nil
}

// readJSON reads a file of the folder, unless it is not there, over the
// defaults that v holds. Keys that v does not know are passed over: the files
// are others'.
func readJSON(dir, name string, v any) (found bool, err error) {
	path := filepath.Join(dir, name)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return false, fmt.Errorf("%s: %w", name, err)
	}
	return true, nil
}
