package audio

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/hajimehoshi/go-mp3"
	"github.com/jfreymuth/oggvorbis"
	"github.com/mewkiz/flac"
)

// Limits on what is decoded.
const (
	maxSeconds  = 600       // of a file
	maxBytes    = 512 << 20 // of a file
	maxRate     = 768000    // Hz
	maxChannels = 64
)

// sniff names the format of a file by its first bytes, or "".
func sniff(head []byte) string {
	switch {
	case len(head) >= 12 && (string(head[:4]) == "RIFF" || string(head[:4]) == "RF64") && string(head[8:12]) == "WAVE":
		return "wav"
	case bytes.HasPrefix(head, []byte("fLaC")):
		return "flac"
	case bytes.HasPrefix(head, []byte("OggS")):
		return "ogg"
	case bytes.HasPrefix(head, []byte("ID3")), len(head) >= 2 && head[0] == 0xff && head[1]&0xe6 == 0xe2:
		return "mp3" // a tag, or the sync word of layer III
	}
	return ""
}

// decode reads one file and mixes it down to mono, the mean of its channels.
// It never panics.
func decode(r io.Reader, name string) (c Clip, err error) {
	defer func() {
		if e := recover(); e != nil {
			err = fmt.Errorf("%s: the decoder failed: %v", name, e)
		}
	}()
	data, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return Clip{}, fmt.Errorf("%s: %w", name, err)
	}
	if len(data) > maxBytes {
		return Clip{}, fmt.Errorf("%s: more than %d MB", name, maxBytes>>20)
	}
	format := sniff(data)
	switch format {
	case "wav":
		c, err = decodeWAV(data)
	case "flac":
		c, err = decodeFLAC(data)
	case "ogg":
		c, err = decodeOgg(data)
	case "mp3":
		c, err = decodeMP3(data)
	default:
		return Clip{}, fmt.Errorf("%s: not a wav, flac, ogg or mp3 file", name)
	}
	if err != nil {
		return Clip{}, fmt.Errorf("%s: %s: %w", name, format, err)
	}
	if len(c.Samples) == 0 {
		return Clip{}, fmt.Errorf("%s: %s: no samples", name, format)
	}
	for i, v := range c.Samples {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return Clip{}, fmt.Errorf("%s: %s: sample %d is %v", name, format, i, v)
		}
	}
	return c, nil
}

// check holds what a file declares against the limits; frames is 0 when it
// does not say.
func check(rate, channels int, frames uint64) error {
	switch {
	case rate < 1 || rate > maxRate:
		return fmt.Errorf("a rate of %d Hz, expected 1..%d", rate, maxRate)
	case channels < 1 || channels > maxChannels:
		return fmt.Errorf("%d channels, expected 1..%d", channels, maxChannels)
	case frames > uint64(maxSeconds*rate):
		return fmt.Errorf("%d s of sound, at most %d are read", frames/uint64(rate), maxSeconds)
	}
	return nil
}

// mix appends the means of interleaved frames.
func mix(mono, interleaved []float32, channels int) []float32 {
	scale := 1 / float32(channels)
	for i := 0; i+channels <= len(interleaved); i += channels {
		var sum float32
		for _, v := range interleaved[i : i+channels] {
			sum += v
		}
		mono = append(mono, sum*scale)
	}
	return mono
}

func decodeFLAC(data []byte) (Clip, error) {
	s, err := flac.New(bytes.NewReader(data))
	if err != nil {
		return Clip{}, err
	}
	rate, channels := int(s.Info.SampleRate), int(s.Info.NChannels)
	if err := check(rate, channels, s.Info.NSamples); err != nil {
		return Clip{}, err
	}
	c := Clip{Rate: rate}
	scale := 1 / float32(channels) / float32(int64(1)<<(s.Info.BitsPerSample-1))
	for {
		f, err := s.ParseNext()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Clip{}, err
		}
		if len(f.Subframes) != channels {
			return Clip{}, fmt.Errorf("a frame of %d channels in a file of %d", len(f.Subframes), channels)
		}
		for i := range f.Subframes[0].Samples {
			var sum float32
			for _, sub := range f.Subframes {
				sum += float32(sub.Samples[i])
			}
			c.Samples = append(c.Samples, sum*scale)
		}
		if err := check(rate, channels, uint64(len(c.Samples))); err != nil {
			return Clip{}, err
		}
	}
	if n := s.Info.NSamples; n > 0 && uint64(len(c.Samples)) < n {
		return Clip{}, fmt.Errorf("cut off: %d samples of %d", len(c.Samples), n)
	}
	return c, nil
}

func decodeOgg(data []byte) (Clip, error) {
	r, err := oggvorbis.NewReader(bytes.NewReader(data))
	if err != nil {
		return Clip{}, err
	}
	rate, channels := r.SampleRate(), r.Channels()
	if err := check(rate, channels, uint64(max(r.Length(), 0))); err != nil {
		return Clip{}, err
	}
	c := Clip{Rate: rate}
	buf := make([]float32, 4096/channels*channels)
	for {
		n, err := r.Read(buf)
		c.Samples = mix(c.Samples, buf[:n], channels)
		if err == io.EOF {
			return c, nil
		}
		if err != nil {
			return Clip{}, err
		}
		if err := check(rate, channels, uint64(len(c.Samples))); err != nil {
			return Clip{}, err
		}
	}
}

// decodeMP3 does not trim the encoder's delay.
func decodeMP3(data []byte) (Clip, error) {
	d, err := mp3.NewDecoder(bytes.NewReader(data))
	if err != nil {
		return Clip{}, err
	}
	const channels = 2 // what the decoder puts out, 16 bits each
	if err := check(d.SampleRate(), channels, uint64(max(d.Length(), 0)/4)); err != nil {
		return Clip{}, err
	}
	pcm, err := io.ReadAll(io.LimitReader(d, 4*maxSeconds*int64(d.SampleRate())))
	if err != nil {
		return Clip{}, err
	}
	c := Clip{Rate: d.SampleRate(), Samples: make([]float32, len(pcm)/4)}
	for i := range c.Samples {
		l := int16(uint16(pcm[4*i]) | uint16(pcm[4*i+1])<<8)
		r := int16(uint16(pcm[4*i+2]) | uint16(pcm[4*i+3])<<8)
		c.Samples[i] = (float32(l) + float32(r)) / 65536
	}
	return c, nil
}
