package proxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/store"
)

// BenchmarkMemory is the heap that a series takes, ledger and all, in 100,000 groups
// of 10: of groups that share a shape, and of groups that are all different.
func BenchmarkMemory(b *testing.B) {
	for _, different := range []bool{false, true} {
		b.Run(map[bool]string{false: "one-shape", true: "all-different"}[different], func(b *testing.B) {
			for b.Loop() {
				g := embedded(b, "version: v1\ndefault: {mode: enforce}\n")
				before := heap()
				const groups = 100_000
				for i := range groups {
					push(b, g, i, different)
				}
				b.ReportMetric(float64(heap()-before)/(10*groups), "B/series")
				runtime.KeepAlive(g)
			}
		})
	}
}

func push(b *testing.B, g *Guard, i int, different bool) {
	b.Helper()
	var body strings.Builder
	body.WriteString("# TYPE rows_loaded gauge\n")
	for s := range 10 {
		table := fmt.Sprint("table_", s)
		if different {
			table = fmt.Sprintf("table_%d_%d", i, s)
		}
		fmt.Fprintf(&body, "rows_loaded{region=\"eu-west-1\",status=\"ok\",table=%q} %d\n", table, i+s)
	}
	a := g.Push(b.Context(), Request{
		Method: http.MethodPut, Path: fmt.Sprint("/metrics/job/nightly/run_id/r", i), Header: http.Header{},
		Body: strings.NewReader(body.String()), Length: int64(body.Len()),
	})
	if a.Status != http.StatusOK {
		b.Fatalf("%d %s", a.Status, a.Body)
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkEmbedded is a push of 100 known series through all of a guard that keeps the
// snapshots itself, but the network: remembered by its shape, as one family and as ten,
// and not.
func BenchmarkEmbedded(b *testing.B) {
	for _, c := range []struct {
		name, body string
		remembers  bool
	}{
		{"known-shape", tables(100), true},
		{"ten-families", tensOf(100), true},
		{"without-memory", tables(100), false},
	} {
		b.Run(c.name, func(b *testing.B) {
			g := embedded(b, permitAll)
			if !c.remembers {
				g.epoch.Load().known = nil
			}
			pushAgain(b, g, c.body)
		})
	}
}

// pushAgain pushes one body to one group, again and again.
func pushAgain(b *testing.B, g *Guard, body string) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		a := g.Push(b.Context(), Request{
			Method: http.MethodPut, Path: "/metrics/job/nightly/run_id/r1", Header: http.Header{},
			Body: strings.NewReader(body), Length: int64(len(body)),
		})
		if a.Status != http.StatusOK {
			b.Fatalf("%d %s", a.Status, a.Body)
		}
	}
}

// BenchmarkInFront is a push of 200 series of a known shape through all of a guard in front
// of a Pushgateway, but the network.
func BenchmarkInFront(b *testing.B) {
	g := must(New(Config{
		Policy: must(policy.Parse("bench", []byte(permitAll))), Upstream: taker{}, Metrics: NewMetrics(prometheus.NewRegistry()),
		TextAsProtobuf: true, GroupWait: time.Minute,
		Caps: Caps{Body: 1 << 20, Decoded: 1 << 20, Samples: 1000, Labels: 20, LabelValue: 100},
	}))
	pushAgain(b, g, tables(200))
}

// BenchmarkHandler is a push of 10 known series to what serves the protocol, from a request
// that was read to an answer that is written.
func BenchmarkHandler(b *testing.B) {
	h, body := embedded(b, permitAll).Handler(), tables(10)
	r := httptest.NewRequest(http.MethodPut, "/metrics/job/nightly/run_id/r1", nil)
	b.ReportAllocs()
	for b.Loop() {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		w := answered{header: http.Header{}}
		if h.ServeHTTP(&w, r); w.status != http.StatusOK {
			b.Fatal(w.status)
		}
	}
}

// answered is a ResponseWriter that keeps the status alone.
type answered struct {
	header http.Header
	status int
}

func (w *answered) Header() http.Header         { return w.header }
func (w *answered) Write(p []byte) (int, error) { return len(p), nil }
func (w *answered) WriteHeader(status int)      { w.status = status }

// embedded is a guard that keeps the snapshots itself.
func embedded(b *testing.B, rules string) *Guard {
	b.Helper()
	p, err := policy.Parse("bench", []byte(rules))
	if err != nil {
		b.Fatal(err)
	}
	own, err := store.Open(store.Config{})
	if err != nil {
		b.Fatal(err)
	}
	g, err := New(Config{
		Policy: p, Upstream: own, Metrics: NewMetrics(prometheus.NewRegistry()),
		Caps:      Caps{Body: 1 << 20, Decoded: 1 << 20, Samples: 1000, Labels: 20, LabelValue: 100},
		GroupWait: time.Minute,
	})
	if err != nil {
		b.Fatal(err)
	}
	return g
}

// tables is the body of a push of so many series of one family.
func tables(series int) string {
	var body strings.Builder
	body.WriteString("# TYPE rows_loaded gauge\n")
	for s := range series {
		fmt.Fprintf(&body, "rows_loaded{region=\"eu-west-1\",status=\"ok\",table=\"table_%d\"} %d\n", s, s*s)
	}
	return body.String()
}

// tensOf are so many series, ten a family.
func tensOf(series int) string {
	var body strings.Builder
	for s := range series {
		if s%10 == 0 {
			fmt.Fprintf(&body, "# TYPE step_%05d_rows gauge\n", s/10)
		}
		fmt.Fprintf(&body, "step_%05d_rows{region=\"eu-west-1\",app_id=\"r7f3c2a1b\",status=\"ok\",table=\"orders_%d\"} %d\n", s/10, s%10, s)
	}
	return body.String()
}

// BenchmarkLargeBody is one push of 100,000 series that nobody knows, ten a family, to a
// guard that has just been started.
func BenchmarkLargeBody(b *testing.B) {
	body := tensOf(100_000)
	for name, upstream := range map[string]func() Upstream{
		"embedded": func() Upstream { return must(store.Open(store.Config{})) },
		"in-front": func() Upstream { return taker{} },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				g := must(New(Config{
					Policy: must(policy.Parse("bench", []byte("version: v1\ndefault: {mode: enforce}\n"))), Upstream: upstream(),
					Metrics: NewMetrics(prometheus.NewRegistry()), TextAsProtobuf: true, GroupWait: time.Minute,
					Caps: Caps{Body: 1 << 24, Decoded: 1 << 24, Samples: 1e6, Labels: 20, LabelValue: 100},
				}))
				b.StartTimer()
				a := g.Push(b.Context(), Request{
					Method: http.MethodPut, Path: "/metrics/job/nightly/run_id/r1", Header: http.Header{},
					Body: strings.NewReader(body), Length: int64(len(body)),
				})
				if a.Status != http.StatusOK {
					b.Fatalf("%d %s", a.Status, a.Body)
				}
			}
			b.ReportMetric(float64(len(body)), "body-B")
		})
	}
}

// taker is a Pushgateway that takes everything and holds nothing.
type taker struct{ Upstream }

func (taker) Do(context.Context, gateway.Request) (gateway.Answer, error) {
	return gateway.Answer{Status: http.StatusOK, Header: http.Header{}}, nil
}

func (taker) Groups(context.Context, uint64) ([]gateway.Group, error) { return nil, nil }

func (taker) Started(context.Context) (time.Time, error) { return time.Time{}, nil }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
