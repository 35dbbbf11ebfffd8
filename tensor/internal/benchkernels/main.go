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

	"github.com/onetrunk/onetrunk/internal/hugepage"
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
	return middle(times)
}

func main() {
	asJSON := flag.Bool("json", false, "print one JSON object")
	budget := flag.Float64("seconds", 0.5, "time for each measurement")
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

type shape struct {
	m, n, k int
	ta, tb  bool
}

// shapes are those of training's products: forward, input gradient, weight
// gradient.
var shapes = []shape{
	{4096, 256, 256, false, false},
	{4096, 1024, 256, false, false},
	{4096, 256, 1024, false, false},
	{3200, 1536, 384, false, false},
	{2048, 2048, 2048, false, false},
	{256, 1024, 4096, true, false},
	{4096, 256, 1024, false, true},
}

// measure times the kernels. The clock of a processor changes, and what else
// runs on the machine takes its share, so each product takes turns with the
// peak: a product's share is the median over the turns, its speed that of the
// median turn.
func measure(budget float64) result {
	r := result{CPUs: runtime.NumCPU(), Gemm: gemm.Kernel(), Vec: vec.Kernel()}
	for _, threads := range []int{1, 2} {
		if threads > runtime.GOMAXPROCS(0) {
			continue
		}
		pool := par.New(threads)
		var peaks []float64
		for _, s := range shapes {
			p, of := s.measure(pool, budget)
			r.Products = append(r.Products, p)
			peaks = append(peaks, of...)
		}
		r.Peak = append(r.Peak, peak{threads, middle(peaks)})
		pool.Close()
	}
	r.vectors(budget)
	return r
}

func (s shape) measure(pool *par.Pool, budget float64) (p product, peaks []float64) {
	a, b, c := fill(s.m*s.k), fill(s.k*s.n), fill(s.m*s.n)
	ma, mb := gemm.Matrix{Data: a, Stride: s.k}, gemm.Matrix{Data: b, Stride: s.n}
	name := "AB"
	if s.ta {
		ma, name = gemm.Matrix{Data: a, Stride: s.m, Trans: true}, "A'B"
	}
	if s.tb {
		mb, name = gemm.Matrix{Data: b, Stride: s.k, Trans: true}, "AB'"
	}
	speed := func(f func() float64) float64 {
		began := time.Now()
		flops := f()
		return flops / time.Since(began).Seconds() / 1e9
	}
	// The peak's loop runs as long as the product would at its peak.
	rounds := max(s.m*s.n*s.k*2/max(gemm.Peak(1), 1)/pool.Workers(), 1)
	flops := make([]int, pool.Workers())
	var speeds, shares []float64
	for began := time.Now(); len(shares) < 9 || time.Since(began).Seconds() < budget; {
		of := speed(func() float64 {
			pool.For(len(flops), func(_, i int) { flops[i] = gemm.Peak(rounds) })
			total := 0.0
			for _, f := range flops {
				total += float64(f)
			}
			return total
		})
		is := speed(func() float64 {
			gemm.Mul(pool, s.m, s.n, s.k, ma, mb, c, s.n, false, nil)
			return 2 * float64(s.m) * float64(s.n) * float64(s.k)
		})
		speeds, peaks = append(speeds, is), append(peaks, of)
		if of > 0 {
			shares = append(shares, is/of)
		} else {
			shares = append(shares, 0) // nothing measures the peak of plain Go
		}
	}
	return product{
		Shape: fmt.Sprintf("%s %d,%d,%d", name, s.m, s.n, s.k), Threads: pool.Workers(),
		GFLOPS: middle(speeds), Share: middle(shares),
	}, peaks
}

// middle is the median.
func middle(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return x[len(x)/2]
}

func fill(n int) []float32 {
	x := hugepage.Floats(n)
	for i := range x {
		x[i] = float32(i%17)/17 - 0.4
	}
	return x
}
