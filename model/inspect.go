package model

import (
	"cmp"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/onetrunk/onetrunk/encoder"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// Report says what a model is made of and what a sample costs.
type Report struct {
	// Parameters counts values.
	Parameters Parameters `json:"parameters"`
	// FLOPs is the number of floating-point operations of embedding one
	// sample of full length, by modality; training takes three times that.
	FLOPs map[string]int64 `json:"flops"`
	// Tokens is the number of rows of such a sample in the trunk.
	Tokens map[string]int `json:"tokens"`
	// Bytes is the size of a checkpoint's file of weights.
	Bytes int64 `json:"checkpoint_bytes"`
	// Map lists the places of the trunks and what serves each.
	Map []Place `json:"map"`
	// Tensors gives the number of values of every parameter that is trained.
	Tensors map[string]int `json:"tensors"`
}

// Place is an entry of a map and the parameters that serve it.
type Place struct {
	sharing.Entry
	// Serving lists their names, those of the physical tensor first; of an entry
	// for an expert those of this expert.
	Serving []string `json:"serving"`
}

// Parameters counts values, each parameter once.
type Parameters struct {
	// Unique counts all that are trained, Trunk those of the trunks alone.
	Unique int `json:"unique"`
	Trunk  int `json:"trunk"`
	// Stored counts what a checkpoint holds, masks too.
	Stored int `json:"stored"`
	// Active counts what takes part in embedding a sample, by modality: what
	// serves a place of its trunk, or no place in particular, and its tokenizer
	// and head; of the experts of a routed layer as many as run for a token, of a
	// masked tensor what the modality's mask lets through.
	Active map[string]int `json:"active"`
	// Applied is Active with a parameter counted as often as it is used: what a
	// trunk of the same depth without sharing across layers would hold.
	Applied map[string]int `json:"applied"`
}

// Mean returns the mean of a figure over modalities.
func Mean[T int | int64](of map[string]T) float64 {
	sum := 0.0
	for _, v := range of {
		sum += float64(v)
	}
	return sum / float64(max(len(of), 1))
}

// Inspect describes the model.
func (m *Model) Inspect() Report {
	r := Report{
		Parameters: Parameters{Active: map[string]int{}, Applied: map[string]int{}},
		FLOPs:      map[string]int64{}, Tokens: map[string]int{}, Map: m.places(), Tensors: map[string]int{},
	}
	served := map[string]bool{} // parameters that serve some place
	for _, p := range r.Map {
		for _, n := range p.Serving {
			served[n] = true
		}
	}
	for _, p := range m.Bank.Params() {
		n := p.Value.Len()
		r.Parameters.Stored += n
		if p.Fixed {
			continue
		}
		r.Tensors[p.Name] = n
		r.Parameters.Unique += n
		if strings.HasPrefix(p.Name, "trunk/") || strings.HasPrefix(p.Name, "trunk@") {
			r.Parameters.Trunk += n
		}
	}
	for _, c := range m.Bank.Codes() {
		r.Parameters.Stored += c.Rows * c.Cols
	}
	r.Bytes = m.Size()
	used := m.used()
	for _, name := range m.names {
		trunk := m.trunks[name].Weights().Trunk + "/"
		active, applied := 0.0, 0.0
		for n, size := range r.Tensors {
			if strings.HasPrefix(n, trunk) && !served[n] || strings.HasPrefix(n, "tokenizers/"+name+"/") || strings.HasPrefix(n, "heads/"+name+"/") {
				active += float64(size)
				applied += float64(size)
			}
		}
		seen := map[string]bool{}
		for _, p := range r.Map {
			if p.Modality != name {
				continue
			}
			share := 1.0
			if p.Expert != "" {
				share = p.Share
			}
			for _, n := range p.Serving {
				size := share * float64(r.Tensors[n])
				if part, masked := used[[2]string{name, n}]; masked {
					size *= part
				}
				applied += size
				if !seen[n] {
					active += size
					seen[n] = true
				}
			}
		}
		r.Parameters.Active[name], r.Parameters.Applied[name] = int(math.Round(active)), int(math.Round(applied))
		full := tokenizers.Tokens{Grid: m.processors[name].Layout().Grid}
		r.Tokens[name] = m.stems[name].Length(full)
		r.FLOPs[name] = m.FLOPs(name, full)
	}
	return r
}

// used returns, by modality and masked parameter, the share of the parameter's
// entries that the modality uses.
func (m *Model) used() map[[2]string]float64 {
	used := map[[2]string]float64{}
	for _, x := range m.Weights.Masked() {
		ones := 0.0
		mask := m.Bank.Read(x.Mask)
		for _, v := range mask {
			ones += float64(v)
		}
		used[[2]string{x.Modality, x.Param.Name}] = ones / float64(len(mask))
	}
	return used
}

// places lists the places of all trunks, the shared one's first.
func (m *Model) places() []Place {
	var ps []Place
	for _, w := range m.weights() {
		for _, e := range w.Entries() {
			p := Place{Entry: e, Serving: w.Serving(e.Layer, e.Modality, e.Role)}
			if e.Expert != "" {
				p.Serving = slices.DeleteFunc(p.Serving, func(n string) bool { return path.Dir(n) != e.Tensor })
			}
			ps = append(ps, p)
		}
	}
	return ps
}

// FLOPs returns the floating-point operations of embedding one sample: two
// for each multiplication of a matrix product, attention's included, and what a
// delta adds for each sample. Of a routed layer they are those of the gate and of
// the experts that run, none dropped.
func (m *Model) FLOPs(modality string, t tokenizers.Tokens) int64 {
	c, w := m.Config.trunk(modality), m.trunks[modality].Weights()
	d, h, n := int64(c.Width), int64(c.Hidden), int64(m.stems[modality].Length(t))
	product := func(r sharing.Role, rows, out, in int64) int64 {
		return rows*out*in + w.Extra(r, rows, out, in)
	}
	sum := m.stems[modality].Products(t) + d*int64(c.Embed)
	if b := m.branches[modality]; b != nil {
		sum += b.Products(t)
	}
	for l := range c.Layers {
		q := n // queries, of n keys
		if l == c.Layers-1 && encoder.OneRow(m.Config.Modalities[modality].Pool) {
			q = 1 // the others are not asked for
		}
		sum += product(sharing.Qkv, n, 3*d, d) + 2*q*n*d + product(sharing.Out, q, d, d)
		if w.Routed(l) {
			sum += q * m.routed(modality, l)
		} else {
			sum += product(sharing.Up, q, h, d) + product(sharing.Down, q, d, h)
		}
	}
	return 2 * sum
}

// routed returns the multiplications of a routed layer's slot for a row.
func (m *Model) routed(modality string, layer int) int64 {
	c, of := m.Config.trunk(modality), m.Trunk(modality)
	d := int64(c.Width)
	run, sees := of.Running()
	run += len(of.Always())
	sum := int64(run) * 2 * d * int64(cmp.Or(m.Config.Sharing.Router.Hidden, c.Hidden))
	if of.GateTensor(layer, modality) != "" {
		sum += d * int64(sees)
	}
	return sum
}
