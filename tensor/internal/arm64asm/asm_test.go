package arm64asm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestEncodings holds the instructions that Go's assembler lacks to the words
// that GNU as makes of them.
func TestEncodings(t *testing.T) {
	f := &File{}
	f.FMLALane(31, 2, 20, 0)
	f.FMLALane(9, 30, 1, 1)
	f.FMLALane(0, 17, 3, 2)
	f.FMLALane(8, 4, 31, 3)
	f.FADD(1, 18, 31)
	f.FADD2(1, 18, 31)
	f.FSUB(1, 18, 31)
	f.FMUL(1, 18, 31)
	f.FDIV(1, 18, 31)
	f.FMAX(1, 18, 31)
	f.FMIN(1, 18, 31)
	f.FADDP(1, 18, 31)
	f.FADDP2(1, 18, 31)
	f.FCMGT(1, 18, 31)
	f.BIC(1, 18, 31)
	f.FMAXV(30, 7)
	f.FABS(30, 7)
	f.FSQRT(30, 7)
	f.FRINTN(30, 7)
	f.FCVTNS(30, 7)
	f.FCMLT0(30, 7)
	f.FCMLE0(30, 7)
	f.FCVTL(30, 7)
	f.FCVTL2(30, 7)
	want := []uint32{
		0x4f94105f, 0x4fa113c9, 0x4f831a20, 0x4fbf1888, 0x4e3fd641, 0x4e7fd641,
		0x4ebfd641, 0x6e3fde41, 0x6e3ffe41, 0x4e3ff641, 0x4ebff641, 0x6e3fd641,
		0x6e7fd641, 0x6ebfe641, 0x4e7f1e41, 0x6e30f8fe, 0x4ea0f8fe, 0x6ea1f8fe,
		0x4e2188fe, 0x4e21a8fe, 0x4ea0e8fe, 0x6ea0d8fe, 0x0e6178fe, 0x4e6178fe,
	}
	var got []uint32
	for line := range strings.Lines(f.code.String()) {
		var word uint32
		if _, err := fmt.Sscanf(line, "\tWORD $0x%08x //", &word); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		got = append(got, word)
	}
	if !slices.Equal(got, want) {
		t.Errorf("words %#08x, want %#08x", got, want)
	}
}

// TestArguments fails when a parameter is sought in another place than Go's
// compiler puts it, or one that is not there is found.
func TestArguments(t *testing.T) {
	f := &File{}
	if got := f.layout("func(alpha float32, x, y *float32, scale, shift float32, n int) (s0, s1 float32)"); got != 48 {
		t.Errorf("the arguments are %d bytes, want 48", got)
	}
	for name, want := range map[string]string{
		"alpha": "alpha+0(FP)", "x": "x+8(FP)", "y": "y+16(FP)", "scale": "scale+24(FP)",
		"shift": "shift+28(FP)", "n": "n+32(FP)", "s0": "s0+40(FP)", "s1": "s1+44(FP)",
	} {
		if got, _ := f.arg(name); got != want {
			t.Errorf("%s stands at %s, want %s", name, got, want)
		}
	}
	f.layout("func(dst, x *float32, shift float32) float64")
	if got, size := f.arg("ret"); got != "ret+24(FP)" || size != 8 {
		t.Errorf("the result stands at %s with %d bytes, want ret+24(FP) with 8", got, size)
	}
	defer func() {
		if recover() == nil {
			t.Error("a parameter that is not there is found")
		}
	}()
	f.arg("alpha")
}
