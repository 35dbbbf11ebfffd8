package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/train"
)

// writeSquares makes a folder of pictures of a colour with its name, and a config of
// a small model of them.
func writeSquares(t *testing.T, dir string) (data, config string) {
	t.Helper()
	manifest := "id\timage\ttext\n"
	for i := range 30 {
		picture := image.NewRGBA(image.Rect(0, 0, 8, 8))
		for p := range 64 {
			picture.Set(p%8, p/8, color.RGBA{uint8(i * 8), uint8(i % 5 * 50), uint8(i % 7 * 30), 255})
		}
		var file bytes.Buffer
		if err := png.Encode(&file, picture); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("%d.png", i)
		if err := os.WriteFile(filepath.Join(dir, name), file.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		manifest += fmt.Sprintf("item-%d\t%s\tcolour %d of %d\n", i, name, i, i%5)
	}
	for name, text := range map[string]string{"manifest.tsv": manifest, "config.json": `{
		"trunk": {"width": 32, "layers": 3, "heads": 2, "hidden": 64, "embed": 8},
		"modalities": {"image": {"input": {"size": 8, "patch": 4}}, "text": {"input": {"vocab": 280, "length": 16}}},
		"train": {"batch": 10, "steps": 8}}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, filepath.Join(dir, "config.json")
}

// TestCompressAndForget: what the two commands write is opened by the others.
func TestCompressAndForget(t *testing.T) {
	logs := t.TempDir()
	at := func(name string) string { return filepath.Join(logs, name) }
	data, config := writeSquares(t, t.TempDir())
	must(t, "train", "--config", config, "--train-data", data, "--logs", logs, "--name", "r")
	for _, c := range []struct {
		name, shows string
		share       float64 // of the bytes
		args        []string
	}{
		{"int8", "int8 weights", 0.7, []string{"--method", "int8"}},
		{"kmeans", "codebooks of 3 bits", 0.6, []string{"--method", "kmeans", "--bits", "3"}},
		{"basis", "bases of 0.3 of the weights for 2 layers", 0.8, []string{"--method", "basis", "--ratio", "0.3", "--group", "2", "--data", data}},
		{"recursion", "LoRA of rank 4 by layer", 0.8, []string{"--method", "recursion", "--unique", "1", "--rank", "4", "--data", data, "--steps", "1"}},
	} {
		args := append([]string{"compress", "--model", at("r"), "--out", at(c.name), "--test-data", data, "--seconds", "0.01"}, c.args...)
		var r train.Compressed
		if c.name == "int8" {
			if out := must(t, args...); !strings.Contains(out, "bytes on disk") || !strings.Contains(out, "R@1 image>text") {
				t.Errorf("table:\n%s", out)
			}
			if code, _, errs := mmtrain(t, args...); code != 1 || !strings.Contains(errs, "the folder is not empty") {
				t.Errorf("a second time: exit %d, %q", code, errs)
			}
			args[4] = at("again")
		}
		if err := json.Unmarshal([]byte(must(t, append(args, "--json")...)), &r); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(r.Sharing, c.shows) || float64(r.After.Bytes) > c.share*float64(r.Before.Bytes) || r.After.Recall.R1 <= 0 || r.Distance <= 0 || len(r.After.Recall.Pairs) != 2 {
			t.Errorf("%s: %+v", c.name, r)
		}
		var ev train.Evaluation
		if err := json.Unmarshal([]byte(must(t, "eval", "--model", at(c.name), "--data", data, "--json")), &ev); err != nil {
			t.Fatal(err)
		}
		if mean, _ := ev.Mean(); mean != r.After.Recall.R1 {
			t.Errorf("%s: R@1 %.4f when the run is evaluated, %.4f were reported", c.name, mean, r.After.Recall.R1)
		}
		if out := must(t, "inspect", "--model", at(c.name)); !strings.Contains(out, c.shows) {
			t.Errorf("%s:\n%s", c.name, out)
		}
		must(t, "eval", "--model", at(c.name), "--data", data, "--int8")
		must(t, "export", "--model", at(c.name), "--format", "onnx", "--out", at(c.name+"-onnx"))
		must(t, "export", "--model", at(c.name), "--format", "safetensors", "--out", at(c.name+"-copy"))
		if code, _, errs := mmtrain(t, "compress", "--model", at(c.name), "--out", at("twice"), "--method", "int8"); c.name != "recursion" && (code != 1 || !strings.Contains(errs, "compressed already")) {
			t.Errorf("%s, compressed twice: exit %d, %q", c.name, code, errs)
		}
	}

	gone := at("gone.txt")
	args := []string{"forget", "--model", at("r"), "--data", data, "--items", gone, "--out", at("without"), "--steps", "2", "--reference"}
	for _, ids := range []string{"item-3\n\nitem-x\r\n", "item-7\n"} {
		if err := os.WriteFile(gone, []byte(ids), 0o644); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(ids, "x") {
			if code, _, errs := mmtrain(t, args...); code != 1 || !strings.Contains(errs, `no items of these ids: "item-x"`) {
				t.Errorf("an item that is not there: exit %d, %q", code, errs)
			}
		}
	}
	if out := must(t, args...); !strings.Contains(out, "1 items forgotten") || !strings.Contains(out, "reference") || !strings.Contains(out, "text>image") {
		t.Errorf("table:\n%s", out)
	}
	var f train.Forgotten
	if err := json.Unmarshal([]byte(must(t, append(args, "--json")...)), &f); err != nil || f.Forgotten != 1 || f.Reference == nil {
		t.Errorf("%+v (%v)", f, err)
	}
	must(t, "eval", "--model", at("without"), "--data", data)
}

func TestCompressMistakes(t *testing.T) {
	for want, args := range map[string][]string{
		"--bits is for --method kmeans, not for int8":      {"--method", "int8", "--bits", "4"},
		"--method kmeans needs --bits":                     {"--method", "kmeans"},
		"--method basis needs --rank or --ratio":           {"--method", "basis", "--rank", "1", "--ratio", "0.5"},
		"--method basis needs --data, to calibrate with":   {"--method", "basis", "--rank", "1"},
		"--method recursion needs --rank":                  {"--method", "recursion", "--unique", "1"},
		"--roles is for --method basis, not for recursion": {"--method", "recursion", "--roles", "qkv"},
		"--steps needs --data":                             {"--method", "int8", "--steps", "4"},
		"--lr is for --steps":                              {"--method", "int8", "--lr", "4"},
		"must be one of":                                   {"--method", "zip"},
	} {
		code, _, errs := mmtrain(t, append([]string{"compress", "--model", "x", "--out", "y"}, args...)...)
		if code != 2 || !strings.Contains(errs, want) {
			t.Errorf("%v: exit %d, %q, want it to hold %q", args, code, errs, want)
		}
	}
}
