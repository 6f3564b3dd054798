package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
	"github.com/pushguard/pushguard/proxy/shared/redistest"
)

const degradePolicy = `
version: v1
default:
  owner: p
  mode: enforce
  budget: {series: 20, groups: 100}
  counters: {route: totals}
`

// degrading is three guards with one Redis that go on by themselves without it.
func degrading(t *testing.T) (guards []*world.Process, redis *redistest.Redis, behind *world.Process) {
	t.Helper()
	redis, behind = redistest.Start(t), world.Pushgateway(t)
	policy := world.Write(t, "policy.yml", degradePolicy)
	for range 3 {
		guards = append(guards, world.Guard(t, world.GuardOptions{Upstream: behind, Policy: policy, Flags: []string{
			"--state.url=" + redis.URL(), "--state.timeout=4s", "--state.on-outage=degrade",
		}}))
	}
	for _, g := range guards {
		mustShow(t, g, "pushguard_shared_guards 3")
	}
	return guards, redis, behind
}

// mustShow waits until a guard's own metrics have a line.
func mustShow(t *testing.T, g *world.Process, line string) {
	t.Helper()
	world.Eventually(t, func() error {
		if body := g.Get(t, "/guard/metrics").Body; !strings.Contains(body, "\n"+line+"\n") {
			return fmt.Errorf("%s has no %s", g.Name, line)
		}
		return nil
	})
}

// TestFleetDegrades has the Redis hang, and then restart empty, under three guards that
// go on by themselves: no push is refused, no budget exceeded, and in the end every sum
// is exact on each of them, also of a process that pushed to all.
func TestFleetDegrades(t *testing.T) {
	t.Parallel()
	guards, redis, behind := degrading(t)
	counted, rows := 0, 0
	round := func() {
		t.Helper()
		for _, g := range guards {
			counted++
			mustPush(t, g, "/metrics/job/nightly", "# TYPE failure_count counter\nfailure_count 1\n")
			mustPush(t, g, "/metrics/job/process", fmt.Sprintf("# TYPE done_total counter\ndone_total %d\n# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 1.7e+09\n", counted))
			for range 3 {
				rows++
				mustPush(t, g, fmt.Sprintf("/metrics/job/grows/shard/%d", rows%2), fmt.Sprintf("rows_%d 1\n", rows))
			}
		}
		if held := strings.Count(behind.Get(t, "/metrics").Body, `job="grows"`); held > 20 {
			t.Errorf("the Pushgateway has %d series of a job that may have 20", held)
		}
	}
	round()
	for range 2 { // each has said all that it did, then each has heard all
		for _, g := range guards {
			g.Get(t, "/metrics")
		}
	}
	for _, outage := range []struct{ begin, end func() }{{redis.Pause, redis.Resume}, {redis.Kill, redis.Restart}} {
		outage.begin()
		round() // some of it before they notice
		for _, g := range guards {
			mustShow(t, g, "pushguard_shared_alone 1")
		}
		round()
		for i, g := range guards {
			if got := total(t, g, `failure_count{instance="",job="nightly"}`); got != "none" {
				t.Errorf("guard %d shows a total that lacks what others counted: %s", i, got)
			}
			if page := g.Get(t, "/guard/").Body; !strings.Contains(page, "this guard goes on by itself") {
				t.Errorf("the console of guard %d does not say so", i)
			}
		}
		outage.end()
		round() // some of it before they notice
		for i, g := range guards {
			mustShow(t, g, "pushguard_shared_alone 0")
			for _, series := range []string{`failure_count{instance="",job="nightly"}`, `done_total{instance="",job="process"}`} {
				world.Eventually(t, func() error {
					if got := total(t, g, series); got != fmt.Sprint(counted) {
						return fmt.Errorf("guard %d says %s of %s, want %d", i, got, series, counted)
					}
					return nil
				})
			}
			if logs := g.Logs(); !strings.Contains(logs, "goes on by itself") || !strings.Contains(logs, "is handed in") {
				t.Errorf("the log of guard %d does not say so", i)
			}
		}
	}
}

// TestFleetStartsWithoutRedis starts a guard while the Redis is away: it cannot know
// what there is, and ends. Those that knew go on.
func TestFleetStartsWithoutRedis(t *testing.T) {
	t.Parallel()
	guards, redis, behind := degrading(t)
	redis.Kill()
	mustShow(t, guards[0], "pushguard_shared_alone 1")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, world.Binary(t), "serve", "--web.listen-address=127.0.0.1:0", "--pushgateway.url="+behind.URL,
		"--state.url="+redis.URL(), "--state.on-outage=degrade").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "--state.url: the Redis that the guards share does not answer") {
		t.Errorf("a guard that starts without the Redis: %v\n%s", err, out)
	}
	mustPush(t, guards[0], "/metrics/job/j", "rows 1\n")
	redis.Restart()
	for _, g := range guards {
		mustShow(t, g, "pushguard_shared_alone 0")
	}
}

// TestFleetDegradeLimit fills what a guard may keep that is by itself: then it answers
// 503, and what it counted until then is exact.
func TestFleetDegradeLimit(t *testing.T) {
	t.Parallel()
	redis, behind := redistest.Start(t), world.Pushgateway(t)
	g := world.Guard(t, world.GuardOptions{Upstream: behind, Policy: world.Write(t, "policy.yml", degradePolicy), Flags: []string{
		"--state.url=" + redis.URL(), "--state.timeout=4s", "--state.on-outage=degrade", "--state.outage-limit=4KiB",
	}})
	redis.Kill()
	mustShow(t, g, "pushguard_shared_alone 1")
	taken := 0
	world.Eventually(t, func() error {
		a := g.Push(t, "/metrics/job/nightly", "# TYPE failure_count counter\nfailure_count 1\n")
		switch {
		case a.Status == http.StatusOK:
			taken++
			return fmt.Errorf("%d pushes are taken", taken)
		case a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "":
			t.Fatalf("%d %s", a.Status, a.Body)
		}
		return nil
	})
	redis.Restart()
	world.Eventually(t, func() error {
		if got := total(t, g, `failure_count{instance="",job="nightly"}`); got != fmt.Sprint(taken) || taken == 0 {
			return fmt.Errorf("the total is %s, of %d", got, taken)
		}
		return nil
	})
}
