package subword

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The special tokens of CLIP's vocabulary.
const (
	clipStart = "<|startoftext|>"
	clipEnd   = "<|endoftext|>"
)

// CLIP reads the vocab.json and merges.txt of a CLIP model (Radford et al.
// 2021) and makes the tokenizer that transformers' CLIPTokenizer makes of them.
func CLIP(vocabPath, mergesPath string) (*Tokenizer, error) {
	data, err := os.ReadFile(vocabPath)
	if err != nil {
		return nil, err
	}
	var vocab map[string]int32
	if err := json.Unmarshal(data, &vocab); err != nil {
		return nil, fmt.Errorf("%s: %w", vocabPath, err)
	}
	for _, token := range []string{clipStart, clipEnd} {
		if _, ok := vocab[token]; !ok {
			return nil, fmt.Errorf("%s: no token %q", vocabPath, token)
		}
	}
	if data, err = os.ReadFile(mergesPath); err != nil {
		return nil, err
	}
	merges := []mergeFile{}
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "#version") {
			continue
		}
		a, b, ok := strings.Cut(line, " ")
		if !ok || strings.Contains(b, " ") {
			return nil, fmt.Errorf("%s: line %d: expected two subwords, found %q", mergesPath, n, line)
		}
		merges = append(merges, mergeFile{a, b})
	}
	if data, err = clip(vocab, merges); err != nil {
		return nil, err
	}
	return Parse(vocabPath+", "+filepath.Base(mergesPath), data)
}

// clip is a tokenizer.json as transformers writes CLIP's.
func clip(vocab map[string]int32, merges []mergeFile) ([]byte, error) {
	null := json.RawMessage("null")
	unknown, prefix, suffix := clipEnd, "", "</w>"
	m, err := json.Marshal(bpeFile{Type: "BPE", Unknown: &unknown, Prefix: &prefix, Suffix: &suffix, Vocab: vocab, Merges: merges})
	if err != nil {
		return nil, err
	}
	regex, err := json.Marshal(clipTokens + clipPattern)
	if err != nil {
		return nil, err
	}
	const byteLevel = `{"type": "ByteLevel", "add_prefix_space": %t, "trim_offsets": true, "use_regex": true}`
	f := file{
		Version: "1.0", Truncation: null, Padding: null,
		Normalizer: json.RawMessage(`{"type": "Sequence", "normalizers": [{"type": "NFC"}, ` +
			`{"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}, {"type": "Lowercase"}]}`),
		Split: json.RawMessage(fmt.Sprintf(`{"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": %s}, `+
			`"behavior": "Removed", "invert": true}, %s]}`, regex, fmt.Sprintf(byteLevel, false))),
		Post: json.RawMessage(fmt.Sprintf(`{"type": "RobertaProcessing", "sep": [%q, %d], "cls": [%q, %d], `+
			`"trim_offsets": false, "add_prefix_space": false}`, clipEnd, vocab[clipEnd], clipStart, vocab[clipStart])),
		Decoder: json.RawMessage(fmt.Sprintf(byteLevel, true)),
		Model:   m,
	}
	for _, token := range []string{clipStart, clipEnd} {
		f.AddedTokens = append(f.AddedTokens, addedToken{ID: vocab[token], Content: token, Special: true})
	}
	return json.MarshalIndent(f, "", " ")
}
