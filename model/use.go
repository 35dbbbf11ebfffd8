package model

import (
	"context"
	"fmt"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/encoder"
	"github.com/onetrunk/onetrunk/moe"
	"github.com/onetrunk/onetrunk/sharing"
)

// ExpertUse embeds a batch and says, for each routed layer of the shared trunk,
// which modality uses which expert; of a model without a router there is
// nothing to say. The last layer sees the rows that the heads ask for. It is
// safe beside Embed.
func (m *Model) ExpertUse(ctx context.Context, inputs []Input) ([]moe.Use, error) {
	if m.Config.Sharing.Router == nil {
		return nil, nil
	}
	for _, in := range inputs {
		for i, t := range in.Tokens {
			if err := m.Check(in.Modality, t); err != nil {
				return nil, fmt.Errorf("%s %d of the batch: %w", in.Modality, i, err)
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var routings []sharing.Routing
	through := &Model{Config: m.Config, stems: m.stems, heads: m.heads, trunks: map[string]*encoder.Trunk{}}
	var watched *encoder.Trunk
	for name, t := range m.trunks {
		through.trunks[name] = t
		if t.Weights() == m.Weights {
			if watched == nil {
				watched = t.Watched(func(r sharing.Routing) { routings = append(routings, r) })
			}
			through.trunks[name] = watched
		}
	}
	tape := autograd.NewTape(m.Device, false)
	defer tape.Release()
	through.Forward(tape, inputs)
	return moe.Uses(m.Weights.Experts(), routings), nil
}
