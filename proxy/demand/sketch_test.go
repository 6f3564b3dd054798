package demand

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// sent is a window that got n distinct hashes of a seed in this generation.
func sent(n int, seed uint64) *window {
	w, r := new(window), rand.New(rand.NewPCG(seed, 1))
	for range n {
		w.current.add(r.Uint64())
	}
	return w
}

func count(ws ...*window) uint64 {
	var u union
	for _, w := range ws {
		u.add(w)
	}
	return u.count()
}

// TestFewAreCountedExactly covers every size up to the limit of the exact set and
// the first over it, each value sent twice.
func TestFewAreCountedExactly(t *testing.T) {
	for n := range maxExact + 2 {
		w := sent(n, 7)
		for _, h := range slices.Clone(w.current.exact) {
			w.current.add(h)
		}
		if n <= maxExact {
			if got := count(w); got != uint64(n) || w.current.registers != nil {
				t.Errorf("%d values are counted as %d, by registers: %t", n, got, w.current.registers != nil)
			}
		} else if w.current.registers == nil || w.current.exact != nil {
			t.Errorf("%d values are still kept one by one", n)
		}
	}
}

// TestManyAreEstimated compares with the number that was sent: the worst error
// stays under 5 %, three standard errors, or three values if
// that is more, and over the seeds there is no bias.
func TestManyAreEstimated(t *testing.T) {
	const seeds = 40
	for _, n := range []int{maxExact + 1, 100, 1000, 5000, 10_000, 20_000, 100_000} {
		sum := 0.0
		for seed := range uint64(seeds) {
			off := float64(count(sent(n, seed)))/float64(n) - 1
			if sum += off; math.Abs(off) >= max(0.05, 3/float64(n)) {
				t.Errorf("%d values with seed %d: off by %.2f %%", n, seed, 100*off)
			}
		}
		if mean := sum / seeds; math.Abs(mean) > 4*0.0163/math.Sqrt(seeds) {
			t.Errorf("%d values: off by %.2f %% over %d seeds", n, 100*mean, seeds)
		}
	}
}

// TestRegistersAtTheirEnds covers registers that nothing fell to and registers
// that can grow no more, as only forged hashes make them.
func TestRegistersAtTheirEnds(t *testing.T) {
	var r registers
	if got := r.estimate(); got != 0 {
		t.Errorf("empty registers make %v", got)
	}
	r.add(0)
	if r[0] != longest {
		t.Errorf("a hash of zeros makes a register of %d, not of %d", r[0], longest)
	}
	for i := range r {
		r[i] = longest
	}
	full := &window{current: sketch{registers: &r}}
	if got := count(full); got != 1<<63 {
		t.Errorf("registers that can grow no more make %d", got)
	}
}

// TestUnionCountsWhatIsSharedOnce joins windows by their known overlap.
func TestUnionCountsWhatIsSharedOnce(t *testing.T) {
	var same []*window
	for range 200 { // repeats more than a union keeps
		same = append(same, sent(maxExact, 1))
	}
	var apart []*window
	for seed := range uint64(maxUnion / maxExact) {
		apart = append(apart, sent(maxExact, seed))
	}
	for _, tc := range []struct {
		name    string
		windows []*window
		want    uint64
		exactly bool
	}{
		{"none", nil, 0, true},
		{"one window twice", []*window{sent(20, 1), sent(20, 1)}, 20, true},
		{"the same few values from 200 jobs", same, maxExact, true},
		{"as many values as a union keeps", apart, maxUnion, true},
		{"one value more", append(apart, sent(1, 99)), maxUnion + 1, false},
		{"few beside many", []*window{sent(20, 1), sent(10_000, 2)}, 10_020, false},
		{"few of the many", []*window{sent(20, 2), sent(10_000, 2)}, 10_000, false},
		{"the same many", []*window{sent(10_000, 2), sent(10_000, 2)}, 10_000, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var u union
			for _, w := range tc.windows {
				if u.add(w); len(u.exact) > 4*maxUnion {
					t.Fatalf("%d hashes are kept", len(u.exact))
				}
			}
			got := u.count()
			if off := math.Abs(float64(got) - float64(tc.want)); off != 0 && (tc.exactly || off > 0.05*float64(tc.want)) {
				t.Errorf("counted %d, want %d", got, tc.want)
			}
		})
	}
}

// TestOrderOfHashesDoesNotMatter draws windows and hashes, few of them different,
// and adds them in two orders.
func TestOrderOfHashesDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type sending struct {
			Window int
			Hash   uint64
		}
		n := rapid.IntRange(0, 400).Draw(t, "sendings")
		distinct := rapid.IntRange(1, 200).Draw(t, "distinct")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		hashes := make([]uint64, distinct)
		for i := range hashes {
			hashes[i] = r.Uint64()
		}
		sendings := make([]sending, n)
		for i := range sendings {
			sendings[i] = sending{r.IntN(60), hashes[r.IntN(distinct)]}
		}
		counts := func() []uint64 {
			windows := make([]*window, 60)
			for i := range windows {
				windows[i] = new(window)
			}
			for _, s := range sendings {
				windows[s.Window].current.add(s.Hash)
			}
			out := []uint64{count(windows...)}
			slices.Reverse(windows)
			out = append(out, count(windows...))
			for _, w := range windows {
				out = append(out, count(w))
			}
			return out
		}
		before := counts()
		r.Shuffle(n, func(i, j int) { sendings[i], sendings[j] = sendings[j], sendings[i] })
		after := counts()
		if !slices.Equal(before, after) || before[0] != before[1] {
			t.Fatalf("counted %v in one order, %v in another", before, after)
		}
	})
}
