package datasets

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxRecord bounds a row, so that a quote that is never closed is noticed
// before all of a large file has been taken for one cell.
const maxRecord = 16 << 20

var errLong = fmt.Errorf("a row of more than %d MiB (is a quote not closed?)", maxRecord>>20)

// delimited reads CSV and TSV. A cell that begins with a quote is quoted as
// in RFC 4180: it ends at the next single quote, holds "" for a quote, and
// may hold separators and line ends. Any other cell is taken as it is, quotes
// included, which encoding/csv refuses and captions are full of.
type delimited struct {
	r    *bufio.Reader
	sep  byte
	line int    // of the last line read, from 1
	raw  []byte // the last line
	buf  []byte // the record's cells, one after the other
	ends []int  // where in buf each cell ends
}

func newDelimited(r io.Reader, sep byte) *delimited {
	return &delimited{r: skipBOM(r), sep: sep}
}

// skipBOM leaves out the mark that spreadsheets put before UTF-8.
func skipBOM(r io.Reader) *bufio.Reader {
	b := bufio.NewReaderSize(r, 1<<16)
	if head, _ := b.Peek(3); string(head) == "\ufeff" {
		_, _ = b.Discard(3) // has been peeked at
	}
	return b
}

// next returns the cells of the next record that is not an empty line, and
// the line where it begins. They are valid until the next call. At the end
// the error is io.EOF.
func (d *delimited) next(cells [][]byte) ([][]byte, int, error) {
	for {
		if err := d.readLine(); err != nil {
			return nil, d.line, err
		}
		if len(d.raw) > 0 {
			break
		}
	}
	first := d.line
	d.buf, d.ends = d.buf[:0], d.ends[:0]
	for rest, more := d.raw, true; more; {
		var err error
		if rest, more, err = d.cell(rest); err != nil {
			return nil, first, fmt.Errorf("cell %d: %w", len(d.ends)+1, err)
		}
	}
	cells = cells[:0]
	begin := 0
	for _, end := range d.ends {
		cells = append(cells, d.buf[begin:end])
		begin = end
	}
	return cells, first, nil
}

// cell moves one cell from the front of rest into buf and returns what is
// left of the line, and whether another cell follows.
func (d *delimited) cell(rest []byte) ([]byte, bool, error) {
	if len(rest) == 0 || rest[0] != '"' {
		cell, rest, more := bytes.Cut(rest, []byte{d.sep})
		d.buf = append(d.buf, cell...)
		d.ends = append(d.ends, len(d.buf))
		return rest, more, nil
	}
	rest = rest[1:]
	for {
		text, after, closed := bytes.Cut(rest, []byte{'"'})
		d.buf = append(d.buf, text...)
		switch {
		case !closed: // goes on in the next line
			if err := d.readLine(); err == io.EOF {
				return nil, false, errors.New("the quote is not closed")
			} else if err != nil {
				return nil, false, err
			}
			d.buf = append(d.buf, '\n')
			if len(d.buf) > maxRecord {
				return nil, false, errLong
			}
			rest = d.raw
		case len(after) > 0 && after[0] == '"':
			d.buf = append(d.buf, '"')
			rest = after[1:]
		case len(after) > 0 && after[0] != d.sep:
			return nil, false, errors.New(`more after the closing quote; a quote within a quoted cell is written ""`)
		default:
			d.ends = append(d.ends, len(d.buf))
			return bytes.TrimPrefix(after, []byte{d.sep}), len(after) > 0, nil
		}
	}
}

// readLine puts the next line into raw, without its end.
func (d *delimited) readLine() error {
	line, err := readLine(d.r, d.raw[:0])
	d.raw = line
	if err == nil {
		d.line++
	}
	return err
}

// readLine appends the next line to buf, without "\n" or "\r\n". A last line
// may lack its end; after it the error is io.EOF.
func readLine(r *bufio.Reader, buf []byte) ([]byte, error) {
	for {
		part, err := r.ReadSlice('\n')
		buf = append(buf, part...)
		switch {
		case err == bufio.ErrBufferFull && len(buf) <= maxRecord:
			continue
		case err == bufio.ErrBufferFull || len(buf) > maxRecord:
			return nil, errLong
		case err == io.EOF && len(buf) == 0, err != nil && err != io.EOF:
			return nil, err
		}
		buf = bytes.TrimSuffix(buf, []byte{'\n'})
		return bytes.TrimSuffix(buf, []byte{'\r'}), nil
	}
}
