package statsd

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"pgregory.net/rapid"

	"github.com/pushguard/pushguard/proxy/counter"
)

func TestBoundsAreWrittenAsPrometheusWritesThem(t *testing.T) {
	same := func(v float64) bool {
		return string(appendBound(nil, v)) == labels.FormatOpenMetricsFloat(v)
	}
	for _, v := range []float64{0, math.Copysign(0, -1), 1, -1, 2.5, 10, 1e6, 1e20, 1e21, 1e-7, 0.1, math.MaxFloat64, math.SmallestNonzeroFloat64, math.Inf(1)} {
		if !same(v) {
			t.Errorf("%q for %q", appendBound(nil, v), labels.FormatOpenMetricsFloat(v))
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		if v := rapid.Float64().Draw(t, "bound"); !math.IsInf(v, -1) && !same(v) {
			t.Fatalf("%q for %q", appendBound(nil, v), labels.FormatOpenMetricsFloat(v))
		}
	})
}

func TestAmountsReadBackTheSame(t *testing.T) {
	third := 1.0 / 3
	for v, want := range map[float64]string{
		0: "0", 1: "1", 2.5: "2.5", 1e6: "1000000", 1 << 53: "9007199254740992", 1<<53 - 1: "9007199254740991",
		1e21: "1e+21", 1e-6: "0.000001", 1e-7: "1e-07", third: "0.3333333333333333",
	} {
		if got := string(appendAmount(nil, v)); got != want {
			t.Errorf("%v is written %s, not %s", v, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Float64Range(0, maxAmount).Draw(t, "amount")
		text := string(appendAmount(nil, v))
		if back, err := strconv.ParseFloat(text, 64); err != nil || back != v || len(text) > maxDigits {
			t.Fatalf("%v is written %s, and read as %v, %v", v, text, back, err)
		}
	})
}

// Histograms of other bounds add up to one that is in order, whose count and sum
// are exact, and so are the buckets that all of them have.
func TestHistogramsOfOtherBoundsAddUp(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newSender(t, Config{Address: parse(t, "udp://127.0.0.1:9")})
		bounds := rapid.SliceOfNDistinct(rapid.Float64Range(-10, 10), 1, 5, rapid.ID[float64])
		common := 5.5
		total, below := 0.0, 0.0
		for range rapid.IntRange(1, 5).Draw(rt, "sources") {
			src := newHistogram("h", union([]float64{common}, bounds.Draw(rt, "bounds")))
			for _, v := range rapid.SliceOfN(rapid.Float64Range(0, 10), 1, 5).Draw(rt, "observations") {
				observe(s, src, v)
				total++
				if v <= common {
					below++
				}
			}
		}
		sr := s.queued.front
		if s.queued.n != 1 || len(sr.pending) != len(sr.bounds)+3 || !goodBounds(sr.bounds) {
			rt.Fatalf("%d series, %v %v", s.queued.n, sr.bounds, sr.pending)
		}
		n := len(sr.bounds)
		for i, v := range sr.pending[:n] {
			if v < 0 || v > total || (i > 0 && v < sr.pending[i-1]) {
				rt.Fatalf("buckets %v out of order", sr.pending)
			}
			if sr.bounds[i] == common && v != below {
				rt.Fatalf("%v at %v, want %v", v, common, below)
			}
		}
		if sr.pending[n] != total || sr.pending[n+1] != total {
			rt.Fatalf("%v, want a count of %v", sr.pending, total)
		}
	})
}

func TestNewBoundsAreBornAtZero(t *testing.T) {
	s, _, now, flush := held(t)
	observe(s, newHistogram("h", []float64{1}), 0.5)
	flush(`h_bucket:0|c|#le:1.0`, `h_bucket:0|c|#le:+Inf`, "h_count:0|c", "h_sum:0|c")
	now.add(DefaultZeroHold - 1)
	observe(s, newHistogram("h", []float64{2}), 1.5)
	flush(`h_bucket:0|c|#le:1.0`, `h_bucket:0|c|#le:2.0`, `h_bucket:0|c|#le:+Inf`, "h_count:0|c", "h_sum:0|c")
	now.add(DefaultZeroHold - 1)
	flush()
	now.add(1)
	flush(`h_bucket:1|c|#le:1.0`, `h_bucket:2|c|#le:2.0`, `h_bucket:2|c|#le:+Inf`, "h_count:2|c", "h_sum:2|c")
	observe(s, newHistogram("h", []float64{1}), 3) // the bound it knows
	flush(`h_bucket:1|c|#le:+Inf`, "h_count:1|c", "h_sum:3|c")
}

// Bounds may come while lines are on their way that then cannot be sent.
func TestGiveBackAfterBoundsCame(t *testing.T) {
	s, _, _, _ := held(t)
	observe(s, newHistogram("h", []float64{1, 3}), 0.5)
	p := packet{style: DogStatsD}
	sr := s.queued.front
	p.put(sr, false, 1000)
	clear(sr.pending)
	observe(s, newHistogram("h", []float64{2}), 1.5)
	for i := range p.parts {
		sr.giveBack(&p.parts[i])
	}
	if diff := cmp.Diff([]float64{1, 1, 2, 2, 2, 2}, sr.pending); diff != "" {
		t.Error(diff)
	}
}

func TestRefusals(t *testing.T) {
	many := func(n int) (out []float64) {
		for i := range n {
			out = append(out, float64(i))
		}
		return out
	}
	for _, tc := range []struct {
		name  string
		known []*counter.Series // before
		inc   counter.Increment
		want  Refusal
	}{
		{name: "no series", want: RefusedValue},
		{name: "no kind", inc: counter.Increment{Series: &counter.Series{Name: "x"}}, want: RefusedValue},
		{name: "negative", inc: counter.Increment{Series: newCounter("x"), Value: -1}, want: RefusedValue},
		{name: "not a number", inc: counter.Increment{Series: newCounter("x"), Value: math.NaN()}, want: RefusedValue},
		{name: "infinite", inc: counter.Increment{Series: newCounter("x"), Value: math.Inf(1)}, want: RefusedValue},
		{name: "the most", inc: counter.Increment{Series: newCounter("x"), Value: maxAmount}},
		{name: "more than the most", inc: counter.Increment{Series: newCounter("x"), Value: math.Nextafter(maxAmount, math.Inf(1))}, want: RefusedValue},
		{name: "a negative sum", inc: counter.Increment{Series: newSummary("x"), Sum: -1}, want: RefusedValue},
		{name: "a negative sum that is known", inc: counter.Increment{Series: newSummary("x"), Sum: -1, NoSum: true}},
		{name: "a count that is no number", inc: counter.Increment{Series: newSummary("x"), Count: math.NaN()}, want: RefusedValue},
		{name: "buckets missing", inc: counter.Increment{Series: newHistogram("x", many(2)), Buckets: many(1)}, want: RefusedValue},
		{name: "buckets out of order", inc: counter.Increment{Series: newHistogram("x", many(2)), Buckets: []float64{1, 0}, Count: 1}, want: RefusedValue},
		{name: "more in a bucket than in all", inc: counter.Increment{Series: newHistogram("x", many(1)), Buckets: []float64{2}, Count: 1}, want: RefusedValue},
		{name: "a bucket without a number", inc: counter.Increment{Series: newHistogram("x", many(1)), Buckets: []float64{math.NaN()}, Count: 1}, want: RefusedValue},
		{name: "bounds out of order", inc: counter.Increment{Series: newHistogram("x", []float64{2, 1}), Buckets: many(2), Count: 1}, want: RefusedBounds},
		{name: "equal bounds", inc: counter.Increment{Series: newHistogram("x", []float64{1, 1}), Buckets: many(2), Count: 1}, want: RefusedBounds},
		{name: "an infinite bound", inc: counter.Increment{Series: newHistogram("x", []float64{math.Inf(1)}), Buckets: many(1)}, want: RefusedBounds},
		{name: "a bound without a number", inc: counter.Increment{Series: newHistogram("x", []float64{math.NaN()}), Buckets: many(1)}, want: RefusedBounds},
		{name: "the most bounds", inc: counter.Increment{Series: newHistogram("x", many(maxBounds)), Buckets: make([]float64, maxBounds)}},
		{name: "too many bounds", inc: counter.Increment{Series: newHistogram("x", many(maxBounds+1)), Buckets: make([]float64, maxBounds+1)}, want: RefusedBounds},
		{
			name: "too many bounds together", known: []*counter.Series{newHistogram("x", many(maxBounds))},
			inc: counter.Increment{Series: newHistogram("x", []float64{0.5}), Buckets: many(1)}, want: RefusedBounds,
		},
		{name: "no name", inc: counter.Increment{Series: newCounter("")}, want: RefusedName},
		{name: "the longest name", inc: counter.Increment{Series: newCounter(strings.Repeat("x", maxName))}},
		{name: "too long a name", inc: counter.Increment{Series: newCounter(strings.Repeat("x", maxName+1))}, want: RefusedName},
		{name: "the exporter's", inc: counter.Increment{Series: newCounter("process_cpu_seconds_total")}, want: RefusedReserved},
		{name: "Prometheus' own", inc: counter.Increment{Series: newCounter("up")}, want: RefusedReserved},
		{name: "not quite the exporter's", inc: counter.Increment{Series: newCounter("processed_total")}},
		{name: "reserved label", inc: counter.Increment{Series: newCounter("x", "__name__", "y")}, want: RefusedLabel},
		{name: "reserved once cleaned", inc: counter.Increment{Series: newCounter("x", "é_y", "y")}, want: RefusedLabel},
		{name: "one underscore", inc: counter.Increment{Series: newCounter("x", "_y", "y")}},
		{name: "reserved without a value", inc: counter.Increment{Series: newCounter("x", "__name__", "")}},
		{name: "label without a name", inc: counter.Increment{Series: newCounter("x", "", "y")}, want: RefusedLabel},
		{name: "the longest label", inc: counter.Increment{Series: newCounter("x", strings.Repeat("x", maxName), "y")}},
		{name: "too long a label", inc: counter.Increment{Series: newCounter("x", strings.Repeat("x", maxName+1), "y")}, want: RefusedLabel},
		{name: "le in a histogram", inc: counter.Increment{Series: newHistogram("x", nil, "le", "1")}, want: RefusedLabel},
		{name: "le in a counter", inc: counter.Increment{Series: newCounter("x", "le", "1")}},
		{name: "two labels alike", inc: counter.Increment{Series: newCounter("x", "a.b", "1", "a_b", "2")}, want: RefusedCollision},
		{
			name: "two names alike", known: []*counter.Series{newCounter("a:b")},
			inc: counter.Increment{Series: newCounter("a_b")}, want: RefusedCollision,
		},
		{
			name: "two names alike, other labels", known: []*counter.Series{newCounter("a:b", "k", "v")},
			inc: counter.Increment{Series: newCounter("a_b")}, want: RefusedCollision,
		},
		{
			name: "labels alike in two series", known: []*counter.Series{newCounter("x", "a.b", "1")},
			inc: counter.Increment{Series: newCounter("x", "a_b", "1")}, want: RefusedCollision,
		},
		{
			name: "values alike", known: []*counter.Series{newCounter("x", "k", "a,b")},
			inc: counter.Increment{Series: newCounter("x", "k", "a|b", "l", "")},
		},
		{
			name: "another kind", known: []*counter.Series{newCounter("x")},
			inc: counter.Increment{Series: newSummary("x")}, want: RefusedKind,
		},
		{
			name: "another kind, other labels", known: []*counter.Series{newCounter("x", "k", "v")},
			inc: counter.Increment{Series: newHistogram("x", nil)}, want: RefusedKind,
		},
		{
			name: "a part of a summary", known: []*counter.Series{newSummary("x")},
			inc: counter.Increment{Series: newCounter("x_count")}, want: RefusedKind,
		},
		{
			name: "a summary of which a part is there", known: []*counter.Series{newCounter("x_sum")},
			inc: counter.Increment{Series: newSummary("x")}, want: RefusedKind,
		},
		{
			name: "what looks like a part", known: []*counter.Series{newSummary("x")},
			inc: counter.Increment{Series: newCounter("x_bucket")},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSender(t, Config{Address: parse(t, "udp://127.0.0.1:9")})
			for _, src := range tc.known {
				s.Add([]counter.Increment{{Series: src, Buckets: make([]float64, len(src.Bounds))}})
			}
			s.Add([]counter.Increment{tc.inc})
			for _, why := range refusals {
				want := 0.0
				if why == tc.want {
					want = 1
				}
				if got := dropped(t, s, why); got != want {
					t.Errorf("%s: %v", why, got)
				}
			}
		})
	}
}

func TestLineAtItsLimit(t *testing.T) {
	labelsOf := func(bytes int) *counter.Series {
		src := newCounter("x")
		for i := 0; bytes > 0; i++ {
			name := fmt.Sprintf("k%02d", i)
			n := min(bytes-len(name)-2, maxValue)
			if rest := bytes - len(name) - 2 - n; rest > 0 && rest < 10 {
				n -= 10
			}
			src.Labels = append(src.Labels, labels.Label{Name: name, Value: strings.Repeat("v", n)})
			bytes -= len(name) + 2 + n
		}
		return src
	}
	for _, tc := range []struct {
		over    int
		refused float64
	}{{-1, 0}, {0, 0}, {1, 1}} {
		s := newSender(t, Config{Address: parse(t, "udp://127.0.0.1:9")})
		src := labelsOf(maxLine - len("x_bucket:") - maxDigits - len("|c|#") - maxLe + tc.over)
		count(s, src, 1)
		if got := dropped(t, s, RefusedSize); got != tc.refused {
			t.Errorf("%+d: %v refused", tc.over, got)
		}
	}
}

func TestHistogramAtItsLimit(t *testing.T) {
	// A line of this series is reserved as 100 bytes, and 600 of them are allowed.
	name := strings.Repeat("h", 100-len("_bucket:")-maxDigits-len("|c|#")-maxLe-len("\n"))
	for _, tc := range []struct {
		name    string
		bounds  int
		refused Refusal
	}{{name, maxBounds, ""}, {name + strings.Repeat("h", 19), maxBounds, ""}, {name + strings.Repeat("h", 20), maxBounds, RefusedSize}} {
		s := newSender(t, Config{Address: parse(t, "udp://127.0.0.1:9")})
		src := newHistogram(tc.name, nil)
		for i := range tc.bounds {
			src.Bounds = append(src.Bounds, float64(i))
		}
		observe(s, src, 0)
		got := dropped(t, s, RefusedSize)
		if (got == 1) != (tc.refused == RefusedSize) {
			t.Errorf("a line of %d, %d bounds: %v refused", 100+len(tc.name)-len(name), tc.bounds, got)
		}
	}
}

func TestValueIsCutAtACharacter(t *testing.T) {
	for _, tc := range []struct{ value, want string }{
		{strings.Repeat("v", maxValue), strings.Repeat("v", maxValue)},
		{strings.Repeat("v", maxValue+1), strings.Repeat("v", maxValue)},
		{strings.Repeat("v", maxValue-1) + "é", strings.Repeat("v", maxValue-1)},
		{strings.Repeat("v", maxValue-2) + "é", strings.Repeat("v", maxValue-2) + "é"},
		{"\xff", "\ufffd"},
		{"a\u0085b\x7f\x00\n", "a_b___"},
	} {
		if got := string(appendValue(nil, tc.value, plainBehind)); got != tc.want {
			t.Errorf("%q for %q", got, tc.value)
		}
	}
}

func TestSeriesBeyondTheLimit(t *testing.T) {
	sock := listen(t)
	s := newSender(t, Config{Address: sock.url, MaxSeries: 3})
	t.Cleanup(func() { s.link.close() })
	at := func(i int) *counter.Series { return newCounter("x", "i", strconv.Itoa(i)) }
	for i := range 3 {
		count(s, at(i), 1)
	}
	if n := dropped(t, s, RefusedFull); n != 0 {
		t.Fatalf("%v dropped at the limit", n)
	}
	count(s, at(3), 1)
	count(s, at(0), 1) // the old ones go on
	if n := dropped(t, s, RefusedFull); n != 1 || pending(s) != 3 {
		t.Fatalf("%v dropped over the limit, %d pending", n, pending(s))
	}
	s.flush(context.Background())
	count(s, at(1), 0) // used, so the one after it is the oldest
	count(s, at(0), 0)
	count(s, at(3), 1)
	if n := metric(t, s, "forgotten_series_total", "max_series"); n != 1 || len(s.series) != 3 {
		t.Fatalf("%v forgotten, %d series", n, len(s.series))
	}
	if s.series["x\x00i:2"] != nil || s.series["x\x00i:3"] == nil {
		t.Error("not the oldest one made room")
	}
	if len(s.families) != 1 || s.families["x"].series != 3 {
		t.Errorf("families: %+v", s.families["x"])
	}
}

func TestFamilyIsFreeWhenItsLastSeriesIsForgotten(t *testing.T) {
	f := families{}
	a, _ := f.claim(newHistogram("x", nil), "x")
	if b, why := f.claim(newHistogram("x", nil, "k", "v"), "x"); b != a || why != "" {
		t.Fatal(why)
	}
	f.release(a)
	if _, why := f.claim(newCounter("x_bucket"), "x_bucket"); why != RefusedKind {
		t.Errorf("%q while a series is left", why)
	}
	f.release(a)
	if _, why := f.claim(newCounter("x_bucket"), "x_bucket"); why != "" || len(f) != 1 {
		t.Errorf("%q afterwards, %d names", why, len(f))
	}
}

// What is known of series weighs no more than it may, though all of them are one on the wire.
func TestKnownSeriesAreBounded(t *testing.T) {
	s := newSender(t, Config{Address: parse(t, "udp://127.0.0.1:9")})
	for i := range 200 {
		ls := []labels.Label{{Name: "l", Value: strings.Repeat("v", 1<<20) + strconv.Itoa(i)}}
		s.Add([]counter.Increment{{Series: &counter.Series{Name: "x_total", Kind: counter.Counter, Labels: ls}, Value: 1}})
	}
	if kept := len(s.known); kept > knownBytes>>20 || kept == 0 {
		t.Errorf("%d series of a MiB are known", kept)
	}
	if len(s.series) != 1 || pending(s) != 1 {
		t.Errorf("%d series, of which %d are pending", len(s.series), pending(s))
	}
}
