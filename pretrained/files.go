package pretrained

import (
	"fmt"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/onetrunk/onetrunk/checkpoint"
)

// files is the safetensors files of a folder.
type files struct {
	in map[string]*checkpoint.File // by tensor
}

// openFiles opens the weights of a folder: those that the index NAME.index.json
// lists, or the file NAME.
func openFiles(dir, name string) (*files, error) {
	var index struct {
		Map map[string]string `json:"weight_map"`
	}
	sharded, err := readJSON(dir, name+".index.json", &index)
	if err != nil {
		return nil, err
	}
	shards := []string{name}
	if sharded {
		shards = nil
		for _, s := range index.Map {
			if !filepath.IsLocal(s) {
				return nil, fmt.Errorf("%s.index.json: %q is not a file of the folder", name, s)
			}
			if !slices.Contains(shards, s) {
				shards = append(shards, s)
			}
		}
		slices.Sort(shards)
	}
	fs := &files{in: map[string]*checkpoint.File{}}
	for _, s := range shards {
		f, err := checkpoint.Open(filepath.Join(dir, s))
		if err != nil {
			return nil, err
		}
		// A file lives as long as a tensor that is held in it.
		runtime.SetFinalizer(f, func(f *checkpoint.File) { f.Close() })
		for _, n := range f.Names() {
			if fs.in[n] != nil {
				return nil, fmt.Errorf("tensor %q is in two of the shards", n)
			}
			fs.in[n] = f
		}
	}
	for n, s := range index.Map {
		if fs.in[n] == nil {
			return nil, fmt.Errorf("%s has no tensor %q, which the index says is there", s, n)
		}
	}
	return fs, nil
}

// names lists the tensors, sorted.
func (fs *files) names() []string {
	var names []string
	for n := range fs.in {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// has reports whether there is a tensor of that name.
func (fs *files) has(name string) bool { return fs.in[name] != nil }

// shape returns a tensor's shape.
func (fs *files) shape(name string) ([]int, bool) {
	f := fs.in[name]
	if f == nil {
		return nil, false
	}
	return f.Shape(name)
}

// source is what some rows of one of our tensors are made of.
type source struct {
	// name is the file's tensor of that shape; empty for zeros of it.
	name  string
	shape []int
	// pick, if not nil, makes our rows of the file's values.
	pick func(x []float32) []float32
	// plus is a tensor whose first row is added to every row.
	plus string
}

// names lists the tensors that a source needs, but for plus.
func (s source) names() []string {
	if s.name == "" {
		return nil
	}
	return []string{s.name}
}

// from is a tensor as it lies.
func from(name string, shape ...int) []source { return []source{{name: name, shape: shape}} }

// zeros stands for a bias that the library does not have.
func zeros(n int) []source { return []source{{shape: []int{n}}} }

// transposed is a matrix [rows, cols] that is stored as its transpose is used.
func transposed(name string, rows, cols int) []source {
	return []source{{name: name, shape: []int{rows, cols}, pick: func(x []float32) []float32 {
		y := make([]float32, len(x))
		for i := range rows {
			for j := range cols {
				y[j*rows+i] = x[i*cols+j]
			}
		}
		return y
	}}}
}

// slice is every element (..., at) of a tensor whose last dimension is of that
// size.
func slice(name string, at int, shape ...int) []source {
	last := shape[len(shape)-1]
	return []source{{name: name, shape: shape, pick: func(x []float32) []float32 {
		y := make([]float32, len(x)/last)
		for i := range y {
			y[i] = x[i*last+at]
		}
		return y
	}}}
}

// firstRows is the first n rows of a matrix [rows, cols].
func firstRows(name string, n, rows, cols int) source {
	return source{name: name, shape: []int{rows, cols}, pick: func(x []float32) []float32 { return x[:n*cols] }}
}

// read makes a tensor [rows, cols]. Where the values lie in a file as they are
// wanted they are used there, and owner is the file.
func (fs *files) read(sources []source, rows, cols int) (x []float32, owner any, err error) {
	if len(sources) == 1 {
		s := sources[0]
		if s.name != "" && s.pick == nil && s.plus == "" && size(s.shape) == rows*cols {
			f := fs.in[s.name]
			x, ok, err := f.Floats(s.name, s.shape)
			if err != nil || ok {
				return x, f, err
			}
		}
	}
	x = make([]float32, 0, rows*cols)
	for _, s := range sources {
		part := make([]float32, size(s.shape))
		if s.name != "" {
			if err := fs.in[s.name].Read(s.name, part, s.shape); err != nil {
				return nil, nil, err
			}
		}
		if s.pick != nil {
			part = s.pick(part)
		}
		if s.plus != "" {
			if err := fs.add(part, s.plus, cols); err != nil {
				return nil, nil, err
			}
		}
		x = append(x, part...)
	}
	if len(x) != rows*cols {
		return nil, nil, fmt.Errorf("tensors %v give %d values where [%d, %d] is wanted", sources, len(x), rows, cols)
	}
	return x, nil, nil
}

// add adds the first row of a tensor to every row of x.
func (fs *files) add(x []float32, name string, cols int) error {
	shape, ok := fs.shape(name)
	if !ok || len(shape) != 2 || shape[0] < 1 || shape[1] != cols {
		return fmt.Errorf("tensor %s is %v, expected [rows, %d]", name, shape, cols)
	}
	row := make([]float32, size(shape))
	if err := fs.in[name].Read(name, row, shape); err != nil {
		return err
	}
	for i := range x {
		x[i] += row[i%cols]
	}
	return nil
}

// size is the number of values of a shape.
func size(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}
