package proxy_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/trial"
)

// A guard lives by the clock it is given: what is old, new and within the hour
// follows from that alone.
func TestTheClockIsTheConfigs(t *testing.T) {
	p, err := policy.Parse("policy.yml", []byte("version: v1\ndefault: {mode: enforce, stale_after: 6h, budget: {new_series_per_hour: 4}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var passed atomic.Int64
	end := &trial.Recorder{}
	guard, err := proxy.New(proxy.Config{
		Policy: p, Upstream: end, Metrics: proxy.NewMetrics(prometheus.NewRegistry()), Caps: proxy.Caps{Body: 1 << 20, Decoded: 1 << 20, Samples: 1000, Labels: 64, LabelValue: 4096},
		Now: func() time.Time { return time.Date(2031, 5, 5, 0, 0, 0, 0, time.UTC).Add(time.Duration(passed.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	push := func(body string) {
		t.Helper()
		a := guard.Push(t.Context(), proxy.Request{Method: http.MethodPut, Path: "/metrics/job/a", Body: strings.NewReader(body), Length: -1})
		if a.Status != http.StatusOK {
			t.Fatalf("status %d: %s", a.Status, a.Body)
		}
	}
	push("up 1\nold 1\n")
	push("up 1\nnew 1\n")
	if got := string(end.Sent[1].Body); got != "up 1\n" {
		t.Errorf("within the hour: forwarded %q", got)
	}
	passed.Add(int64(2 * time.Hour))
	push("up 1\nnew 1\n")
	if got := string(end.Sent[2].Body); got != "up 1\nnew 1\n" {
		t.Errorf("two hours later: forwarded %q", got)
	}
	guard.Sweep(t.Context())
	passed.Add(int64(5 * time.Hour))
	guard.Sweep(t.Context())
	if len(end.Sent) != 3 {
		t.Errorf("swept before its time: %v", end.Sent[3:])
	}
	passed.Add(int64(2 * time.Hour))
	guard.Sweep(t.Context())
	if len(end.Sent) != 4 || end.Sent[3].Method != http.MethodDelete {
		t.Errorf("not swept: %v", end.Sent[3:])
	}
}
