package pretrained

import (
	"fmt"

	"github.com/onetrunk/onetrunk/encoder"
)

// readWhisper reads the encoder of a WhisperModel (Radford et al. 2022): a
// sound's embedding is the mean of its rows after the last norm.
func readWhisper(dir string, fs *files) (*foreign, error) {
	c := struct {
		Width  int    `json:"d_model"`
		Hidden int    `json:"encoder_ffn_dim"`
		Layers int    `json:"encoder_layers"`
		Heads  int    `json:"encoder_attention_heads"`
		Act    string `json:"activation_function"`
		Mels   int    `json:"num_mel_bins"`
		Rows   int    `json:"max_source_positions"`
	}{384, 1536, 4, 6, "gelu", 80, 1500}
	if _, err := readJSON(dir, "config.json", &c); err != nil {
		return nil, err
	}
	p := struct {
		Rate    int     `json:"sampling_rate"`
		FFT     int     `json:"n_fft"`
		Hop     int     `json:"hop_length"`
		Mels    int     `json:"feature_size"`
		Seconds float64 `json:"chunk_length"`
	}{16000, 400, 160, 80, 30}
	if _, err := readJSON(dir, "preprocessor_config.json", &p); err != nil {
		return nil, err
	}
	act, err := activation(c.Act)
	if err != nil {
		return nil, err
	}
	if frames := int(p.Seconds * float64(p.Rate) / float64(max(p.Hop, 1))); p.Mels != c.Mels || frames != 2*c.Rows {
		return nil, fmt.Errorf("preprocessor_config.json: %d bands and %d frames; the model reads %d and %d", p.Mels, frames, c.Mels, 2*c.Rows)
	}
	at, err := prefixed(fs, "conv1.weight", "encoder.", "model.encoder.")
	if err != nil {
		return nil, err
	}
	d := c.Width
	trunk := preLN(d, c.Layers, c.Heads, c.Hidden, d, act, 1e-5)
	t := tower{
		modality: "audio", trunk: trunk, input: whisperInput(p.Rate, p.FFT, p.Hop, p.Mels, p.Seconds),
		sequence: encoder.Sequence{Pool: "mean", Stem: "conv", HeadNorm: "rows", Projection: "none"},
		block: parts{
			norm1: "self_attn_layer_norm", norm2: "final_layer_norm", out: "self_attn.out_proj", up: "fc1", down: "fc2",
			qkv: []string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, noKeyBias: true,
		}.block(at+"layers.%d.", trunk),
		stem: map[string][]source{
			"patch/weight": from(at+"conv1.weight", d, c.Mels, 3),
			"patch/bias":   from(at+"conv1.bias", d),
			"conv/1/bias":  from(at+"conv2.bias", d),
			"positions":    from(at+"embed_positions.weight", c.Rows, d),
		},
		head: map[string][]source{},
	}
	for j := range 3 {
		t.stem[fmt.Sprintf("conv/%d/weight", j)] = slice(at+"conv2.weight", j, d, d, 3)
	}
	norm(t.head, "norm", at+"layer_norm", d)
	return &foreign{
		kind: "Whisper encoder", towers: []tower{t},
		ignore: []string{"decoder.", "model.decoder.", "proj_out."},
	}, nil
}

// audioInput is what we set of the audio modality's "input" block.
type audioInput struct {
	Rate     int     `json:"rate"`
	Features string  `json:"features"`
	Window   int     `json:"window"`
	FFT      int     `json:"fft"`
	Hop      int     `json:"hop"`
	Mels     int     `json:"mels"`
	FMin     float64 `json:"fmin"`
	FMax     float64 `json:"fmax"`
	Scale    string  `json:"scale"`
	Seconds  float64 `json:"seconds"`
	Pad      string  `json:"pad"`
	Patch    [2]int  `json:"patch"`
	Stride   [2]int  `json:"stride"`
	Edge     int     `json:"edge,omitempty"`
	Mean     float64 `json:"mean"`
	Std      float64 `json:"std"`
}

// whisperInput is WhisperFeatureExtractor's. It brings log10 energies to
// (x + 4) / 4.
func whisperInput(rate, fft, hop, mels int, seconds float64) audioInput {
	return audioInput{
		Rate: rate, Features: "whisper", Window: fft, FFT: fft, Hop: hop,
		Mels: mels, FMax: 8000, Scale: "slaney", Seconds: seconds, Pad: "samples",
		Patch: [2]int{mels, 3}, Stride: [2]int{mels, 1}, Edge: 1, Mean: -4, Std: 4,
	}
}

// astInput is ASTFeatureExtractor's, with windows of 25 ms every 10 ms. It
// brings log energies to (x - mean) / (2 std).
func astInput(rate int, c vitConfig, mean, std float64) audioInput {
	window, hop := rate/40, rate/100
	fft := 1
	for fft < window {
		fft *= 2
	}
	return audioInput{
		Rate: rate, Features: "kaldi", Window: window, FFT: fft, Hop: hop,
		Mels: c.Mels, FMin: 20, FMax: float64(rate) / 2, Scale: "kaldi",
		Seconds: float64(window+(c.Frames-1)*hop) / float64(rate), Pad: "frames",
		Patch: [2]int{c.Patch, c.Patch}, Stride: [2]int{c.FreqSteps, c.TimeSteps}, Mean: mean, Std: 2 * std,
	}
}
