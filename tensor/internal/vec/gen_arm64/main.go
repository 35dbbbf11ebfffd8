// Command gen_arm64 writes the element-wise kernels' NEON assembly.
package main

import (
	"log"

	asm "github.com/onetrunk/onetrunk/tensor/internal/arm64asm"
)

//go:generate go run .

func main() {
	if err := generate().Write("../vec_arm64.s", "../stubs_arm64.go", "vec"); err != nil {
		log.Fatal(err)
	}
}

// kernels is the file in the making.
type kernels struct{ asm.File }

func generate() *kernels {
	k := &kernels{}
	k.arithmetic()
	k.reductions()
	k.softmax()
	k.layerNorm()
	k.rmsNorm()
	k.normGrad()
	k.activations()
	k.adamW()
	return k
}

// all returns a register with four copies of a constant.
func (k *kernels) all(x float32) asm.V {
	v := k.V()
	k.Load(v, k.Constant(x))
	return v
}

// zeros returns count vectors of 0.
func (k *kernels) zeros(count int) []asm.V {
	vs := make([]asm.V, count)
	for i := range vs {
		vs[i] = k.V()
		k.Zero(vs[i])
	}
	return vs
}

func (k *kernels) zero() asm.V { return k.zeros(1)[0] }

// sum adds the lanes of all vs, by halves, and returns the total in lane 0.
func (k *kernels) sum(vs ...asm.V) asm.V {
	for half := len(vs) / 2; half > 0; half /= 2 {
		for i := range half {
			k.FADD(vs[i], vs[i], vs[half+i])
		}
	}
	v := vs[0]
	k.FADDP(v, v, v)
	k.FADDP(v, v, v)
	return v
}
