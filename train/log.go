package train

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/onetrunk/onetrunk/internal/atomicfile"
)

// LogFile is the name of a run's log: one JSON object a line.
const LogFile = "log.jsonl"

// record is a line of the log: a step of training or, with Eval, an
// evaluation after it.
type record struct {
	Step        int                `json:"step"`
	Epoch       int                `json:"epoch,omitempty"`
	Loss        float64            `json:"loss,omitempty"`
	R1          float64            `json:"r1,omitempty"`
	Penalty     float64            `json:"penalty,omitempty"` // what weights and gates cost beside Loss
	Rate        float64            `json:"lr,omitempty"`
	GradNorm    float64            `json:"grad_norm,omitempty"`
	Temperature map[string]float64 `json:"temperature,omitempty"`
	SamplesPerS float64            `json:"samples_per_s,omitempty"`
	TokensPerS  float64            `json:"tokens_per_s,omitempty"`
	Bad         int                `json:"bad,omitempty"`
	Cut         int                `json:"cut_tokens,omitempty"`
	Eval        *Evaluation        `json:"eval,omitempty"`
	// Pairs are the figures of the pairs, and Conflicts the cosines of the gradients
	// of two of them over what more than one reaches, where a balance knows them.
	Pairs     map[string]pairRecord `json:"pairs,omitempty"`
	Conflicts map[string]float64    `json:"conflicts,omitempty"`
	// Checks are, of sharing.adapt, the least cosine of two modalities' gradients
	// in each half that is shared, and Splits what was split before the step.
	Checks map[string]float64 `json:"checks,omitempty"`
	Splits []string           `json:"splits,omitempty"`
	// Phase is the phase that begins with the step.
	Phase *PhaseState `json:"phase,omitempty"`
}

// openLog opens the log of a run for appending, after dropping the lines of
// steps later than step: what a killed run did after its last checkpoint is
// done again.
func openLog(dir string, step int) (*os.File, error) {
	path := filepath.Join(dir, LogFile)
	old, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var kept bytes.Buffer
	lines := bufio.NewScanner(bytes.NewReader(old))
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var r record
		if json.Unmarshal(lines.Bytes(), &r) == nil && r.Step <= step {
			kept.Write(lines.Bytes())
			kept.WriteByte('\n')
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := atomicfile.WriteBytes(path, kept.Bytes()); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o644)
}

func (r *run) write(rec record) error {
	line, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	_, err = r.log.Write(append(line, '\n'))
	return err
}
