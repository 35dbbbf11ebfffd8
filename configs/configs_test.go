package configs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestBase(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("below.json", `{"base": "demo", "sharing": {"layers": {"scheme": "universal"}}, "train": {"steps": 5}}`)
	data, err := Read(write("own.json", `{"base": "below.json", "sharing": {"private": ["up"]}, "train": {"seed": 9}}`))
	if err != nil {
		t.Fatal(err)
	}
	var got, demo map[string]any
	plain, err := Read("demo")
	if err != nil {
		t.Fatal(err)
	}
	for v, x := range map[*map[string]any][]byte{&got: data, &demo: plain} {
		if err := json.Unmarshal(x, v); err != nil {
			t.Fatal(err)
		}
	}
	layers := demo["sharing"].(map[string]any)["layers"].(map[string]any)
	layers["scheme"] = "universal"
	demo["sharing"].(map[string]any)["private"] = []any{"up"}
	train := demo["train"].(map[string]any)
	train["steps"], train["seed"] = 5.0, 9.0
	if !reflect.DeepEqual(got, demo) {
		t.Errorf("laid over its bases: %v\nwant %v", got, demo)
	}
	for want, text := range map[string]string{
		"leads back to":        `{"base": "own.json"}`,
		`no preset or file`:    `{"base": "dmeo"}`,
		"a preset or a file":   `{"base": 5}`,
		"no such file":         `{"base": "nowhere.json"}`,
		"invalid character":    `{"base": "broken.json"}`,
		"leads back to " + dir: `{"base": "round.json"}`,
	} {
		write("broken.json", `{"base": "demo", ?`)
		write("round.json", `{"base": "own.json"}`)
		if want == "invalid character" {
			write("own.json", text)
			if data, err := Read(filepath.Join(dir, "own.json")); err == nil && json.Valid(data) {
				t.Errorf("%s is read as %s", text, data)
			}
			continue
		}
		if _, err := Read(write("own.json", text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want it to hold %q", text, err, want)
		}
	}
}
