package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/pretrained"
)

func TestExport(t *testing.T) {
	const clip = "../../pretrained/testdata/clip"
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	// A run of a model of another library's, and that library's model of the run.
	must(t, "export", "--model", clip, "--format", "safetensors", "--out", at("run"))
	must(t, "export", "--model", at("run"), "--format", "clip", "--out", at("clip"))
	out := must(t, "export", "--model", at("run"), "--format", "onnx", "--out", at("onnx"))
	if !strings.Contains(out, at("onnx/image.onnx")) || !strings.Contains(out, at("onnx/text.onnx")) {
		t.Errorf("the files written:\n%s", out)
	}
	var fingerprints []string
	for _, dir := range []string{clip, at("run"), at("clip")} {
		m, err := pretrained.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		fingerprints = append(fingerprints, m.Fingerprint())
	}
	if fingerprints[0] != fingerprints[1] || fingerprints[0] != fingerprints[2] {
		t.Errorf("weights %v", fingerprints)
	}

	for _, c := range []struct {
		model, format, out string
		code               int
		want               string
	}{
		{clip, "tflite", "x", 2, "safetensors"},
		{at("none"), "onnx", "x", 1, "none"},
		{clip, "clip", "run", 1, "not empty"},
		{"../../pretrained/testdata/siglip", "clip", "x", 1, "temperature.bias"},
		{"../../pretrained/testdata/vit", "clip", "x", 1, "[image]"},
	} {
		code, _, errs := mmtrain(t, "export", "--model", c.model, "--format", c.format, "--out", at(c.out))
		if code != c.code || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s as %s: exit %d, %q; want exit %d and one line that holds %q", c.model, c.format, code, errs, c.code, c.want)
		}
	}
	if _, err := os.Stat(at("x")); err == nil {
		t.Error("a folder was left behind by a mistake")
	}
	if out := must(t, "export", "--help"); !strings.Contains(out, "Usage: mmtrain export") {
		t.Errorf("help:\n%s", out)
	}
}
