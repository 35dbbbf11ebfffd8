package pretrained

import (
	"fmt"
	"strings"

	"github.com/onetrunk/onetrunk/encoder"
)

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
		switch m.Type[strings.LastIndexByte(m.Type, '.')+1:] {
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
