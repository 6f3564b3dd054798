package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// jobUse is what the guard's API tells of a job.
type jobUse struct {
	Job        string
	Held       int
	Over       int
	Groups     int
	StaleAfter string `json:"stale_after"`
}

// job asks the guard about a job; one that it does not know holds nothing.
func job(t *testing.T, guard *world.Process, name string) jobUse {
	t.Helper()
	a := guard.Get(t, "/guard/api/v1/jobs/"+name)
	if a.Status == http.StatusNotFound {
		return jobUse{}
	}
	var answer struct{ Data jobUse }
	if err := json.Unmarshal([]byte(a.Body), &answer); err != nil || a.Status != http.StatusOK {
		t.Fatalf("what %s holds: %d %s", name, a.Status, a.Body)
	}
	return answer.Data
}

// awaitJob waits until the guard, to which nobody pushes, knows that much of a
// job.
func awaitJob(t *testing.T, guard *world.Process, name string, held, over int) {
	t.Helper()
	world.Eventually(t, func() error {
		if got := job(t, guard, name); got.Held != held || got.Over != over {
			return fmt.Errorf("%s holds %d series, %d over its budget; want %d, %d", name, got.Held, got.Over, held, over)
		}
		return nil
	})
}

const manyRows = "rows{t=\"a\"} 1\nrows{t=\"b\"} 1\nrows{t=\"c\"} 1\n"

// TestUpstreamRestartsEmpty: the guard forgets what is gone, but not what was new.
func TestUpstreamRestartsEmpty(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	guard := world.Guard(t, world.GuardOptions{
		Upstream: behind, Flags: []string{"--pushgateway.watch-interval=50ms", "--pushgateway.resync-interval=0s"},
		Policy: world.Write(t, "policy.yml", "version: v1\ndefault: {mode: enforce, budget: {new_series_per_hour: 11}}\n"),
	})
	mustPush(t, guard, "/metrics/job/a", manyRows)
	mustPush(t, guard, "/metrics/job/b", onePush)
	awaitJob(t, guard, "a", 5, 0)
	time.Sleep(1100 * time.Millisecond) // it tells in whole seconds when it started
	behind.Kill()
	behind = behind.Again(t)
	awaitJob(t, guard, "a", 0, 0)
	awaitJob(t, guard, "b", 0, 0)

	mustPush(t, guard, "/metrics/job/a", manyRows) // 10 of 11 new ones
	if got := guard.Push(t, "/metrics/job/a/run/2", onePush); got.Status != http.StatusUnprocessableEntity || !strings.HasPrefix(got.Body, "new_series_per_hour: ") {
		t.Errorf("an hour's series are granted again after a restart: %d %q", got.Status, got.Body)
	}
	if keys := behind.State(t).Keys(); len(keys) != 1 {
		t.Errorf("the Pushgateway holds %v", keys)
	}
}

// TestOthersWriteToTheUpstream: what others wrote and wiped past the guard is
// found; what they brought over a budget is told of and goes on, and nothing new
// comes to it.
func TestOthersWriteToTheUpstream(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t, "--web.enable-admin-api")
	guard := world.Guard(t, world.GuardOptions{
		Upstream: behind, Flags: []string{"--pushgateway.watch-interval=0s", "--pushgateway.resync-interval=50ms"},
		Policy: world.Write(t, "policy.yml", "version: v1\ndefault: {mode: enforce, budget: {series: 6}}\n"),
	})
	mustPush(t, guard, "/metrics/job/a", onePush)
	mustPush(t, behind, "/metrics/job/a", manyRows) // past the guard
	mustPush(t, behind, "/metrics/job/a/run/2", manyRows)
	awaitJob(t, guard, "a", 10, 4)

	mustPush(t, guard, "/metrics/job/a/run/2", strings.ReplaceAll(manyRows, " 1", " 2")+"rows{t=\"new\"} 2\n")
	samples := behind.Scrape(t, "")
	for _, known := range []string{"a", "b", "c"} {
		if samples[fmt.Sprintf(`rows{job="a", run="2", t=%q}`, known)] != 2 {
			t.Errorf("what is known does not pass: %v", samples)
		}
	}
	for id := range samples {
		if strings.Contains(id, `t="new"`) {
			t.Errorf("%s came to a job over its budget", id)
		}
	}
	if got := guard.Push(t, "/metrics/job/a/run/3", onePush); got.Status != http.StatusUnprocessableEntity {
		t.Errorf("a new group of a job over its budget: %d %q", got.Status, got.Body)
	}

	behind.Wipe(t) // past the guard
	awaitJob(t, guard, "a", 0, 0)
	mustPush(t, guard, "/metrics/job/a/run/3", onePush)
}
