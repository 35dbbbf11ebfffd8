package sharing

import (
	"fmt"

	"github.com/onetrunk/onetrunk/tensor"
)

// Codes is a matrix [rows, cols] of whole numbers in 0..2^Bits-1, each of which
// stands for a value of a table. Codes are not trained.
type Codes struct {
	Name       string
	Rows, Cols int
	// Bits is what a number takes in a checkpoint, 1 to 8.
	Bits int
	// Signed numbers are written as I8, less 128; they have 8 bits.
	Signed bool

	bank  *Bank
	value *tensor.Tensor // nil until it is set
	codes []uint8
}

// addCodes puts codes into the bank, without values.
func (b *Bank) addCodes(name string, rows, cols, bits int, signed bool) *Codes {
	if b.coded[name] != nil || b.Has(name) {
		panic("sharing: the bank has a tensor " + name + " already")
	}
	c := &Codes{Name: name, Rows: rows, Cols: cols, Bits: bits, Signed: signed, bank: b}
	b.codes = append(b.codes, c)
	b.coded[name] = c
	return c
}

// Codes lists the codes of the bank, in the order in which they were made.
func (b *Bank) Codes() []*Codes { return b.codes }

// CodesOf returns the codes of that name, nil when there are none.
func (b *Bank) CodesOf(name string) *Codes { return b.coded[name] }

// Bytes returns what the values of all tensors take in a checkpoint.
func (b *Bank) Bytes() int64 {
	n := 4 * int64(b.Elements())
	for _, c := range b.codes {
		n += int64(c.Rows * c.stride())
	}
	return n
}

// set gives the codes their values.
func (c *Codes) set(codes []uint8) {
	c.codes, c.value = codes, c.bank.dev.Codes(c.Rows, c.Cols, codes)
}

// stride is the bytes of a row in a checkpoint.
func (c *Codes) stride() int { return (c.Cols*c.Bits + 7) / 8 }

// DType and Shape are those of the bytes in a checkpoint: rows begin with a byte
// of their own.
func (c *Codes) DType() string {
	if c.Signed {
		return "I8"
	}
	return "U8"
}

// Shape returns the shape in a checkpoint, [rows, bytes].
func (c *Codes) Shape() []int { return []int{c.Rows, c.stride()} }

// Pack returns the codes as they stand in a checkpoint: a row's numbers one after
// the other from the lowest bit of its first byte on.
func (c *Codes) Pack() []byte {
	out := make([]byte, c.Rows*c.stride())
	for i := range c.Rows {
		row := out[i*c.stride() : (i+1)*c.stride()]
		for j, v := range c.codes[i*c.Cols : (i+1)*c.Cols] {
			if c.Signed {
				row[j] = v ^ 0x80
				continue
			}
			at := j * c.Bits
			row[at/8] |= v << (at % 8)
			if over := at%8 + c.Bits - 8; over > 0 {
				row[at/8+1] |= v >> (c.Bits - over)
			}
		}
	}
	return out
}

// Unpack sets the codes to what Pack wrote. It is an error when the size differs.
func (c *Codes) Unpack(packed []byte) error {
	if len(packed) != c.Rows*c.stride() {
		return fmt.Errorf("tensor %q: %d bytes, expected %v", c.Name, len(packed), c.Shape())
	}
	codes := make([]uint8, c.Rows*c.Cols)
	for i := range c.Rows {
		row := packed[i*c.stride() : (i+1)*c.stride()]
		for j := range c.Cols {
			if c.Signed {
				codes[i*c.Cols+j] = row[j] ^ 0x80
				continue
			}
			at := j * c.Bits
			v := int(row[at/8]) >> (at % 8)
			if at%8+c.Bits > 8 {
				v |= int(row[at/8+1]) << (8 - at%8)
			}
			codes[i*c.Cols+j] = uint8(v & (1<<c.Bits - 1))
		}
	}
	c.set(codes)
	return nil
}
