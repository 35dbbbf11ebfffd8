package arm64asm

import "fmt"

func (f *File) line(format string, args ...any) {
	f.code.WriteByte('\t')
	fmt.Fprintf(&f.code, format, args...)
	f.code.WriteByte('\n')
}

// lane0 is a vector register under the name that it has as a scalar.
func lane0(v V) string { return fmt.Sprintf("F%d", uint8(v)) }

// Op writes an instruction of Go's assembly.
func (f *File) Op(name string, operands ...any) {
	f.code.WriteByte('\t')
	f.code.WriteString(name)
	for i, o := range operands {
		sep := ", "
		if i == 0 {
			sep = " "
		}
		fmt.Fprintf(&f.code, "%s%v", sep, o)
	}
	f.code.WriteByte('\n')
}

// Label writes a label; labels belong to their routine.
func (f *File) Label(name string) { fmt.Fprintf(&f.code, "\n%s:\n", name) }

// Load reads 16 bytes at an address such as Constant's.
func (f *File) Load(d V, address string) { f.Op("FMOVQ", address, lane0(d)) }

// Load1 reads one float32 into lane 0; the others become 0.
func (f *File) Load1(d V, address string) { f.Op("FMOVS", address, lane0(d)) }

// LoadPair reads d and e, and advances p by the 32 bytes.
func (f *File) LoadPair(d, e V, p R) { f.line("FLDPQ.P 32(%v), (%s, %s)", p, lane0(d), lane0(e)) }

// LoadNext reads d and advances p by the 16 bytes.
func (f *File) LoadNext(d V, p R) { f.line("FMOVQ.P 16(%v), %s", p, lane0(d)) }

// StorePair writes v and w to p.
func (f *File) StorePair(p R, v, w V) { f.line("FSTPQ (%s, %s), (%v)", lane0(v), lane0(w), p) }

// LoadAll reads one float32 at p into all lanes.
func (f *File) LoadAll(d V, p R) { f.line("VLD1R (%v), [%v.S4]", p, d) }

// Store writes 16 bytes.
func (f *File) Store(address string, v V) { f.Op("FMOVQ", lane0(v), address) }

// Store1 writes lane 0.
func (f *File) Store1(address string, v V) { f.Op("FMOVS", lane0(v), address) }

// Copy is d = n.
func (f *File) Copy(d, n V) { f.line("VORR %v.B16, %v.B16, %v.B16", n, n, d) }

// Zero is d = 0.
func (f *File) Zero(d V) { f.line("VEOR %v.B16, %v.B16, %v.B16", d, d, d) }

// OnlyFirst makes all lanes but lane 0 zero.
func (f *File) OnlyFirst(d V) { f.Op("FMOVS", lane0(d), lane0(d)) }

// The instructions below have the destination first, as in ARM's manual (DDI
// 0487). A comparison makes a mask: all bits of a lane are 1 where it holds.

// BIT is d = n where the mask m is 1.
func (f *File) BIT(d, n, m V) { f.line("VBIT %v.B16, %v.B16, %v.B16", m, n, d) }

// ADD is d = n + m for integers.
func (f *File) ADD(d, n, m V) { f.line("VADD %v.S4, %v.S4, %v.S4", m, n, d) }

// SHL is d = n << bits for integers.
func (f *File) SHL(d, n V, bits int) { f.line("VSHL $%d, %v.S4, %v.S4", bits, n, d) }

// TRN1 is d = (n0, m0, n2, m2).
func (f *File) TRN1(d, n, m V) { f.line("VTRN1 %v.S4, %v.S4, %v.S4", m, n, d) }

// TRN2 is d = (n1, m1, n3, m3).
func (f *File) TRN2(d, n, m V) { f.line("VTRN2 %v.S4, %v.S4, %v.S4", m, n, d) }

// Low is d = (n0, n1, m0, m1).
func (f *File) Low(d, n, m V) { f.line("VTRN1 %v.D2, %v.D2, %v.D2", m, n, d) }

// High is d = (n2, n3, m2, m3).
func (f *File) High(d, n, m V) { f.line("VTRN2 %v.D2, %v.D2, %v.D2", m, n, d) }

// FMLA is d += n m, rounded once.
func (f *File) FMLA(d, n, m V) { f.line("VFMLA %v.S4, %v.S4, %v.S4", m, n, d) }

// FMLS is d -= n m, rounded once.
func (f *File) FMLS(d, n, m V) { f.line("VFMLS %v.S4, %v.S4, %v.S4", m, n, d) }

// FMLA2 is FMLA for float64.
func (f *File) FMLA2(d, n, m V) { f.line("VFMLA %v.D2, %v.D2, %v.D2", m, n, d) }

// FMLALane is d += n m[lane].
func (f *File) FMLALane(d, n, m V, lane int) {
	low, high := uint32(lane&1), uint32(lane>>1)
	f.encoded(0x4f801000|low<<21|uint32(m)<<16|high<<11|uint32(n)<<5|uint32(d), "FMLA %v.4S, %v.4S, %v.S[%d]", d, n, m, lane)
}

// FADD is d = n + m.
func (f *File) FADD(d, n, m V) { f.three(0x4e20d400, "FADD", "4S", d, n, m) }

// FADD2 is FADD for float64.
func (f *File) FADD2(d, n, m V) { f.three(0x4e60d400, "FADD", "2D", d, n, m) }

// FSUB is d = n - m.
func (f *File) FSUB(d, n, m V) { f.three(0x4ea0d400, "FSUB", "4S", d, n, m) }

// FMUL is d = n m.
func (f *File) FMUL(d, n, m V) { f.three(0x6e20dc00, "FMUL", "4S", d, n, m) }

// FDIV is d = n / m.
func (f *File) FDIV(d, n, m V) { f.three(0x6e20fc00, "FDIV", "4S", d, n, m) }

// FMAX is d = max(n, m), NaN where one of them is.
func (f *File) FMAX(d, n, m V) { f.three(0x4e20f400, "FMAX", "4S", d, n, m) }

// FMIN is d = min(n, m), NaN where one of them is.
func (f *File) FMIN(d, n, m V) { f.three(0x4ea0f400, "FMIN", "4S", d, n, m) }

// FADDP is d = (n0+n1, n2+n3, m0+m1, m2+m3).
func (f *File) FADDP(d, n, m V) { f.three(0x6e20d400, "FADDP", "4S", d, n, m) }

// FADDP2 is d = (n0+n1, m0+m1) for float64.
func (f *File) FADDP2(d, n, m V) { f.three(0x6e60d400, "FADDP", "2D", d, n, m) }

// FCMGT is n > m.
func (f *File) FCMGT(d, n, m V) { f.three(0x6ea0e400, "FCMGT", "4S", d, n, m) }

// BIC is d = n &^ m.
func (f *File) BIC(d, n, m V) { f.three(0x4e601c00, "BIC", "16B", d, n, m) }

// FMAXV is the greatest lane of n, in lane 0.
func (f *File) FMAXV(d, n V) {
	f.encoded(0x6e30f800|uint32(n)<<5|uint32(d), "FMAXV S%d, %v.4S", uint8(d), n)
}

// FABS is d = |n|.
func (f *File) FABS(d, n V) { f.two(0x4ea0f800, "FABS", d, n) }

// FSQRT is d = sqrt(n).
func (f *File) FSQRT(d, n V) { f.two(0x6ea1f800, "FSQRT", d, n) }

// FRINTN is n rounded to an integer, to even at a half.
func (f *File) FRINTN(d, n V) { f.two(0x4e218800, "FRINTN", d, n) }

// FCVTNS is FRINTN as an integer; NaN is 0.
func (f *File) FCVTNS(d, n V) { f.two(0x4e21a800, "FCVTNS", d, n) }

// FCMLT0 is n < 0.
func (f *File) FCMLT0(d, n V) {
	f.encoded(0x4ea0e800|uint32(n)<<5|uint32(d), "FCMLT %v.4S, %v.4S, #0.0", d, n)
}

// FCMLE0 is n <= 0.
func (f *File) FCMLE0(d, n V) {
	f.encoded(0x6ea0d800|uint32(n)<<5|uint32(d), "FCMLE %v.4S, %v.4S, #0.0", d, n)
}

// FCVTL is the first two lanes of n as float64.
func (f *File) FCVTL(d, n V) {
	f.encoded(0x0e617800|uint32(n)<<5|uint32(d), "FCVTL %v.2D, %v.2S", d, n)
}

// FCVTL2 is the last two lanes of n as float64.
func (f *File) FCVTL2(d, n V) {
	f.encoded(0x4e617800|uint32(n)<<5|uint32(d), "FCVTL2 %v.2D, %v.4S", d, n)
}

// encoded writes an instruction that Go's assembler does not have.
func (f *File) encoded(word uint32, format string, args ...any) {
	f.line("WORD $0x%08x // "+format, append([]any{word}, args...)...)
}

func (f *File) three(op uint32, name, lanes string, d, n, m V) {
	f.encoded(op|uint32(m)<<16|uint32(n)<<5|uint32(d), "%s %v.%s, %v.%s, %v.%s", name, d, lanes, n, lanes, m, lanes)
}

func (f *File) two(op uint32, name string, d, n V) {
	f.encoded(op|uint32(n)<<5|uint32(d), "%s %v.4S, %v.4S", name, d, n)
}
