package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
	"github.com/pushguard/pushguard/proxy/shared/redistest"
)

const fleetPolicy = `
version: v1
default:
  owner: p
  mode: enforce
  budget: {series: 20, groups: 100, pushes_per_minute: 60}
  counters: {route: totals}
jobs:
- {job: often, budget: {pushes_per_minute: 20}}
`

// fleet is three guards in front of one Pushgateway, with one Redis that may take so
// long to answer.
func fleet(t *testing.T, timeout string) (guards []*world.Process, redis *redistest.Redis, behind *world.Process) {
	t.Helper()
	redis, behind = redistest.Start(t), world.Pushgateway(t)
	policy := world.Write(t, "policy.yml", fleetPolicy)
	for range 3 {
		guards = append(guards, world.Guard(t, world.GuardOptions{
			Upstream: behind, Policy: policy, Flags: []string{"--state.url=" + redis.URL(), "--state.timeout=" + timeout, "--pushgateway.timeout=30s"},
		}))
	}
	return guards, redis, behind
}

func total(t *testing.T, guard *world.Process, series string) string {
	t.Helper()
	for line := range strings.Lines(guard.Get(t, "/metrics").Body) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return "none"
}

// TestFleet pushes to three guards as a dumb load balancer does. What they say and
// permit is what one does: sums, budgets, pushes a minute, and a retry that comes to
// another of them counts once.
func TestFleet(t *testing.T) {
	t.Parallel()
	guards, _, behind := fleet(t, "30s")
	var all sync.WaitGroup
	for i := range 10 {
		all.Go(func() {
			if a := guards[i%3].Push(t, "/metrics/job/nightly", "# TYPE failure_count counter\nfailure_count 1\n"); a.Status != http.StatusOK {
				t.Errorf("push %d: %d %s", i, a.Status, a.Body)
			}
		})
	}
	all.Wait()
	for i, g := range guards {
		if got := total(t, g, `failure_count{instance="",job="nightly"}`); got != "10" {
			t.Errorf("guard %d says %s, want 10", i, got)
		}
	}
	for i := range 40 {
		if a := guards[i%3].Push(t, fmt.Sprintf("/metrics/job/grows/shard/%d", i%2), fmt.Sprintf("rows_%d 1\n", i)); a.Status != http.StatusOK {
			t.Errorf("push %d: %d %s", i, a.Status, a.Body)
		}
	}
	if held := strings.Count(behind.Get(t, "/metrics").Body, `job="grows"`); held != 20 {
		t.Errorf("the Pushgateway has %d series of a job that may have 20", held)
	}
	taken := 0
	for i := range 25 {
		if a := guards[i%3].Push(t, "/metrics/job/often", "rows 1\n"); a.Status == http.StatusOK {
			taken++
		} else if a.Status != http.StatusTooManyRequests {
			t.Errorf("push %d: %d %s", i, a.Status, a.Body)
		}
	}
	if taken != 20 {
		t.Errorf("%d pushes within a minute, want 20", taken)
	}
}

// TestFleetOutage has the Redis hang, and then restart empty: pushes are answered 503
// meanwhile, nothing is sent, and afterwards nothing was forgotten.
func TestFleetOutage(t *testing.T) {
	t.Parallel()
	guards, redis, behind := fleet(t, "3s")
	count := func(g *world.Process) int {
		return g.Push(t, "/metrics/job/nightly", "# TYPE failure_count counter\nfailure_count 1\n").Status
	}
	for i := range 6 {
		if got := count(guards[i%3]); got != http.StatusOK {
			t.Fatalf("push %d: %d", i, got)
		}
	}
	counted := 6
	for _, outage := range []struct{ begin, end func() }{{redis.Pause, redis.Resume}, {redis.Kill, redis.Restart}} {
		outage.begin()
		world.Eventually(t, func() error {
			a := guards[0].Push(t, "/metrics/job/away", "rows 1\n")
			if a.Status != http.StatusServiceUnavailable || !strings.Contains(a.Body, "Redis") || a.Header.Get("Retry-After") == "" {
				return fmt.Errorf("%d %s", a.Status, a.Body)
			}
			return nil
		})
		if got := total(t, guards[0], `failure_count{instance="",job="nightly"}`); got != "none" {
			t.Errorf("a total that may be old was shown: %s", got)
		}
		outage.end()
		for i, g := range guards {
			world.Eventually(t, func() error {
				if got := count(g); got != http.StatusOK {
					return fmt.Errorf("guard %d: %d", i, got)
				}
				return nil
			})
			counted++
		}
		for i, g := range guards {
			if got := total(t, g, `failure_count{instance="",job="nightly"}`); got != fmt.Sprint(counted) {
				t.Errorf("guard %d says %s, want %d", i, got, counted)
			}
		}
	}
	if strings.Contains(behind.Get(t, "/metrics").Body, `job="away"`) {
		t.Error("a push that was refused was sent")
	}
	for _, g := range guards {
		for line := range strings.Lines(g.Logs()) {
			if !strings.HasPrefix(line, "time=") {
				t.Errorf("this is not of the guard's log: %s", line)
			}
		}
	}
}

// TestFleetKill kills a guard while it waits for the Pushgateway: what it had reserved
// counts until that is read back, and the group is another's after the lease.
func TestFleetKill(t *testing.T) {
	t.Parallel()
	guards, _, behind := fleet(t, "30s")
	mustPush(t, guards[1], "/metrics/job/j", "rows 1\n")
	behind.Freeze(t)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = http.Post(guards[0].URL+"/metrics/job/j", "text/plain", strings.NewReader("more 1\n"))
	}()
	world.Eventually(t, func() error {
		if body := guards[1].Get(t, "/guard/api/v1/jobs/j").Body; !strings.Contains(body, `"series":4`) && !strings.Contains(body, `"series": 4`) {
			return fmt.Errorf("nothing is reserved: %s", body)
		}
		return nil
	})
	guards[0].Kill()
	<-sent
	behind.Thaw(t)
	world.Eventually(t, func() error {
		if a := guards[2].Push(t, "/metrics/job/j", "rows 2\n"); a.Status != http.StatusOK {
			return fmt.Errorf("%d %s", a.Status, a.Body)
		}
		return nil
	})
}
