package main

import (
	"bytes"
	"os"
	"testing"
)

// TestFilesAreCurrent fails when the generator makes other files than those
// that are there.
func TestFilesAreCurrent(t *testing.T) {
	text, stubs, err := generate().Bytes("gemm")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{"../gemm_arm64.s": text, "../stubs_arm64.go": stubs} {
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what go generate makes (%v)", name, err)
		}
	}
}
