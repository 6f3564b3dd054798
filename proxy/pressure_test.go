package proxy_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/store"
)

// pressed is a guard with a store of its own and a memory that is as full as told.
func pressed(t *testing.T, memory *proxy.Pressure) (*proxy.Guard, *prometheus.Registry) {
	t.Helper()
	p, err := policy.Parse("test", []byte(`version: v1
default: {mode: enforce}
jobs:
- {job: open, mode: open}
- {job: report, mode: report}
- {job: counts, counters: {route: totals}}
`))
	if err != nil {
		t.Fatal(err)
	}
	own, err := store.Open(store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	g, err := proxy.New(proxy.Config{
		Policy: p, Upstream: own, Metrics: proxy.NewMetrics(registry), GroupWait: time.Minute,
		Caps:     proxy.Caps{Body: 1 << 20, Decoded: 1 << 20, Samples: 1000, Labels: 20, LabelValue: 100},
		Pressure: func() proxy.Pressure { return *memory },
	})
	if err != nil {
		t.Fatal(err)
	}
	return g, registry
}

// TestPressure fills the memory of a guard: first it takes no new series, with what is
// there pushed and deleted as ever, then no push, and with room again it takes all.
func TestPressure(t *testing.T) {
	memory := proxy.Roomy
	g, registry := pressed(t, &memory)
	const one, two = "# TYPE a gauge\na 1\n", "# TYPE a gauge\na 2\n# TYPE b gauge\nb 1\n"
	for _, s := range []struct {
		memory            proxy.Pressure
		method, job, body string
		status            int
		says              string
	}{
		{proxy.Roomy, http.MethodPut, "enforced", one, http.StatusOK, ""},
		{proxy.Roomy, http.MethodPut, "open", one, http.StatusOK, ""},
		{proxy.Roomy, http.MethodPut, "report", one, http.StatusOK, ""},
		{proxy.Roomy, http.MethodPost, "counts", "# TYPE c counter\nc 1\n", http.StatusOK, ""},
		{proxy.Roomy, http.MethodPut, "goes", one, http.StatusOK, ""},

		{proxy.Tight, http.MethodPut, "enforced", one, http.StatusOK, ""},
		{proxy.Tight, http.MethodPut, "open", one, http.StatusOK, ""},
		{proxy.Tight, http.MethodPost, "counts", "# TYPE c counter\nc 1\n", http.StatusOK, ""},
		{proxy.Tight, http.MethodPut, "enforced", two, http.StatusOK, ""}, // b is left out
		{proxy.Tight, http.MethodPut, "open", two, http.StatusUnprocessableEntity, "the guard's memory has no room for new series"},
		{proxy.Tight, http.MethodPut, "report", two, http.StatusUnprocessableEntity, "the guard's memory has no room for new series"},
		{proxy.Tight, http.MethodPut, "new", one, http.StatusUnprocessableEntity, "the guard's memory has no room for new series"},
		{proxy.Tight, http.MethodDelete, "goes", "", http.StatusAccepted, ""},
		{proxy.Tight, http.MethodPut, "goes", one, http.StatusUnprocessableEntity, "the guard's memory has no room for new series"},

		{proxy.Full, http.MethodPut, "enforced", one, http.StatusServiceUnavailable, "the guard's memory is full"},
		{proxy.Full, http.MethodPut, "new", one, http.StatusServiceUnavailable, "the guard's memory is full"},
		{proxy.Full, http.MethodDelete, "report", "", http.StatusAccepted, ""},

		{proxy.Roomy, http.MethodPut, "open", two, http.StatusOK, ""},
		{proxy.Roomy, http.MethodPut, "new", one, http.StatusOK, ""},
	} {
		memory = s.memory
		a := g.Push(t.Context(), pushOf(s.method, s.job, strings.NewReader(s.body), int64(len(s.body))))
		if a.Status != s.status || !strings.Contains(string(a.Body), s.says) {
			t.Errorf("pressure %d: %s of %s: %d %q, want %d %q", s.memory, s.method, s.job, a.Status, a.Body, s.status, s.says)
		}
		if shed := a.Status == http.StatusServiceUnavailable; shed != (a.Header.Get("Retry-After") != "") {
			t.Errorf("pressure %d: %s of %s: %d with %v", s.memory, s.method, s.job, a.Status, a.Header)
		}
	}
	assertShed(t, registry, "memory", 2)
}

// assertShed says whether so many pushes were answered 503 for this reason, and none for
// another.
func assertShed(t *testing.T, registry prometheus.Gatherer, reason string, n int) {
	t.Helper()
	var want strings.Builder
	want.WriteString("# HELP pushguard_shed_total Pushes and deletes that were answered 503 because there were too many (full, displaced, waited), they were too large (bytes), or there was no memory for them (memory), by reason.\n# TYPE pushguard_shed_total counter\n")
	for _, r := range []string{"bytes", "displaced", "full", "memory", "waited"} {
		count := 0
		if r == reason {
			count = n
		}
		fmt.Fprintf(&want, "pushguard_shed_total{reason=%q} %d\n", r, count)
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want.String()), "pushguard_shed_total"); err != nil {
		t.Error(err)
	}
}
