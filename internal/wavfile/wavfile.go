// Package wavfile writes sound as WAVE files.
package wavfile

import (
	"io"
	"math"

	"github.com/go-audio/audio"
	"github.com/go-audio/wav"
)

// Encode returns samples in -1..1, at rate Hz, as a mono WAVE file of 16
// bits. Samples beyond the range are clipped.
func Encode(samples []float32, rate int) ([]byte, error) {
	buf := &audio.IntBuffer{
		Format:         &audio.Format{NumChannels: 1, SampleRate: rate},
		Data:           make([]int, len(samples)),
		SourceBitDepth: 16,
	}
	for i, v := range samples {
		buf.Data[i] = int(max(math.MinInt16, min(math.MaxInt16, math.Round(float64(v)*(1<<15)))))
	}
	const pcm = 1
	f := &memory{}
	enc := wav.NewEncoder(f, rate, 16, 1, pcm)
	if err := enc.Write(buf); err != nil {
		return nil, err
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	return f.data, nil
}

// memory is a file in memory: the encoder goes back to write the sizes.
type memory struct {
	data []byte
	at   int
}

func (m *memory) Write(p []byte) (int, error) {
	if grow := m.at + len(p) - len(m.data); grow > 0 {
		m.data = append(m.data, make([]byte, grow)...)
	}
	m.at += copy(m.data[m.at:], p)
	return len(p), nil
}

func (m *memory) Seek(offset int64, whence int) (int64, error) {
	at := offset
	switch whence {
	case io.SeekCurrent:
		at += int64(m.at)
	case io.SeekEnd:
		at += int64(len(m.data))
	}
	if at < 0 || at > int64(len(m.data)) {
		return 0, io.ErrUnexpectedEOF
	}
	m.at = int(at)
	return at, nil
}
