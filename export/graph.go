package export

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/onetrunk/onetrunk/internal/atomicfile"
)

// graph is an ONNX model in the making: nodes in the order in which they run,
// each with one output, and the tensors that they read. The numbers of fields
// are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
type graph struct {
	name            string
	nodes           [][]byte // NodeProto
	inputs, outputs [][]byte // ValueInfoProto
	tensors         []initializer
	seen            map[string]bool // names of initializers
	count           int
}

// initializer is a tensor of the graph: values of one of the two kinds.
type initializer struct {
	name string
	dims []int
	// read gives the values when they are written, so that no more than one
	// tensor is held twice.
	read func() []float32
	ints []int64
}

// The element types of onnx.proto.
const (
	floatType = 1
	intType   = 7
)

// opset is the version of ONNX's operators, irVersion of its format.
const (
	opset     = 17
	irVersion = 8
)

// maxFile is what a protobuf message may take.
const maxFile = math.MaxInt32

func newGraph(name string) *graph { return &graph{name: name, seen: map[string]bool{}} }

func appendInt(b []byte, field protowire.Number, v int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), uint64(v))
}

func appendText(b []byte, field protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func appendMessage(b []byte, field protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), m)
}

// value is the ValueInfoProto of an input or output. A dimension is an int, or
// the name of one that is known when the graph runs.
func value(name string, element int64, dims ...any) []byte {
	var shape []byte
	for _, d := range dims {
		var dim []byte
		switch d := d.(type) {
		case int:
			dim = appendInt(nil, 1, int64(d))
		case string:
			dim = appendText(nil, 2, d)
		default:
			panic(fmt.Sprintf("export: a dimension of %T", d))
		}
		shape = appendMessage(shape, 1, dim)
	}
	tensor := appendMessage(appendInt(nil, 1, element), 2, shape)
	return appendMessage(appendText(nil, 1, name), 2, appendMessage(nil, 1, tensor))
}

// node adds a node and returns its output's name. Its attributes are pairs of a
// name and an int, a float32 or ints.
func (g *graph) node(op string, inputs []string, attrs ...any) string {
	out := fmt.Sprintf("%s_%d", op, g.count)
	g.named(out, op, inputs, attrs)
	return out
}

// named is node with an output of that name.
func (g *graph) named(out, op string, inputs []string, attrs []any) {
	g.count++
	var n []byte
	for _, in := range inputs {
		n = appendText(n, 1, in)
	}
	n = appendText(n, 2, out)
	n = appendText(n, 3, out)
	n = appendText(n, 4, op)
	for i := 0; i < len(attrs); i += 2 {
		a := appendText(nil, 1, attrs[i].(string))
		switch v := attrs[i+1].(type) {
		case float32:
			a = protowire.AppendFixed32(protowire.AppendTag(a, 2, protowire.Fixed32Type), math.Float32bits(v))
			a = appendInt(a, 20, 1)
		case int:
			a = appendInt(appendInt(a, 3, int64(v)), 20, 2)
		case []int:
			for _, x := range v {
				a = appendInt(a, 8, int64(x))
			}
			a = appendInt(a, 20, 7)
		default:
			panic(fmt.Sprintf("export: an attribute of %T", v))
		}
		n = appendMessage(n, 5, a)
	}
	g.nodes = append(g.nodes, n)
}

// tensor adds a tensor, unless one of that name is there, and returns its name.
func (g *graph) tensor(name string, read func() []float32, dims ...int) string {
	if !g.seen[name] {
		g.seen[name] = true
		g.tensors = append(g.tensors, initializer{name: name, dims: dims, read: read})
	}
	return name
}

// scalar adds a number.
func (g *graph) scalar(v float64) string {
	return g.tensor(fmt.Sprintf("number_%g", v), func() []float32 { return []float32{float32(v)} })
}

// ints adds a list of integers.
func (g *graph) ints(v ...int64) string {
	name := fmt.Sprintf("ints_%d", v)
	if !g.seen[name] {
		g.seen[name] = true
		g.tensors = append(g.tensors, initializer{name: name, dims: []int{len(v)}, ints: v})
	}
	return name
}

// integer adds an integer that is no list.
func (g *graph) integer(v int64) string {
	name := fmt.Sprintf("integer_%d", v)
	if !g.seen[name] {
		g.seen[name] = true
		g.tensors = append(g.tensors, initializer{name: name, ints: []int64{v}})
	}
	return name
}

// head returns all of a TensorProto but its values, which follow, and their
// number of bytes.
func (t *initializer) head() (head []byte, size int) {
	element, size := int64(floatType), 4
	if t.ints != nil {
		element, size = intType, 8
	}
	for _, d := range t.dims {
		head = appendInt(head, 1, int64(d))
		size *= d
	}
	head = appendText(appendInt(head, 2, element), 8, t.name)
	head = protowire.AppendTag(head, 9, protowire.BytesType)
	return protowire.AppendVarint(head, uint64(size)), size
}

// fits says whether a file can hold the graph, with some bytes of its own.
func (g *graph) fits() error {
	if n := g.bytes(); n > maxFile-1<<10 {
		return fmt.Errorf("a graph of %d bytes; an ONNX file holds at most %d", n, maxFile)
	}
	return nil
}

// bytes returns the number of bytes of the GraphProto.
func (g *graph) bytes() int {
	n := len(g.rest())
	for i := range g.tensors {
		head, size := g.tensors[i].head()
		n += protowire.SizeTag(5) + protowire.SizeBytes(len(head)+size)
	}
	return n
}

// rest is the GraphProto without its tensors.
func (g *graph) rest() []byte {
	var b []byte
	for _, n := range g.nodes {
		b = appendMessage(b, 1, n)
	}
	b = appendText(b, 2, g.name)
	for _, v := range g.inputs {
		b = appendMessage(b, 11, v)
	}
	for _, v := range g.outputs {
		b = appendMessage(b, 12, v)
	}
	return b
}

// write writes the ModelProto.
func (g *graph) write(path string) error {
	head := appendText(appendInt(nil, 1, irVersion), 2, "onetrunk")
	head = appendMessage(head, 8, appendInt(appendText(nil, 1, ""), 2, opset))
	head = protowire.AppendTag(head, 7, protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(g.bytes()))
	return atomicfile.Write(path, func(w io.Writer) error {
		if _, err := w.Write(append(head, g.rest()...)); err != nil {
			return err
		}
		for i := range g.tensors {
			t := &g.tensors[i]
			head, size := t.head()
			b := protowire.AppendVarint(protowire.AppendTag(nil, 5, protowire.BytesType), uint64(len(head)+size))
			b = append(b, head...)
			if t.ints != nil {
				for _, v := range t.ints {
					b = binary.LittleEndian.AppendUint64(b, uint64(v))
				}
			} else {
				x := t.read()
				if 4*len(x) != size {
					return fmt.Errorf("tensor %s: %d values, expected %v", t.name, len(x), t.dims)
				}
				for _, v := range x {
					b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
				}
			}
			if _, err := w.Write(b); err != nil {
				return err
			}
		}
		return nil
	})
}
