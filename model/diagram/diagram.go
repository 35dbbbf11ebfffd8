// Package diagram draws the map of a model: a grid of layers by role and
// modality, in which one colour and one code is one physical tensor. It draws
// what serves each place and knows of no way of sharing: a place that several
// tensors serve is striped, and parameters beside them (deltas, coefficients,
// masks, routers) are marks.
package diagram

import (
	"path"
	"slices"
	"strings"

	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/sharing"
)

// Diagram is a map to be drawn.
type Diagram struct {
	Trunks []Trunk
	// Tensors are the physical tensors, in the order of their first use.
	Tensors []Tensor
	// Kinds are the kinds of marks that occur.
	Kinds []Kind
}

// Tensor is a physical tensor: a weight with its bias.
type Tensor struct {
	Name string
	// Code stands for it in the drawing: the same code is the same tensor.
	Code   string
	Values int
	Colour Colour
}

// Trunk is a trunk's grid.
type Trunk struct {
	Name       string
	Modalities []string
	// Cells are the places, by layer, role in the order of sharing.Roles, and
	// modality.
	Cells [][][]Cell
}

// Cell is a place.
type Cell struct {
	// Tensors are the numbers of those that serve it.
	Tensors []int
	// Marks are the other parameters that serve it, by kind.
	Marks []Mark
}

// Mark is parameters that serve a place beside its tensors.
type Mark struct {
	Kind  Kind
	Names []string
}

// equal reports whether the same parameters serve two places.
func (c Cell) equal(d Cell) bool {
	return slices.Equal(c.Tensors, d.Tensors) && slices.EqualFunc(c.Marks, d.Marks, func(a, b Mark) bool {
		return a.Kind == b.Kind && slices.Equal(a.Names, b.Names)
	})
}

// Kind is a kind of mark.
type Kind struct {
	// Name is what stands in the names of its parameters: lora, taps, mix.
	Name string
	// Glyph draws it in the terminal.
	Glyph string
	// What says what it is.
	What string
}

// kinds are the kinds that are known by an element of their parameters' names.
// Others are drawn too, under their own name.
var kinds = []Kind{
	{"lora", "+", "a low-rank delta"},
	{"taps", "+", "a gated delta"},
	{"apg", "+", "a delta made of the sample"},
	{"mix", "~", "coefficients of a mixture"},
	{"policy", "?", "what a search chooses by"},
	{"mask", "/", "a mask"},
	{"units", "/", "a mask over units"},
	{"gate", "%", "a gate over experts"},
	{"residual", "~", "a learned sum of its own experts"},
	{"basis", "=", "a basis that several layers share"},
	{"coefficients", "~", "coefficients of a basis"},
	{"codebook", "#", "a codebook"},
	{"scale", "#", "8 bits, with a scale by row"},
}

// kindOf returns the kind of a parameter that is no part of a physical tensor.
func kindOf(name string) Kind {
	elements := strings.Split(name, "/")
	for _, e := range elements {
		bare, _, _ := strings.Cut(e, "@")
		for _, k := range kinds {
			if bare == k.Name {
				return k
			}
		}
	}
	own := path.Base(strings.TrimSuffix(strings.TrimSuffix(name, "/weight"), "/bias"))
	return Kind{own, "!", "parameters of its own"}
}

// physical returns the name of the physical tensor that a parameter is the
// weight or bias of, for a role; not ok where it is something else.
func physical(name string, r sharing.Role) (tensor string, ok bool) {
	tensor, ok = strings.CutSuffix(name, "/weight")
	if !ok {
		tensor, ok = strings.CutSuffix(name, "/bias")
	}
	bare, _, _ := strings.Cut(path.Base(tensor), "@")
	return tensor, ok && bare == string(r)
}

// New makes the diagram of a model.
func New(r model.Report) Diagram {
	var d Diagram
	at := map[string]int{} // of a tensor
	trunks := map[string]int{}
	for _, p := range r.Map {
		name, _, _ := strings.Cut(p.Tensor, "/")
		i, ok := trunks[name]
		if !ok {
			i = len(d.Trunks)
			trunks[name] = i
			d.Trunks = append(d.Trunks, Trunk{Name: name})
		}
		d.fill(d.Trunks[i].place(p), p, at, r.Tensors)
	}
	codes := codes(len(d.Tensors))
	for i := range d.Tensors {
		d.Tensors[i].Code = codes[i]
	}
	slices.SortFunc(d.Kinds, func(a, b Kind) int { return strings.Compare(a.Glyph+a.Name, b.Glyph+b.Name) })
	return d
}

// fill adds what serves a place to its cell.
func (d *Diagram) fill(c *Cell, p model.Place, at map[string]int, values map[string]int) {
	for _, name := range p.Serving {
		tensor, ok := physical(name, p.Role)
		if !ok || !slices.Contains(sharing.Roles, p.Role) {
			d.mark(c, name)
			continue
		}
		i, ok := at[tensor]
		if !ok {
			i = len(d.Tensors)
			at[tensor] = i
			d.Tensors = append(d.Tensors, Tensor{
				Name: tensor, Colour: colourOf(tensor),
				Values: values[tensor+"/weight"] + values[tensor+"/bias"],
			})
		}
		if !slices.Contains(c.Tensors, i) {
			c.Tensors = append(c.Tensors, i)
		}
	}
}

// mark adds a parameter to the marks of a cell.
func (d *Diagram) mark(c *Cell, name string) {
	k := kindOf(name)
	if !slices.Contains(d.Kinds, k) {
		d.Kinds = append(d.Kinds, k)
	}
	i := slices.IndexFunc(c.Marks, func(m Mark) bool { return m.Kind == k })
	if i < 0 {
		i = len(c.Marks)
		c.Marks = append(c.Marks, Mark{Kind: k})
	}
	if !slices.Contains(c.Marks[i].Names, name) {
		c.Marks[i].Names = append(c.Marks[i].Names, name)
	}
}

// place returns the cell of a place. What has a role of its own beside those of
// a block belongs to the feed-forward slot, and stands with its first product.
func (t *Trunk) place(p model.Place) *Cell {
	if len(t.Cells) <= p.Layer {
		t.Cells = append(t.Cells, make([][]Cell, len(sharing.Roles)))
	}
	m := slices.Index(t.Modalities, p.Modality)
	if m < 0 {
		m = len(t.Modalities)
		t.Modalities = append(t.Modalities, p.Modality)
	}
	r := slices.Index(sharing.Roles, p.Role)
	if r < 0 {
		r = slices.Index(sharing.Roles, sharing.Up)
	}
	cells := &t.Cells[p.Layer][r]
	for len(*cells) <= m {
		*cells = append(*cells, Cell{})
	}
	return &(*cells)[m]
}

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// codes returns n different codes of letters, of one length.
func codes(n int) []string {
	list := []string{""}
	for len(list) < n {
		var longer []string
		for _, c := range list {
			for _, l := range letters {
				longer = append(longer, c+string(l))
			}
		}
		list = longer
	}
	return list[:n]
}

// short returns the shortest beginnings by which names differ.
func short(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		for l := 1; l <= len(n); l++ {
			out[i] = n[:l]
			if !slices.ContainsFunc(names, func(m string) bool { return m != n && strings.HasPrefix(m, n[:l]) }) {
				break
			}
		}
	}
	return out
}
