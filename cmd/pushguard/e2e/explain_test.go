package e2e

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// foretelling is a policy under which a random workload passes, changes and is refused.
const foretelling = `version: v1
fold_jobs: [trailing_time]
default:
  mode: enforce
  budget: {series: 40, groups: 6}
  limits: {sample_limit: 5}
  rules:
  - {id: ids, labels: [run_id], action: drop}
jobs:
- {job: evicts, on_over_budget: evict_oldest, budget: {series: 12, groups: 2}}
- {job: collapses, on_over_budget: collapse, budget: {series: 12, label_values: 3}}
- {job: load, on_over_budget: reject, budget: {series: 10}}
`

// TestExplainForetells explains random pushes on a guard in front of a Pushgateway,
// and then sends them: the answer told is the answer got, and telling it
// has changed neither what is stored nor what is exposed.
func TestExplainForetells(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 1))
	behind := world.Pushgateway(t)
	guard := world.Guard(t, world.GuardOptions{
		Upstream: behind, Policy: world.Write(t, "policy.yml", foretelling),
	})
	statuses := map[int]int{}
	for range 150 {
		r := randomWrite(chance)
		fence(t, behind, "")
		before, page, own := behind.State(t), exposed(t, guard), ofJobs(t, guard)
		told := foretell(t, guard, r)
		if diff := cmp.Diff(before, behind.State(t)) + cmp.Diff(page, exposed(t, guard)) + cmp.Diff(own, ofJobs(t, guard)); diff != "" {
			t.Fatalf("explaining %+v has changed (-before +after):\n%s", r, diff)
		}
		got := guard.Send(t, r)
		if got.Status != told.Status || got.Plain() != told.Body {
			t.Fatalf("%+v: told %d %q, got %d %q", r, told.Status, told.Body, got.Status, got.Plain())
		}
		statuses[got.Status]++
	}
	if len(ofJobs(t, guard)) == 0 {
		t.Error("the guard has no series of a job: that was no test of them")
	}
	if statuses[http.StatusOK] == 0 || statuses[http.StatusUnprocessableEntity] == 0 {
		t.Errorf("only %v was answered: that was no test", statuses)
	}
}

// ofJobs are the guard's own series of jobs, but for ages, which time alone changes.
func ofJobs(t *testing.T, guard *world.Process) []string {
	t.Helper()
	all := regexp.MustCompile(`(?m)^pushguard_\w+\{[^}]*job=.*$`).FindAllString(guard.Get(t, "/guard/metrics").Plain(), -1)
	return slices.DeleteFunc(all, func(line string) bool { return strings.HasPrefix(line, "pushguard_oldest_group_age_seconds") })
}

type foretold struct {
	Status int    `json:"status"`
	Body   string `json:"body"`
}

// foretell asks the guard what it would answer.
func foretell(t *testing.T, guard *world.Process, r world.Request) foretold {
	t.Helper()
	query := url.Values{"method": {r.Method}, "path": {r.Target}, "output": {"json"}}
	a := guard.Send(t, world.Request{Method: http.MethodPost, Target: "/guard/api/v1/explain?" + query.Encode(), Body: r.Body})
	var told struct {
		Data struct {
			Answer foretold `json:"answer"`
		} `json:"data"`
	}
	if err := json.Unmarshal([]byte(a.Plain()), &told); err != nil || a.Status != http.StatusOK {
		t.Fatalf("%+v: %d %q: %v", r, a.Status, a.Plain(), err)
	}
	return told.Data.Answer
}
