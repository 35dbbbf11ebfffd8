// Command gen_arm64 writes the matrix product's NEON assembly.
package main

import (
	"fmt"
	"log"

	asm "github.com/onetrunk/onetrunk/tensor/internal/arm64asm"
)

//go:generate go run .

func main() {
	if err := generate().Write("../gemm_arm64.s", "../stubs_arm64.go", "gemm"); err != nil {
		log.Fatal(err)
	}
}

// kernels is the file in the making.
type kernels struct{ asm.File }

func generate() *kernels {
	k := &kernels{}
	k.tile()
	k.copyPanels()
	k.transpose8()
	k.peak()
	return k
}

// The shape of a tile. Its sums take 24 of the 32 registers.
const rows, columns = 8, 12

// floats makes a number of float32 one of bytes.
func (k *kernels) floats(r asm.R) { k.Op("LSL", "$2", r) }

// loop runs body n times, not at all for 0.
func (k *kernels) loop(n asm.R, label string, body func()) {
	k.Op("CBZ", n, label+"Done")
	k.Label(label)
	body()
	k.Op("SUBS", "$1", n, n)
	k.Op("BNE", label)
	k.Label(label + "Done")
}

// registers returns count vector registers.
func (k *kernels) registers(count int) []asm.V {
	vs := make([]asm.V, count)
	for i := range vs {
		vs[i] = k.V()
	}
	return vs
}

func (k *kernels) tile() {
	k.Func("tileNEON", "func(k int, a, b, c *float32, ldc int, acc int)", "tileNEON multiplies 8 rows that are packed with a panel of 12.", func() {
		n, pa, pb, pc, ldc, acc := k.Arg("k"), k.Arg("a"), k.Arg("b"), k.Arg("c"), k.Arg("ldc"), k.Arg("acc")
		a, b := k.registers(rows/4), k.registers(columns/4)
		var sums [rows][]asm.V
		for i := range sums {
			sums[i] = k.registers(columns / 4)
			for _, s := range sums[i] {
				k.Zero(s)
			}
		}
		k.loop(n, "step", func() {
			k.LoadPair(a[0], a[1], pa)
			k.LoadPair(b[0], b[1], pb)
			k.LoadNext(b[2], pb)
			for i := range sums {
				for j, s := range sums[i] {
					k.FMLALane(s, b[j], a[i/4], i%4)
				}
			}
		})
		k.floats(ldc)
		row := k.R()
		// each runs f for the addresses of C that the sums have.
		each := func(f func(sum asm.V, address string)) {
			k.Op("MOVD", pc, row)
			for i := range sums {
				for j, s := range sums[i] {
					f(s, fmt.Sprintf("%d(%v)", 16*j, row))
				}
				if i < rows-1 {
					k.Op("ADD", ldc, row)
				}
			}
		}
		k.Op("CBZ", acc, "write")
		each(func(sum asm.V, address string) {
			k.Load(a[0], address)
			k.FADD(sum, sum, a[0])
		})
		k.Label("write")
		each(func(sum asm.V, address string) { k.Store(address, sum) })
	})
}

func (k *kernels) copyPanels() {
	k.Func("copyPanelsNEON", "func(k, panels int, src *float32, stride int, dst *float32)", "copyPanelsNEON is copyPanelsGo for panels of 12.", func() {
		n, panels, src, stride, dst := k.Arg("k"), k.Arg("panels"), k.Arg("src"), k.Arg("stride"), k.Arg("dst")
		k.floats(stride)
		from, left := k.R(), k.R()
		v := k.registers(columns / 4)
		k.loop(panels, "panel", func() {
			k.Op("MOVD", src, from)
			k.Op("MOVD", n, left)
			k.loop(left, "row", func() {
				for j := range v {
					k.Load(v[j], fmt.Sprintf("%d(%v)", 16*j, from))
				}
				for j := range v {
					k.Store(fmt.Sprintf("%d(%v)", 16*j, dst), v[j])
				}
				k.Op("ADD", stride, from)
				k.Op("ADD", fmt.Sprintf("$%d", 4*columns), dst)
			})
			k.Op("ADD", fmt.Sprintf("$%d", 4*columns), src)
		})
	})
}

func (k *kernels) transpose8() {
	k.Func("transpose8NEON", "func(n8 int, src *float32, stride int, dst *float32, step int)", "transpose8NEON is transpose8Go.", func() {
		n, src, stride, dst, step := k.Arg("n8"), k.Arg("src"), k.Arg("stride"), k.Arg("dst"), k.Arg("step")
		k.floats(stride)
		k.floats(step)
		row := [8]asm.R{src}
		for i := 1; i < 8; i++ {
			row[i] = k.R()
			k.Op("ADD", stride, row[i-1], row[i])
		}
		left, right := k.registers(8), k.registers(8) // of eight columns
		t := k.registers(4)
		k.loop(n, "square", func() {
			for i, p := range row {
				k.LoadPair(left[i], right[i], p)
			}
			for _, half := range [][]asm.V{left, right} {
				for i := 0; i < 8; i += 4 {
					x := half[i : i+4]
					k.TRN1(t[0], x[0], x[1])
					k.TRN2(t[1], x[0], x[1])
					k.TRN1(t[2], x[2], x[3])
					k.TRN2(t[3], x[2], x[3])
					k.Low(x[0], t[0], t[2])
					k.Low(x[1], t[1], t[3])
					k.High(x[2], t[0], t[2])
					k.High(x[3], t[1], t[3])
				}
				for j := range 4 {
					k.StorePair(dst, half[j], half[4+j])
					k.Op("ADD", step, dst)
				}
			}
		})
	})
}

func (k *kernels) peak() {
	k.Func("peakNEON", "func(n int)", "peakNEON runs n rounds of 24 independent multiply-adds of a vector.", func() {
		n := k.Arg("n")
		x := k.V()
		k.Zero(x)
		sums := k.registers(rows * columns / 4)
		for _, s := range sums {
			k.Zero(s)
		}
		k.loop(n, "round", func() {
			for _, s := range sums {
				k.FMLALane(s, x, x, 0)
			}
		})
	})
}
