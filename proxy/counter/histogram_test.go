package counter

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// took is a reading of a histogram with the bounds 1, 2 and 5, or fewer of them.
func took(source Source, began int64, count, sum float64, buckets ...float64) Reading {
	bounds := []float64{1, 2, 5}[:len(buckets)]
	return Reading{
		Identity: identity("job=j", "took_seconds", ""), Source: source, Began: began, Count: count, Sum: sum, Buckets: buckets,
		Output: &Series{Name: "took_seconds", Kind: Histogram, Bounds: bounds},
	}
}

// differenced commits a push of one reading and returns its increment.
func differenced(t testing.TB, b *Book, r Reading) (Increment, Reason) {
	t.Helper()
	var i Increments
	if err := b.Difference(&i, []Reading{r}, Push{Group: groupOf("job=j").Identity()}); err != nil {
		t.Fatal(err)
	}
	inc := i.All()[0]
	inc.Buckets = slices.Clone(inc.Buckets)
	if err := i.Commit(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	return inc, i.Reason(0)
}

func TestHistogramsAreDifferencedAsOne(t *testing.T) {
	c := newClock()
	now := c.now.UnixNano() + 1
	type step struct {
		reading Reading
		reason  Reason
		want    Increment
	}
	for _, tc := range []struct {
		name  string
		steps []step
	}{
		{"it grows", []step{
			{took(Created, now, 4, 9, 1, 2, 3), First, Increment{Count: 4, Sum: 9, Buckets: []float64{1, 2, 3}}},
			{took(Created, now, 6, 12, 1, 3, 5), Grown, Increment{Count: 2, Sum: 3, Buckets: []float64{0, 1, 2}}},
		}},
		{"one bucket fell though the count grew: late where it was created", []step{
			{took(Created, now, 4, 9, 1, 2, 3), First, Increment{Count: 4, Sum: 9, Buckets: []float64{1, 2, 3}}},
			{took(Created, now, 5, 9, 0, 3, 4), Late, Increment{Buckets: []float64{0, 0, 0}}},
			{took(Created, now, 6, 12, 1, 3, 5), Grown, Increment{Count: 2, Sum: 3, Buckets: []float64{0, 1, 2}}},
		}},
		{"the observations of one bucket moved up: its process began anew", []step{
			{took(Process, now, 4, 9, 1, 2, 3), First, Increment{Count: 4, Sum: 9, Buckets: []float64{1, 2, 3}}},
			{took(Process, now, 5, 9, 1, 2, 2), Reset, Increment{Count: 5, Sum: 9, Buckets: []float64{1, 2, 2}}},
			{took(Process, now, 5, 9, 1, 2, 2), Grown, Increment{Buckets: []float64{0, 0, 0}}},
		}},
		{"an observation left the buckets: it was never so", []step{
			{took(Process, now, 4, 9, 1, 2, 3), First, Increment{Count: 4, Sum: 9, Buckets: []float64{1, 2, 3}}},
			{took(Process, now, 4, 9, 2, 2, 4), Reset, Increment{Count: 4, Sum: 9, Buckets: []float64{2, 2, 4}}},
		}},
		{"it counts less than a bucket grew: its process began anew", []step{
			{took(Process, now, 9, 9, 1, 2, 3), First, Increment{Count: 9, Sum: 9, Buckets: []float64{1, 2, 3}}},
			{took(Process, now, 10, 9, 1, 2, 8), Reset, Increment{Count: 10, Sum: 9, Buckets: []float64{1, 2, 8}}},
		}},
		{"other bounds are another source", []step{
			{took(Created, now, 4, 9, 1, 2, 3), First, Increment{Count: 4, Sum: 9, Buckets: []float64{1, 2, 3}}},
			{took(Created, now, 5, 10, 1, 2), First, Increment{Count: 5, Sum: 10, Buckets: []float64{1, 2}}},
			{took(Created, now, 5, 10, 1, 2, 4), Grown, Increment{Count: 1, Sum: 1, Buckets: []float64{0, 0, 1}}},
		}},
		{"negative observations", []step{
			{took(Created, now, 1, -9, 1, 1, 1), First, Increment{Count: 1, Sum: -9, NoSum: true, Buckets: []float64{1, 1, 1}}},
			{took(Created, now, 2, -8, 2, 2, 2), Grown, Increment{Count: 1, Sum: 1, Buckets: []float64{1, 1, 1}}},
			{took(Created, now, 3, -10, 3, 3, 3), Grown, Increment{Count: 1, Sum: -2, NoSum: true, Buckets: []float64{1, 1, 1}}},
		}},
		{"a sum whose growth is no number", []step{
			{took(Created, now, 1, -math.MaxFloat64, 0, 0, 0), First, Increment{Count: 1, Sum: -math.MaxFloat64, NoSum: true, Buckets: []float64{0, 0, 0}}},
			{took(Created, now, 2, math.MaxFloat64, 0, 0, 0), Grown, Increment{Count: 1, NoSum: true, Buckets: []float64{0, 0, 0}}},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := NewBook(Config{Now: c.Now})
			for n, s := range tc.steps {
				got, reason := differenced(t, b, s.reading)
				got.Series = nil
				if diff := cmp.Diff(s.want, got); diff != "" || reason != s.reason {
					t.Errorf("step %d is %v, want %v (-want +got):\n%s", n, reason, s.reason, diff)
				}
			}
		})
	}
}

// A float histogram's numbers are rounded: that alone is no reset.
func TestRoundingIsNoReset(t *testing.T) {
	c := newClock()
	b := NewBook(Config{Now: c.Now})
	count := 0.0
	for n := range 10_000 {
		count += 0.1
		inc, reason := differenced(t, b, took(Process, c.now.UnixNano()+1, count+0.3, count, count, count+0.1, count+0.2))
		if reason != Grown && n > 0 {
			t.Fatalf("push %d: %v", n, reason)
		}
		if inc.Buckets[0] > inc.Buckets[1] || inc.Buckets[1] > inc.Buckets[2] || inc.Buckets[2] > inc.Count {
			t.Fatalf("push %d: buckets %v of %v", n, inc.Buckets, inc.Count)
		}
	}
}

func TestASummaryIsItsCountAndSum(t *testing.T) {
	c := newClock()
	b := NewBook(Config{Now: c.Now})
	read := func(count, sum float64) Reading {
		return Reading{
			Identity: identity("job=j", "sizes", ""), Source: Process, Began: c.now.UnixNano() + 1, Count: count, Sum: sum,
			Output: &Series{Name: "sizes", Kind: Summary},
		}
	}
	for n, want := range []Increment{{Count: 2, Sum: 8}, {Count: 1, Sum: 2}, {Count: 1, Sum: 4}} {
		got, _ := differenced(t, b, []Reading{read(2, 8), read(3, 10), read(1, 4)}[n])
		got.Series, got.Buckets = nil, nil
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("push %d (-want +got):\n%s", n, diff)
		}
	}
}

func TestReadingsThatPoisonAreRefused(t *testing.T) {
	c := newClock()
	now := c.now.UnixNano() + 1
	unsorted := took(Created, now, 4, 9, 1, 2, 3)
	unsorted.Output = &Series{Name: "took_seconds", Kind: Histogram, Bounds: []float64{1, 5, 2}}
	infinite := took(Created, now, 4, 9, 1, 2, 3)
	infinite.Output = &Series{Name: "took_seconds", Kind: Histogram, Bounds: []float64{1, 5, math.Inf(1)}}
	unlike := took(Created, now, 4, 9, 1, 2, 3)
	unlike.Buckets = unlike.Buckets[:2]
	summary := took(Created, now, -1, 9)
	summary.Output = &Series{Name: "took_seconds", Kind: Summary}
	for name, r := range map[string]Reading{
		"NaN": value("job=j", Created, now, math.NaN()), "infinite": value("job=j", Created, now, math.Inf(1)),
		"negative": value("job=j", Created, now, -1), "negative and anonymous": value("job=j", Anonymous, 0, -1),
		"NaN count": took(Created, now, math.NaN(), 1, 0, 0, 0), "infinite count": took(Created, now, math.Inf(1), 1, 0, 0, 0),
		"NaN sum": took(Created, now, 1, math.NaN(), 0, 0, 0), "infinite sum": took(Created, now, 1, math.Inf(-1), 0, 0, 0),
		"NaN bucket": took(Created, now, 1, 1, 0, math.NaN(), 1), "negative bucket": took(Created, now, 1, 1, -1, 0, 1),
		"bucket below another": took(Created, now, 4, 1, 2, 1, 3), "bucket above the count": took(Created, now, 4, 1, 1, 2, 5),
		"unsorted bounds": unsorted, "infinite bound": infinite, "too few buckets": unlike, "summary": summary,
	} {
		t.Run(name, func(t *testing.T) {
			b := NewBook(Config{Now: c.Now})
			var i Increments
			good := value("job=j", Created, now, 1)
			good.Identity = identity("job=j", "good_total", "")
			err := b.Difference(&i, []Reading{good, r}, Push{Group: groupOf("job=j").Identity()})
			var refused *ValueError
			if !errors.As(err, &refused) || refused.Metric != r.Output.Name || refused.Reason == "" {
				t.Fatalf("error = %v", err)
			}
			if len(i.All()) != 0 || b.Stats().Baselines != 0 {
				t.Errorf("%d increments and %d baselines of a refused push", len(i.All()), b.Stats().Baselines)
			}
		})
	}
}

// FuzzHistogram reads a sequence of pushes of one histogram from the data, each
// byte what a bucket was observed in addition, and every eighth push a restart.
func FuzzHistogram(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 0, 0, 0, 0, 5, 6, 7, 8}, false)
	f.Add([]byte{255, 0, 255, 0, 1, 1, 1, 1, 0, 9, 0, 9, 7, 7, 7, 7}, true)
	f.Fuzz(func(t *testing.T, data []byte, fractions bool) {
		c := newClock()
		b, totals := NewBook(Config{Now: c.Now}), NewTotals(TotalsConfig{Now: c.Now})
		var buckets [4]float64
		unit := 1.0
		if fractions {
			unit = 0.1
		}
		for ; len(data) >= 4; data = data[4:] {
			count := 0.0
			cumulative := make([]float64, 4)
			for n := range buckets {
				buckets[n] += float64(data[n]) * unit
				count += buckets[n]
				cumulative[n] = count
			}
			var i Increments
			r := took(Process, c.now.UnixNano()+1, count, count, cumulative[:3]...)
			if err := b.Difference(&i, []Reading{r}, Push{Group: groupOf("job=j").Identity()}); err != nil {
				t.Fatal(err)
			}
			sound(t, i.All()[0])
			if err := i.Commit(context.Background(), totals); err != nil {
				t.Fatal(err)
			}
			f := totals.Page(context.Background(), "").families[0].totals[0]
			for n, got := range append(f.buckets, f.value) {
				if math.Abs(got-cumulative[n]) > 1e-9*cumulative[n] || !fractions && got != cumulative[n] {
					t.Fatalf("the increments add up to %v of %v in bucket %d", got, cumulative[n], n)
				}
			}
		}
	})
}

// FuzzHistogramSequence pushes whatever comes: what is not refused never falls.
func FuzzHistogramSequence(f *testing.F) {
	f.Add([]byte{}, uint8(1))
	f.Add(slices.Concat(words(4, 9, 1, 2, 3), words(3, 9, 1, 2, 3), words(5, 9, 1, 1, 4)), uint8(2))
	f.Add(words(math.MaxFloat64, -math.MaxFloat64, 0, 1e300, math.MaxFloat64), uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, source uint8) {
		c := newClock()
		b := NewBook(Config{Now: c.Now})
		totals := NewTotals(TotalsConfig{Now: c.Now})
		for ; len(data) >= 40; data = data[40:] {
			var v [5]float64
			for n := range v {
				v[n] = math.Float64frombits(binary.LittleEndian.Uint64(data[8*n:]))
			}
			var i Increments
			r := took(Source(source%4)+1, 7, v[0], v[1], v[2:]...)
			if err := b.Difference(&i, []Reading{r}, Push{Group: groupOf("job=j").Identity()}); err != nil {
				continue
			}
			sound(t, i.All()[0])
			if err := i.Commit(context.Background(), totals); err != nil {
				t.Fatal(err)
			}
			to := totals.Page(context.Background(), "").families[0].totals[0]
			sound(t, Increment{Series: r.Output, Count: to.value, Sum: to.sum, NoSum: to.sum < 0, Buckets: to.buckets})
		}
	})
}

func words(vs ...float64) []byte {
	var out []byte
	for _, v := range vs {
		out = binary.LittleEndian.AppendUint64(out, math.Float64bits(v))
	}
	return out
}

// sound fails unless an increment is what increments must be.
func sound(t *testing.T, i Increment) {
	t.Helper()
	below := 0.0
	for _, b := range append(slices.Clone(i.Buckets), i.Count) {
		if !(b >= below) || math.IsInf(b, 0) {
			t.Fatalf("buckets %v of %v fall", i.Buckets, i.Count)
		}
		below = b
	}
	if !i.NoSum && !countable(i.Sum) || i.NoSum && !(i.Sum <= 0 && i.Sum >= -math.MaxFloat64) || len(i.Buckets) != len(i.Series.Bounds) {
		t.Fatalf("increment %+v", i)
	}
}
