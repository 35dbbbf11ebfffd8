package datasets

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// readJSONL reads a manifest of one JSON object a line. Columns appear as
// their keys do.
func (t *table) readJSONL(r io.Reader) error {
	b := skipBOM(r)
	var buf []byte
	var values [][]byte
	for line := 1; ; line++ {
		var err error
		buf, err = readLine(b, buf[:0])
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return t.errorf(line, "%w", err)
		}
		if len(bytes.TrimSpace(buf)) == 0 {
			continue
		}
		if values, err = t.object(line, buf, values); err != nil {
			return err
		}
		if err := t.add(line, values); err != nil {
			return err
		}
	}
}

// object reads one line into the value of each column so far, nil where the
// line has none.
func (t *table) object(line int, data []byte, values [][]byte) ([][]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	bad := func(err error) error {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return t.errorf(line, "expected a JSON object: %w", err)
	}
	if tok, err := dec.Token(); err != nil {
		return nil, bad(err)
	} else if tok != json.Delim('{') {
		return nil, bad(fmt.Errorf("found %s", shown(fmt.Sprint(tok))))
	}
	values = values[:0]
	seen := make([]bool, len(t.columns))
	for range t.columns {
		values = append(values, nil)
	}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, bad(err)
		}
		i, err := t.column(line, tok.(string))
		if err != nil {
			return nil, err
		}
		if i == len(values) {
			values, seen = append(values, nil), append(seen, false)
		}
		if seen[i] {
			return nil, t.errorf(line, "column %q is given twice", tok)
		}
		seen[i] = true
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, bad(err)
		}
		if values[i], err = scalar(raw); err != nil && t.columns[i].holds != ignored {
			return nil, t.errorf(line, "column %q: %w", tok, err)
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, bad(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, bad(errors.New("more after its end"))
	}
	return values, nil
}

// scalar returns the text of a JSON string, a number as it is written, and
// nil for null.
func scalar(raw json.RawMessage) ([]byte, error) {
	switch c := raw[0]; {
	case c == '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return []byte(s), err
	case c == 'n':
		return nil, nil
	case c == '-' || c >= '0' && c <= '9':
		return raw, nil
	case c == '[':
		return nil, errors.New("expected a string, found a list (a row holds one value of a modality: write a row for each, with the same id)")
	case c == '{':
		return nil, errors.New("expected a string, found an object")
	}
	return nil, fmt.Errorf("expected a string, found %s", raw)
}
