package audio

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/go-audio/wav"
)

// Encodings of a WAVE "fmt " chunk.
const (
	formatPCM        = 1
	formatFloat      = 3
	formatALaw       = 6
	formatMuLaw      = 7
	formatExtensible = 0xfffe
)

// waveFile is what the chunks of a file say.
type waveFile struct {
	format, channels, bits int
	rate                   int
	data                   []byte
}

// parseWAV walks the chunks. A data chunk whose size is 0 or 0xffffffff was
// streamed and reaches to the end of the file; one that promises more than is
// there is an error.
func parseWAV(b []byte) (waveFile, error) {
	var w waveFile
	for at := 12; at+8 <= len(b); {
		id, size := string(b[at:at+4]), int64(binary.LittleEndian.Uint32(b[at+4:]))
		body := b[at+8:]
		switch id {
		case "fmt ":
			if size < 16 || size > int64(len(body)) {
				return w, fmt.Errorf("a format chunk of %d bytes, expected at least 16", size)
			}
			w.format = int(binary.LittleEndian.Uint16(body))
			w.channels = int(binary.LittleEndian.Uint16(body[2:]))
			w.rate = int(binary.LittleEndian.Uint32(body[4:]))
			w.bits = int(binary.LittleEndian.Uint16(body[14:]))
			if w.format == formatExtensible {
				if size < 40 {
					return w, fmt.Errorf("an extensible format chunk of %d bytes, expected 40", size)
				}
				w.format = int(binary.LittleEndian.Uint16(body[24:])) // the sub-format's first two bytes
			}
		case "data":
			if w.channels == 0 {
				return w, fmt.Errorf("no format chunk before the data")
			}
			if size == 0 || size == 0xffffffff {
				size = int64(len(body))
			}
			if size > int64(len(body)) {
				return w, fmt.Errorf("cut off: %d bytes of data of %d", len(body), size)
			}
			w.data = body[:size]
			return w, nil
		}
		next := int64(at) + 8 + size + size%2
		if next > int64(len(b)) {
			return w, fmt.Errorf("cut off in chunk %q: %d bytes of %d", id, len(body), size)
		}
		at = int(next)
	}
	return w, fmt.Errorf("no data chunk")
}

func decodeWAV(b []byte) (Clip, error) {
	w, err := parseWAV(b)
	if err != nil {
		return Clip{}, err
	}
	width := w.bits / 8
	if w.channels < 1 || width < 1 || w.bits%8 != 0 {
		return Clip{}, fmt.Errorf("%d channels of %d bits", w.channels, w.bits)
	}
	frames := len(w.data) / (width * w.channels)
	if err := check(w.rate, w.channels, uint64(frames)); err != nil {
		return Clip{}, err
	}
	data := w.data[:frames*width*w.channels]
	var x []float32
	switch {
	case w.format == formatPCM && width <= 4:
		x, err = w.integers(data)
	case w.format == formatFloat && (width == 4 || width == 8):
		x = floats(data, width)
	case w.format == formatALaw && width == 1:
		x = companded(data, aLaw)
	case w.format == formatMuLaw && width == 1:
		x = companded(data, muLaw)
	default:
		err = fmt.Errorf("encoding %d of %d bits; expected PCM of 8 to 32, float of 32 or 64, A-law or mu-law of 8", w.format, w.bits)
	}
	if err != nil {
		return Clip{}, err
	}
	return Clip{Rate: w.rate, Samples: mix(make([]float32, 0, frames), x, w.channels)}, nil
}

// integers decodes PCM by the wav library, which is given a plain header: it
// reads neither streamed nor all extensible ones.
func (w *waveFile) integers(data []byte) ([]float32, error) {
	width := w.bits / 8
	var h bytes.Buffer
	h.WriteString("RIFF")
	put := func(v any) { _ = binary.Write(&h, binary.LittleEndian, v) } // a buffer takes all
	put(uint32(36 + len(data)))
	h.WriteString("WAVEfmt ")
	put(uint32(16))
	put(uint16(formatPCM))
	put(uint16(w.channels))
	put(uint32(w.rate))
	put(uint32(w.rate * w.channels * width))
	put(uint16(w.channels * width))
	put(uint16(w.bits))
	h.WriteString("data")
	put(uint32(len(data)))
	h.Write(data)
	buf, err := wav.NewDecoder(bytes.NewReader(h.Bytes())).FullPCMBuffer()
	if err != nil {
		return nil, err
	}
	if want := len(data) / width; len(buf.Data) != want {
		return nil, fmt.Errorf("%d samples decoded of %d", len(buf.Data), want)
	}
	x := make([]float32, len(buf.Data))
	scale := 1 / float64(int64(1)<<(w.bits-1))
	for i, v := range buf.Data {
		if width == 1 {
			v -= 128 // 8 bits are unsigned
		}
		x[i] = float32(float64(v) * scale)
	}
	return x, nil
}

func floats(data []byte, width int) []float32 {
	x := make([]float32, len(data)/width)
	for i := range x {
		if width == 4 {
			x[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		} else {
			x[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:])))
		}
	}
	return x
}

func companded(data []byte, expand func(byte) int) []float32 {
	x := make([]float32, len(data))
	for i, b := range data {
		x[i] = float32(expand(b)) / 32768
	}
	return x
}

// muLaw and aLaw expand a byte to 16 bits (ITU-T G.711).
func muLaw(b byte) int {
	b = ^b
	v := ((int(b&0x0f) << 3) + 0x84) << (b >> 4 & 7)
	if b&0x80 != 0 {
		return 0x84 - v
	}
	return v - 0x84
}

func aLaw(b byte) int {
	b ^= 0x55
	v := int(b&0x0f)<<4 + 8
	if e := int(b >> 4 & 7); e > 0 {
		v = (v + 0x100) << (e - 1)
	}
	if b&0x80 != 0 {
		return v
	}
	return -v
}
