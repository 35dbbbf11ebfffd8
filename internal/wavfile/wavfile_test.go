package wavfile

import (
	"bytes"
	"slices"
	"testing"

	"github.com/go-audio/wav"
)

// What is written is read back: sizes in the header, rate, rounding and
// clipping.
func TestEncode(t *testing.T) {
	data, err := Encode([]float32{0, 0.5, -0.5, 1, -1, 3, 1.6 / 32768}, 16000)
	if err != nil {
		t.Fatal(err)
	}
	d := wav.NewDecoder(bytes.NewReader(data))
	buf, err := d.FullPCMBuffer()
	if err != nil {
		t.Fatal(err)
	}
	if want := []int{0, 16384, -16384, 32767, -32768, 32767, 2}; !slices.Equal(buf.Data, want) {
		t.Errorf("samples %v, want %v", buf.Data, want)
	}
	if d.SampleRate != 16000 || d.NumChans != 1 || d.BitDepth != 16 {
		t.Errorf("%d Hz, %d channels, %d bits", d.SampleRate, d.NumChans, d.BitDepth)
	}
	if len(data) != 44+2*7 {
		t.Errorf("%d bytes, want %d", len(data), 44+2*7)
	}
}
