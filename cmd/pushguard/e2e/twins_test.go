package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// twin is two paths whose groups differ only in labels without a value. To
// Prometheus those are no labels, and a Pushgateway gives every series of a
// group without an instance an empty one: both groups come to hold the same
// push_time_seconds, from where on every scrape and every push of any job fails.
type twin struct{ name, first, second string }

func twins(job string) []twin {
	plain, empty := "/metrics/job/"+job, "/metrics/job/"+job
	return []twin{
		{"no instance first", plain + "1", empty + "1/instance/"},
		{"empty instance first", empty + "2/instance@base64/=", plain + "2"},
		{"beside another label", plain + "3/zone/a", empty + "3/zone/a/instance/"},
		{"another empty label", plain + "4", empty + "4/zone/"},
		{"two empty labels", plain + "5/zone/", empty + "5/instance@base64/="},
	}
}

// TestTwins pushes both of two such groups: the second is refused, until the
// first is gone, and after a restart of the guard too.
func TestTwins(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"open", "report", "enforce"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			behind := world.Pushgateway(t)
			options := world.GuardOptions{Upstream: behind, Policy: world.Write(t, "policy.yml", dropRuns(mode))}
			guard := world.Guard(t, options)
			mustPush(t, guard, seedPath, seedBody)
			for _, w := range twins("twin") {
				mustPush(t, guard, w.first, onePush)
			}
			for _, w := range twins("twin") {
				t.Run(w.name, func(t *testing.T) { holdTwin(t, w, guard, behind) })
			}
			guard.Stop(t)
			guard = world.Guard(t, options)
			for _, w := range twins("twin") {
				t.Run("after a restart, "+w.name, func(t *testing.T) {
					holdTwin(t, w, guard, behind)
					holdSuccession(t, w, guard, behind)
				})
			}
		})
	}
}

func holdTwin(t *testing.T, w twin, guard, behind *world.Process) {
	t.Helper()
	before := behind.State(t)
	for _, m := range []string{"POST", "PUT"} {
		for _, body := range []string{onePush, "other 1\n", ""} {
			got := guard.Send(t, world.Request{Method: m, Target: w.second, Body: body})
			holdHostile(t, hostileCase{says: "empty|without a value|instance|zone"}, got)
		}
	}
	behind.Unchanged(t, before)
	mustPush(t, guard, w.first, onePush)
	holdHealthy(t, guard, behind)
}

// holdSuccession checks that deleting the second harms nothing, and that
// deleting the first makes room for the second.
func holdSuccession(t *testing.T, w twin, guard, behind *world.Process) {
	t.Helper()
	groups := len(behind.State(t))
	for _, path := range []string{w.second, w.first} {
		if a := guard.Send(t, method("DELETE", path)); a.Status != http.StatusAccepted {
			t.Fatalf("DELETE %s: %d %s", path, a.Status, a.Body)
		}
		if path == w.second {
			mustPush(t, guard, seedPath, seedBody) // waits for the queue
			if got := len(behind.State(t)); got != groups {
				t.Errorf("deleting the twin that was not there: %d groups, before %d", got, groups)
			}
		}
	}
	mustPush(t, guard, w.second, onePush)
	holdHealthy(t, guard, behind)
}

// TestTwinsAtOnce pushes both twins at the same time, many pairs at once: one of
// each pair stands.
func TestTwinsAtOnce(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	guard := world.Guard(t, world.GuardOptions{Upstream: behind, Flags: []string{"--limits.wait=1m"}}) // nobody is shed on a slow machine
	mustPush(t, guard, seedPath, seedBody)
	const pairs = 40
	var statuses [pairs][2]int
	var all sync.WaitGroup
	for i := range pairs {
		for side, suffix := range []string{"", "/instance/"} {
			all.Go(func() {
				statuses[i][side] = guard.Push(t, fmt.Sprintf("/metrics/job/pair%d%s", i, suffix), onePush).Status
			})
		}
	}
	all.Wait()
	for i, s := range statuses {
		if (s[0] == http.StatusOK) == (s[1] == http.StatusOK) {
			t.Errorf("pair %d: statuses %v, want exactly one 200", i, s)
		}
	}
	if got := len(behind.State(t)); got != pairs+1 {
		t.Errorf("%d groups, want one of each of %d pairs and the seed", got, pairs)
	}
	holdHealthy(t, guard, behind)
}
