package compare

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/moe"
	"github.com/onetrunk/onetrunk/tensor"
	"github.com/onetrunk/onetrunk/train"
)

// Report is what came of a comparison. Shares of queries are in 0..1.
type Report struct {
	Data Data `json:"data"`
	// Budget is what each row could spend on training.
	Budget Budget `json:"budget"`
	Seeds  int    `json:"seeds"`
	// Jobs is the number of rows that ran at once, Threads that of each.
	Jobs    int `json:"jobs"`
	Threads int `json:"threads"`
	// Directions are the ordered pairs that were tested, "image>text", and Pairs
	// the pairs, "image+text".
	Directions []string `json:"directions"`
	Pairs      []string `json:"pairs"`
	// Configs are in the order of the options.
	Configs []Result `json:"configs"`
	// Differences are to the first config.
	Differences []Difference `json:"differences"`
	Fronts      []Front      `json:"fronts"`
}

// Data names the sources, with their sizes.
type Data struct {
	Train string `json:"train"`
	Val   string `json:"val"`
	Test  string `json:"test"`
}

// Result is what came of a config. Its figures are over the rows that have some.
type Result struct {
	Config string `json:"config"`
	// Sharing describes how it shares, Settings is the whole config.
	Sharing  string          `json:"sharing"`
	Settings json.RawMessage `json:"settings"`
	// Steps is the length of its schedule, of Batch samples each.
	Steps int `json:"steps"`
	Batch int `json:"batch"`
	// R1 is the mean R@1 over all directions.
	R1 Stat `json:"r1"`
	// Directions are the figures of each.
	Directions map[string]Retrieval `json:"directions,omitempty"`
	// Transfer is, by direction, R@1 minus that of the rows in which its pair
	// alone was trained, seed by seed: below 0, the other pairs do harm.
	Transfer map[string]Stat `json:"transfer,omitempty"`
	// Gap is the modality gap, by pair.
	Gap map[string]Stat `json:"gap,omitempty"`
	// Unique counts trained values, Active those that take part in embedding a
	// sample, in the mean over modalities, Stored those in a checkpoint.
	Unique int     `json:"unique_parameters"`
	Active float64 `json:"active_parameters"`
	Stored int     `json:"stored_parameters"`
	// FLOPs is of embedding a sample of full length, in the mean over modalities.
	FLOPs float64 `json:"flops"`
	// Bytes is the size of a file of weights.
	Bytes       Stat `json:"checkpoint_bytes"`
	SamplesPerS Stat `json:"samples_per_s"`
	CPUSeconds  Stat `json:"cpu_seconds"`
	// Conflicts is the mean over the rows, Experts is of the first row.
	Conflicts *train.ConflictMap `json:"conflicts,omitempty"`
	Experts   []moe.Use          `json:"experts,omitempty"`
	// Model is what the model is made of; nil where no row came to its figures.
	Model *model.Report `json:"model,omitempty"`
	Rows  []Row         `json:"rows"`
	Alone []Row         `json:"alone,omitempty"`
}

// Retrieval is the figures of a direction.
type Retrieval struct {
	R1  Stat `json:"r1"`
	R5  Stat `json:"r5"`
	R10 Stat `json:"r10"`
}

// Failed lists the rows without figures.
func (r Report) Failed() []Row {
	var failed []Row
	for _, c := range r.Configs {
		for _, row := range slices.Concat(c.Rows, c.Alone) {
			if row.Error != "" {
				failed = append(failed, row)
			}
		}
	}
	return failed
}

// report sums up the rows.
func (c *comparison) report() (Report, error) {
	r := Report{
		Data:   Data{describe(c.Train), describe(c.Val), describe(c.Test)},
		Budget: c.Budget, Seeds: c.Seeds, Jobs: c.Jobs, Threads: c.threads,
	}
	for i, of := range c.Configs {
		v := c.variants[slices.IndexFunc(c.variants, func(v *variant) bool { return v.of == i })]
		res := Result{
			Config: of.Name, Sharing: v.config.Sharing.String(), Settings: of.Data,
			Steps: v.steps, Batch: v.settings.Batch * v.settings.Accumulate,
		}
		for _, row := range c.rows {
			if row.of.of != i {
				continue
			}
			list := &res.Rows
			if row.of.pair != "" {
				list = &res.Alone
			}
			*list = append(*list, c.outcome(row))
			if row.of == v && row.err == nil && res.Model == nil {
				m, err := model.OpenOn(row.dir, tensor.CPU(1))
				if err != nil {
					return r, err
				}
				is := m.Inspect()
				res.Model = &is
				res.Unique, res.Stored = is.Parameters.Unique, is.Parameters.Stored
				res.Active, res.FLOPs = model.Mean(is.Parameters.Active), model.Mean(is.FLOPs)
			}
		}
		res.sum()
		r.Configs = append(r.Configs, res)
	}
	r.relate()
	return r, nil
}

// outcome is the row as it stands in the report.
func (c *comparison) outcome(r *row) Row {
	if r.err == nil {
		return *r.record.Row
	}
	return Row{Config: c.Configs[r.of.of].Name, Seed: r.record.Key.Seed, Pair: r.of.pair, Dir: r.name(), Steps: r.of.steps, Error: r.err.Error()}
}

// over returns a figure over the rows that have it.
func over(rows []Row, figure func(Row) (float64, bool)) Stat {
	var values []float64
	for _, row := range rows {
		if row.Error != "" {
			continue
		}
		if v, ok := figure(row); ok {
			values = append(values, v)
		}
	}
	return StatOf(values)
}

// all is over for a figure that every row has.
func all(rows []Row, figure func(Row) float64) Stat {
	return over(rows, func(r Row) (float64, bool) { return figure(r), true })
}

// sum fills in the figures over the rows.
func (r *Result) sum() {
	r.R1 = all(r.Rows, func(r Row) float64 { return r.R1 })
	r.Bytes = all(r.Rows, func(r Row) float64 { return float64(r.Bytes) })
	r.SamplesPerS = all(r.Rows, func(r Row) float64 { return r.SamplesPerS })
	r.CPUSeconds = all(r.Rows, func(r Row) float64 { return r.CPUSeconds })
	r.Directions, r.Gap, r.Transfer = map[string]Retrieval{}, map[string]Stat{}, map[string]Stat{}
	for _, row := range r.Rows {
		if row.Error != "" {
			continue
		}
		for d := range row.Eval.Pairs {
			at := func(figure func(m metrics) float64) Stat {
				return over(r.Rows, func(r Row) (float64, bool) {
					m, ok := r.Eval.Pairs[d]
					return figure(m), ok
				})
			}
			r.Directions[d] = Retrieval{
				at(func(m metrics) float64 { return m.R1 }),
				at(func(m metrics) float64 { return m.R5 }),
				at(func(m metrics) float64 { return m.R10 }),
			}
			transfer := over(r.Rows, func(joint Row) (float64, bool) {
				for _, alone := range r.Alone {
					if alone.Seed == joint.Seed && alone.Error == "" {
						if m, ok := alone.Eval.Pairs[d]; ok {
							return joint.Eval.Pairs[d].R1 - m.R1, true
						}
					}
				}
				return 0, false
			})
			if transfer.N > 0 {
				r.Transfer[d] = transfer
			}
		}
		for pair := range row.Eval.Gap {
			r.Gap[pair] = over(r.Rows, func(r Row) (float64, bool) {
				v, ok := r.Eval.Gap[pair]
				return v, ok
			})
		}
	}
	r.diagnoses()
}

// relate fills in what is about several configs.
func (r *Report) relate() {
	unique := Front{Cost: UniqueParameters}
	flops := Front{Cost: FLOPsPerSample}
	for i, c := range r.Configs {
		for d := range c.Directions {
			if !slices.Contains(r.Directions, d) {
				r.Directions = append(r.Directions, d)
			}
		}
		for p := range c.Gap {
			if !slices.Contains(r.Pairs, p) {
				r.Pairs = append(r.Pairs, p)
			}
		}
		if c.R1.N > 0 {
			unique.Points = append(unique.Points, Point{Config: c.Config, Cost: float64(c.Unique), R1: c.R1})
			flops.Points = append(flops.Points, Point{Config: c.Config, Cost: c.FLOPs, R1: c.R1})
		}
		if i == 0 {
			continue
		}
		d := Difference{Config: c.Config, To: r.Configs[0].Config}
		d.Stat = over(c.Rows, func(row Row) (float64, bool) {
			for _, first := range r.Configs[0].Rows {
				if first.Seed == row.Seed && first.Error == "" {
					return row.R1 - first.R1, true
				}
			}
			return 0, false
		})
		d.test()
		r.Differences = append(r.Differences, d)
	}
	slices.Sort(r.Directions)
	slices.Sort(r.Pairs)
	pareto(unique.Points)
	pareto(flops.Points)
	r.Fronts = []Front{unique, flops}
}

// String describes the data in a line.
func (d Data) String() string {
	val := d.Val
	if val == "" {
		val = "nothing"
	}
	return fmt.Sprintf("trained on %s, checkpoints chosen by %s, tested on %s", d.Train, val, d.Test)
}
