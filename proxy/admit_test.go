package proxy_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/gateway"
)

// upstreamInHand takes a push when it is told to.
type upstreamInHand struct {
	upstreamAtOnce
	came, take chan struct{}
}

func (u upstreamInHand) Do(ctx context.Context, r gateway.Request) (gateway.Answer, error) {
	u.came <- struct{}{}
	<-u.take
	return u.upstreamAtOnce.Do(ctx, r)
}

// crowded returns a guard of these caps whose upstream takes a push when it is told to.
func crowded(t *testing.T, caps proxy.Caps) (*proxy.Guard, upstreamInHand, *prometheus.Registry) {
	t.Helper()
	p, err := policy.Parse("test", []byte("version: v1\ndefault: {mode: enforce}\n"))
	if err != nil {
		t.Fatal(err)
	}
	caps.Body, caps.Decoded, caps.Samples, caps.Labels, caps.LabelValue = 8<<20, 8<<20, 1000, 20, 100
	upstream := upstreamInHand{came: make(chan struct{}), take: make(chan struct{})}
	registry := prometheus.NewRegistry()
	g, err := proxy.New(proxy.Config{
		Policy: p, Upstream: upstream, Metrics: proxy.NewMetrics(registry), Caps: caps, GroupWait: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	return g, upstream, registry
}

func pushOf(method, job string, body io.Reader, length int64) proxy.Request {
	return proxy.Request{Method: method, Path: "/metrics/job/" + job, Header: http.Header{}, Body: body, Length: length}
}

// TestShed has one push at work and one that waits in vain: it is answered 503, to come
// again, and nothing of it reaches the upstream or a job's findings.
func TestShed(t *testing.T) {
	g, upstream, registry := crowded(t, proxy.Caps{InFlight: 1, Wait: 20 * time.Millisecond})
	first := make(chan proxy.Answer)
	go func() { first <- g.Push(t.Context(), pushOf(http.MethodPut, "a", strings.NewReader("x 1\n"), 4)) }()
	<-upstream.came
	for _, method := range []string{http.MethodPut, http.MethodDelete} {
		a := g.Push(t.Context(), pushOf(method, "b", strings.NewReader("x 1\n"), 4))
		if a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" ||
			!strings.Contains(string(a.Body), "too many pushes at once, limit: 1") {
			t.Errorf("%s: %d %v %s", method, a.Status, a.Header, a.Body)
		}
	}
	upstream.take <- struct{}{}
	if a := <-first; a.Status != http.StatusOK {
		t.Errorf("the first: %d %s", a.Status, a.Body)
	}
	assertShed(t, registry, "waited", 2)
}

// TestWhoWaitsDoesNotWork gives its processor to others: a push that waits for the
// upstream, or for another of its group, and a DELETE. While none waits for its turn nothing
// else takes it away.
func TestWhoWaitsDoesNotWork(t *testing.T) {
	g, upstream, registry := crowded(t, proxy.Caps{InFlight: 8})
	answers := make(chan proxy.Answer)
	begin := func(method, job string) {
		go func() { answers <- g.Push(t.Context(), pushOf(method, job, strings.NewReader("x 1\n"), 4)) }()
	}
	begin(http.MethodPut, "a")
	<-upstream.came
	begin(http.MethodDelete, "b")
	<-upstream.came
	holds := func(inFlight, working float64) {
		t.Helper()
		eventually(t, func() error {
			shown, err := gathered(registry, "pushguard_in_flight_pushes", "pushguard_working_pushes")
			if want := []float64{inFlight, working}; err != nil || !slices.Equal(shown, want) {
				return fmt.Errorf("%v in flight and at work, want %v (%v)", shown, want, err)
			}
			return nil
		})
	}
	holds(2, 0)
	begin(http.MethodPut, "a")
	holds(3, 0)
	for range 2 {
		upstream.take <- struct{}{}
		<-answers
	}
	<-upstream.came
	holds(1, 0)
	upstream.take <- struct{}{}
	<-answers
	holds(0, 0)
}

// gathered returns the values of gauges.
func gathered(from prometheus.Gatherer, names ...string) ([]float64, error) {
	all, err := from.Gather()
	values := make([]float64, len(names))
	for _, family := range all {
		if i := slices.Index(names, family.GetName()); i >= 0 {
			values[i] = family.Metric[0].GetGauge().GetValue()
		}
	}
	return values, err
}

// TestInFlightBytes holds pushes to the limit: those that say how long they are, those
// that do not, and what they take once they are worked on.
func TestInFlightBytes(t *testing.T) {
	const mib = 1 << 20
	body := append([]byte("x 1\n# "), bytes.Repeat([]byte{'c'}, 4*mib)...)
	body = append(body, '\n')
	for _, tc := range []struct {
		name   string
		limit  int64
		known  bool // its length
		beside int  // as many of the kind are at work
		want   int
	}{
		{"more than all may, by its length", 16 * mib, true, 0, http.StatusRequestEntityTooLarge},
		{"more than all may, as it comes", 16 * mib, false, 0, http.StatusRequestEntityTooLarge},
		{"more than another leaves, by its length", 60 * mib, true, 1, http.StatusServiceUnavailable},
		{"more than another leaves, as it comes", 60 * mib, false, 1, http.StatusServiceUnavailable},
		{"alone, by its length", 40 * mib, true, 0, http.StatusOK},
		{"alone, as it comes", 40 * mib, false, 0, http.StatusOK},
		{"beside another", 150 * mib, true, 1, http.StatusOK},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g, upstream, registry := crowded(t, proxy.Caps{InFlightBytes: tc.limit})
			push := func(job string) proxy.Answer {
				length := int64(-1)
				if tc.known {
					length = int64(len(body))
				}
				return g.Push(t.Context(), pushOf(http.MethodPut, job, bytes.NewReader(body), length))
			}
			others := make(chan proxy.Answer)
			for range tc.beside {
				go func() { others <- push("b") }()
				<-upstream.came
			}
			go func() { // it lets go of all at once, whichever comes first
				if tc.want == http.StatusOK {
					<-upstream.came
					upstream.take <- struct{}{}
					for range tc.beside {
						upstream.take <- struct{}{}
					}
				}
			}()
			if a := push("a"); a.Status != tc.want {
				t.Errorf("%d %s, want %d", a.Status, a.Body, tc.want)
			}
			for range tc.beside {
				if tc.want != http.StatusOK {
					upstream.take <- struct{}{}
				}
				if a := <-others; a.Status != http.StatusOK {
					t.Errorf("the other: %d %s", a.Status, a.Body)
				}
			}
			const none = "# HELP pushguard_in_flight_bytes Bytes that the bodies of pushes hold, of those that are still read, too; --limits.in-flight-bytes is the most.\n# TYPE pushguard_in_flight_bytes gauge\npushguard_in_flight_bytes 0\n"
			if err := testutil.GatherAndCompare(registry, strings.NewReader(none), "pushguard_in_flight_bytes"); err != nil {
				t.Error(err)
			}
		})
	}
}
