package train

import (
	"encoding/json"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onetrunk/onetrunk/autograd"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/sharing"
	"github.com/onetrunk/onetrunk/tensor"
)

var device = tensor.CPU(1)

// quadratics are the gradients at x of c[i]/2 |x - at[i]|^2, in a parameter of
// two numbers.
func quadratics(x [2]float32, c []float32, at [][2]float32) *apart {
	p := autograd.NewParam("x", device.New(1, 2))
	p.Train(true)
	device.Write(p.Value, x[:])
	a := newApart(device, []*autograd.Param{p}, len(c))
	for i := range c {
		tape := autograd.NewTape(device, true)
		d := tape.Sum([]float32{1, -1}, p.Var(), tape.Input(1, 2, at[i][:]))
		loss := tape.OfGram(func(g []float64) (float64, []float64) { return float64(c[i]) / 2 * g[0], []float64{float64(c[i]) / 2} }, d)
		a.backward(tape, loss, i)
	}
	return a
}

func every(int) bool { return true }

// TestProjectionOfTwoQuadratics holds PCGrad to what it says by hand.
func TestProjectionOfTwoQuadratics(t *testing.T) {
	for _, c := range []struct {
		name string
		at   [][2]float32 // the gradients at 0 are minus these
		want [2]float64
	}{
		// g1 = (2, 0), g2 = (-1, 1): g1 loses -2/2 g2 and is (1, 1), g2 loses
		// -2/4 g1 and is (0, 1).
		{"conflict", [][2]float32{{-2, 0}, {1, -1}}, [2]float64{1, 2}},
		{"agreement", [][2]float32{{-2, 0}, {-1, -1}}, [2]float64{3, 1}},
		{"at right angles", [][2]float32{{-2, 0}, {0, -1}}, [2]float64{2, 1}},
		{"opposite", [][2]float32{{-2, 0}, {1, 0}}, [2]float64{0, 0}},
		{"one is zero", [][2]float32{{-2, 0}, {0, 0}}, [2]float64{2, 0}},
	} {
		a := quadratics([2]float32{}, []float32{1, 1}, c.at)
		of := project(a.gram(2, every), rand.New(rand.NewPCG(1, 1)))
		a.merge(func(n, _ int) float64 { return of[n] })
		var got [2]float32
		device.Read(got[:], a.params[0].Grad())
		for i := range got {
			if math.Abs(float64(got[i])-c.want[i]) > 1e-6 {
				t.Errorf("%s: %v, want %v", c.name, got, c.want)
				break
			}
		}
	}
}

// TestGradNormOfTwoQuadratics has losses whose gradients at 0 are 1 and 4, and
// that stand at shares of what they began with.
func TestGradNormOfTwoQuadratics(t *testing.T) {
	all := []string{"a+b", "a+c"}
	for _, c := range []struct {
		alpha  float64
		ratios [2]float64
		want   float64 // of the first weight; the two sum to 2
	}{
		{1e-9, [2]float64{1, 1}, 1.6}, // equal norms: w1 = 4 w2
		{1, [2]float64{1, 1}, 1.6},    // equal pace too
		{1, [2]float64{0.5, 1}, 4. / 3},
		// The targets are 4/9 and 16/9 of the mean, which are not 1 in the mean; the
		// weights settle where the greater gradient is at its own.
		{2, [2]float64{0.5, 1}, 2. / 3},
	} {
		b := newBalance(&sharing.Balance{Kind: "gradnorm", Alpha: c.alpha, Rate: 0.01}, 1)
		maps.Copy(b.First, map[string]float64{all[0]: 3, all[1]: 5})
		seen := map[string]*pairStats{all[0]: {loss: 3 * c.ratios[0], passes: 1}, all[1]: {loss: 5 * c.ratios[1], passes: 1}}
		a := quadratics([2]float32{}, []float32{1, 4}, [][2]float32{{1, 0}, {0, 1}})
		gram := a.gram(2, every)
		for range 400 {
			b.pace(all, []float64{math.Sqrt(gram[0][0]), math.Sqrt(gram[1][1])}, seen)
		}
		if w := b.factor(all[0], all); math.Abs(w-c.want) > 0.03 || math.Abs(w+b.factor(all[1], all)-2) > 1e-9 {
			t.Errorf("alpha %g, losses at %v: weights %v, want the first %g and their sum 2", c.alpha, c.ratios, b.Weights, c.want)
		}
	}
}

func TestPriorityFallsAsPairsAreLearned(t *testing.T) {
	pairs := []string{"a+b", "a+c", "b+c"}
	b := newBalance(&sharing.Balance{Kind: "dtp", Gamma: 1, Average: 0.5}, 1)
	last := math.Inf(1)
	for hits := 0.0; hits <= 1; hits += 0.1 {
		b.learn(map[string]*pairStats{"a+b": {hits: 2 * hits, passes: 2}, "a+c": {hits: 0.3, passes: 1}, "b+c": {hits: 0.3, passes: 1}})
		w := b.factor("a+b", pairs)
		if sum := w + b.factor("a+c", pairs) + b.factor("b+c", pairs); math.Abs(sum-3) > 1e-9 {
			t.Errorf("weights sum to %g", sum)
		}
		if hits > 0.15 && !(w < last) { // below the least kappa they are equal
			t.Errorf("R@1 %.1f: weight %g, before %g", hits, w, last)
		}
		last = w
	}
	if got, want := priority(0.5, 2), 0.25*math.Ln2; math.Abs(got-want) > 1e-12 {
		t.Errorf("priority %g, want %g", got, want)
	}
	if math.IsInf(priority(b.kappa("never"), 1), 0) || priority(mostKappa, 1) <= 0 {
		t.Error("the bounds of kappa do not keep weights positive and finite")
	}
}

// TestUncertaintyFindsTheLoss: L/(2 e^s) + s/2 is least where e^s = L.
func TestUncertaintyFindsTheLoss(t *testing.T) {
	b := newBalance(&sharing.Balance{Kind: "uncertainty", Rate: 0.1}, 1)
	for range 500 {
		b.learn(map[string]*pairStats{"a+b": {loss: 6, passes: 2}})
	}
	if got := b.factor("a+b", nil); math.Abs(got-1./6) > 1e-4 {
		t.Errorf("weight %g, want 1/(2 L) = 1/6", got)
	}
}

// gradients returns those of the first step of a run, and its figures.
func gradients(t *testing.T, r *run) (all map[string][]float32, s stepStats) {
	t.Helper()
	for b, err := range r.loader.Run(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if s.passes == 0 {
			if err := r.beginStep(1, b, &s); err != nil {
				t.Fatal(err)
			}
		}
		pairs := pairsIn(b, r.base)
		if _, err := r.backward(b, pairs, &s); err != nil {
			t.Fatal(err)
		}
		if s.passes++; s.passes == r.Settings.Accumulate {
			break
		}
	}
	all = map[string][]float32{}
	for _, p := range r.model.Bank.Params() {
		if g := p.Take(); g != nil {
			all[p.Name] = make([]float32, g.Len())
			r.dev.Read(all[p.Name], g)
			r.dev.Free(g)
		}
	}
	return all, s
}

// TestGradientsApartAreThoseTogether has gradnorm's first step, where all weigh
// one, make the gradient of the fixed balance from those of the pairs: with a
// penalty, which must count once, in one pass or two, and with weights of pairs;
// and pcgrad's make one that differs exactly where pairs conflict.
func TestGradientsApartAreThoseTogether(t *testing.T) {
	for name, keys := range sharings {
		for _, c := range []struct{ more, train string }{
			{"", `"clip": 1`},
			{`, "delta": {"kind": "taps", "lambda": 3}`, `"clip": 1`},
			{`, "delta": {"kind": "taps", "lambda": 3}`, `"accumulate": 2`},
			{"", `"pairs": {"echo+hum": 1, "echo+tone": 0.25}`},
			{"", `"pairs": {"echo+hum": 1}`},
		} {
			of := func(kind string) (map[string][]float32, stepStats) {
				return gradients(t, begun(t, small(t, t.TempDir(), keys+c.more+kind, c.train)))
			}
			want, _ := of("")
			got, _ := of(`, "balance": {"kind": "gradnorm"}`)
			projected, figures := of(`, "balance": {"kind": "pcgrad"}`)
			distance := func(a, b map[string][]float32) (d float64) {
				for n, x := range a {
					y := b[n]
					if y == nil { // of a modality that is in no pair
						y = make([]float32, len(x))
					}
					for i := range x {
						d = max(d, math.Abs(float64(x[i]-y[i])))
					}
				}
				return d
			}
			if d := distance(want, got); d > 2e-5 {
				t.Errorf("%s %s %s: a gradient is off by %g", name, c.more, c.train, d)
			}
			least := 1.0
			for _, cosine := range figures.conflicts {
				least = min(least, cosine)
			}
			if d := distance(want, projected); (d > 2e-5) != (least < 0) {
				t.Errorf("%s %s %s: pcgrad changes a gradient by %g, cosines %v", name, c.more, c.train, d, figures.conflicts)
			}
		}
	}
}

// TestUpdatesUnderEverySharing holds every way to make an update, under no,
// partial and full sharing, to the same bits in one piece and in parts that end
// anywhere, to a fall of the loss, and to a config and state that say what was
// done.
func TestUpdatesUnderEverySharing(t *testing.T) {
	base := map[string]string{}
	for _, c := range []struct {
		name, more, train string
		same              bool // as the fixed balance
		log               string
	}{
		{name: "plain"},
		{name: "fixed", more: `, "balance": {"kind": "fixed"}`, same: true, log: `"pairs":{"echo+hum":`},
		{name: "dtp", more: `, "balance": {"kind": "dtp"}`, log: `"weight":`},
		{name: "gradnorm", more: `, "balance": {"kind": "gradnorm"}`, log: `"conflicts":{"echo+hum|echo+tone":`},
		{name: "uncertainty", more: `, "balance": {"kind": "uncertainty"}`, log: `"weight":`},
		{name: "pcgrad", more: `, "balance": {"kind": "pcgrad"}`, log: `"conflicts":{"echo+hum|echo+tone":`},
		{name: "pcgrad in two passes, unclipped", more: `, "balance": {"kind": "pcgrad"}`, train: `"accumulate": 2, "clip": 0`},
		{name: "phases", more: `, "phases": [{"steps": 5, "pairs": {"echo+hum": 1}}, {"steps": 0.25, "freeze": ["*"], "except": ["heads/*", "*temperatures/*"]}, {"freeze": ["trunk/*"], "except": ["trunk/1/*"]}]`, log: `"phase":{"from":5`},
		{name: "phases, unclipped", more: `, "phases": [{"steps": 5, "freeze": ["trunk/*"]}, {}]`, train: `"clip": 0`},
		{name: "phases with pcgrad", more: `, "balance": {"kind": "pcgrad"}, "phases": [{"steps": 5, "freeze": ["trunk/*"]}, {"pairs": {"echo+hum": 1, "hum+tone": 2}}]`},
		{name: "adaptive", more: `, "adapt": {"warmup": 2, "every": 2, "checks": 2, "threshold": 1}`, log: `"checks":`},
		{name: "adaptive, never", more: `, "adapt": {"every": 1, "checks": 1, "threshold": -1}`, same: true},
	} {
		for name, keys := range sharings {
			if testing.Short() && name != "partial sharing" {
				continue
			}
			whole, parts := t.TempDir(), t.TempDir()
			finished(t, small(t, whole, keys+c.more, c.train), 0)
			for _, stop := range []int{4, 6, 12} {
				finished(t, small(t, parts, keys+c.more, c.train), stop)
			}
			a, b := latest(t, whole), latest(t, parts)
			for file := range a {
				if a[file] != b[file] {
					t.Errorf("%s, %s: %s differs when the run is resumed", c.name, name, file)
				}
			}
			switch weights := a["model.safetensors"]; {
			case c.name == "plain":
				base[name] = weights
			case strings.HasPrefix(c.name, "adaptive") && name == "no sharing": // there is nothing to split
			case c.same && weights != base[name]:
				t.Errorf("%s, %s: not the bits of training without", c.name, name)
			case !c.same && weights == base[name]:
				t.Errorf("%s, %s: does nothing", c.name, name)
			}
			log, err := os.ReadFile(filepath.Join(whole, LogFile))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(log), c.log) && !(name == "no sharing" && c.name == "adaptive") {
				t.Errorf("%s, %s: the log does not hold %s", c.name, name, c.log)
			}
			var first, last record
			lines := strings.Split(strings.TrimSpace(string(log)), "\n")
			for at, into := range map[int]*record{0: &first, len(lines) - 1: &last} {
				if err := json.Unmarshal([]byte(lines[at]), into); err != nil {
					t.Fatal(err)
				}
			}
			if last.Step != 12 || !(last.Loss < first.Loss) && !strings.Contains(c.more, `"steps": 5, "pairs"`) || last.Pairs == nil != (first.Pairs == nil) {
				t.Errorf("%s, %s: the loss goes from %g to %g in %d steps", c.name, name, first.Loss, last.Loss, last.Step)
			}
			if _, err := model.Open(whole); err != nil {
				t.Errorf("%s, %s: %v", c.name, name, err)
			}
		}
	}
}

func TestBalanceIsRefused(t *testing.T) {
	for block, want := range map[string]string{
		`{"kind": "even"}`:                    "sharing.balance.kind",
		`{"kind": "pcgrad", "alpha": 1}`:      "sharing.balance.alpha: is of kind gradnorm",
		`{"kind": "dtp", "average": 1}`:       "sharing.balance.average",
		`{"kind": "uncertainty", "rate": -1}`: "sharing.balance.rate",
	} {
		var b sharing.Balance
		if err := json.Unmarshal([]byte(block), &b); err != nil {
			t.Fatal(err)
		}
		c := sharing.Default()
		c.Balance = &b
		if err := c.Validate(2, waves); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want it to hold %q", block, err, want)
		}
	}
	o := small(t, "", `"balance": {"kind": "gradnorm"}`, "")
	for _, name := range []string{"echo", "hum"} {
		m := o.Config.Modalities[name]
		m.Trunk = &o.Config.Trunk
		o.Config.Modalities[name] = m
	}
	if err := o.Settings.Validate(o.Config); err == nil || !strings.Contains(err.Error(), "echo+hum never reaches") {
		t.Errorf("gradnorm of a pair apart: %v", err)
	}
	o.Settings.Pairs = map[string]float64{"echo+tone": 1}
	if err := o.Settings.Validate(o.Config); err != nil {
		t.Errorf("gradnorm of a pair that reaches the trunk: %v", err)
	}
}
