package train

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/internal/progress"
	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/pretrained"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// CompressOptions describes how a trained model is made smaller.
type CompressOptions struct {
	// Model is the run folder, or another library's model.
	Model string
	// To makes the block of the smaller model of the model's own, without what is
	// for training alone.
	To func(sharing.Config) (sharing.Config, error)
	// Data calibrates bases and is what the smaller model is trained on for Steps
	// more steps, at the peak rate LR, or a tenth of the model's own when it is 0.
	// Test, if not nil, is what both models are evaluated on.
	Data, Test datasets.Source
	Steps      int
	LR         float64
	// Seconds is about how long the models' speeds are measured.
	Seconds float64
	// Dir is the run folder to make: it appears whole or not at all.
	Dir string
	// MaxBad, Threads and Out are those of Options.
	MaxBad  float64
	Threads int
	Out     io.Writer
}

// Compressed compares a model with the smaller one that was made of it.
type Compressed struct {
	Sharing string `json:"sharing"`
	// Distance is that of the weights: the norm of the differences over that of
	// the weights. Tuned is the same after Steps more steps.
	Distance float64    `json:"weight_error"`
	Tuned    float64    `json:"weight_error_tuned,omitempty"`
	Steps    int        `json:"steps"`
	Before   Compressee `json:"before"`
	After    Compressee `json:"after"`
}

// Compressee holds the figures of one of the two models.
type Compressee struct {
	// Recall is on the test data.
	Recall *Recall `json:"recall,omitempty"`
	// Bytes is the size of the file of weights.
	Bytes int64 `json:"bytes"`
	// SamplesPerS is how many it embeds in a second; see EmbedSpeeds.
	SamplesPerS float64 `json:"samples_per_s"`
	// Parameters counts trained values.
	Parameters int `json:"parameters"`
}

// calibration is the number of values of each modality that bases are near on.
const calibration = 512

// Compress makes a smaller model of a trained one, as a run folder.
func Compress(ctx context.Context, o CompressOptions) (Compressed, error) {
	out := Compressed{Steps: o.Steps}
	m, err := pretrained.OpenOn(o.Model, tensor.CPU(o.Threads))
	if err != nil {
		return out, err
	}
	if entries, err := os.ReadDir(o.Dir); err == nil && len(entries) > 0 {
		return out, fmt.Errorf("%s: the folder is not empty", o.Dir)
	}
	to, err := o.To(m.Config.Sharing.Trained())
	if err != nil {
		return out, fmt.Errorf("%s: %w", o.Model, err)
	}
	out.Sharing = to.String()
	var moments model.Moments
	if to.Compress != nil && to.Compress.Kind == "basis" {
		if o.Data == nil {
			return out, errors.New("bases are near in what the model's layers read: they need data to calibrate with")
		}
		if moments, err = o.calibrate(ctx, m); err != nil {
			return out, err
		}
	}
	var bar *progress.Bar
	small, err := m.Compressed(ctx, to, moments, func(done, total int) {
		if bar == nil {
			bar = progress.New(o.Out, "compress", total)
		}
		bar.Set(done)
	})
	bar.Done()
	if err != nil {
		return out, fmt.Errorf("%s: %w", o.Model, err)
	}
	out.Distance = m.Distance(small)
	if err := o.write(ctx, small); err != nil {
		return out, err
	}
	if small, err = model.OpenOn(o.Dir, tensor.CPU(o.Threads)); err != nil {
		return out, err
	}
	if o.Steps > 0 {
		out.Tuned = m.Distance(small)
	}
	return out, o.compare(ctx, &out, m, small)
}

// calibrate embeds some of the data and returns what products read.
func (o *CompressOptions) calibrate(ctx context.Context, m *model.Model) (model.Moments, error) {
	moments, stop := m.Observe()
	defer stop()
	bar := progress.New(o.Out, "calibrate", 0)
	defer bar.Done()
	for _, name := range m.Modalities() {
		values := datasets.Distinct(o.Data, name)
		var cells []datasets.Cell
		for i := range min(len(values), calibration) { // evenly over the data
			cells = append(cells, values[i*len(values)/min(len(values), calibration)].Cell)
		}
		p, err := m.Processor(name)
		if err != nil {
			return nil, err
		}
		var batch []tokenizers.Tokens
		flush := func() error {
			bar.Add(len(batch))
			_, err := m.Embed(ctx, name, batch)
			batch = batch[:0]
			return err
		}
		for l, err := range datasets.Stream(ctx, o.Data, cells, map[string]modalities.Processor{name: p}, 0, 4*evalBatch) {
			if err != nil {
				return nil, err
			}
			if l.Err != nil || m.Check(name, l.Tokens) != nil {
				continue
			}
			if batch = append(batch, l.Tokens); len(batch) == evalBatch {
				if err := flush(); err != nil {
					return nil, err
				}
			}
		}
		if err := flush(); err != nil {
			return nil, err
		}
	}
	return moments, nil
}

// write makes the run folder of a model, after more training where that is wanted.
func (o *CompressOptions) write(ctx context.Context, small *model.Model) (err error) {
	dir := filepath.Clean(o.Dir)
	making := filepath.Join(filepath.Dir(dir), ".tmp-"+filepath.Base(dir))
	if err := os.RemoveAll(making); err != nil { // of one that was killed
		return err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(making)
		}
	}()
	if o.Steps == 0 {
		step := model.CheckpointDir(making, 0)
		for _, f := range []func() error{
			func() error { return small.SaveConfig(making) },
			func() error { return small.Save(step) },
			func() error { return model.Mark(step, "latest") },
		} {
			if err := f(); err != nil {
				return err
			}
		}
	} else {
		if o.Data == nil {
			return errors.New("more steps need data to train on")
		}
		s, err := ParseSettings(o.Model, small.Config)
		if err != nil {
			return err
		}
		if _, err := Run(ctx, Options{
			Name: o.Model, Config: small.Config, Settings: tuning(s, o.Steps, cmp.Or(o.LR, s.LR/10)), Train: o.Data, Begin: small, Dir: making,
			MaxBad: o.MaxBad, Threads: o.Threads, Out: o.Out,
		}); err != nil {
			if errors.Is(err, ErrInterrupted) {
				err = fmt.Errorf("%w: nothing is written", ErrInterrupted)
			}
			return err
		}
	}
	if err := os.Remove(dir); err != nil && !os.IsNotExist(err) { // an empty folder
		return err
	}
	return os.Rename(making, dir)
}

// compare measures both models.
func (o *CompressOptions) compare(ctx context.Context, out *Compressed, m, small *model.Model) error {
	var err error
	if out.Before.Bytes, err = model.DiskBytes(o.Model); err != nil { // another library's
		out.Before.Bytes = m.Bank.Bytes()
	}
	if out.After.Bytes, err = model.DiskBytes(o.Dir); err != nil {
		return err
	}
	for _, of := range []struct {
		name string
		m    *model.Model
		to   *Compressee
	}{{"before", m, &out.Before}, {"after", small, &out.After}} {
		of.to.Parameters = of.m.Bank.Elements()
		if o.Test == nil {
			continue
		}
		var bar *progress.Bar
		e, err := Evaluate(ctx, of.m, o.Test, o.MaxBad, func(done, total int) {
			if bar == nil {
				bar = progress.New(o.Out, "evaluate "+of.name, total)
			}
			bar.Set(done)
		})
		bar.Done()
		if err != nil {
			return err
		}
		r := recall(e)
		of.to.Recall = &r
	}
	bar := progress.New(o.Out, "time", 0)
	defer bar.Done()
	speeds, err := EmbedSpeeds(ctx, o.Seconds, m, small)
	if err != nil {
		return err
	}
	out.Before.SamplesPerS, out.After.SamplesPerS = speeds[0], speeds[1]
	return nil
}
