package e2e

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// TestFoldedGroups follows two runs whose groups the policy makes one: a PUT of
// one does not take away what only the other pushed, and a DELETE acts only by
// the run that wrote last.
func TestFoldedGroups(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	guard := world.Guard(t, world.GuardOptions{Upstream: behind, Policy: world.Write(t, "policy.yml", dropRuns("enforce"))})
	put := func(run, body string) {
		t.Helper()
		a := guard.Send(t, world.Request{Method: "PUT", Target: "/metrics/job/etl/run_id/" + run, Body: body})
		if a.Status != http.StatusOK {
			t.Fatalf("PUT of run %s: %d %s", run, a.Status, a.Body)
		}
	}
	remove := func(run string) {
		t.Helper()
		if a := guard.Send(t, method("DELETE", "/metrics/job/etl/run_id/"+run)); a.Status != http.StatusAccepted {
			t.Fatalf("DELETE of run %s: %d %s", run, a.Status, a.Body)
		}
		mustPush(t, guard, seedPath, seedBody) // waits for the queue
	}
	hold := func(families ...string) {
		t.Helper()
		g, found := behind.State(t).Group(map[string]string{"job": "etl"})
		if found != (families != nil) {
			t.Fatalf("the group is there: %t, want %t", found, families != nil)
		}
		if diff := cmp.Diff(families, slices.Sorted(maps.Keys(g.Families))); diff != "" {
			t.Errorf("families (-want +got):\n%s", diff)
		}
	}

	put("1", "shared 1\nonly_one 1\n")
	put("2", "shared 2\nonly_two 2\n")
	hold("only_one", "only_two", "shared")
	if got := guard.Scrape(t, "")[`shared{job="etl"}`]; got != 2 {
		t.Errorf("shared is %v, want 2 of the run that wrote last", got)
	}
	remove("1")
	hold("only_one", "only_two", "shared")
	remove("2")
	hold()
	put("3", "shared 3\n")
	hold("shared")
}

// TestReportChangesNothing pushes to a guard that only reports what a Pushgateway
// without one gets too: the same groups come to be, and the findings are said.
func TestReportChangesNothing(t *testing.T) {
	t.Parallel()
	bare, behind := world.Pushgateway(t), world.Pushgateway(t)
	guard := world.Guard(t, world.GuardOptions{Upstream: behind, Policy: world.Write(t, "policy.yml",
		"version: v1\ndefault:\n  mode: report\n  limits: {sample_limit: 1}\n  rules:\n  - {id: runs, labels: [run_id], action: drop}\n  - {id: mails, shapes: [email], action: reject}\n")})
	for _, r := range []world.Request{
		post("/metrics/job/etl/run_id/1/zone/a", "rows{table=\"t\"} 1\nmore{mail=\"jane@example.org\"} 1\n"),
		{Method: "PUT", Target: "/metrics/job/etl/run_id/2", Body: "rows{zone=\"b\"} 1\n"},
		{Method: "PUT", Target: "/metrics/job/etl/run_id/2", Body: "more 1\n"},
		post("/metrics/job/etl/run_id/3", onePush),
		method("DELETE", "/metrics/job/etl/run_id/3"),
		post("/metrics/job/etl/run_id/2", ""),
	} {
		holdSame(t, bare.Send(t, r), guard.Send(t, r))
	}
	if diff := cmp.Diff(bare.State(t), behind.State(t)); diff != "" {
		t.Errorf("the state differs (-bare +guarded):\n%s", diff)
	}
	findings := guard.Get(t, "/guard/metrics")
	if findings.Status != http.StatusOK {
		t.Fatalf("GET /guard/metrics: %d %s", findings.Status, findings.Body)
	}
	for _, id := range []string{"runs", "mails", "sample_limit"} {
		if !strings.Contains(findings.Body, `id="`+id+`"`) {
			t.Errorf("/guard/metrics does not say the finding %s", id)
		}
	}
}
