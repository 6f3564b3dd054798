package ledger

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/wire"
)

// shape is how a job's groups look: families of metrics, told apart by one label.
type shape struct {
	families, metrics int
}

func (s shape) series() int { return s.families * s.metrics }

// claim is a push of the n-th group of a job.
func (s shape) claim(n int) Claim {
	c := Claim{Method: http.MethodPut, Budget: Budget{Series: 1 << 40, LabelValues: 1000, GuardSeries: 1 << 40}}
	for f := range s.families {
		for m := range s.metrics {
			c.bring(int32(f), 1, "table", fmt.Sprintf("t%d", m))
		}
	}
	return s.again(c, n)
}

// again is a claim of the n-th group of the same metrics: to print them costs more than to
// admit them. It shares no name with the first.
func (s shape) again(c Claim, n int) Claim {
	k := key("job", "nightly_load", "instance", fmt.Sprintf("worker-%07d.example.org", n))
	c.Group, c.Raw, c.Metrics, c.Families = k, k, slices.Clone(c.Metrics), nil
	for f := range s.families {
		c.Families = append(c.Families, fmt.Sprintf("batch_family_%d", f))
	}
	return c
}

// bring adds a metric with one label to a claim, as a caller measures it.
func (c *Claim) bring(family, samples int32, name, value string) {
	m := MetricClaim{Family: family, Samples: samples}
	if name != "" {
		k := key(name, value)
		fingerprint, values := wire.Print(1, wire.Key{}, k.Labels(), nil)
		m.Fingerprint, m.Values = fingerprint, c.AddValues(values)
	}
	c.Metrics = append(c.Metrics, m)
}

func BenchmarkAdmitKnown200(b *testing.B) {
	for _, s := range []shape{{1, 200}, {20, 10}, {200, 1}} {
		c := s.claim(1)
		rand.Shuffle(len(c.Metrics), func(i, j int) { c.Metrics[i], c.Metrics[j] = c.Metrics[j], c.Metrics[i] })
		b.Run(fmt.Sprintf("families=%d", s.families), func(b *testing.B) { benchmarkAdmit(b, c) })
		c.Sorting = new(Sorting)
		b.Run(fmt.Sprintf("families=%d/sorted", s.families), func(b *testing.B) { benchmarkAdmit(b, c) })
	}
}

func benchmarkAdmit(b *testing.B, c Claim) {
	book := NewBook(Config{})
	b.ReportAllocs()
	for b.Loop() {
		g, err := book.Admit(b.Context(), c)
		if err != nil {
			b.Fatal(err)
		}
		g.Settle(Applied)
	}
}

// TestAdmitKnownAllocatesNothingASeries counts the allocations of a push that the
// group knows: they are those of the grant, however many series it holds.
func TestAdmitKnownAllocatesNothingASeries(t *testing.T) {
	allocations := func(s shape) float64 {
		b, c := NewBook(Config{}), s.claim(1)
		return testing.AllocsPerRun(100, func() { admit(t, b, c).Settle(Applied) })
	}
	few, many := allocations(shape{2, 1}), allocations(shape{20, 100})
	if few > 50 || many > few+50 { // under -race a pool keeps less than it is given
		t.Errorf("%v allocations for 2 series, %v for 2000", few, many)
	}
}

var shapes = []shape{{10, 1}, {5, 2}, {1, 10}, {10, 10}, {1, 100}, {20, 10}, {1, 200}}

func BenchmarkHeldMillion(b *testing.B) { benchmarkHeld(b, 1_000_000) }

func BenchmarkHeldFiveMillion(b *testing.B) { benchmarkHeld(b, 5_000_000) }

func benchmarkHeld(b *testing.B, series int) {
	for _, s := range shapes {
		b.Run(fmt.Sprintf("families=%d,metrics=%d", s.families, s.metrics), func(b *testing.B) {
			per := 0.0
			for b.Loop() {
				per = bytesPerSeries(b, s, series)
			}
			b.ReportMetric(per, "bytes/series")
		})
	}
}

func TestMemoryOfASeries(t *testing.T) {
	const limit = 64 // of a live series, all told
	for i, s := range shapes {
		series := 1_000_000
		if i%3 != 0 { // the others tell as much with less
			series = 100_000
		}
		if per := bytesPerSeries(t, s, series); per > limit {
			t.Errorf("%d families of %d metrics: %.1f bytes a series, limit: %d", s.families, s.metrics, per, limit)
		}
	}
}

func bytesPerSeries(t testing.TB, s shape, series int) float64 {
	before := heapAlloc()
	b, held := NewBook(Config{}), 0
	first := s.claim(0)
	first.Budget.StaleAfter, first.Budget.KeepLast = time.Hour, true
	for i := range series / s.series() {
		c := s.again(first, i)
		g, err := b.Admit(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		g.Settle(Applied)
		held += s.series()
	}
	per := float64(heapAlloc()-before) / float64(held)
	if want := held + ownSeries*b.Len(); b.Series() != want {
		t.Fatalf("%d series are held, want %d", b.Series(), want)
	}
	runtime.KeepAlive(b)
	return per
}

func BenchmarkRestoreFiveMillion(b *testing.B) {
	for _, s := range []shape{{1, 10}, {10, 1}, {1, 200}} {
		b.Run(fmt.Sprintf("families=%d,metrics=%d", s.families, s.metrics), func(b *testing.B) {
			k := openKept(b, b.TempDir(), &hand{time.Now()})
			for i := range 5_000_000 / s.series() {
				g, err := k.Admit(b.Context(), s.claim(i))
				if err != nil {
					b.Fatal(err)
				}
				g.Settle(Applied)
			}
			compact(b, k)
			size := k.filesSize(".snapshot")
			held := k.Series()
			for b.Loop() {
				k.close()
				k.Book = nil
				k.open(secret)
			}
			if k.Series() != held {
				b.Fatalf("%d series are restored, want %d", k.Series(), held)
			}
			b.ReportMetric(float64(size)/5_000_000, "disk-bytes/series")
		})
	}
}
