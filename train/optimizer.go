package train

import (
	"fmt"
	"math"
	"slices"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/checkpoint"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

// optimizer is AdamW over the trained tensors of a bank, each once however
// many places share it. It holds moments for those that are trained when it is
// made; one that is frozen later stays as it is, and its moments, until it is
// trained again.
//
// A step is begin, one or more backward passes, of which the last tells ready
// of each gradient as it becomes whole, and finish. Where the whole gradient
// is not clipped, ready changes the parameter at once, while its gradient is
// in cache, and gives the gradient's memory back; where it is, ready measures
// the gradient, so that finish need not read it twice.
type optimizer struct {
	dev     tensor.Device
	params  []*autograd.Param
	index   map[*autograd.Param]int
	m, v    []*tensor.Tensor // moments of each parameter
	updates []int            // of each parameter in the steps before
	squares []float64        // of each gradient in this step
	state   []stage          // of each parameter in this step
	set     *Settings
	now     tensor.AdamWStep
	rate    float64
	err     error
}

// stage says how far a parameter has come in a step.
type stage uint8

const (
	untouched stage = iota
	measured
	changed
)

func newOptimizer(dev tensor.Device, b *sharing.Bank, s *Settings) *optimizer {
	o := &optimizer{dev: dev, set: s, index: map[*autograd.Param]int{}}
	for _, p := range b.Params() {
		if !p.Trained() {
			continue
		}
		o.index[p] = len(o.params)
		o.params = append(o.params, p)
		for _, moments := range []*[]*tensor.Tensor{&o.m, &o.v} {
			t := dev.NewLasting(p.Value.Rows, p.Value.Cols)
			dev.Fill(t, 0)
			*moments = append(*moments, t)
		}
	}
	o.squares, o.state = make([]float64, len(o.params)), make([]stage, len(o.params))
	o.updates = make([]int, len(o.params))
	return o
}

// begin begins step n, from 1.
func (o *optimizer) begin(n int) {
	clear(o.squares)
	clear(o.state)
	o.err = nil
	o.rate = o.set.rate(n)
	o.now = tensor.AdamWStep{
		LR: float32(o.rate), Beta1: float32(o.set.Beta1), Beta2: float32(o.set.Beta2), Eps: float32(o.set.Eps),
		GradScale: 1,
	}
}

// trained lists the parameters that are not frozen.
func (o *optimizer) trained() []*autograd.Param {
	return slices.DeleteFunc(slices.Clone(o.params), func(p *autograd.Param) bool { return !p.Trained() })
}

// ready takes a parameter whose gradient is whole.
func (o *optimizer) ready(p *autograd.Param) {
	i, ours := o.index[p]
	if !ours {
		return
	}
	o.measure(i)
	if o.set.Clip == 0 && o.err == nil {
		o.change(i)
	}
}

func (o *optimizer) measure(i int) {
	p := o.params[i]
	o.squares[i] = o.dev.SumSquares(p.Grad())
	o.state[i] = measured
	if s := o.squares[i]; o.err == nil && (math.IsNaN(s) || math.IsInf(s, 0)) {
		o.err = fmt.Errorf("the gradient of tensor %q is not finite", p.Name)
	}
}

// change takes the step of one parameter and clears its gradient. Bias is
// corrected by the parameter's own updates.
func (o *optimizer) change(i int) {
	p := o.params[i]
	defer o.hold(p)()
	o.updates[i]++
	n := float64(o.updates[i])
	o.now.Correct1 = float32(1 - math.Pow(o.set.Beta1, n))
	o.now.Correct2 = float32(1 - math.Pow(o.set.Beta2, n))
	o.now.Decay = 0
	if p.Decay {
		o.now.Decay = float32(o.set.Decay)
	}
	if g := p.Grad(); g != nil {
		o.dev.AdamW(p.Value, g, o.m[i], o.v[i], o.now)
		p.Clear(o.dev)
	} else { // no sample of the batch reached it
		g = o.dev.New(p.Value.Rows, p.Value.Cols)
		o.dev.Fill(g, 0)
		o.dev.AdamW(p.Value, g, o.m[i], o.v[i], o.now)
		o.dev.Free(g)
	}
	o.state[i] = changed
}

// finish changes the parameters that have not been, clears all gradients, and
// returns the learning rate and the norm of the whole gradient before
// clipping. A gradient that is not finite is an error that names the tensor;
// with clipping, nothing is changed then.
func (o *optimizer) finish() (rate, norm float64, err error) {
	var sum float64
	for i, p := range o.params {
		if o.state[i] == untouched && p.Grad() != nil {
			o.measure(i)
		}
		sum += o.squares[i]
	}
	if o.err != nil {
		return 0, 0, o.err
	}
	norm = math.Sqrt(sum)
	if o.set.Clip > 0 && norm > o.set.Clip {
		o.now.GradScale = float32(o.set.Clip / norm)
	}
	for i, p := range o.params {
		if o.state[i] != changed && p.Trained() {
			o.change(i)
		}
	}
	return o.rate, norm, nil
}

// The files of moments in a checkpoint: of what is trained, and of a search's
// logits.
const (
	momentsFile = "optimizer.safetensors"
	policyFile  = "policy.safetensors"
)

// save writes the moments into a file of a checkpoint.
func (o *optimizer) save(path string) error {
	var ts []checkpoint.Tensor
	err := o.each(func(name string, p *autograd.Param, t *tensor.Tensor) error {
		x := make([]float32, t.Len())
		o.dev.Read(x, t)
		ts = append(ts, checkpoint.Tensor{Name: name, Shape: p.Shape(), Data: x, Sparse: p.Sparse})
		return nil
	})
	if err != nil {
		return err
	}
	return checkpoint.Write(path, ts, nil)
}

// load reads what save wrote.
func (o *optimizer) load(path string) error {
	f, err := checkpoint.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return o.each(func(name string, p *autograd.Param, t *tensor.Tensor) error {
		x := make([]float32, t.Len())
		if err := f.Read(name, x, p.Shape()); err != nil {
			return err
		}
		o.dev.Write(t, x)
		return nil
	})
}

// each visits every moment under its name.
func (o *optimizer) each(f func(name string, p *autograd.Param, t *tensor.Tensor) error) error {
	for i, p := range o.params {
		if err := f("m/"+p.Name, p, o.m[i]); err != nil {
			return err
		}
		if err := f("v/"+p.Name, p, o.v[i]); err != nil {
			return err
		}
	}
	return nil
}
