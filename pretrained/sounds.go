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

// readBERT reads a BertModel (Devlin et al. 2019), in a folder of
// sentence-transformers (Reimers and Gurevych 2019) or by itself: a text's
// embedding is the mean of its rows, unless 1_Pooling says otherwise.
func readBERT(dir string, fs *files) (*foreign, error) {
	c := struct {
		Width     int     `json:"hidden_size"`
		Hidden    int     `json:"intermediate_size"`
		Layers    int     `json:"num_hidden_layers"`
		Heads     int     `json:"num_attention_heads"`
		Act       string  `json:"hidden_act"`
		Eps       float64 `json:"layer_norm_eps"`
		Vocab     int     `json:"vocab_size"`
		Positions int     `json:"max_position_embeddings"`
		Types     int     `json:"type_vocab_size"`
		Kind      string  `json:"position_embedding_type"`
		Decoder   bool    `json:"is_decoder"`
	}{768, 3072, 12, 12, "gelu", 1e-12, 30522, 512, 2, "absolute", false}
	if _, err := readJSON(dir, "config.json", &c); err != nil {
		return nil, err
	}
	act, err := activation(c.Act)
	if err != nil {
		return nil, err
	}
	if c.Kind != "absolute" || c.Decoder {
		return nil, fmt.Errorf("config.json: position_embedding_type %q, is_decoder %t are not supported", c.Kind, c.Decoder)
	}
	pool, length, err := readSentences(dir, c.Positions)
	if err != nil {
		return nil, err
	}
	at, err := prefixed(fs, "embeddings.word_embeddings.weight", "", "bert.")
	if err != nil {
		return nil, err
	}
	d := c.Width
	trunk := preLN(d, c.Layers, c.Heads, c.Hidden, d, act, c.Eps)
	trunk.NormPlace = "post"
	// All tokens are of the first type, so that its vector can go to the
	// positions.
	positions := firstRows(at+"embeddings.position_embeddings.weight", length, c.Positions, d)
	positions.plus = at + "embeddings.token_type_embeddings.weight"
	t := tower{
		modality: "text", trunk: trunk, input: readText(dir, c.Vocab, length),
		sequence: encoder.Sequence{Pool: pool, Stem: "patch", StemNorm: true, HeadNorm: "none", Projection: "none"},
		block: parts{
			norm1: "attention.output.LayerNorm", norm2: "output.LayerNorm",
			out: "attention.output.dense", up: "intermediate.dense", down: "output.dense",
			qkv: []string{"attention.self.query", "attention.self.key", "attention.self.value"},
		}.block(at+"encoder.layer.%d.", trunk),
		stem: map[string][]source{
			"subword":   from(at+"embeddings.word_embeddings.weight", c.Vocab, d),
			"positions": {positions},
		},
		head: map[string][]source{},
	}
	norm(t.stem, "norm", at+"embeddings.LayerNorm", d)
	return &foreign{
		kind: "BertModel", towers: []tower{t},
		ignore: []string{at + "pooler.", at + "embeddings.position_ids", "cls."},
	}, nil
}

// readSentences reads what sentence-transformers adds to a model: how rows are
// pooled, and the greatest number of tokens.
func readSentences(dir string, positions int) (pool string, length int, err error) {
	var modules []struct {
		Path string `json:"path"`
		Type string `json:"type"`
	}
	if _, err := readJSON(dir, "modules.json", &modules); err != nil {
		return "", 0, err
	}
	pooling := "1_Pooling"
	for _, m := range modules {
		switch kind := lastPart(m.Type); kind {
		case "Transformer", "Normalize":
		case "Pooling":
			pooling = m.Path
		default:
			return "", 0, fmt.Errorf("modules.json: a module %s is not supported", m.Type)
		}
	}
	var limit struct {
		Length int `json:"max_seq_length"`
	}
	if _, err := readJSON(dir, "sentence_bert_config.json", &limit); err != nil {
		return "", 0, err
	}
	if limit.Length == 0 { // newer versions leave it to the tokenizer
		var tokenizer struct {
			Length float64 `json:"model_max_length"` // may be 1e30 for none
		}
		if _, err := readJSON(dir, "tokenizer_config.json", &tokenizer); err != nil {
			return "", 0, err
		}
		limit.Length = int(min(tokenizer.Length, float64(positions)))
	}
	length = positions
	if limit.Length > 0 {
		length = min(length, limit.Length)
	}
	modes := map[string]any{}
	found, err := readJSON(dir, pooling+"/config.json", &modes)
	if err != nil {
		return "", 0, err
	}
	if !found {
		return "mean", length, nil
	}
	if mode, ok := modes["pooling_mode"].(string); ok { // as newer versions write it
		modes["pooling_mode_"+mode] = true
	}
	for mode, ours := range map[string]string{
		"pooling_mode_mean_tokens": "mean", "pooling_mode_mean": "mean",
		"pooling_mode_cls_token": "first", "pooling_mode_cls": "first",
	} {
		if modes[mode] == true {
			if pool != "" && pool != ours {
				return "", 0, fmt.Errorf("%s/config.json: several pooling modes at once are not supported", pooling)
			}
			pool = ours
		}
	}
	for mode, on := range modes {
		switch mode {
		case "pooling_mode_mean_tokens", "pooling_mode_mean", "pooling_mode_cls_token", "pooling_mode_cls", "pooling_mode":
		default:
			if on == true && mode != "include_prompt" {
				return "", 0, fmt.Errorf("%s/config.json: %s is not supported", pooling, mode)
			}
		}
	}
	if pool == "" {
		return "", 0, fmt.Errorf("%s/config.json: no pooling mode that is supported (mean, cls)", pooling)
	}
	return pool, length, nil
}

// lastPart returns what stands behind the last dot.
func lastPart(s string) string {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '.' {
			return s[i+1:]
		}
	}
	return s
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
