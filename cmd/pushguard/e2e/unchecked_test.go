package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// contradiction is a push that contradicts what is there, and the words of the answer.
type contradiction struct{ name, path, body, says string }

var contradictions = []contradiction{
	{"another type", "/metrics/job/other", "# TYPE rows counter\nrows 1\n", `collected metric "rows" { label:{name:"instance" value:""} label:{name:"job" value:"other"} } is not a GAUGE`},
	{"a part of a histogram", "/metrics/job/other", "took_count 1\n", `collected metric named "took_count" collides with previously collected histogram named "took"`},
	{"a series of another group", "/metrics/job/kept/instance/i", "# TYPE rows gauge\nrows 1\n", `was collected before with the same name and label values`},
	{"the Pushgateway's own", "/metrics/job/other", "go_goroutines 1\n", `is not a GAUGE`},
	{"a timestamp", "/metrics/job/other", "x 1 1\n", `pushed metrics must not have timestamps`},
	{"twice the same", "/metrics/job/other", "x 1\nx 2\n", `was collected before with the same name and label values`},
}

const keptBody = "# TYPE rows gauge\nrows 1\nrows{instance=\"i\"} 2\n# TYPE took histogram\ntook_bucket{le=\"1\"} 1\ntook_sum 1\ntook_count 1\n"

// TestUnchecked has a guard answer for a Pushgateway that looks at nothing, through a
// restart of either.
func TestUnchecked(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"open", "enforce"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			behind := world.Pushgateway(t, "--push.disable-consistency-check")
			options := world.GuardOptions{
				Upstream: behind, Policy: world.Write(t, "policy.yml", "version: v1\ndefault: {mode: "+mode+", counters: {route: snapshot}}\n"),
				Flags: []string{"--pushgateway.unchecked", "--pushgateway.watch-interval=50ms", "--pushgateway.resync-interval=0s", "--state.dir=" + t.TempDir()},
			}
			guard := world.Guard(t, options)
			mustPush(t, guard, "/metrics/job/kept", keptBody)
			holdContradictions(t, guard, behind)
			guard.Stop(t)
			guard = world.Guard(t, options)
			holdContradictions(t, guard, behind)

			// A group that was refused alone is marked by its failure, and can be deleted.
			if g, ok := behind.State(t).Group(map[string]string{"job": "other"}); !ok || len(g.Families) != 0 {
				t.Errorf("the group of refused pushes is %+v, %v", g, ok)
			}
			if a := guard.Send(t, world.Request{Method: http.MethodDelete, Target: "/metrics/job/kept"}); a.Status != http.StatusAccepted {
				t.Fatalf("DELETE: %d %s", a.Status, a.Body)
			}
			mustPush(t, guard, "/metrics/job/other", contradictions[0].body)
			behind.Scrape(t, "")
		})
	}
}

// holdContradictions has each refused in a Pushgateway's words, and the page stay whole.
func holdContradictions(t *testing.T, guard, behind *world.Process) {
	t.Helper()
	const words = "pushed metrics are invalid or inconsistent with existing metrics: "
	for _, c := range contradictions {
		a := guard.Push(t, c.path, c.body)
		if a.Status != http.StatusBadRequest || !strings.HasPrefix(a.Body, words) || !strings.Contains(a.Body, c.says) {
			t.Errorf("%s: %d %s", c.name, a.Status, a.Body)
		}
	}
	behind.Scrape(t, "")
	if g, _ := behind.State(t).Group(map[string]string{"job": "kept"}); len(g.Families) != 2 {
		t.Errorf("of what was pushed before is left %+v", g)
	}
}

// TestUncheckedRestartsEmpty: what the Pushgateway lost contradicts nothing any more.
func TestUncheckedRestartsEmpty(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t, "--push.disable-consistency-check")
	guard := world.Guard(t, world.GuardOptions{
		Upstream: behind, Flags: []string{"--pushgateway.unchecked", "--pushgateway.watch-interval=50ms", "--pushgateway.resync-interval=0s"},
	})
	mustPush(t, guard, "/metrics/job/kept", keptBody)
	if a := guard.Push(t, contradictions[0].path, contradictions[0].body); a.Status != http.StatusBadRequest {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	time.Sleep(1100 * time.Millisecond) // it tells in whole seconds when it started
	behind.Kill()
	behind = behind.Again(t)
	world.Eventually(t, func() error {
		if a := guard.Push(t, contradictions[0].path, contradictions[0].body); a.Status != http.StatusOK {
			return fmt.Errorf("%d %s", a.Status, a.Body)
		}
		return nil
	})
	behind.Scrape(t, "")
}
