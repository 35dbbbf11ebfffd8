package model

import (
	"fmt"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/tensor"
)

// TestInspectCountsWhatServes holds the counts of every mechanism that adds
// parameters to their closed forms, over 3 layers of which 2 are unique.
func TestInspectCountsWhatServes(t *testing.T) {
	const (
		d, f, e, modalities     = 8, 16, 6, 2
		layers, unique, rank    = 3, 2, 2
		norm                    = 2 * d
		qkv, out, up, down      = 3*d*d + 3*d, d*d + d, f*d + f, d*f + d
		products, in, made      = qkv + out + up + down, d + d + d + f, 3*d + d + f + d
		block                   = products + 2*norm
		signal                  = 3*d + d + d + 9*d + norm + e*d
		word                    = 20*d + 6*d + norm + e*d
		both                    = signal + word + 1
		s, z                    = rank * rank, d // of apg
		apg                     = rank*in + made*rank + 4*(s*z+s)
		inner, factors          = 3, rank*3*4 + 3*in + made*3 + rank*3*4
		partitions, ways, units = 3, 2, 4 // tensors of a place, ways to group, units with logits
	)
	for _, c := range []struct {
		sharing                string
		unique, active, layer0 int // layer0: values that serve layer 0's qkv for signals
	}{
		{`"layers": {CYCLE}, "private": []`, unique * block, unique * block, qkv},
		{`"layers": {CYCLE, "depth": true}, "private": []`, unique*block + layers*d, unique*block + layers*d, qkv},
		{`"layers": {CYCLE}, "private": ["up", "down"]`, unique * (block + up + down), unique * block, qkv},
		{`"layers": {CYCLE}, "private": [], "map": [{"layers": [1], "roles": ["qkv"], "groups": [["signal"], ["word"]]}]`, unique*block + qkv, unique * block, qkv},
		{`"layers": {CYCLE}, "private": [], "delta": {"kind": "lora", "by": "layer", "rank": 2}`, unique*block + layers*rank*(in+made), unique*block + layers*rank*(in+made), qkv + 4*d*rank},
		{`"layers": {CYCLE}, "private": [], "delta": {"kind": "lora", "by": "modality", "rank": 2}`, unique*block + unique*modalities*rank*(in+made), unique*block + unique*rank*(in+made), qkv + 4*d*rank},
		{`"layers": {CYCLE}, "private": [], "delta": {"kind": "lora", "by": "both", "rank": 2, "roles": ["qkv"]}`, unique*block + layers*modalities*rank*4*d, unique*block + layers*rank*4*d, qkv + 4*d*rank},
		{`"layers": {CYCLE}, "private": [], "delta": {"kind": "lora", "by": "both", "rank": 0}`, unique * block, unique * block, qkv},
		{`"layers": {CYCLE}, "private": [], "delta": {"kind": "taps", "roles": ["qkv"]}`, unique*block + layers*modalities*(3*d*d+1), unique*block + layers*(3*d*d+1), qkv + 3*d*d + 1},
		{`"layers": {CYCLE}, "private": [], "delta": {"kind": "apg", "of": "tokens", "rank": 2}`, unique * (block + apg), unique * (block + apg), qkv + rank*4*d + s*z + s},
		{`"layers": {CYCLE}, "private": [], "delta": {"kind": "apg", "of": "modality", "rank": 2}`, unique*(block+apg) + layers*modalities*d, unique*(block+apg) + layers*modalities*d, qkv + rank*4*d + s*z + s + modalities*d},
		{`"layers": {CYCLE}, "private": [], "delta": {"kind": "apg", "of": "tokens", "rank": 2, "inner": 3}`, unique * (block + factors + 4*(s*z+s)), unique * (block + factors + 4*(s*z+s)), qkv + 2*rank*inner + inner*4*d + s*z + s},
		{`"layers": {CYCLE}, "private": [], "mix": {"kind": "stitch"}`, unique*(2*norm+modalities*products) + layers*modalities*4*2, unique*(2*norm+modalities*products) + layers*4*2, 2*qkv + 2},
		{`"layers": {CYCLE}, "private": [], "mix": {"kind": "bank", "bank": 3, "roles": ["up"]}`, unique*(2*norm+products+2*up) + layers*modalities*3, unique*(2*norm+products+2*up) + layers*3, qkv},
		{`"layers": {CYCLE}, "private": [], "mix": {"kind": "partitions", "search": {"budget": 1, "weight": 1, "warmup": 0, "tau": [1, 1], "rate": 1}}`, unique*(2*norm+partitions*products) + units*ways, unique*(2*norm+2*products) + units*ways, 2*qkv + ways},
		{`"layers": {CYCLE}, "private": [], "router": {"experts": 3, "top": 1, "gate": "shared", "always": 1}`, unique * (2*norm + qkv + out + 4*(up+down) + 3*d), unique * (2*norm + qkv + out + 2*(up+down) + 3*d), qkv},
		{`"layers": {CYCLE}, "private": [], "router": {"private": 1, "sees": "all", "gate": "modality"}`, unique * (2*norm + qkv + out + 2*(up+down) + 2*2*d), unique * (2*norm + qkv + out + 2*(up+down) + 2*d), qkv},
	} {
		r := inspect(t, strings.Replace(c.sharing, "CYCLE", `"scheme": "cycle", "unique": 2`, 1))
		if got, want := r.Parameters.Unique, c.unique+both; got != want {
			t.Errorf("%s: %d unique parameters, want %d", c.sharing, got, want)
		}
		if r.Parameters.Stored != r.Parameters.Unique {
			t.Errorf("%s: %d values are stored, of %d", c.sharing, r.Parameters.Stored, r.Parameters.Unique)
		}
		if got, want := r.Parameters.Active["signal"], c.active+signal; got != want {
			t.Errorf("%s: %d active parameters of a signal, want %d", c.sharing, got, want)
		}
		for _, p := range r.Map {
			if p.Layer == 0 && p.Modality == "signal" && p.Role == "qkv" {
				n := 0
				for _, name := range p.Serving {
					n += r.Tensors[name]
				}
				if n != c.layer0 {
					t.Errorf("%s: %v serve layer 0's qkv for signals with %d values, want %d", c.sharing, p.Serving, n, c.layer0)
				}
			}
		}
	}
}

// TestActiveOfMasks: a modality uses what its masks let through.
func TestActiveOfMasks(t *testing.T) {
	whole := inspect(t, `"private": []`)
	half := inspect(t, `"private": [], "mask": {"kind": "random", "keep": 0.5, "roles": ["qkv", "up"]}`)
	const d, f, layers = 8, 16, 3
	if got, want := whole.Parameters.Active["signal"]-half.Parameters.Active["signal"], layers*(3*d*d+d*f)/2; got != want {
		t.Errorf("half of the weights of qkv and up are %d values, want %d", got, want)
	}
	if half.Parameters.Unique != whole.Parameters.Unique {
		t.Errorf("%d unique parameters with masks, %d without", half.Parameters.Unique, whole.Parameters.Unique)
	}
}

// TestFLOPsOfADelta: matrices of a sample's own cost each row of it, matrices
// that are made once cost nothing.
func TestFLOPsOfADelta(t *testing.T) {
	const d, f, k, n, layers = 8, 16, 2, 9, 3
	plain := inspect(t, `"private": []`).FLOPs["signal"]
	if got := inspect(t, `"private": [], "delta": {"kind": "lora", "by": "both", "rank": 2}`).FLOPs["signal"]; got != plain {
		t.Errorf("%d FLOPs with LoRA, %d without", got, plain)
	}
	more := int64(0)
	for l := range layers {
		q := n
		if l == layers-1 {
			q = 1
		}
		for _, p := range []struct{ rows, in, out int }{{n, d, 3 * d}, {q, d, d}, {q, d, f}, {q, f, d}} {
			more += int64(2 * (p.rows*k*(p.in+k+p.out) + k*k*d))
		}
	}
	if got := inspect(t, `"private": [], "delta": {"kind": "apg", "of": "tokens", "rank": 2}`).FLOPs["signal"]; got != plain+more {
		t.Errorf("%d FLOPs with APG, want %d + %d", got, plain, more)
	}
}

// inspect describes a model of 3 layers with a sharing block.
func inspect(t *testing.T, sharing string) Report {
	t.Helper()
	c, err := ParseConfig("inspect", fmt.Appendf(nil, `{
		"trunk": {"width": 8, "layers": 3, "heads": 2, "hidden": 16, "embed": 6},
		"modalities": {"signal": {"pool": "class"}, "word": {"pool": "last", "causal": true}},
		"sharing": {%s}}`, sharing))
	if err != nil {
		t.Fatal(err)
	}
	ps, err := c.OpenProcessors("")
	if err != nil {
		t.Fatal(err)
	}
	return New(c, ps, tensor.CPU(1), 1).Inspect()
}
