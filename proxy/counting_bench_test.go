package proxy_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/gateway"
)

// upstreamAtOnce takes every push at once: what is left is the guard's own time.
type upstreamAtOnce struct{}

func (upstreamAtOnce) Do(context.Context, gateway.Request) (gateway.Answer, error) {
	return gateway.Answer{Status: http.StatusOK}, nil
}

func (upstreamAtOnce) Forward(context.Context, string, gateway.Request) (gateway.Answer, error) {
	return gateway.Answer{Status: http.StatusOK}, nil
}
func (upstreamAtOnce) Groups(context.Context, uint64) ([]gateway.Group, error) { return nil, nil }
func (upstreamAtOnce) Started(context.Context) (time.Time, error)              { return time.Time{}, nil }

func (upstreamAtOnce) Proxy() http.Handler { return http.NotFoundHandler() }

// BenchmarkCounters measures a push of 200 known counters through all of the guard
// but the network: added up, and left where they are.
func BenchmarkCounters(b *testing.B) {
	var body bytes.Buffer
	for f := range 20 {
		fmt.Fprintf(&body, "# TYPE step_%02d_rows_total counter\n", f)
		for s := range 10 {
			fmt.Fprintf(&body, "step_%02d_rows_total{region=\"eu-west-1\",run_id=\"r7f3c2a1b\",table=\"orders_%d\"} %d\n", f, s, 1000*f+s)
		}
	}
	for _, route := range []policy.Route{policy.RouteTotals, policy.RouteSnapshot} {
		for _, rules := range []struct{ name, rules string }{{"as-pushed", ""}, {"label-dropped", ", rules: [{id: ids, labels: [run_id], action: drop}]"}} {
			b.Run(string(route)+"/"+rules.name, func(b *testing.B) {
				p, err := policy.Parse("bench", fmt.Appendf(nil, "version: v1\ndefault: {mode: enforce, counters: {route: %s}%s}\n", route, rules.rules))
				if err != nil {
					b.Fatal(err)
				}
				g, err := proxy.New(proxy.Config{
					Policy: p, Upstream: upstreamAtOnce{}, Metrics: proxy.NewMetrics(prometheus.NewRegistry()),
					Caps:      proxy.Caps{Body: 1 << 20, Decoded: 4 << 20, Samples: 10_000, Labels: 64, LabelValue: 4096},
					GroupWait: time.Second,
				})
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(body.Len()))
				b.ReportAllocs()
				for b.Loop() {
					a := g.Push(b.Context(), proxy.Request{
						Method: http.MethodPost, Path: "/metrics/job/nightly/instance/worker-1", Header: http.Header{},
						Body: bytes.NewReader(body.Bytes()), Length: int64(body.Len()),
					})
					if a.Status != http.StatusOK {
						b.Fatalf("%d %s", a.Status, a.Body)
					}
				}
			})
		}
	}
}
