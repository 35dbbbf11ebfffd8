package retrieval

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/onetrunk/onetrunk/datasets"
	"github.com/onetrunk/onetrunk/internal/atomicfile"
	"github.com/onetrunk/onetrunk/internal/strictjson"
	"github.com/onetrunk/onetrunk/modalities"
	"github.com/onetrunk/onetrunk/tokenizers"
)

// Embedder is what this package needs of a model; *model.Model is one.
type Embedder interface {
	// Dim is the length E of an embedding.
	Dim() int
	// Modalities lists what the model reads, sorted.
	Modalities() []string
	Processor(modality string) (modalities.Processor, error)
	// Check says whether the model can take a sample.
	Check(modality string, t tokenizers.Tokens) error
	// Embed returns unit vectors [n, E]; it is safe for concurrent use.
	Embed(ctx context.Context, modality string, batch []tokenizers.Tokens) ([]float32, error)
	// Fingerprint identifies the weights.
	Fingerprint() string
}

// EmbedOptions says how a source is embedded.
type EmbedOptions struct {
	// Batch is the number of values that are embedded at once, 0 for 64.
	Batch int
	// PartitionRows is the number of input rows whose results make a
	// partition of files, 0 for 100,000.
	PartitionRows int
	// MaxBad is the share of values that may be unreadable (though always
	// one); more are an error.
	MaxBad float64
	// Progress, if set, hears of input rows done.
	Progress func(done, total int)
}

// EmbedReport says what EmbedSource did.
type EmbedReport struct {
	Rows int `json:"rows"`
	// Vectors counts those written or found written, by modality.
	Vectors map[string]int `json:"vectors"`
	// Done is the number of rows that an earlier call had embedded.
	Done int `json:"already_done"`
	Bad  int `json:"bad"`
}

// job is what DIR/embed.json says of the results beside it.
type job struct {
	Model         string `json:"model"`
	Source        string `json:"source"`
	Rows          int    `json:"rows"`
	PartitionRows int    `json:"partition_rows"`
}

// inputRow is a row of the source with its item's id.
type inputRow struct {
	id string
	datasets.Row
}

// EmbedSource embeds every row of a source into a folder, in the order of the
// input; a row with several modalities has a vector in each one's file. A
// value that several rows of a partition share is embedded once. Partitions
// appear whole or not at all: a second call embeds only what is missing, and
// the results of another model or source are an error. Values that cannot be
// read are listed in DIR/skipped.tsv.
func EmbedSource(ctx context.Context, m Embedder, src datasets.Source, dir string, o EmbedOptions) (EmbedReport, error) {
	if o.Batch == 0 {
		o.Batch = 64
	}
	if o.PartitionRows == 0 {
		o.PartitionRows = 100000
	}
	rows, digest := inputRows(src)
	rep := EmbedReport{Rows: len(rows), Vectors: map[string]int{}}
	if err := claim(dir, job{m.Fingerprint(), digest, len(rows), o.PartitionRows}); err != nil {
		return rep, err
	}
	e := &embedding{m: m, src: src, dir: dir, o: o, rep: &rep, allowed: max(1, int(o.MaxBad*float64(countCells(m, rows))))}
	parts := (len(rows) + o.PartitionRows - 1) / o.PartitionRows
	width := len(fmt.Sprint(max(parts-1, 0)))
	for i := range parts {
		lo := i * o.PartitionRows
		hi := min(lo+o.PartitionRows, len(rows))
		if err := e.partition(ctx, fmt.Sprintf("%0*d", width, i), rows[lo:hi], lo); err != nil {
			return rep, errors.Join(err, e.list())
		}
	}
	return rep, e.list()
}

// inputRows flattens a source into its rows in input order, and returns a
// digest of them.
func inputRows(src datasets.Source) ([]inputRow, string) {
	var rows []inputRow
	for i := range src.Len() {
		it := src.Item(i)
		for _, r := range it.Rows {
			rows = append(rows, inputRow{it.ID, r})
		}
	}
	slices.SortStableFunc(rows, func(a, b inputRow) int { return cmp.Compare(a.Line, b.Line) })
	h := sha256.New()
	for _, r := range rows {
		fmt.Fprintf(h, "%q %q", r.id, r.Lang)
		for _, c := range r.Cells {
			fmt.Fprintf(h, " %q=%q", c.Modality, c.Ref)
		}
		fmt.Fprintln(h)
	}
	return rows, hex.EncodeToString(h.Sum(nil)[:16])
}

func countCells(m Embedder, rows []inputRow) (n int) {
	for _, r := range rows {
		for _, c := range r.Cells {
			if slices.Contains(m.Modalities(), c.Modality) {
				n++
			}
		}
	}
	return n
}

// claim makes a folder this job's, or finds that it is.
func claim(dir string, j job) error {
	path := filepath.Join(dir, "embed.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		data, err := json.MarshalIndent(j, "", "  ")
		if err != nil {
			return err
		}
		return atomicfile.WriteBytes(path, append(data, '\n'))
	}
	if err != nil {
		return err
	}
	var have job
	if err := strictjson.Unmarshal(path, data, &have); err != nil {
		return err
	}
	switch {
	case have.Model != j.Model:
		return fmt.Errorf("%s holds embeddings of another model (%s, this is %s): take another folder", dir, have.Model, j.Model)
	case have != j:
		return fmt.Errorf("%s holds embeddings of another source or partition size: take another folder", dir)
	}
	return nil
}

// embedding is an EmbedSource in progress.
type embedding struct {
	m       Embedder
	src     datasets.Source
	dir     string
	o       EmbedOptions
	rep     *EmbedReport
	bad     []datasets.BadRow
	allowed int
}

// place is a value's vector: its modality and row in that modality's file, -1
// while (or if ever) it has none.
type place struct {
	cell datasets.Cell
	line int
	item string
	row  int64
	z    []float32
}

// partition embeds some rows, unless that has been done.
func (e *embedding) partition(ctx context.Context, part string, in []inputRow, before int) error {
	if rows, err := readMetadata(metadataPath(e.dir, part)); err == nil && len(rows) == len(in) {
		for _, r := range rows {
			for name, at := range r.rows {
				if at >= 0 {
					e.rep.Vectors[name]++
				}
			}
		}
		e.rep.Done += len(in)
		e.progress(before + len(in))
		return nil
	}
	places, order := e.places(in)
	if err := e.embed(ctx, order, before, len(in)); err != nil {
		return err
	}
	return e.write(part, in, places)
}

// places finds the different values of some rows. order has each once, in the
// order in which they appear.
func (e *embedding) places(in []inputRow) (places map[datasets.Cell]*place, order []*place) {
	places = map[datasets.Cell]*place{}
	for _, r := range in {
		for _, c := range r.Cells {
			if places[c] == nil && slices.Contains(e.m.Modalities(), c.Modality) {
				places[c] = &place{cell: c, line: r.Line, item: r.id, row: -1}
				order = append(order, places[c])
			}
		}
	}
	return places, order
}

// embed fills in the vectors, decoding ahead of the model.
func (e *embedding) embed(ctx context.Context, order []*place, before, rows int) error {
	processors := map[string]modalities.Processor{}
	for _, name := range e.m.Modalities() {
		p, err := e.m.Processor(name)
		if err != nil {
			return err
		}
		processors[name] = p
	}
	cells := make([]datasets.Cell, len(order))
	for i, p := range order {
		cells[i] = p.cell
	}
	type batch struct {
		tokens []tokenizers.Tokens
		places []*place
	}
	waiting := map[string]*batch{}
	flush := func(name string) error {
		b := waiting[name]
		if b == nil || len(b.tokens) == 0 {
			return nil
		}
		z, err := e.m.Embed(ctx, name, b.tokens)
		if err != nil {
			return err
		}
		dim := e.m.Dim()
		for i, p := range b.places {
			p.z = z[i*dim : (i+1)*dim]
		}
		b.tokens, b.places = nil, nil
		return nil
	}
	for l, err := range datasets.Stream(ctx, e.src, cells, processors, 0, 4*e.o.Batch) {
		if err != nil {
			return err
		}
		p := order[l.Index]
		name := p.cell.Modality
		if l.Err == nil {
			l.Err = e.m.Check(name, l.Tokens)
		}
		if l.Err != nil {
			if err := e.skip(p, l.Err); err != nil {
				return err
			}
			continue
		}
		if waiting[name] == nil {
			waiting[name] = &batch{}
		}
		b := waiting[name]
		b.tokens, b.places = append(b.tokens, l.Tokens), append(b.places, p)
		if len(b.tokens) == e.o.Batch {
			if err := flush(name); err != nil {
				return err
			}
			e.progress(before + rows*l.Index/len(order))
		}
	}
	for name := range waiting {
		if err := flush(name); err != nil {
			return err
		}
	}
	e.progress(before + rows)
	return nil
}

func (e *embedding) progress(done int) {
	if e.o.Progress != nil {
		e.o.Progress(done, e.rep.Rows)
	}
}

// skip notes a value that cannot be read.
func (e *embedding) skip(p *place, why error) error {
	e.bad = append(e.bad, datasets.BadRow{Item: p.item, Line: p.line, Cell: p.cell, Err: why})
	e.rep.Bad++
	if e.rep.Bad > e.allowed {
		return fmt.Errorf("%s: %d values could not be read, at most %d may (--max-bad); the last: %w", e.src.Name(), e.rep.Bad, e.allowed, why)
	}
	return nil
}

// list writes the values that could not be read.
func (e *embedding) list() error {
	if len(e.bad) == 0 {
		return nil
	}
	return datasets.WriteBad(filepath.Join(e.dir, "skipped.tsv"), e.bad)
}

// write puts a partition's files out, the metadata last: where it is, the
// partition is whole.
func (e *embedding) write(part string, in []inputRow, places map[datasets.Cell]*place) error {
	vectors := map[string][]float32{}
	rows := make([]row, len(in))
	for i, r := range in {
		out := row{id: r.id, lang: r.Lang, paths: map[string]string{}, rows: map[string]int64{}}
		for _, name := range e.m.Modalities() {
			out.rows[name] = -1
		}
		for _, c := range r.Cells {
			if m, err := modalities.Lookup(c.Modality); err == nil && m.Inline() {
				out.caption = c.Ref
			} else {
				out.paths[c.Modality] = c.Ref
			}
			if p := places[c]; p != nil && p.z != nil {
				out.rows[c.Modality] = int64(len(vectors[c.Modality]) / e.m.Dim())
				vectors[c.Modality] = append(vectors[c.Modality], p.z...)
				e.rep.Vectors[c.Modality]++
			}
		}
		rows[i] = out
	}
	for name, z := range vectors {
		if err := writeNPY(vectorsPath(e.dir, name, part), z, e.m.Dim()); err != nil {
			return err
		}
	}
	return writeMetadata(metadataPath(e.dir, part), e.m.Modalities(), rows)
}
