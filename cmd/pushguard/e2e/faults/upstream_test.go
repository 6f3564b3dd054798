package faults

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// cable is the way to a Pushgateway, which may be bad.
type cable struct {
	tcp     *toxiproxy.Proxy
	failing atomic.Bool // every request is answered 500, and does not arrive
	url     string
}

// lay leads to a Pushgateway over HTTP that may answer 500, and TCP that may be anything.
func lay(t *testing.T, behind *world.Process) *cable {
	t.Helper()
	c := &cable{}
	target, err := url.Parse(behind.URL)
	if err != nil {
		t.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(target)
	between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.failing.Load() {
			http.Error(w, "out of order", http.StatusInternalServerError)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(between.Close)
	log := zerolog.Nop()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), log)
	c.tcp = toxiproxy.NewProxy(server, t.Name(), "127.0.0.1:0", strings.TrimPrefix(between.URL, "http://"))
	if err := c.tcp.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.tcp.Stop)
	c.url = "http://" + c.tcp.Listen
	return c
}

// poison adds a toxic of toxiproxy; cure takes all away.
func (c *cable) poison(t *testing.T, toxic string) {
	t.Helper()
	if _, err := c.tcp.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
		t.Fatal(err)
	}
}

func (c *cable) cure(t *testing.T) {
	t.Helper()
	c.failing.Store(false)
	c.tcp.Toxics.ResetToxics(t.Context())
}

// TestUpstreamFaults breaks the way to a real Pushgateway. A client is told at once, and
// when it is mended the budget is that of what stands there, to the last series; nothing
// was added to the counters for what was not answered.
func TestUpstreamFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, toxic string
		status      int
		arrives     bool // the Pushgateway acts, and the guard is not told
	}{
		{"answers 500", "", http.StatusInternalServerError, false},
		{"resets connections", `{"type":"reset_peer","stream":"upstream"}`, http.StatusBadGateway, false},
		{"resets before it answers", `{"type":"reset_peer","stream":"downstream"}`, http.StatusBadGateway, true},
		{"closes within the answer", `{"type":"limit_data","stream":"downstream","attributes":{"bytes":5}}`, http.StatusBadGateway, true},
		{"answers slowly", `{"type":"latency","stream":"downstream","attributes":{"latency":60000}}`, http.StatusGatewayTimeout, true},
		{"answers by drops", `{"type":"bandwidth","stream":"downstream","attributes":{"rate":0}}`, http.StatusGatewayTimeout, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			behind := world.Pushgateway(t)
			way := lay(t, behind)
			guard := world.Guard(t, world.GuardOptions{
				Upstream: &world.Process{URL: way.url},
				Policy:   world.Write(t, "policy.yml", "version: v1\ndefault: {mode: enforce, budget: {series: 12}, counters: {route: totals}, on_over_budget: reject}\n"),
				Flags: []string{
					"--pushgateway.timeout=4s", "--pushgateway.breaker-failures=0", "--pushgateway.resync-interval=100ms", "--pushgateway.watch-interval=100ms",
				},
			})
			mustPush(t, guard, "/metrics/job/a", rows(3)) // 5, with the group's own two
			mustPush(t, guard, "/metrics/job/counts", "failure_count 1\n")

			if way.failing.Store(c.toxic == ""); c.toxic != "" {
				way.poison(t, c.toxic)
			}
			for _, push := range [][2]string{{"/metrics/job/a/n/2", rows(2)}, {"/metrics/job/counts", "failure_count 1\n# TYPE seen gauge\nseen 1\n"}} {
				if a := guard.Push(t, push[0], push[1]); a.Status != c.status || a.Body == "" {
					t.Errorf("%s: %d %q, want %d with a reason", push[0], a.Status, a.Body, c.status)
				}
			}
			way.cure(t)

			want := 5
			if c.arrives {
				want += 4
			}
			world.Eventually(t, func() error {
				if got := held(t, guard, "a"); got != want {
					return fmt.Errorf("%d series are booked, want %d", got, want)
				}
				return nil
			})
			if got := stands(behind.Scrape(t, ""), "a"); got != want {
				t.Errorf("%d series stand, want %d", got, want)
			}
			if got := guard.Scrape(t, "")[`failure_count{job="counts"}`]; got != 1 {
				t.Errorf("the counter is %v, want 1", got)
			}
			// What is left of the budget of 12 is granted, and no more.
			left := 12 - want - 2
			mustPush(t, guard, "/metrics/job/a/n/3", rows(left))
			if a := guard.Push(t, "/metrics/job/a/n/3", rows(left+1)); a.Status != http.StatusUnprocessableEntity {
				t.Errorf("one more than the budget: %d %s", a.Status, a.Body)
			}
		})
	}
}
