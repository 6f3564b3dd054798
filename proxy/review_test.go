package proxy_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/ledger"
)

// total is what the guard's page says of a series.
func (g *guard) total(t *testing.T, series string) float64 {
	t.Helper()
	a := g.do(http.MethodGet, "/metrics", "")
	v, ok := seriesOf(t, a.Body, a.Header.Get("Content-Type"))[series]
	if !ok {
		return -1
	}
	return v
}

// TestARefusedPushTakesNoNameFromOthers: what the guard refuses, or the upstream
// never took, leaves the names of its counters free for other jobs' gauges.
func TestARefusedPushTakesNoNameFromOthers(t *testing.T) {
	g := newGuard(t, gatewaytest.Start(t), setup{policy: enforcing + `jobs:
- {job: small, on_over_budget: reject, budget: {series: 4}}
`})
	g.push(t, 422, http.MethodPost, "/metrics/job/small", "# TYPE rows counter\nrows NaN\n")
	g.push(t, 422, http.MethodPost, "/metrics/job/small", "# TYPE rows counter\nrows{a=\"1\"} 1\nrows{a=\"2\"} 1\nrows{a=\"3\"} 1\nrows{a=\"4\"} 1\nrows{a=\"5\"} 1\nrows{a=\"6\"} 1\n")
	g.push(t, 200, http.MethodPost, "/metrics/job/other", "# TYPE rows gauge\nrows 7\n")
	if got := g.total(t, `{__name__="rows", instance="", job="other"}`); got != 7 {
		t.Errorf("the other job's gauge is %v, want 7", got)
	}
}

// TestAFamilyTwiceInABodyCountsAsTheUpstreamTakesIt: of two protobuf families of
// one name a Pushgateway takes the last.
func TestAFamilyTwiceInABodyCountsAsTheUpstreamTakesIt(t *testing.T) {
	g := newGuard(t, gatewaytest.Start(t), setup{policy: enforcing})
	var body bytes.Buffer
	for _, v := range []float64{5, 7} {
		mf := &dto.MetricFamily{
			Name: proto.String("done_total"), Type: dto.MetricType_COUNTER.Enum(),
			Metric: []*dto.Metric{{Counter: &dto.Counter{Value: proto.Float64(v)}}},
		}
		if _, err := protodelim.MarshalTo(&body, mf); err != nil {
			t.Fatal(err)
		}
	}
	a := g.do(http.MethodPost, "/metrics/job/a", body.String(), "Content-Type", "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited")
	if a.Status != 200 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	if got := g.total(t, `{__name__="done_total", instance="", job="a"}`); got != 7 {
		t.Errorf("counted %v, want 7", got)
	}
}

// faulty is a Pushgateway that answers writes by a status of its own while one is
// set.
func faulty(t *testing.T) (*url.URL, *atomic.Int32) {
	behind := httputil.NewSingleHostReverseProxy(gatewaytest.Start(t))
	status := &atomic.Int32{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code := status.Load(); code != 0 && r.Method != http.MethodGet {
			w.WriteHeader(int(code))
			return
		}
		behind.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u, status
}

// TestADeleteThatDidNotHappenForgetsNothing: counters of a group that is still
// there go on from where they were.
func TestADeleteThatDidNotHappenForgetsNothing(t *testing.T) {
	for _, code := range []int32{http.StatusForbidden, http.StatusBadGateway} {
		up, status := faulty(t)
		g := newGuard(t, up, setup{policy: enforcing})
		push := func(v string) {
			g.push(t, 200, http.MethodPost, "/metrics/job/a", "# TYPE done_total counter\ndone_total "+v+"\n# TYPE done_created gauge\ndone_created 1.7e9\n")
		}
		push("5")
		status.Store(code)
		g.push(t, int(code), http.MethodDelete, "/metrics/job/a", "")
		status.Store(0)
		push("6")
		if got := g.total(t, `{__name__="done_total", instance="", job="a"}`); got != 6 {
			t.Errorf("after a DELETE that was answered %d the total is %v, want 6", code, got)
		}
		g.push(t, http.StatusAccepted, http.MethodDelete, "/metrics/job/a", "")
		push("6")
		if got := g.total(t, `{__name__="done_total", instance="", job="a"}`); got != 12 {
			t.Errorf("after a DELETE the total is %v, want 12: its client starts anew", got)
		}
	}
}

// TestReportAnswersWhoHasClosedHalf: where nothing is counted, nothing can count
// twice, and the upstream's answer is the client's.
func TestReportAnswersWhoHasClosedHalf(t *testing.T) {
	for mode, want := range map[string]int{"report": 200, "open": 200, "enforce": 503} {
		ctx, hangUp := context.WithCancel(t.Context())
		g := newGuard(t, upstreamFunc(t, func(http.ResponseWriter, *http.Request) { hangUp() }), setup{policy: "version: v1\ndefault: {mode: " + mode + "}\n"})
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/metrics/job/a", strings.NewReader("done_total 1\n"))
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: status %d, want %d: %s", mode, w.Code, want, w.Body)
		}
	}
}

// breaking is an upstream whose next write panics, if it is told so.
type breaking struct {
	proxy.Upstream
	next atomic.Bool
}

// Do is part of proxy.Upstream.
func (b *breaking) Do(ctx context.Context, r gateway.Request) (gateway.Answer, error) {
	if b.next.Swap(false) {
		panic("a fault of the guard's own")
	}
	return b.Upstream.Do(ctx, r)
}

// TestAStepThatPanicsKeepsNoGroup: a fault of the guard's own costs one request,
// not every later one of the group.
func TestAStepThatPanicsKeepsNoGroup(t *testing.T) {
	up := &breaking{}
	g := newLiving(t, gatewaytest.Start(t), enforcing, func(c *proxy.Config) {
		up.Upstream, c.Upstream = c.Upstream, up
		c.Book = ledger.NewBook(ledger.Config{})
	})
	g.push(t, 200, http.MethodPost, "/metrics/job/a", "done_total 1\nrows 1\n")
	for _, method := range []string{http.MethodPost, http.MethodDelete} {
		up.next.Store(true)
		func() {
			defer func() { _ = recover() }()
			g.do(method, "/metrics/job/a", "done_total 1\nrows 1\n")
		}()
		g.push(t, 200, http.MethodPost, "/metrics/job/a", "done_total 1\nrows 1\n")
	}
	if got := g.total(t, `{__name__="done_total", instance="", job="a"}`); got != 3 {
		t.Errorf("counted %v, want 3", got)
	}
}

// TestJobsThatShareACounterLeaveReportTogether: jobs whose old snapshots hold one
// counter are added up once the policy is enforced for all of them.
func TestJobsThatShareACounterLeaveReportTogether(t *testing.T) {
	g := newGuard(t, gatewaytest.Start(t), setup{policy: "version: v1\ndefault: {mode: report}\n"})
	for _, job := range []string{"a", "b"} {
		g.push(t, 200, http.MethodPut, "/metrics/job/"+job, "# TYPE done_total counter\ndone_total 3\n")
	}
	rules, err := policy.Parse("policy.yml", []byte(enforcing))
	if err != nil {
		t.Fatal(err)
	}
	g.SetPolicy(rules)
	for range 3 {
		for _, job := range []string{"a", "b"} {
			g.push(t, 200, http.MethodPut, "/metrics/job/"+job, "# TYPE done_total counter\ndone_total 3\n")
		}
	}
	// The first of the first round could not know of the other yet.
	for job, want := range map[string]float64{"a": 6, "b": 9} {
		if got := g.total(t, `{__name__="done_total", instance="", job="`+job+`"}`); got != want {
			t.Errorf("job %s: %v, want %v", job, got, want)
		}
	}
}
