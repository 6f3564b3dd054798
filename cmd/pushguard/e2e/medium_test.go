package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// TestRunSnapshots pushes 60 runs under the policy that is shipped for them: the
// newest can be seen one by one, and the last success among them whatever its age.
func TestRunSnapshots(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	audit := t.TempDir() + "/audit.log"
	guard := world.Guard(t, world.GuardOptions{
		Upstream: behind, Audit: audit, Policy: filepath.Join(world.Root(), "deploy", "policy.run-snapshots.yml"),
	})
	key := func(run int) groupKey {
		return groupKey{"job": "airflow_state", "dag_id": "etl", "run_id": fmt.Sprintf("scheduled__2026-01-01T00:%02d:00+00:00", run)}
	}
	put := func(run int, body string) {
		t.Helper()
		if a := guard.Send(t, world.Request{Method: http.MethodPut, Target: key(run).path(), Body: body}); a.Status != http.StatusOK {
			t.Fatalf("run %d: %d %s", run, a.Status, a.Body)
		}
	}
	const runs, left = 60, 50
	put(0, "dag_last_success_timestamp_seconds 1.7e9\n")
	for run := 1; run < runs; run++ {
		put(run, "# TYPE task_state gauge\ntask_state{task_id=\"load\",state=\"running\",try_number=\"1\"} 1\n")
	}
	want := []groupKey{key(0)}
	for run := runs - left + 1; run < runs; run++ {
		want = append(want, key(run))
	}
	world.Eventually(t, func() error {
		if diff := cmp.Diff(keysOf(want), behind.State(t).Keys()); diff != "" {
			return fmt.Errorf("groups (-want +left):\n%s", diff)
		}
		return nil
	})
	if got := job(t, guard, "airflow_state"); got.Groups != left || got.StaleAfter != "6h0m0s" {
		t.Errorf("the guard tells %+v", got)
	}
	log, err := os.ReadFile(audit)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(log), `"reason":"evicted"`); n != runs-left {
		t.Errorf("%d evictions in the audit log, want %d", n, runs-left)
	}
	samples := guard.Scrape(t, "")
	newest := fmt.Sprintf(`task_state{dag_id="etl", job="airflow_state", run_id=%q, state="running", task_id="load"}`, key(runs - 1)["run_id"])
	if samples[newest] != 1 {
		t.Errorf("no %s", newest)
	}
	// A job that the policy does not name has no runs.
	mustPush(t, guard, "/metrics/job/nightly/run_id/1", onePush)
	if _, found := behind.State(t).Group(map[string]string{"job": "nightly"}); !found {
		t.Errorf("another job's run has a group of its own: %v", behind.State(t).Keys())
	}
}
