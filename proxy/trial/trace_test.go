package trial_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/trial"
)

// locked lets several pushes share a recorder.
type locked struct {
	trial.Recorder
	mu sync.Mutex
}

func (u *locked) Do(ctx context.Context, r gateway.Request) (gateway.Answer, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.Recorder.Do(ctx, r)
}

// Passages are used again: what a trace says must not change with the next push.
func TestTracesOfManyPushesKeepApart(t *testing.T) {
	const pushes = 200
	p, err := policy.Parse("policy.yml", []byte("version: v1\ndefault: {mode: enforce, rules: [{id: ids, labels: [run_.*], action: drop}]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	traces := map[string]proxy.Trace{}
	guard, err := proxy.New(proxy.Config{
		Policy: p, Upstream: &locked{}, Metrics: proxy.NewMetrics(prometheus.NewRegistry()), Caps: caps,
		Trace: func(t proxy.Trace) {
			mu.Lock()
			defer mu.Unlock()
			traces[t.Path] = t
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range pushes {
		all.Go(func() {
			body := fmt.Sprintf("m%d{run_%d=\"a\"} 1\nm%d{run_%d=\"b\"} 2\n", i, i, i, i)
			guard.Push(t.Context(), proxy.Request{Method: "PUT", Path: fmt.Sprintf("/metrics/job/j%d", i), Body: strings.NewReader(body), Length: -1})
		})
	}
	all.Wait()
	for i := range pushes {
		path := fmt.Sprintf("/metrics/job/j%d", i)
		trace := traces[path]
		if len(trace.Changes) != 1 || len(trace.Findings) != 1 || trace.Body == nil {
			t.Fatalf("%s: %+v", path, trace)
		}
		metric, label := fmt.Sprintf("m%d", i), fmt.Sprintf("run_%d", i)
		if c := trace.Changes[0]; c.Metric != metric || c.Label != label || c.Count != 2 || c.Line != 2 || trace.Findings[0].Label != label {
			t.Errorf("%s: %+v, %+v", path, c, trace.Findings)
		}
		if trace.Key.Pushed["job"] != fmt.Sprintf("j%d", i) || trace.Body.Metrics != 2 {
			t.Errorf("%s: %v, %+v", path, trace.Key, trace.Body)
		}
	}
}
