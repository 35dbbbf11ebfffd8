package train

import (
	"testing"

	"github.com/onetrunk/onetrunk/configs"
	_ "github.com/onetrunk/onetrunk/modalities/all"
	"github.com/onetrunk/onetrunk/model"
)

// BenchmarkStep reports what a training step of the demo allocates and how
// fast it is.
func BenchmarkStep(b *testing.B) {
	data, err := configs.Read("demo")
	if err != nil {
		b.Fatal(err)
	}
	cfg, err := model.ParseConfig("demo", data)
	if err != nil {
		b.Fatal(err)
	}
	s, err := ParseSettings("demo", cfg)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		r, err := TimeSteps(b.Context(), cfg, s, BenchOptions{Threads: 2, Seconds: 2})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(r.AllocBytes, "B/step")
		b.ReportMetric(r.Allocs, "allocs/step")
		b.ReportMetric(r.SamplesPerS, "samples/s")
	}
}
