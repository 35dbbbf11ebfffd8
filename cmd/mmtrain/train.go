package main

import (
	"fmt"
	"path/filepath"

	"github.com/onetrunk/onetrunk/configs"
	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/internal/command"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/train"
)

type trainCmd struct {
	Config     string            `required:"" help:"Preset (${presets}) or a JSON file."`
	TrainData  string            `required:"" help:"Training data: demo:, a manifest, or a folder with manifest.tsv; SRC#SPLIT picks a split." placeholder:"SRC"`
	ValData    string            `help:"Data to choose the best checkpoint by." placeholder:"SRC"`
	Logs       string            `default:"logs" help:"Folder of runs."`
	Name       string            `required:"" help:"Name of the run; its folder is LOGS/NAME."`
	Resume     string            `help:"\"latest\": go on from the run's last checkpoint, bit for bit." enum:"latest," default:""`
	MaxSteps   int               `help:"Stop after this step; the schedule stays the config's."`
	Steps      *int              `help:"Length of the schedule, instead of the config's."`
	Epochs     *float64          `help:"Length of the schedule in passes over the data, instead of steps."`
	BatchSize  *int              `help:"Samples in a forward pass, instead of the config's."`
	AccumFreq  *int              `help:"Forward passes in a step, instead of the config's."`
	LR         *float64          `name:"lr" help:"Peak learning rate, instead of the config's."`
	WD         *float64          `name:"wd" help:"Weight decay, instead of the config's."`
	Seed       *uint64           `help:"Seed of first values, order and augmentation, instead of the config's."`
	SaveEvery  *int              `help:"Steps between checkpoints."`
	EvalEvery  *int              `help:"Steps between evaluations on --val-data."`
	Init       map[string]string `help:"Begin from another library's model: MODALITY=DIR for that modality's tower, trunk=DIR for the trunk of all." placeholder:"PLACE=DIR"`
	Lock       []string          `help:"Do not train a modality's own tensors, or the trunk: text, trunk, ..." placeholder:"WHAT"`
	UnlockLast *int              `help:"Train the last so many blocks of every trunk all the same."`
	MaxBad     float64           `default:"0.01" help:"Share of values that may be unreadable before the run stops."`
	MaxMemory  command.Size      `help:"Bound of the resident memory: ${size_help}" placeholder:"SIZE"`
	Threads    int               `help:"Threads to compute with; 0 takes one for each processor."`
	JSON       bool              `name:"json" help:"Print the result as one JSON object."`
}

func (c *trainCmd) Run(e *command.Env) error {
	cfg, settings, err := readConfig(c.Config)
	if err != nil {
		return err
	}
	src, err := datasets.Open(c.TrainData)
	if err != nil {
		return err
	}
	var val datasets.Source
	if c.ValData != "" {
		if val, err = datasets.Open(c.ValData); err != nil {
			return err
		}
	}
	override(&settings.Batch, c.BatchSize)
	override(&settings.Accumulate, c.AccumFreq)
	override(&settings.Steps, c.Steps)
	override(&settings.LR, c.LR)
	override(&settings.Decay, c.WD)
	override(&settings.Seed, c.Seed)
	override(&settings.SaveEvery, c.SaveEvery)
	override(&settings.EvalEvery, c.EvalEvery)
	override(&settings.UnlockLast, c.UnlockLast)
	if len(c.Init) > 0 {
		settings.Init = c.Init
	}
	if len(c.Lock) > 0 {
		settings.Lock = c.Lock
	}
	if c.Epochs != nil {
		if c.Steps != nil {
			return command.Wrong("--steps and --epochs both give the length of the schedule")
		}
		settings.Steps = int(*c.Epochs * float64(src.Len()) / float64(settings.Batch*settings.Accumulate))
	}
	if err := settings.Validate(cfg); err != nil {
		return command.Wrong("%w", err)
	}
	res, err := train.Run(e.Ctx, train.Options{
		Name: c.Config, Config: cfg, Settings: settings, Train: src, Val: val,
		Dir: filepath.Join(c.Logs, c.Name), Resume: c.Resume != "",
		MaxSteps: c.MaxSteps, MaxBad: c.MaxBad, MaxMemory: c.MaxMemory.MB(), Threads: c.Threads, Out: e.Stderr,
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return e.PrintJSON(res)
	}
	fmt.Fprintf(e.Stdout, "step %d, loss %.4f, %.0f s; the run is %s\n", res.Step, res.Loss, res.Seconds, filepath.Join(c.Logs, c.Name))
	if res.Bad > 0 {
		fmt.Fprintf(e.Stdout, "%d values could not be read: %s\n", res.Bad, filepath.Join(c.Logs, c.Name, "bad.tsv"))
	}
	if l := res.Locked; l != nil {
		fmt.Fprintf(e.Stdout, "%d tensors were locked and have not changed: sha256 %s\n", l.Tensors, l.SHA256)
	}
	for i, p := range res.Phases {
		if p.Tensors > 0 {
			fmt.Fprintf(e.Stdout, "phase %d %s from step %d: %d tensors were frozen and did not change: sha256 %s\n", i+1, p.Name, p.From+1, p.Tensors, p.SHA256)
		}
	}
	for _, split := range res.Splits {
		fmt.Fprintf(e.Stdout, "split before %s\n", split)
	}
	if res.Eval != nil {
		return printEvaluation(e.Stdout, *res.Eval)
	}
	return nil
}

// override replaces a setting by a flag that was given.
func override[T any](setting *T, flag *T) {
	if flag != nil {
		*setting = *flag
	}
}

// readConfig reads a preset or a file, with its "train" block.
func readConfig(ref string) (model.Config, train.Settings, error) {
	data, err := configs.Read(ref)
	if err != nil {
		return model.Config{}, train.Settings{}, err
	}
	cfg, err := model.ParseConfig(ref, data)
	if err != nil {
		return cfg, train.Settings{}, err
	}
	settings, err := train.ParseSettings(ref, cfg)
	return cfg, settings, err
}
