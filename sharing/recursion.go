package sharing

import (
	"context"
	"fmt"
)

// Recursive returns the block of a model that shares its products across layers,
// with a lora of that rank at each layer, in place of one whose layers have their
// own: a relaxed recursive transformer (Bae et al. 2025). Norms stay each layer's
// own, and so, with a rank above 0, do biases.
func (c Config) Recursive(layers Layers, rank int) (Config, error) {
	if c.Layers.Scheme != "none" {
		return c, fmt.Errorf("sharing.layers.scheme is %q: the layers share their tensors already", c.Layers.Scheme)
	}
	for _, other := range []struct {
		key  string
		here bool
	}{
		{"map", len(c.Map) > 0},
		{"mix", c.Mix != nil},
		{"delta", c.Delta != nil},
		{"mask", c.Mask != nil},
		{"router", c.Router != nil},
		{"compress", c.Compress != nil},
	} {
		if other.here {
			return c, fmt.Errorf("sharing.%s: layers that are to share one tensor must differ in nothing else", other.key)
		}
	}
	c = c.Trained()
	c.Layers = layers
	c.Layers.Roles = "products"
	by := "layer"
	for _, r := range Products {
		for _, private := range c.Private {
			if private == r {
				by = "both"
			}
		}
	}
	if c.Experts == "modality" {
		by = "both"
	}
	c.Delta = &Delta{Kind: "lora", By: by, Rank: rank, Bias: rank > 0}
	return c, nil
}

// Trained returns the block of a model that has been trained, without what is for
// training alone.
func (c Config) Trained() Config {
	c.Pull, c.Balance, c.Adapt, c.Phases = nil, nil, nil, nil
	return c
}

// Recurse sets the products of a block that Recursive gave for the weights from,
// whose layers have their own: a shared tensor is the mean of those that its
// layers had, and their loras are the truncated SVD of what is left. At full rank
// the products are those of from. done, where it is not nil, is told of each
// tensor.
func (w *Weights) Recurse(ctx context.Context, from *Weights, done func()) error {
	b, set := w.Bank, map[string]bool{}
	for _, r := range Products {
		for l := range w.Layers {
			for _, m := range w.Modalities {
				name := w.Tensor(l, m, r)
				if !set[name] {
					if err := ctx.Err(); err != nil {
						return err
					}
					set[name] = true
					w.mean(from, name, m, r)
					if done != nil {
						done()
					}
				}
				if !w.Config.Delta.covers(r) {
					continue
				}
				lora := w.deltaName(l, m, r)
				if set[lora] {
					continue
				}
				set[lora] = true
				own := from.Tensor(l, m, r)
				rest, out, in := w.less(from, own, name, "/weight")
				a := b.Param(lora + "/a")
				// A keeps directions of length 1: a lora of nothing can still learn.
				left, right := factors(rest, out, in, a.Value.Cols, nil, 1)
				b.Put(a, right)
				b.Put(b.Param(lora+"/b"), left)
				rest, _, _ = w.less(from, own, name, "/bias")
				b.Put(b.Param(lora+"/bias"), rest)
			}
		}
	}
	return nil
}

// mean sets the tensor of that name, which serves a modality, to the mean of what
// its layers have in from.
func (w *Weights) mean(from *Weights, name, modality string, r Role) {
	for _, of := range []string{"/weight", "/bias"} {
		to := w.Bank.Param(name + of)
		sum := make([]float64, to.Value.Len())
		n := 0
		for l := range w.Layers {
			if w.Tensor(l, modality, r) != name {
				continue
			}
			n++
			for i, v := range from.Bank.Read(from.Bank.Param(from.Tensor(l, modality, r) + of)) {
				sum[i] += float64(v)
			}
		}
		x := make([]float32, len(sum))
		for i, v := range sum {
			x[i] = float32(v / float64(n))
		}
		w.Bank.Put(to, x)
	}
}

// less returns a tensor of from less one of w's, and its shape.
func (w *Weights) less(from *Weights, own, shared, of string) (x []float32, rows, cols int) {
	p := from.Bank.Param(own + of)
	x = from.Bank.Read(p)
	for i, v := range w.Bank.Read(w.Bank.Param(shared + of)) {
		x[i] -= v
	}
	return x, p.Value.Rows, p.Value.Cols
}
