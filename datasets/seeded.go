package datasets

import "math/rand/v2"

// seeded returns the random numbers for one purpose: every other seed, what
// or number gives another sequence, the same ones the same on every machine.
func seeded(seed uint64, what string, numbers ...int) *rand.Rand {
	h := scramble(seed)
	for _, c := range []byte(what) {
		h = scramble(h ^ uint64(c))
	}
	for _, n := range numbers {
		h = scramble(h ^ uint64(n))
	}
	return rand.New(rand.NewPCG(h, scramble(h)))
}

// scramble is the step of the SplitMix64 generator (Steele, Lea and Flood,
// "Fast Splittable Pseudorandom Number Generators", 2014): a bijection in
// which every bit of the result depends on all of x.
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
