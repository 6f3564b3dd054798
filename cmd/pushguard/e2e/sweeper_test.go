package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

const sweptPolicy = `version: v1
default:
  mode: enforce
  rules: [{id: runs, labels: [run_id], action: drop}]
jobs:
- {job: kept, keep_last_success: true, labels: [shard]}
`

// TestConditionalDelete: with If-Unmodified-Since a DELETE acts on what was not
// pushed to since, and is not pinned; and on the group of that very key.
func TestConditionalDelete(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	guard := world.Guard(t, world.GuardOptions{Upstream: behind, Policy: world.Write(t, "policy.yml", sweptPolicy)})
	mustPush(t, guard, "/metrics/job/etl/run_id/1", onePush) // its group is {job="etl"}
	mustPush(t, guard, "/metrics/job/kept/shard/1", onePush)
	remove := func(path string, since time.Time) world.Answer {
		t.Helper()
		return guard.Send(t, method("DELETE", path, [2]string{"If-Unmodified-Since", since.UTC().Format(http.TimeFormat)}))
	}
	before := behind.State(t)
	for path, since := range map[string]time.Time{
		"/metrics/job/etl":          time.Now().Add(-time.Hour), // pushed to since
		"/metrics/job/kept/shard/1": time.Now().Add(time.Hour),  // pinned
	} {
		if got := remove(path, since); got.Status != http.StatusPreconditionFailed || !strings.HasPrefix(got.Body, "pushguard: the ") {
			t.Errorf("%s: %d %q", path, got.Status, got.Body)
		}
	}
	// The client's own key is that of no group: the sweep reads keys from the listing.
	if got := remove("/metrics/job/etl/run_id/1", time.Now().Add(time.Hour)); got.Status != http.StatusAccepted {
		t.Errorf("a group that is not there: %d %q", got.Status, got.Body)
	}
	mustPush(t, guard, "/metrics/job/kept/shard/1", onePush) // waits for the queue
	behind.Unchanged(t, before)
	if got := remove("/metrics/job/etl", time.Now().Add(time.Hour)); got.Status != http.StatusAccepted {
		t.Errorf("a stale group: %d %q", got.Status, got.Body)
	}
	mustPush(t, guard, "/metrics/job/kept/shard/1", onePush)
	if keys := behind.State(t).Keys(); len(keys) != 1 || !strings.Contains(keys[0], "kept") {
		t.Errorf("left are %v", keys)
	}
}

// TestSweepThroughAGuard keeps for certain what is pushed meanwhile and what the
// policy pins, and deletes folded groups by the key that is listed.
func TestSweepThroughAGuard(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	mustPush(t, behind, "/metrics/job/etl/run_id/before", onePush) // from before the policy
	guard := world.Guard(t, world.GuardOptions{Upstream: behind, Policy: world.Write(t, "policy.yml", sweptPolicy)})
	mustPush(t, guard, "/metrics/job/etl/run_id/1", onePush)
	mustPush(t, guard, "/metrics/job/kept/shard/1", onePush)
	mustPush(t, guard, groupKey{"job": "a/b", "path": "x/y"}.path(), onePush)
	time.Sleep(2100 * time.Millisecond) // so that the next is listed after them
	mustPush(t, guard, "/metrics/job/last/shard/1", onePush)
	time.Sleep(2100 * time.Millisecond)
	var sweeping sync.WaitGroup
	var got outcome
	sweeping.Go(func() { got = sweep(t, "--older-than=2s", "--rate=0.25/s", guard.URL) })
	world.Eventually(t, func() error {
		if n := len(behind.State(t)); n == 5 {
			return fmt.Errorf("nothing is deleted yet")
		}
		return nil
	})
	mustPush(t, guard, "/metrics/job/last/shard/1", "rows 8\n")
	sweeping.Wait()
	holdLines(t, got.stdout, map[string]int{"deleted": 3, "kept": 2})
	if got.code != 0 || got.stderr != "" {
		t.Errorf("exit %d, %q", got.code, got.stderr)
	}
	for _, want := range []string{`deleted {job="etl"}, `, `deleted {job="etl", run_id="before"}, `, `kept {job="last", shard="1"}, `, ": pushed meanwhile\n", ": the policy keeps it\n"} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("no %q in\n%s", want, got.stdout)
		}
	}
	if diff := cmp.Diff([]string{`{"job":"kept","shard":"1"}`, `{"job":"last","shard":"1"}`}, behind.State(t).Keys()); diff != "" {
		t.Errorf("groups (-want +left):\n%s", diff)
	}
	if samples := behind.Scrape(t, ""); samples[`rows{job="last", shard="1"}`] != 8 {
		t.Errorf("what was pushed meanwhile is lost: %v", samples)
	}
}

// TestTheGuardSweeps has the running guard delete what is stale, beside what is
// pushed all the while and what it keeps.
func TestTheGuardSweeps(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	audit := t.TempDir() + "/audit.log"
	guard := world.Guard(t, world.GuardOptions{
		Upstream: behind, Audit: audit, Flags: []string{"--sweep.interval=100ms"},
		Policy: world.Write(t, "policy.yml", `version: v1
default: {mode: enforce, stale_after: 10s, owner: data}
jobs:
- {job: kept, keep_last_success: true}
- {job: forever, stale_after: 0}
- {job: reported, mode: report}
`),
	})
	stale := cleanersMissed()
	for _, k := range stale {
		mustPush(t, guard, k.path(), onePush)
	}
	kept := []groupKey{{"job": "forever"}, {"job": "kept", "run": "1"}, {"job": "reported"}}
	for _, k := range kept {
		mustPush(t, guard, k.path(), "job_last_success_timestamp_seconds 1\n")
	}
	mustPush(t, guard, "/metrics/job/kept/run/2", onePush)
	stale = append(stale, groupKey{"job": "kept", "run": "2"})
	fresh := []groupKey{{"job": "a", "instance": "x"}, {"job": "whole"}, {"job": "values"}, {"job": "whole", "instance": "old"}}
	want := keysOf(append(kept, fresh...))
	world.Eventually(t, func() error {
		for _, k := range fresh {
			mustPush(t, guard, k.path(), onePush)
		}
		if diff := cmp.Diff(want, behind.State(t).Keys()); diff != "" {
			return fmt.Errorf("groups (-want +left):\n%s", diff)
		}
		return nil
	})
	told := func(needle string) int {
		log, err := os.ReadFile(audit)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for line := range strings.Lines(string(log)) {
			if strings.Contains(line, needle) && strings.Contains(line, `"reason":"stale"`) {
				n++
			}
		}
		return n
	}
	world.Eventually(t, func() error {
		if n := told(`"outcome":"removed"`); n != len(stale) {
			return fmt.Errorf("%d groups of %d are told of", n, len(stale))
		}
		return nil
	})
	world.Eventually(t, func() error {
		if n := told(`"would":"removed"`); n != 1 {
			return fmt.Errorf("the forecast tells of %d groups", n)
		}
		return nil
	})
}
