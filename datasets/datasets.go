// Package datasets reads paired data: manifests of files (CSV, TSV, JSONL),
// the built-in world of datasets/demo, and what the recipes build. A source
// is named by one string, SRC or SRC#split, and is a list of items; the
// loader draws samples from it, decodes and tokenises them ahead of the
// trainer, and hands over batches in an order that the seed alone decides.
package datasets

import "github.com/onetrunk/onetrunk/modalities"

// Cell is one value of one modality: a file or an inline text.
type Cell struct {
	Modality string
	// Ref names the value: the path of a file as the source understands it,
	// or the text itself for an inline modality. Cells of one modality with
	// equal refs are the same value.
	Ref string
}

// Row is a set of cells that were recorded together, at most one of each
// modality: a picture and its caption, a recording and its words.
type Row struct {
	Cells []Cell
	Lang  string
	// Line is the row's number in its file, from 1, for messages; 0 where
	// there is no file.
	Line int
}

// Item is one thing that the rows show: everything in it belongs together,
// so all its cells are positives of each other. A manifest's rows with equal
// ids are one item: five captions of a picture, one concept drawn by several
// hands and spoken by several voices.
type Item struct {
	ID   string
	Rows []Row
}

// Source is one split of a dataset. It is safe for concurrent use.
type Source interface {
	// Name is what the user called it, with the split: "demo:#test".
	Name() string
	// Modalities lists the modalities that occur, sorted.
	Modalities() []string
	// Len returns the number of items.
	Len() int
	// Item returns item i. The caller must not change it.
	Item(i int) *Item
	// Load returns the value behind a cell of one of its items, decoded by p.
	// An error names the file and the row.
	Load(c Cell, p modalities.Processor) (modalities.Value, error)
}
