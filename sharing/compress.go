package sharing

import (
	"fmt"
	"math"
	"slices"

	"github.com/onetrunk/onetrunk/autograd"
)

// Compress says in what form the physical tensors of products are kept. The
// weights that products see are made of it: once for embedding, in each pass for
// training. A tensor that serves many places has one basis entry, one codebook,
// one set of scales, and what a delta adds is added to what is made.
type Compress struct {
	// Kind is one of
	//   basis   a weight [out, in] is coefficients [out, Rank] times a basis
	//           [Rank, in], and Group neighbouring layers have one basis (Basis
	//           Sharing, Wang et al. 2025). Bases of out and down are a layer's
	//           own: these read what their own layer has made.
	//   kmeans  a weight is one of the 2^Bits values of a codebook, which alone
	//           are trained: the gradient of a value is the sum of its members'
	//           (Deep Compression, Han et al. 2016). Without a model to begin from
	//           the codes are those of the first random values, and what is
	//           trained is a network of random weight sharing.
	//   int8    a weight is a whole number from -127 to 127 times the scale of its
	//           row. Only the scales are trained, so it needs a model to begin
	//           from. Products round what they read as well when embedding.
	Kind string `json:"kind"`
	// Roles are the products that are kept so; all four when empty.
	Roles []Role `json:"roles,omitempty"`
	// Rank of basis, or Ratio: the share of a group's weights that its rank is
	// to leave, R (in + n out) <= Ratio n out in for n layers of a group. At most
	// the rank that is exact is taken, and at least one.
	Rank  int     `json:"rank,omitempty"`
	Ratio float64 `json:"ratio,omitempty"`
	// Group is the number of neighbouring layers that share a basis of qkv or of
	// up; 1 when it is left out.
	Group int `json:"group,omitempty"`
	// Bits of a code of kmeans, 1 to 8.
	Bits int `json:"bits,omitempty"`
}

// covers reports whether a role is compressed.
func (c *Compress) covers(r Role) bool {
	return c != nil && r.Product() && (len(c.Roles) == 0 || slices.Contains(c.Roles, r))
}

func (c *Compress) validate(of *Config) error {
	switch c.Kind {
	case "basis":
		if (c.Rank != 0) == (c.Ratio != 0) {
			return fmt.Errorf("sharing.compress: kind basis needs either \"rank\" or \"ratio\"")
		}
		if c.Rank < 0 {
			return fmt.Errorf("sharing.compress.rank: expected at least 1, found %d", c.Rank)
		}
		if !(c.Ratio >= 0 && c.Ratio <= 1) {
			return fmt.Errorf("sharing.compress.ratio: expected a share in (0, 1], found %g", c.Ratio)
		}
		if c.Group < 0 {
			return fmt.Errorf("sharing.compress.group: expected at least 1, found %d", c.Group)
		}
	case "kmeans":
		if c.Bits < 1 || c.Bits > 8 {
			return fmt.Errorf("sharing.compress.bits: expected 1..8, found %d", c.Bits)
		}
	case "int8":
	default:
		return fmt.Errorf("sharing.compress.kind: %q is not one of basis, kmeans, int8", c.Kind)
	}
	for _, k := range []struct {
		key, kind string
		set       bool
	}{
		{"rank", "basis", c.Rank != 0},
		{"ratio", "basis", c.Ratio != 0},
		{"group", "basis", c.Group != 0},
		{"bits", "kmeans", c.Bits != 0},
	} {
		if k.set && k.kind != c.Kind {
			return fmt.Errorf("sharing.compress.%s: is of kind %s, not %s", k.key, k.kind, c.Kind)
		}
	}
	for _, other := range []struct {
		key    string
		here   bool
		reason string
	}{
		{"mix", of.Mix != nil, "a mixed place has no tensor of its own to compress"},
		{"mask", of.Mask != nil, "a mask is of the entries of a whole tensor"},
		{"router", of.Router != nil && (c.covers(Up) || c.covers(Down)), "its networks are whole tensors; leave up and down out of \"roles\""},
		{"pull", of.Pull != nil, "it draws whole tensors together"},
		{"adapt", of.Adapt != nil, "it copies whole tensors"},
	} {
		if other.here {
			return fmt.Errorf("sharing.compress: does not go with sharing.%s: %s", other.key, other.reason)
		}
	}
	return validProducts("sharing.compress.roles", c.Roles)
}

// String describes the block in a few words.
func (c *Compress) String() string {
	switch c.Kind {
	case "kmeans":
		return fmt.Sprintf("codebooks of %d bits", c.Bits)
	case "basis":
		size := fmt.Sprintf("rank %d", c.Rank)
		if c.Ratio > 0 {
			size = fmt.Sprintf("%.3g of the weights", c.Ratio)
		}
		return fmt.Sprintf("bases of %s for %d layers", size, max(c.Group, 1))
	}
	return "int8 weights"
}

// rank returns the rank of a basis for n weights [out, in].
func (c *Compress) rank(n, out, in int) int {
	r := c.Rank
	if c.Ratio > 0 {
		r = int(c.Ratio * float64(n) * float64(out) * float64(in) / float64(in+n*out))
	}
	return min(max(r, 1), in, n*out)
}

// bases returns the groups of physical tensors of a role that have a basis
// together, by neighbouring layers; a basis has the name of the first one.
func (w *Weights) bases(r Role) [][]string {
	size := 1
	if r == Qkv || r == Up {
		size = max(w.Config.Compress.Group, 1)
	}
	var groups [][]string
	open := map[string]int{} // by the modalities that a tensor serves, the group that takes the next
	seen := map[string]bool{}
	for l := range w.Layers {
		for _, m := range w.Modalities {
			name := w.Tensor(l, m, r)
			if seen[name] {
				continue
			}
			seen[name] = true
			of := w.groups[r][w.physical[r][l]][m]
			at, ok := open[of]
			if !ok || len(groups[at]) == size {
				at = len(groups)
				open[of] = at
				groups = append(groups, nil)
			}
			groups[at] = append(groups[at], name)
		}
	}
	return groups
}

// Of a compressed tensor the bank has NAME/bias and
//
//	basis   NAME/coefficients [out, R], and NAME/basis [in, R] of the group's
//	        first, as products with it want
//	kmeans  NAME/codebook [2^Bits] and NAME/codes [out, in]
//	int8    NAME/scale [out, 1] and NAME/int8 [out, in]
func (w *Weights) declareCompressed(r Role, out, in int, std float64) {
	c, b := w.Config.Compress, w.Bank
	if c.Kind == "basis" {
		for _, group := range w.bases(r) {
			rank := c.rank(len(group), out, in)
			// Each factor has the same share of what makes a product's deviation std.
			each := math.Sqrt(std / math.Sqrt(float64(rank)))
			b.Matrix(group[0]+"/basis", in, rank, each)
			for _, name := range group {
				w.based[name] = group[0] + "/basis"
				b.Matrix(name+"/coefficients", out, rank, each)
				b.Vector(name+"/bias", out, 0)
			}
		}
		return
	}
	for _, name := range w.Tensors(r) {
		var p *autograd.Param
		var codes *Codes
		if c.Kind == "kmeans" {
			p = b.Vector(name+"/codebook", 1<<c.Bits, 0)
			p.Decay = true
			codes = b.addCodes(name+"/codes", out, in, c.Bits, false)
		} else {
			p = b.Matrix(name+"/scale", out, 1, 0)
			codes = b.addCodes(name+"/int8", out, in, 8, true)
		}
		b.Vector(name+"/bias", out, 0)
		if b.empty {
			continue
		}
		first := make([]float32, out*in)
		b.normal(name+"/weight", std)(first)
		of, values := c.encode(first, out)
		codes.set(of)
		b.dev.Write(p.Value, values)
	}
}

// compressedTensors lists the parameters of a compressed tensor.
func (w *Weights) compressedTensors(name string) []string {
	return []string{name + "/coefficients", w.based[name], name + "/codebook", name + "/scale", name + "/bias"}
}

// part returns the weight and bias of a physical tensor of a role.
func (p *Pass) part(name string, r Role) autograd.Part {
	c := p.Config.Compress
	if !c.covers(r) {
		return p.Bank.Part(name, 0)
	}
	part, ok := p.whole[name]
	if ok {
		return part
	}
	of := func(name string) *autograd.Var { return p.Bank.Param(name).Var() }
	part.B = of(name + "/bias")
	switch c.Kind {
	case "basis":
		k := of(name + "/coefficients")
		part.W = p.tape.Linear(k, []autograd.Part{{Rows: k.Rows(), W: of(p.based[name])}}, autograd.LinearOptions{})
	case "kmeans":
		part.W = p.tape.Lookup(of(name+"/codebook"), p.Bank.coded[name+"/codes"].value)
	case "int8":
		levels := p.tape.Input(1, len(int8Levels), int8Levels[:])
		part.W = p.tape.ScaleRows(p.tape.Lookup(levels, p.Bank.coded[name+"/int8"].value), of(name+"/scale"))
	}
	if p.whole == nil {
		p.whole = map[string]autograd.Part{}
	}
	p.whole[name] = part
	return part
}

// int8Levels are the numbers that codes of int8 stand for.
var int8Levels = func() (levels [256]float32) {
	for i := range levels {
		levels[i] = float32(i - 128)
	}
	return levels
}()
