package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// crossing is the way to a Pushgateway, on which a request can be met.
type crossing struct {
	url string
	// meets sees a request that is on its way; it answers it, or reports that it goes on.
	meets atomic.Pointer[func(forward http.Handler, w http.ResponseWriter, r *http.Request) (goesOn bool)]
}

func crossingTo(t *testing.T, behind *world.Process) *crossing {
	t.Helper()
	target, err := url.Parse(behind.URL)
	if err != nil {
		t.Fatal(err)
	}
	c, forward := &crossing{}, httputil.NewSingleHostReverseProxy(target)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if meets := c.meets.Load(); meets == nil || (*meets)(forward, w, r) {
			forward.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

// TestEvictionsOutliveKills kills the guard between a push and the eviction that makes
// room for it. When the push comes again, to a guard that has found out what stands, the
// eviction is made up for.
func TestEvictionsOutliveKills(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		meets string // which request is the guard's last
		acts  bool   // the Pushgateway does it
		flags []string
	}{
		{"the push is not answered", http.MethodPut, true, []string{"--state.dir=" + t.TempDir()}},
		{"its eviction does not arrive", http.MethodDelete, false, []string{"--state.dir=" + t.TempDir()}},
		{"nothing was kept", http.MethodPut, true, nil},
		{"with a spool", http.MethodPut, true, []string{"--state.dir=" + t.TempDir(), "--pushgateway.spool", "--pushgateway.spool-after=60s"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			behind := world.Pushgateway(t)
			way := crossingTo(t, behind)
			options := world.GuardOptions{
				Upstream: &world.Process{URL: way.url},
				Policy:   world.Write(t, "policy.yml", "version: v1\ndefault: {mode: enforce, budget: {groups: 2}, on_over_budget: evict_oldest}\n"),
				Flags:    append(c.flags, "--pushgateway.timeout=60s"),
			}
			guard := groupsKnown(t, options)
			write(t, guard, "PUT", "/metrics/job/a/run/0", "state 0\n", 200)
			write(t, guard, "PUT", "/metrics/job/a/run/1", "state 1\n", 200)

			met := make(chan struct{})
			way.meets.Store(new(func(forward http.Handler, _ http.ResponseWriter, r *http.Request) bool {
				if r.Method != c.meets {
					return true
				}
				if c.acts {
					forward.ServeHTTP(httptest.NewRecorder(), r)
				}
				close(met)
				<-r.Context().Done()
				return false
			}))
			go func() {
				if r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, guard.URL+"/metrics/job/a/run/2", strings.NewReader("state 2\n")); err == nil {
					if a, err := http.DefaultClient.Do(r); err == nil {
						a.Body.Close()
					}
				}
			}()
			select {
			case <-met:
			case <-time.After(time.Minute):
				t.Fatalf("there was no %s", c.meets)
			}
			guard.Kill()
			way.meets.Store(nil)

			guard = groupsKnown(t, options)
			write(t, guard, "PUT", "/metrics/job/a/run/2", "state 2\n", 200)
			fence(t, behind, "")
			if err := holds(behind.Scrape(t, ""), map[string]float64{`state{job="a", run="1"}`: 1, `state{job="a", run="2"}`: 2}, `state{job="a", run="0"}`); err != nil {
				t.Error(err)
			}
		})
	}
}

// groupsKnown starts a guard and waits until it has listed what its Pushgateway holds.
func groupsKnown(t *testing.T, options world.GuardOptions) *world.Process {
	t.Helper()
	guard := world.Guard(t, options)
	world.Eventually(t, func() error {
		const listed = "pushguard_sync_last_success_timestamp_seconds"
		if own := grep(guard.Get(t, "/guard/metrics").Body, listed); own == "" || strings.HasPrefix(own, listed+" 0\n") {
			return fmt.Errorf("no listing yet: %s", own)
		}
		return nil
	})
	return guard
}
