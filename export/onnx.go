package export

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"

	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/sharing"
)

// ONNX writes a file for each modality's tower, of the operators of opset 17,
// and config.json and tokenizer.json, which say how its inputs are made:
//
//	image.onnx  pixel_values [batch, 3, size, size], normalised
//	text.onnx   input_ids [batch, length], attention_mask [batch, length]: 1 for
//	            an id, 0 for what fills up behind a text; both int64
//	audio.onnx  patches [batch, tokens, P], of one length in a batch
//
// Each gives embedding [batch, E], of unit length. A tensor that serves several
// layers stands once in a file; one that serves several modalities stands in
// the file of each.
func ONNX(m *model.Model, dir string) error {
	m, err := whole(m)
	if err != nil {
		return err
	}
	var graphs []*graph
	for _, name := range m.Modalities() {
		t := newTower(m, name)
		if err := t.checkONNX(); err != nil {
			return err
		}
		b := &builder{graph: newGraph(name), tower: t}
		b.build()
		if err := b.fits(); err != nil {
			return fmt.Errorf("modalities.%s: %w", name, err)
		}
		graphs = append(graphs, b.graph)
	}
	if err := fresh(dir); err != nil {
		return err
	}
	if err := m.SaveConfig(dir); err != nil {
		return err
	}
	for _, g := range graphs {
		if err := g.write(filepath.Join(dir, g.name+".onnx")); err != nil {
			return err
		}
	}
	return nil
}

// checkONNX refuses what has no place in a graph of ours.
func (t *tower) checkONNX() error {
	if err := t.networks("a graph"); err != nil {
		return err
	}
	if err := t.plain(); err != nil {
		return err
	}
	if t.modality != "image" {
		return nil
	}
	if t.sequence.Stem != "patch" {
		return t.refuse("stem", t.sequence.Stem, "is for sequences, and images are exported as squares")
	}
	var in imageInput
	if err := json.Unmarshal(t.m.Processors()["image"].Config(), &in); err != nil {
		return err
	}
	if in.Fit == "keep" {
		return t.refuse("input.fit", in.Fit, "makes images that are not square, and the graph takes squares")
	}
	return nil
}

// builder makes the graph of a tower. Between attentions the rows of a batch
// lie in one matrix [batch*rows, D].
type builder struct {
	*graph
	*tower
	// pair is the name of [batch, rows]; mask of [batch, rows], 1 for a row and 0
	// for what fills up, "" where all are rows.
	pair, mask string
	// bias is added to attention's scores and filled is its part for what fills
	// up, "" where nothing is.
	bias, filled string
}

// list is a node's inputs.
func list(names ...string) []string { return names }

// weight adds a tensor of the bank.
func (b *builder) weight(name string, dims ...int) string {
	return b.tensor(name, func() []float32 { return b.values(name) }, dims...)
}

// linear is x [n, in] through the linear map of that name, which may have a
// bias.
func (b *builder) linear(x, name string, out, in int) string {
	inputs := list(x, b.weight(name+"/weight", out, in))
	if b.m.Bank.Has(name + "/bias") {
		inputs = append(inputs, b.weight(name+"/bias", out))
	}
	return b.node("Gemm", inputs, "transB", 1)
}

// normed is the norm of that name of the rows of x.
func (b *builder) normed(x, name string) string {
	d := b.trunk.Width
	gain := b.weight(name+"/weight", d)
	if b.trunk.Norm == "layer" {
		return b.node("LayerNormalization", list(x, gain, b.weight(name+"/bias", d)), "axis", -1, "epsilon", float32(b.trunk.Eps))
	}
	mean := b.node("ReduceMean", list(b.node("Mul", list(x, x))), "axes", []int{-1}, "keepdims", 1)
	root := b.node("Sqrt", list(b.node("Add", list(mean, b.scalar(b.trunk.Eps)))))
	return b.node("Mul", list(b.node("Div", list(x, root)), gain))
}

// activated is the trunk's activation of x.
func (b *builder) activated(x string) string {
	times := func(x string, v float64) string { return b.node("Mul", list(x, b.scalar(v))) }
	var gate string
	switch b.trunk.Activation {
	case "relu":
		return b.node("Relu", list(x))
	case "quick_gelu":
		return b.node("Mul", list(x, b.node("Sigmoid", list(times(x, 1.702)))))
	case "gelu":
		gate = b.node("Erf", list(times(x, math.Sqrt2/2)))
	case "gelu_tanh":
		cube := b.node("Mul", list(b.node("Mul", list(x, x)), x))
		sum := b.node("Add", list(x, times(cube, 0.044715)))
		gate = b.node("Tanh", list(times(sum, math.Sqrt(2/math.Pi))))
	default:
		panic("export: activation " + b.trunk.Activation)
	}
	return times(b.node("Mul", list(x, b.node("Add", list(gate, b.scalar(1))))), 0.5)
}

// build adds the whole tower.
func (b *builder) build() {
	d := b.trunk.Width
	var x string // [batch, rows, D]
	switch {
	case b.layout.Vocab > 0:
		x = b.ids()
	case b.modality == "image":
		x = b.pixels()
	default:
		x = b.patches()
	}
	x = b.classes(x)
	b.pair = b.node("Slice", list(b.node("Shape", list(x)), b.ints(0), b.ints(2)))
	x = b.flat(x, d)
	if b.sequence.StemNorm {
		x = b.normed(x, b.stem("norm"))
	}
	b.scores()
	of := b.m.Trunk(b.modality)
	for l := range b.trunk.Layers {
		x = b.block(x, func(r sharing.Role) string { return of.Tensor(l, b.modality, r) })
	}
	b.embedding(x)
	b.outputs = append(b.outputs, value("embedding", floatType, "batch", b.m.Dim()))
}

// flat makes a matrix [n, cols] of x.
func (b *builder) flat(x string, cols int) string {
	return b.node("Reshape", list(x, b.ints(-1, int64(cols))))
}

// deep makes [batch, rows, rest...] of a matrix.
func (b *builder) deep(x string, rest ...int64) string {
	return b.node("Reshape", list(x, b.node("Concat", list(b.pair, b.ints(rest...)), "axis", 0)))
}

// ids makes rows of ids.
func (b *builder) ids() string {
	b.inputs = append(b.inputs, value("input_ids", intType, "batch", "length"), value("attention_mask", intType, "batch", "length"))
	b.mask = b.node("Cast", list("attention_mask"), "to", floatType)
	x := b.node("Gather", list(b.weight(b.stem("subword"), b.layout.Vocab, b.trunk.Width), "input_ids"), "axis", 0)
	return b.node("Add", list(x, b.positions(x)))
}

// pixels makes rows of pictures.
func (b *builder) pixels() string {
	d, side := b.trunk.Width, patchSide(b.tower)
	grid := b.layout.Grid
	b.inputs = append(b.inputs, value("pixel_values", floatType, "batch", 3, grid[0]*side, grid[1]*side))
	x := b.node("Conv", list("pixel_values", b.weight(b.stem("patch/weight"), d, 3, side, side), b.weight(b.stem("patch/bias"), d)),
		"kernel_shape", []int{side, side}, "strides", []int{side, side})
	x = b.node("Reshape", list(x, b.ints(0, int64(d), -1)))
	x = b.node("Transpose", list(x), "perm", []int{0, 2, 1})
	return b.node("Add", list(x, b.positions(x)))
}

// patches makes rows of patches.
func (b *builder) patches() string {
	d, p := b.trunk.Width, b.layout.Patch
	b.inputs = append(b.inputs, value("patches", floatType, "batch", "tokens", p))
	pair := b.node("Slice", list(b.node("Shape", list("patches")), b.ints(0), b.ints(2)))
	x := b.linear(b.flat("patches", p), b.stem("patch"), d, p)
	x = b.node("Reshape", list(x, b.node("Concat", list(pair, b.ints(int64(d))), "axis", 0)))
	if b.sequence.Stem == "conv" {
		x = b.convolved(x)
	}
	return b.node("Add", list(x, b.positions(x)))
}

// convolved is the convolution of rows x [batch, rows, D] of a "conv" stem.
func (b *builder) convolved(x string) string {
	d := b.trunk.Width
	kernel := b.tensor(b.stem("conv/weight"), func() []float32 { // [D, D, 3]
		w := make([]float32, 3*d*d)
		for j := range 3 {
			for i, v := range b.values(fmt.Sprintf("%s/%d/weight", b.stem("conv"), j)) {
				w[3*i+j] = v
			}
		}
		return w
	}, d, d, 3)
	x = b.node("Transpose", list(b.activated(x)), "perm", []int{0, 2, 1})
	x = b.node("Conv", list(x, kernel, b.weight(b.stem("conv/1/bias"), d)),
		"kernel_shape", []int{3}, "strides", []int{2}, "pads", []int{1, 1})
	return b.node("Transpose", list(b.activated(x)), "perm", []int{0, 2, 1})
}

// positions gives the positions of rows x [batch, rows, D] that fill the first
// columns of the table's grid.
func (b *builder) positions(x string) string {
	d, first := b.trunk.Width, b.sequence.Classes()
	n := b.m.Bank.Param(b.stem("positions")).Value.Rows - first
	down := b.layout.Grid[0]
	if b.sequence.Stem == "conv" {
		down = 1
	}
	table := b.tensor(b.stem("positions"), func() []float32 { return b.values(b.stem("positions"))[first*d:] }, down, n/down, d)
	if b.modality == "image" {
		return b.node("Reshape", list(table, b.ints(1, int64(n), int64(d))))
	}
	rows := b.node("Slice", list(b.node("Shape", list(x)), b.ints(1), b.ints(2)))
	across := rows
	if down > 1 {
		across = b.node("Div", list(rows, b.ints(int64(down))))
	}
	table = b.node("Slice", list(table, b.ints(0), across, b.ints(1)))
	return b.node("Reshape", list(table, b.ints(1, -1, int64(d))))
}

// classes puts the class tokens before rows x [batch, rows, D].
func (b *builder) classes(x string) string {
	d, n := b.trunk.Width, b.sequence.Classes()
	if n == 0 {
		return x
	}
	class := b.tensor(b.stem("class"), func() []float32 {
		w, positions := b.values(b.stem("class")), b.values(b.stem("positions"))
		for i := range w {
			w[i] += positions[i]
		}
		return w
	}, 1, n, d)
	batch := b.node("Slice", list(b.node("Shape", list(x)), b.ints(0), b.ints(1)))
	class = b.node("Expand", list(class, b.node("Concat", list(batch, b.ints(int64(n), int64(d))), "axis", 0)))
	if b.mask != "" {
		b.mask = b.node("Pad", list(b.mask, b.ints(0, int64(n), 0, 0), b.scalar(1)))
	}
	return b.node("Concat", list(class, x), "axis", 1)
}

// unseen is what is added to the score of a row that may not be seen: its
// weight is 0.
const unseen = -1e9

// scores makes the bias of attention's scores: [batch, 1, 1, rows] of what
// fills up, and [rows, rows] of what is later.
func (b *builder) scores() {
	if b.mask != "" {
		hidden := b.node("Sub", list(b.scalar(1), b.node("Unsqueeze", list(b.mask, b.ints(1, 2)))))
		b.filled = b.node("Mul", list(hidden, b.scalar(unseen)))
		b.bias = b.filled
	}
	if b.sequence.Causal {
		rows := b.node("Gather", list(b.pair, b.integer(1)), "axis", 0)
		at := b.node("Range", list(b.integer(0), rows, b.integer(1)))
		later := b.node("Greater", list(b.node("Unsqueeze", list(at, b.ints(0))), b.node("Unsqueeze", list(at, b.ints(1)))))
		causal := b.node("Mul", list(b.node("Cast", list(later), "to", floatType), b.scalar(unseen)))
		if b.bias != "" {
			causal = b.node("Add", list(b.bias, causal))
		}
		b.bias = causal
	}
}

// block is one block of the trunk; name gives the tensor of a role.
func (b *builder) block(x string, name func(sharing.Role) string) string {
	d, hidden := b.trunk.Width, b.trunk.Hidden
	post := b.trunk.NormPlace == "post"
	half := func(norm sharing.Role, f func(x string) string) {
		h := x
		if !post {
			h = b.normed(h, name(norm))
		}
		x = b.node("Add", list(x, f(h)))
		if post {
			x = b.normed(x, name(norm))
		}
	}
	half(sharing.Norm1, func(x string) string {
		q, k, v := b.split(x, name(sharing.Qkv))
		return b.linear(b.attention(q, k, v, b.bias), name(sharing.Out), d, d)
	})
	half(sharing.Norm2, func(x string) string {
		up := b.activated(b.linear(x, name(sharing.Up), hidden, d))
		return b.linear(up, name(sharing.Down), d, hidden)
	})
	return x
}

// split returns the queries, keys and values of a matrix of rows, each
// [batch, heads, rows, D/heads].
func (b *builder) split(x, name string) (q, k, v string) {
	d, heads := b.trunk.Width, b.trunk.Heads
	x = b.deep(b.linear(x, name, 3*d, d), 3, int64(heads), int64(d/heads))
	x = b.node("Transpose", list(x), "perm", []int{2, 0, 3, 1, 4})
	pick := func(i int64) string { return b.node("Gather", list(x, b.integer(i)), "axis", 0) }
	return pick(0), pick(1), pick(2)
}

// attention returns a matrix [n, D] with a row for each query.
func (b *builder) attention(q, k, v, bias string) string {
	d, heads := b.trunk.Width, b.trunk.Heads
	q = b.node("Mul", list(q, b.scalar(1/math.Sqrt(float64(d/heads)))))
	s := b.node("MatMul", list(q, b.node("Transpose", list(k), "perm", []int{0, 1, 3, 2})))
	if bias != "" {
		s = b.node("Add", list(s, bias))
	}
	y := b.node("MatMul", list(b.node("Softmax", list(s), "axis", -1), v))
	return b.flat(b.node("Transpose", list(y), "perm", []int{0, 2, 1, 3}), d)
}

// embedding makes the output of the trunk's rows.
func (b *builder) embedding(x string) {
	d := b.trunk.Width
	if b.sequence.HeadNorm == "rows" {
		x = b.normed(x, b.head("norm"))
	}
	if b.sequence.Pool == "attention" {
		x = b.attended(x)
	} else {
		x = b.pooled(b.deep(x, int64(d)))
	}
	if b.sequence.HeadNorm == "pooled" {
		x = b.normed(x, b.head("norm"))
	}
	if b.sequence.Projection != "none" {
		x = b.linear(x, b.head("projection"), b.trunk.Embed, d)
	}
	if b.m.Bank.Has(b.head("bridge/weight")) {
		x = b.linear(x, b.head("bridge"), b.m.Dim(), b.trunk.Embed)
	}
	length := b.node("ReduceL2", list(x), "axes", []int{-1}, "keepdims", 1)
	b.named("embedding", "Div", list(x, b.node("Max", list(length, b.scalar(1e-12)))), nil)
}

// pooled makes one row of each sample's, x [batch, rows, D].
func (b *builder) pooled(x string) string {
	row := func(i int64) string { return b.node("Gather", list(x, b.integer(i)), "axis", 1) }
	mean := func(x string) string { return b.node("ReduceMean", list(x), "axes", []int{1}, "keepdims", 0) }
	var number string // of rows, [batch, 1]
	if b.mask != "" {
		number = b.node("ReduceSum", list(b.mask, b.ints(1)), "keepdims", 1)
	}
	switch b.sequence.Pool {
	case "class", "first":
		return row(0)
	case "classes":
		return mean(b.node("Slice", list(x, b.ints(0), b.ints(2), b.ints(1))))
	case "last":
		if b.mask == "" {
			return row(-1)
		}
		last := b.node("Sub", list(b.node("Cast", list(number), "to", intType), b.ints(1)))
		return b.node("GatherND", list(x, last), "batch_dims", 1)
	case "mean":
		if b.mask == "" {
			return mean(x)
		}
		x = b.node("Mul", list(x, b.node("Unsqueeze", list(b.mask, b.ints(2)))))
		return b.node("Div", list(b.node("ReduceSum", list(x, b.ints(1)), "keepdims", 0), number))
	}
	panic("export: pool " + b.sequence.Pool)
}

// attended pools the rows, a matrix, by the attention of a learned query. Every
// sample's query is the same, so it is computed here.
func (b *builder) attended(x string) string {
	d, heads, hidden := b.trunk.Width, b.trunk.Heads, b.trunk.Hidden
	_, k, v := b.split(x, b.head("pool/qkv"))
	q := b.tensor(b.head("pool/query"), func() []float32 {
		y := product(b.values(b.head("pool/qkv/weight"))[:d*d], b.values(b.head("pool/query")), d, d, 1)
		for i, v := range b.values(b.head("pool/qkv/bias"))[:d] {
			y[i] += v
		}
		return y
	}, 1, heads, 1, d/heads)
	// The query stands behind all rows, so none is later.
	y := b.linear(b.attention(q, k, v, b.filled), b.head("pool/out"), d, d)
	u := b.linear(b.normed(y, b.head("pool/norm")), b.head("pool/up"), hidden, d)
	return b.node("Add", list(y, b.linear(b.activated(u), b.head("pool/down"), d, hidden)))
}
