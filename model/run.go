package model

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/checkpoint"
	"github.com/onetrunk/onetrunk/internal/atomicfile"
	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

// A run folder holds
//
//	config.json                        the whole config, defaults filled in
//	tokenizer.json                     what the processors learned
//	checkpoints/step-NNNNNN/model.safetensors
//	checkpoints/step-NNNNNN/config.json    of a run whose map changes
//	checkpoints/latest, checkpoints/best   the name of a step's folder
const (
	configFile     = "config.json"
	checkpointsDir = "checkpoints"
	weightsFile    = "model.safetensors"
)

// CheckpointDir returns the folder of a step within a run.
func CheckpointDir(run string, step int) string {
	return filepath.Join(run, checkpointsDir, fmt.Sprintf("step-%06d", step))
}

// Mark names a checkpoint "latest" or "best" in its run.
func Mark(dir, as string) error {
	return atomicfile.WriteBytes(filepath.Join(filepath.Dir(dir), as), []byte(filepath.Base(dir)+"\n"))
}

// Marked returns the folder of the checkpoint that is marked "latest" or
// "best" in a run. The error is fs.ErrNotExist when none is.
func Marked(run, as string) (string, error) {
	mark := filepath.Join(run, checkpointsDir, as)
	name, err := os.ReadFile(mark)
	if err != nil {
		return "", err
	}
	step := strings.TrimSpace(string(name))
	if !filepath.IsLocal(step) {
		return "", fmt.Errorf("%s: %q is not the name of a checkpoint", mark, step)
	}
	return filepath.Join(run, checkpointsDir, step), nil
}

// Open opens the model of a run folder, at its best checkpoint or else its
// latest, or of one checkpoint's folder. Its weights are not to be changed: what
// is made of them is made once.
func Open(dir string) (*Model, error) { return OpenOn(dir, tensor.CPU(0)) }

// OpenOn is Open on a given device.
func OpenOn(dir string, dev tensor.Device) (*Model, error) {
	run, weights, err := find(dir)
	if err != nil {
		return nil, err
	}
	cfg, err := ReadConfig(ConfigOf(filepath.Dir(weights)))
	if err != nil {
		return nil, err
	}
	processors, err := cfg.OpenProcessors(run)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", run, err)
	}
	for _, name := range cfg.names() {
		if f, ok := processors[name].(modalities.Fitter); ok && !f.Fitted() {
			return nil, fmt.Errorf("%s: what the %s modality learned (its vocabulary) is missing from the run folder", run, name)
		}
	}
	m := NewEmpty(cfg, processors, dev)
	if err := m.open(weights); err != nil {
		return nil, err
	}
	m.fold()
	return m, nil
}

// find returns the run folder that dir is or is in, and the weights that Open
// reads.
func find(dir string) (run, weights string, err error) {
	weights = filepath.Join(dir, weightsFile)
	if _, err := os.Stat(weights); err == nil {
		return filepath.Dir(filepath.Dir(filepath.Clean(dir))), weights, nil
	}
	step, err := Marked(dir, "best")
	if err != nil {
		step, err = Marked(dir, "latest")
	}
	if err != nil {
		return "", "", fmt.Errorf("%s: not a run folder with a checkpoint (expected %s and %s/latest)", dir, configFile, checkpointsDir)
	}
	return dir, filepath.Join(step, weightsFile), nil
}

// DiskBytes returns the size of the file of weights that Open reads of a folder.
func DiskBytes(dir string) (int64, error) {
	_, weights, err := find(dir)
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(weights)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// ConfigOf returns the path of the config of a checkpoint's folder: its own where
// it has one, and its run's otherwise.
func ConfigOf(dir string) string {
	own := filepath.Join(dir, configFile)
	if _, err := os.Stat(own); err == nil {
		return own
	}
	return filepath.Join(filepath.Dir(filepath.Dir(filepath.Clean(dir))), configFile)
}

// SaveConfig writes config.json and what the processors learned into a run
// folder. Opening that folder later does not depend on anything else.
func (m *Model) SaveConfig(run string) error {
	for _, name := range m.names {
		if f, ok := m.processors[name].(modalities.Fitter); ok {
			if err := f.Save(run); err != nil {
				return err
			}
		}
	}
	return m.WriteConfig(run)
}

// WriteConfig writes config.json alone.
func (m *Model) WriteConfig(dir string) error {
	c := m.Config
	c.Modalities = map[string]Modality{}
	for _, name := range m.names {
		s := m.Config.Modalities[name]
		s.Input = m.processors[name].Config()
		c.Modalities[name] = s
	}
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(filepath.Join(dir, configFile), append(data, '\n'))
}

// Save writes the weights as dir/model.safetensors, each physical tensor once
// under its own name.
func (m *Model) Save(dir string) error {
	tensors, codes := Tensors(m.Bank), codes(m.Bank)
	m.fingerprint = fingerprint(tensors, codes)
	return checkpoint.WriteBytes(filepath.Join(dir, weightsFile), tensors, codes, meta(m.fingerprint))
}

// meta is the metadata of a file of weights.
func meta(fingerprint string) map[string]string {
	return map[string]string{"format": "onetrunk", "fingerprint": fingerprint}
}

// Size returns the size in bytes of the file that Save would write. Tensors with
// many zeros, masks and what they mask, are smaller there than in memory.
func (m *Model) Size() int64 {
	var ts []checkpoint.Tensor
	for _, p := range m.Bank.Params() {
		t := checkpoint.Tensor{Name: p.Name, Shape: p.Shape(), Sparse: p.Sparse}
		if p.Sparse {
			t.Data = m.Bank.Read(p)
		}
		ts = append(ts, t)
	}
	var bs []checkpoint.Bytes
	for _, c := range m.Bank.Codes() {
		bs = append(bs, checkpoint.Bytes{Name: c.Name, DType: c.DType(), Shape: c.Shape()})
	}
	size, err := checkpoint.Size(ts, bs, meta(fingerprint(nil, nil)))
	if err != nil {
		panic(err) // names and shapes are the bank's own
	}
	return size
}

// codes returns all of a bank's codes as they are written down.
func codes(b *sharing.Bank) []checkpoint.Bytes {
	var bs []checkpoint.Bytes
	for _, c := range b.Codes() {
		bs = append(bs, checkpoint.Bytes{Name: c.Name, DType: c.DType(), Shape: c.Shape(), Data: c.Pack()})
	}
	return bs
}

// Tensors returns all of a bank's values as they are written down.
func Tensors(b *sharing.Bank) []checkpoint.Tensor {
	var ts []checkpoint.Tensor
	for _, p := range b.Params() {
		ts = append(ts, checkpoint.Tensor{Name: p.Name, Shape: p.Shape(), Data: b.Read(p), Sparse: p.Sparse})
	}
	return ts
}

// Load reads the weights from a file that Save wrote for a model of the same
// config. A missing, extra or mis-shaped tensor is an error that names it.
func (m *Model) Load(path string) error {
	return m.read(path, func(f *checkpoint.File, p *autograd.Param) error {
		x := make([]float32, p.Value.Len())
		if err := f.Read(p.Name, x, p.Shape()); err != nil {
			return err
		}
		m.Device.Write(p.Value, x)
		return nil
	}, func(f *checkpoint.File) { f.Close() })
}

// open is Load for a model without values: they stay in the file, mapped into
// memory, and what is not asked for is not read. The file is closed when
// nothing uses its values any more.
func (m *Model) open(path string) error {
	return m.read(path, func(f *checkpoint.File, p *autograd.Param) error {
		x, ok, err := f.Floats(p.Name, p.Shape())
		if err != nil {
			return err
		}
		if !ok {
			x = make([]float32, p.Value.Len())
			if err := f.Read(p.Name, x, p.Shape()); err != nil {
				return err
			}
		}
		m.Bank.Set(p, m.Device.Hold(p.Value.Rows, p.Value.Cols, x, f))
		return nil
	}, func(f *checkpoint.File) {
		runtime.SetFinalizer(f, func(f *checkpoint.File) { f.Close() })
	})
}

// read visits every parameter with the file that holds its values.
func (m *Model) read(path string, visit func(f *checkpoint.File, p *autograd.Param) error, done func(f *checkpoint.File)) error {
	f, err := checkpoint.Open(path)
	if err != nil {
		return err
	}
	defer done(f)
	have := f.Names()
	var missing, extra []string
	for _, p := range m.Bank.Params() {
		if !slices.Contains(have, p.Name) {
			missing = append(missing, fmt.Sprintf("%s %v", p.Name, p.Shape()))
		}
	}
	for _, c := range m.Bank.Codes() {
		if !slices.Contains(have, c.Name) {
			missing = append(missing, fmt.Sprintf("%s %s %v", c.Name, c.DType(), c.Shape()))
		}
	}
	for _, name := range have {
		if !m.Bank.Has(name) && m.Bank.CodesOf(name) == nil {
			extra = append(extra, name)
		}
	}
	if len(missing)+len(extra) > 0 {
		return fmt.Errorf("%s does not fit the config: missing tensors %v, extra tensors %v", path, missing, extra)
	}
	for _, p := range m.Bank.Params() {
		if err := visit(f, p); err != nil {
			return err
		}
	}
	for _, c := range m.Bank.Codes() {
		packed, err := f.Bytes(c.Name, c.DType(), c.Shape())
		if err != nil {
			return err
		}
		if err := c.Unpack(packed); err != nil {
			return err
		}
	}
	m.fingerprint = f.Meta()["fingerprint"]
	return nil
}

// Checksum is the SHA-256 of tensors' names, shapes and values, in hexadecimal.
func Checksum(ts []checkpoint.Tensor) string {
	h := sha256.New()
	buf := make([]byte, 4096)
	for _, t := range ts {
		fmt.Fprintln(h, t.Name, t.Shape)
		writeFloats(h, t.Data, buf)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// fingerprint is the first half of a checksum of tensors and, where there are any,
// of codes.
func fingerprint(ts []checkpoint.Tensor, codes []checkpoint.Bytes) string {
	sum := Checksum(ts)
	if len(codes) > 0 {
		h := sha256.New()
		fmt.Fprintln(h, sum)
		for _, c := range codes {
			fmt.Fprintln(h, c.Name, c.Shape)
			h.Write(c.Data)
		}
		sum = hex.EncodeToString(h.Sum(nil))
	}
	return sum[:32]
}

func writeFloats(w hash.Hash, x []float32, buf []byte) {
	for len(x) > 0 {
		n := min(len(x), len(buf)/4)
		for i, v := range x[:n] {
			binary.LittleEndian.PutUint32(buf[4*i:], math.Float32bits(v))
		}
		_, _ = w.Write(buf[:4*n]) // a hash takes all
		x = x[n:]
	}
}
