// Command benchkernels times the kernels against what the machine can do: the
// matrix product against the measured peak of multiply-adds, element-wise
// kernels against a measured copy.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/onetrunk/onetrunk/internal/par"
	"github.com/onetrunk/onetrunk/tensor/internal/gemm"
	"github.com/onetrunk/onetrunk/tensor/internal/vec"
)

// result is all that was measured.
type result struct {
	CPUs     int       `json:"cpus"`
	Gemm     string    `json:"gemm_kernel"`
	Vec      string    `json:"vec_kernel"`
	Peak     []peak    `json:"peak"`
	Products []product `json:"products"`
	CopyGBs  float64   `json:"copy_gb_per_s"`
	Vectors  []vector  `json:"vectors"`
}

type peak struct {
	Threads int     `json:"threads"`
	GFLOPS  float64 `json:"gflops"`
}

type product struct {
	Shape   string  `json:"shape"`
	Threads int     `json:"threads"`
	GFLOPS  float64 `json:"gflops"`
	Share   float64 `json:"share_of_peak"`
}

type vector struct {
	Name  string  `json:"name"`
	GBs   float64 `json:"gb_per_s"`
	Share float64 `json:"share_of_copy"`
}

// median returns the median time of a run of f in seconds, over about budget
// seconds and at least five runs.
func median(budget float64, f func()) float64 {
	f()
	var times []float64
	for total := 0.0; len(times) < 5 || total < budget; {
		began := time.Now()
		f()
		t := time.Since(began).Seconds()
		times = append(times, t)
		total += t
	}
	slices.Sort(times)
	return times[len(times)/2]
}

func main() {
	asJSON := flag.Bool("json", false, "print one JSON object")
	budget := flag.Float64("seconds", 0.3, "time for each measurement")
	flag.Parse()
	r := measure(*budget)
	if *asJSON {
		if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
			fmt.Fprintln(os.Stderr, "benchkernels:", err)
			os.Exit(1)
		}
		return
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "product (%s)\tthreads\tGFLOP/s\tof peak\t\n", r.Gemm)
	for _, p := range r.Peak {
		fmt.Fprintf(t, "peak\t%d\t%.1f\t\t\n", p.Threads, p.GFLOPS)
	}
	for _, p := range r.Products {
		fmt.Fprintf(t, "%s\t%d\t%.1f\t%.0f%%\t\n", p.Shape, p.Threads, p.GFLOPS, 100*p.Share)
	}
	fmt.Fprintf(t, "\t\t\t\t\nvector (%s)\t\tGB/s\tof copy\t\n", r.Vec)
	for _, v := range r.Vectors {
		fmt.Fprintf(t, "%s\t\t%.1f\t%.0f%%\t\n", v.Name, v.GBs, 100*v.Share)
	}
	if err := t.Flush(); err != nil {
		fmt.Fprintln(os.Stderr, "benchkernels:", err)
		os.Exit(1)
	}
}

// shapes are those of training's products: forward, input gradient, weight
// gradient.
var shapes = []struct {
	m, n, k int
	ta, tb  bool
}{
	{4096, 256, 256, false, false},
	{4096, 1024, 256, false, false},
	{4096, 256, 1024, false, false},
	{3200, 1536, 384, false, false},
	{2048, 2048, 2048, false, false},
	{256, 1024, 4096, true, false},
	{4096, 256, 1024, false, true},
}

func measure(budget float64) result {
	r := result{CPUs: runtime.NumCPU(), Gemm: gemm.Kernel(), Vec: vec.Kernel()}
	for _, threads := range []int{1, 2} {
		if threads > runtime.GOMAXPROCS(0) {
			continue
		}
		pool := par.New(threads)
		const rounds = 2_000_000
		flops := make([]int, threads)
		// The processor changes its clock, so the peak is the best of several.
		best := 0.0
		for range 10 {
			began := time.Now()
			pool.For(threads, func(_, i int) { flops[i] = gemm.Peak(rounds) })
			total := 0
			for _, f := range flops {
				total += f
			}
			best = max(best, float64(total)/time.Since(began).Seconds()/1e9)
		}
		r.Peak = append(r.Peak, peak{threads, best})
		for _, s := range shapes {
			a, b, c := fill(s.m*s.k), fill(s.k*s.n), fill(s.m*s.n)
			ma, mb := gemm.Matrix{Data: a, Stride: s.k}, gemm.Matrix{Data: b, Stride: s.n}
			name := "AB"
			if s.ta {
				ma, name = gemm.Matrix{Data: a, Stride: s.m, Trans: true}, "A'B"
			}
			if s.tb {
				mb, name = gemm.Matrix{Data: b, Stride: s.k, Trans: true}, "AB'"
			}
			t := median(budget, func() { gemm.Mul(pool, s.m, s.n, s.k, ma, mb, c, s.n, false, nil) })
			g := 2 * float64(s.m) * float64(s.n) * float64(s.k) / t / 1e9
			p := product{Shape: fmt.Sprintf("%s %d,%d,%d", name, s.m, s.n, s.k), Threads: threads, GFLOPS: g}
			if best > 0 {
				p.Share = g / best
			}
			r.Products = append(r.Products, p)
		}
		pool.Close()
	}
	r.vectors(budget)
	return r
}

func fill(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(i%17)/17 - 0.4
	}
	return x
}
