package sharing

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/tensor"
)

// Bank holds the physical tensors, each once, under their names.
type Bank struct {
	dev    tensor.Device
	seed   uint64
	empty  bool // whether tensors are made without values
	params []*autograd.Param
	byName map[string]*autograd.Param
	codes  []*Codes
	coded  map[string]*Codes
}

// NewEmptyBank is NewBank for tensors whose values are all to be Set: none are
// drawn, and no memory is taken for them.
func NewEmptyBank(dev tensor.Device) *Bank {
	b := NewBank(dev, 0)
	b.empty = true
	return b
}

// NewBank makes an empty bank on a device. The first values of a tensor
// depend on the seed and its name alone, so that models which differ
// elsewhere begin equal.
func NewBank(dev tensor.Device, seed uint64) *Bank {
	return &Bank{dev: dev, seed: seed, byName: map[string]*autograd.Param{}, coded: map[string]*Codes{}}
}

// Params lists all parameters, in the order in which they were made.
func (b *Bank) Params() []*autograd.Param { return b.params }

// Param returns the parameter of that name. It panics when there is none.
func (b *Bank) Param(name string) *autograd.Param {
	p, ok := b.byName[name]
	if !ok {
		panic("sharing: the bank has no tensor " + name)
	}
	return p
}

// Matrix adds a weight [rows, cols] drawn from a normal distribution of the
// given standard deviation. Weight decay applies to it.
func (b *Bank) Matrix(name string, rows, cols int, std float64) *autograd.Param {
	return b.matrix(name, name, rows, cols, std)
}

// matrix is Matrix for a weight that begins as the one of the name from would.
func (b *Bank) matrix(name, from string, rows, cols int, std float64) *autograd.Param {
	p := b.add(name, rows, cols, b.normal(from, std))
	p.Decay = true
	return p
}

// normal returns the function that draws the first values of the tensor of a
// name, in row-major order.
func (b *Bank) normal(name string, std float64) func(x []float32) {
	h := fnv.New64a()
	h.Write([]byte(name))
	rng := rand.New(rand.NewPCG(b.seed, h.Sum64()))
	return func(x []float32) {
		for i := range x {
			x[i] = float32(rng.NormFloat64()*std) + 0 // no negative zeros
		}
	}
}

// Vector adds a bias, gain or other vector [n] whose elements begin at v.
func (b *Bank) Vector(name string, n int, v float32) *autograd.Param {
	p := b.add(name, 1, n, func(x []float32) {
		for i := range x {
			x[i] = v
		}
	})
	p.Vector = true
	return p
}

// Norm adds the weights of a norm over n columns: gains name/weight and, but
// for RMS norm, name/bias.
func (b *Bank) Norm(name string, n int, rms bool) {
	b.Vector(name+"/weight", n, 1)
	if !rms {
		b.Vector(name+"/bias", n, 0)
	}
}

func (b *Bank) add(name string, rows, cols int, fill func(x []float32)) *autograd.Param {
	if b.byName[name] != nil {
		panic("sharing: the bank has a tensor " + name + " already")
	}
	value := &tensor.Tensor{Rows: rows, Cols: cols}
	if !b.empty {
		value = b.dev.NewLasting(rows, cols)
		// Some rows at a time: a whole table beside its copy would be much.
		some := max(1<<16/max(cols, 1), 1)
		x := make([]float32, min(some, rows)*cols)
		for i := 0; i < rows; i += some {
			part := value.Slice(i, min(i+some, rows))
			x = x[:part.Len()]
			fill(x)
			b.dev.Write(part, x)
		}
	}
	p := autograd.NewParam(name, value)
	b.params = append(b.params, p)
	b.byName[name] = p
	return p
}

// Set makes x, of the parameter's shape, its value.
func (b *Bank) Set(p *autograd.Param, x *tensor.Tensor) {
	if x.Rows != p.Value.Rows || x.Cols != p.Value.Cols {
		panic(fmt.Sprintf("sharing: %v set as tensor %s %v", x, p.Name, p.Value))
	}
	if old := *p.Value; old.Mem != nil {
		b.dev.Free(&old)
	}
	*p.Value = *x
}

// Put gives a parameter of a bank without values its own.
func (b *Bank) Put(p *autograd.Param, x []float32) {
	t := b.dev.NewLasting(p.Value.Rows, p.Value.Cols)
	b.dev.Write(t, x)
	b.Set(p, t)
}

// Take copies all values from another bank. A tensor that is missing there, or of
// another shape, is an error that names it.
func (b *Bank) Take(from *Bank) error {
	for _, p := range b.params {
		if !from.Has(p.Name) {
			return fmt.Errorf("there is no tensor %q to begin from", p.Name)
		}
		if err := b.Write(p, from.Read(from.Param(p.Name))); err != nil {
			return err
		}
	}
	for _, c := range b.codes {
		of := from.coded[c.Name]
		if of == nil || of.Rows != c.Rows || of.Cols != c.Cols || of.Bits != c.Bits {
			return fmt.Errorf("there are no codes %q [%d, %d] of %d bits to begin from", c.Name, c.Rows, c.Cols, c.Bits)
		}
		c.set(of.codes)
	}
	return nil
}

// Elements returns the number of trained values in all tensors, each counted
// once. Fixed ones are none.
func (b *Bank) Elements() int {
	n := 0
	for _, p := range b.params {
		if !p.Fixed {
			n += p.Value.Len()
		}
	}
	return n
}

// Run is a run of packed rows of one modality.
type Run struct {
	Modality string
	Rows     int
}

// Part returns the weight and bias of a tensor name for a number of rows.
func (b *Bank) Part(name string, rows int) autograd.Part {
	p := autograd.Part{Rows: rows, W: b.Param(name + "/weight").Var()}
	if bias, ok := b.byName[name+"/bias"]; ok {
		p.B = bias.Var()
	}
	return p
}

// Freeze stops (or starts again) the training of the parameters that match.
// A frozen parameter has no gradient; gradients pass through it. Fixed ones are
// never trained.
func (b *Bank) Freeze(match func(name string) bool, frozen bool) {
	for _, p := range b.params {
		if match(p.Name) && frozen == p.Trained() && !p.Fixed {
			p.Clear(b.dev)
			p.Train(!frozen)
		}
	}
}

// Read returns a copy of a parameter's values.
func (b *Bank) Read(p *autograd.Param) []float32 {
	x := make([]float32, p.Value.Len())
	b.dev.Read(x, p.Value)
	return x
}

// Write sets a parameter's values. It is an error when the number differs.
func (b *Bank) Write(p *autograd.Param, x []float32) error {
	if len(x) != p.Value.Len() {
		return fmt.Errorf("tensor %q: %d values, expected %d (%v)", p.Name, len(x), p.Value.Len(), p.Shape())
	}
	b.dev.Write(p.Value, x)
	return nil
}

// Has reports whether the bank holds a parameter of that name.
func (b *Bank) Has(name string) bool { return b.byName[name] != nil }
