package train

import (
	"fmt"
	"math"
	"path/filepath"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/checkpoint"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

// optimizer is AdamW over the trained tensors of a bank, each once however
// many places share it.
type optimizer struct {
	dev    tensor.Device
	params []*autograd.Param
	m, v   []*tensor.Tensor // moments of each parameter
	set    *Settings
}

func newOptimizer(dev tensor.Device, b *sharing.Bank, s *Settings) *optimizer {
	o := &optimizer{dev: dev, set: s}
	for _, p := range b.Params() {
		if !p.Trained() {
			continue
		}
		o.params = append(o.params, p)
		for _, moments := range []*[]*tensor.Tensor{&o.m, &o.v} {
			t := dev.New(p.Value.Rows, p.Value.Cols)
			dev.Fill(t, 0)
			*moments = append(*moments, t)
		}
	}
	return o
}

// step changes the parameters by their gradients, clears the gradients, and
// returns the learning rate and the norm of the whole gradient before
// clipping. A gradient that is not finite is an error that names the tensor;
// nothing is changed then.
func (o *optimizer) step(n int) (rate, norm float64, err error) {
	var sum float64
	for _, p := range o.params {
		if p.Grad() == nil {
			continue
		}
		s := o.dev.SumSquares(p.Grad())
		if math.IsNaN(s) || math.IsInf(s, 0) {
			return 0, 0, fmt.Errorf("the gradient of tensor %q is not finite", p.Name)
		}
		sum += s
	}
	norm = math.Sqrt(sum)
	clip := 1.0
	if o.set.Clip > 0 && norm > o.set.Clip {
		clip = o.set.Clip / norm
	}
	rate = o.set.rate(n)
	s := tensor.AdamWStep{
		LR: float32(rate), Beta1: float32(o.set.Beta1), Beta2: float32(o.set.Beta2), Eps: float32(o.set.Eps),
		Correct1:  float32(1 - math.Pow(o.set.Beta1, float64(n))),
		Correct2:  float32(1 - math.Pow(o.set.Beta2, float64(n))),
		GradScale: float32(clip),
	}
	for i, p := range o.params {
		s.Decay = 0
		if p.Decay {
			s.Decay = float32(o.set.Decay)
		}
		g := p.Grad()
		if g == nil { // no sample of the batch reached it
			g = o.dev.New(p.Value.Rows, p.Value.Cols)
			o.dev.Fill(g, 0)
			o.dev.AdamW(p.Value, g, o.m[i], o.v[i], s)
			o.dev.Free(g)
			continue
		}
		o.dev.AdamW(p.Value, g, o.m[i], o.v[i], s)
		p.Clear(o.dev)
	}
	return rate, norm, nil
}

const momentsFile = "optimizer.safetensors"

// save writes the moments into a checkpoint's folder.
func (o *optimizer) save(dir string) error {
	var ts []checkpoint.Tensor
	err := o.each(func(name string, p *autograd.Param, t *tensor.Tensor) error {
		x := make([]float32, t.Len())
		o.dev.Read(x, t)
		ts = append(ts, checkpoint.Tensor{Name: name, Shape: p.Shape(), Data: x})
		return nil
	})
	if err != nil {
		return err
	}
	return checkpoint.Write(filepath.Join(dir, momentsFile), ts, nil)
}

// load reads what save wrote.
func (o *optimizer) load(dir string) error {
	f, err := checkpoint.Open(filepath.Join(dir, momentsFile))
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
