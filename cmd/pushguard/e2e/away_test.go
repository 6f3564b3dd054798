package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// TestBreaker stops a Pushgateway as a debugger would: it takes connections and never
// answers. Those that waited for it are few, and then nobody waits.
func TestBreaker(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	guard := world.Guard(t, world.GuardOptions{Upstream: behind, Flags: []string{
		"--pushgateway.timeout=3s", "--pushgateway.breaker-failures=3", "--pushgateway.breaker-pause=20s",
		"--pushgateway.watch-interval=0s", "--pushgateway.resync-interval=0s",
	}})
	mustPush(t, guard, "/metrics/job/a", "rows 1\n")
	behind.Freeze(t)
	for i := range 3 {
		if a := guard.Push(t, fmt.Sprintf("/metrics/job/late/n/%d", i), "rows 1\n"); a.Status != http.StatusGatewayTimeout {
			t.Errorf("while it is asked: %d %s", a.Status, a.Body)
		}
	}
	for i := range 20 {
		if a := guard.Push(t, fmt.Sprintf("/metrics/job/never/n/%d", i), "rows 1\n"); a.Status != http.StatusBadGateway || !strings.Contains(a.Body, "circuit breaker is open") {
			t.Errorf("once it is left alone: %d %s", a.Status, a.Body)
		}
	}
	own := guard.Get(t, "/guard/metrics").Body
	for _, want := range []string{`pushguard_upstream_breaker_open{upstream="` + behind.URL + `"} 1`, `pushguard_upstream_rejected_total{upstream="` + behind.URL + `"} 20`} {
		if !strings.Contains(own, want) {
			t.Errorf("its own metrics lack %s", want)
		}
	}
	behind.Thaw(t)
	world.Eventually(t, func() error {
		if a := guard.Push(t, "/metrics/job/b", "rows 2\n"); a.Status != http.StatusOK {
			return fmt.Errorf("%d %s", a.Status, a.Body)
		}
		return nil
	})
	if _, ok := behind.State(t).Group(map[string]string{"job": "never", "n": "0"}); ok {
		t.Error("a push that was refused arrived")
	}
}

// TestLogWhileAway has many pushes fail for one reason, of which the log has a line now and
// then, and not one each.
func TestLogWhileAway(t *testing.T) {
	t.Parallel()
	upstream := world.Pushgateway(t)
	guard := world.Guard(t, world.GuardOptions{Upstream: upstream})
	upstream.Kill()
	const pushes = 40
	for range pushes {
		if a := guard.Push(t, "/metrics/job/j", "rows 1\n"); a.Status != http.StatusBadGateway {
			t.Fatalf("a push to a Pushgateway that is gone: %d %s", a.Status, a.Body)
		}
	}
	if n := strings.Count(guard.Logs(), "A push was not forwarded"); n == 0 || n > pushes/2 {
		t.Errorf("the log has %d lines of %d pushes:\n%s", n, pushes, guard.Logs())
	}
}
