package proxy_test

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
)

// runSnapshots is the policy that is shipped for a group a run.
func runSnapshots(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("../deploy/policy.run-snapshots.yml")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func runKey(run int) map[string]string {
	return map[string]string{"job": "airflow_state", "dag_id": "etl", "run_id": fmt.Sprintf("scheduled__2026-01-01T%05d", run)}
}

func pushRun(t testing.TB, g *living, run int, body string) {
	t.Helper()
	g.push(t, 200, http.MethodPut, groupPath(runKey(run)), body)
}

func runKeys(from, to int) []string {
	var keys []map[string]string
	for run := from; run < to; run++ {
		keys = append(keys, runKey(run))
	}
	return keyTexts(keys)
}

// TestEvictOldest: of 60 runs the newest 50 are left, and each of the others went
// once the push that took its place had succeeded.
func TestEvictOldest(t *testing.T) {
	t.Parallel()
	upstream := gatewaytest.Start(t)
	front := newFront(t, upstream)
	g := newLiving(t, front.url, runSnapshots(t), nil)
	for run := range 60 {
		g.records(t)
		front.written()
		pushRun(t, g, run, "state{state=\"running\"} 1\n")
		want := []string{"PUT " + sentPath(run) + " 200"}
		if run >= 50 {
			want = append(want, "DELETE "+sentPath(run-50)+" 202")
		}
		if diff := cmp.Diff(want, front.written()); diff != "" {
			t.Fatalf("run %d (-want +written):\n%s", run, diff)
		}
		if run < 50 {
			continue
		}
		var evicted []string
		for _, r := range g.records(t) {
			if r["reason"] == "evicted" {
				evicted = append(evicted, fmt.Sprintf("%v %v %v %v", r["outcome"], r["governed"], r["owner"], r["upstream_status"]))
			}
		}
		if diff := cmp.Diff([]string{"removed airflow_state data-eng 202"}, evicted); diff != "" {
			t.Errorf("run %d: records (-want +got):\n%s", run, diff)
		}
	}
	eventually(t, func() error {
		if diff := cmp.Diff(runKeys(10, 60), keysHeld(t, upstream)); diff != "" {
			return fmt.Errorf("groups (-newest 50 +left):\n%s", diff)
		}
		return nil
	})
	if n := g.removed(t, "airflow_state", "evicted", "deleted"); n != 10 {
		t.Errorf("%v groups counted as evicted", n)
	}
	if g.job(t, "airflow_state")["groups"] != 50.0 {
		t.Errorf("the guard knows %v groups", g.job(t, "airflow_state")["groups"])
	}
}

// sentPath is the path of a run's group as the guard sends it, decoded.
func sentPath(run int) string {
	k := runKey(run)
	return "/metrics/job/" + k["job"] + "/dag_id/" + k["dag_id"] + "/run_id/" + k["run_id"]
}

// TestEvictionSparesTheLastSuccess, which is the oldest group of all.
func TestEvictionSparesTheLastSuccess(t *testing.T) {
	t.Parallel()
	upstream := gatewaytest.Start(t)
	g := newLiving(t, upstream, runSnapshots(t), nil)
	pushRun(t, g, 0, "dag_last_success_timestamp_seconds 1\n")
	for run := 1; run < 56; run++ {
		pushRun(t, g, run, "state 1\n")
	}
	eventually(t, func() error {
		want := append(runKeys(0, 1), runKeys(7, 56)...)
		slices.Sort(want)
		if diff := cmp.Diff(want, keysHeld(t, upstream)); diff != "" {
			return fmt.Errorf("groups (-want +left):\n%s", diff)
		}
		return nil
	})
}

// TestEvictionAmongManyPushes: however many runs push at once, no more groups are
// left than there may be, and the guard knows which.
func TestEvictionAmongManyPushes(t *testing.T) {
	t.Parallel()
	upstream := gatewaytest.Start(t)
	g := newLiving(t, upstream, runSnapshots(t), nil)
	const workers, runs = 8, 20
	var pushes sync.WaitGroup
	for w := range workers {
		pushes.Go(func() {
			for i := range runs {
				if a := g.do(http.MethodPut, groupPath(runKey(w*runs+i)), "state 1\n"); a.Status != 200 {
					t.Errorf("%d: %s", a.Status, a.Body)
				}
			}
		})
	}
	pushes.Wait()
	eventually(t, func() error {
		if n := len(keysHeld(t, upstream)); n != 50 {
			return fmt.Errorf("%d groups are left of %d runs", n, workers*runs)
		}
		return nil
	})
	if known := g.job(t, "airflow_state"); known["groups"] != 50.0 || known["held"] != float64(scraped(t, g)["airflow_state"]) {
		t.Errorf("the guard knows %v groups, %v series; scraped are %v", known["groups"], known["held"], scraped(t, g))
	}
}

// TestEvictionFails: the push that was applied stays so, the failure is told, and
// the group counts as long as it is there.
func TestEvictionFails(t *testing.T) {
	t.Parallel()
	upstream := gatewaytest.Start(t)
	front := newFront(t, upstream)
	front.set(func() {
		front.deny = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodDelete {
				http.Error(w, "not today", http.StatusForbidden)
			}
			return r.Method == http.MethodDelete
		}
	})
	g := newLiving(t, front.url, "version: v1\ndefault: {mode: enforce, budget: {groups: 2}, on_over_budget: evict_oldest}\n", nil)
	for run := range 3 {
		g.push(t, 200, http.MethodPut, fmt.Sprintf("/metrics/job/a/run/%d", run), "state 1\n")
	}
	var failed []any
	for _, r := range g.records(t) {
		if r["reason"] == "evicted" {
			failed = append(failed, r["outcome"], r["upstream_status"])
		}
	}
	if diff := cmp.Diff([]any{"failed", 403.0}, failed); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if n := g.removed(t, "a", "evicted", "failed"); n != 1 || len(keysHeld(t, upstream)) != 3 || g.job(t, "a")["groups"] != 3.0 {
		t.Errorf("%v counted as failed, the guard knows %v groups", n, g.job(t, "a")["groups"])
	}
	front.set(func() { front.deny = nil })
	g.push(t, 200, http.MethodPut, "/metrics/job/a/run/2", "state 2\n") // which needs no more room than it has
	eventually(t, func() error {
		want := keyTexts([]map[string]string{{"job": "a", "run": "1"}, {"job": "a", "run": "2"}})
		if diff := cmp.Diff(want, keysHeld(t, upstream)); diff != "" {
			return fmt.Errorf("groups once it can be done (-want +left):\n%s", diff)
		}
		return nil
	})
}
