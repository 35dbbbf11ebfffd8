package retrieval

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/onetrunk/onetrunk/datasets"
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
	// MaxBad is the share of the source's cells that may be unreadable: one
	// is always allowed, but none when MaxBad is 0.
	MaxBad float64
	// Progress, if set, hears of input rows done, first of those that an
	// earlier call did.
	Progress func(done, total int)
}

// EmbedReport says what EmbedSource did.
type EmbedReport struct {
	Rows int `json:"rows"`
	// Vectors counts those written or found written, by modality.
	Vectors map[string]int `json:"vectors"`
	// Done is the number of rows that an earlier call had embedded.
	Done int `json:"already_done"`
	// Bad counts the values that could not be read, now or in an earlier call;
	// one that occurs in several partitions counts in each.
	Bad int `json:"bad"`
}

// inputRow is a row of the source with its item's id.
type inputRow struct {
	id string
	datasets.Row
}

// EmbedSource embeds every row of a source into a folder, in the order of the
// input; a row with several modalities has a vector in each one's file, and
// cells of modalities that the model lacks are passed over. A value that
// several rows of a partition share is embedded once. Partitions appear whole
// or not at all: a second call embeds only what is missing, and the results
// of another model or of other rows are an error. Values that cannot be read
// have no vector and are listed in DIR/skipped.tsv; that a file has changed
// since is not noticed.
func EmbedSource(ctx context.Context, m Embedder, src datasets.Source, dir string, o EmbedOptions) (EmbedReport, error) {
	if o.Batch == 0 {
		o.Batch = 64
	}
	if o.PartitionRows == 0 {
		o.PartitionRows = 100000
	}
	rows, digest := inputRows(src)
	rep := EmbedReport{Rows: len(rows), Vectors: map[string]int{}}
	if m.Fingerprint() == "" {
		return rep, errors.New("the model has not been saved: nothing tells its embeddings from another's")
	}
	if err := claim(dir, state{m.Fingerprint(), digest, len(rows), o.PartitionRows}); err != nil {
		return rep, err
	}
	e := &embedding{m: m, src: src, dir: dir, o: o, rep: &rep, reasons: readSkipped(dir)}
	if o.MaxBad > 0 {
		e.allowed = max(1, int(o.MaxBad*float64(countCells(m, rows))))
	}
	parts := (len(rows) + o.PartitionRows - 1) / o.PartitionRows
	width := len(fmt.Sprint(max(parts-1, 0)))
	for i := range parts {
		lo := i * o.PartitionRows
		hi := min(lo+o.PartitionRows, len(rows))
		if err := e.partition(ctx, fmt.Sprintf("%0*d", width, i), rows[lo:hi], lo); err != nil {
			if failed := e.list(); failed != nil {
				err = fmt.Errorf("%w; and %w", err, failed)
			}
			return rep, err
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
func claim(dir string, want state) error {
	have, err := readState(dir)
	if err != nil {
		return err
	}
	switch {
	case have == want:
		return nil
	case have == state{}:
		return want.write(dir)
	case have.Model != want.Model:
		return fmt.Errorf("%s holds embeddings of another model (%s, this is %s): take another folder", dir, have.Model, want.Model)
	}
	return fmt.Errorf("%s holds embeddings of another source or partition size: take another folder", dir)
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
	reasons map[datasets.Cell]string // of what an earlier call skipped
}

// place is a value, where it first occurs, and its vector; nil while (or if
// ever) it has none.
type place struct {
	cell datasets.Cell
	line int
	item string
	z    []float32
}

// partition embeds some rows, unless that has been done.
func (e *embedding) partition(ctx context.Context, part string, in []inputRow, before int) error {
	places, order := e.places(in)
	if t, err := readTable(metadataPath(e.dir, part)); err == nil && t.n == len(in) && t.hasVectors(e.dir, part, e.m.Dim()) {
		return e.recall(t, in, order)
	}
	e.progress(before)
	if err := e.embed(ctx, order, before, len(in)); err != nil {
		return err
	}
	return e.write(part, in, places)
}

// recall counts what an earlier call did.
func (e *embedding) recall(t *table, in []inputRow, order []*place) error {
	e.rep.Done += len(in)
	embedded := map[datasets.Cell]bool{}
	for i, r := range in {
		for _, c := range r.Cells {
			if col := t.cells[c.Modality]; col != nil && col.row[i] >= 0 {
				embedded[c] = true
				e.rep.Vectors[c.Modality]++
			}
		}
	}
	for _, p := range order {
		if embedded[p.cell] {
			continue
		}
		why := e.reasons[p.cell]
		if why == "" {
			why = "could not be read by an earlier run"
		}
		if err := e.skip(p, errors.New(why)); err != nil {
			return err
		}
	}
	return nil
}

// places finds the different values of some rows. order has each once, in the
// order in which they appear.
func (e *embedding) places(in []inputRow) (places map[datasets.Cell]*place, order []*place) {
	places = map[datasets.Cell]*place{}
	for _, r := range in {
		for _, c := range r.Cells {
			if places[c] == nil && slices.Contains(e.m.Modalities(), c.Modality) {
				places[c] = &place{cell: c, line: r.Line, item: r.id}
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
		if len(z) != len(b.tokens)*dim {
			return fmt.Errorf("the model returned %d values for %d vectors of %d", len(z), len(b.tokens), dim)
		}
		for i, p := range b.places {
			p.z = z[i*dim : (i+1)*dim]
			if !isUnit(square(p.z)) {
				return fmt.Errorf("%s %.200q (%s): the model's vector is not of unit length", name, p.cell.Ref, p.item)
			}
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

// splitOf returns the split in a source's name: "test" of "photos.tsv#test".
func splitOf(name string) string {
	at := strings.LastIndexByte(name, '#')
	if at < 0 || strings.ContainsAny(name[at:], `/\`) {
		return ""
	}
	return name[at+1:]
}

// write puts a partition's files out: the vectors, the list of what has none,
// and last the metadata.
func (e *embedding) write(part string, in []inputRow, places map[datasets.Cell]*place) error {
	split := splitOf(e.src.Name())
	t := newTable(len(in), e.m.Modalities())
	vectors := map[string][][]float32{}
	for i, r := range in {
		t.id[i], t.split[i], t.lang[i] = r.id, split, r.Lang
		for _, c := range r.Cells {
			inline := false
			if m, err := modalities.Lookup(c.Modality); err == nil {
				inline = m.Inline()
			}
			if inline {
				t.caption[i] = c.Ref
			} else {
				t.column(c.Modality).path[i] = c.Ref
			}
			if p := places[c]; p != nil && p.z != nil {
				t.column(c.Modality).row[i] = int64(len(vectors[c.Modality]))
				vectors[c.Modality] = append(vectors[c.Modality], p.z)
			}
		}
	}
	for name, z := range vectors {
		e.rep.Vectors[name] += len(z)
		if err := writeNPY(vectorsPath(e.dir, name, part), e.m.Dim(), z); err != nil {
			return err
		}
	}
	if err := e.list(); err != nil {
		return err
	}
	return t.write(metadataPath(e.dir, part))
}
