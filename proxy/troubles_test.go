package proxy

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
)

// TestTroublesAreTold asks a guard how it is that is in trouble: it says so behind the
// word of its Pushgateway, in an answer of the right length, and is well all the same.
func TestTroublesAreTold(t *testing.T) {
	memory, troubles := Roomy, []string(nil)
	rules, err := policy.Parse("policy.yml", []byte("version: v1\n"))
	if err != nil {
		t.Fatal(err)
	}
	metrics := NewMetrics(prometheus.NewRegistry())
	behind, err := gateway.New(gateway.Config{URL: gatewaytest.Start(t), Timeout: time.Minute, Observe: metrics.ObserveUpstream})
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(Config{
		Policy: rules, Upstream: behind, Metrics: metrics, GroupWait: time.Minute,
		Caps:     Caps{Body: 1 << 20, Decoded: 1 << 20, Samples: 1000, Labels: 20, LabelValue: 100},
		Pressure: func() Pressure { return memory }, Troubles: func() []string { return troubles },
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(g.Handler())
	defer server.Close()
	post(t, server.URL+"/metrics/job/a", "a 1\n") // from now on it knows what is there
	for _, s := range []struct {
		memory   Pressure
		troubles []string
		want     string
	}{
		{Roomy, nil, "OK"},
		{Tight, nil, "OK\npushguard: the memory is nearly full: no new series are taken\n"},
		{Full, []string{"the disk"}, "OK\npushguard: the memory is full: pushes are answered 503 until there is room\npushguard: the disk\n"},
		{Roomy, nil, "OK"},
	} {
		memory, troubles = s.memory, s.troubles
		for _, path := range []string{"/-/healthy", "/-/ready"} {
			if body := get(t, server.URL+path, http.Header{}); body != s.want {
				t.Errorf("%s: %q, want %q", path, body, s.want)
			}
		}
	}
}
