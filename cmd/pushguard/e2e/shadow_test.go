package e2e

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// strict is a policy that would let hardly a push pass unchanged, in report.
const strict = `version: v1
budget: {series: 60}
fold_jobs: [trailing_time]
default:
  mode: report
  owner: team
  budget: {series: 6, groups: 2, label_values: 2, pushes_per_minute: 3}
  on_over_budget: reject
  limits: {sample_limit: 4, label_limit: 4, label_value_length_limit: 20}
  labels: [instance, table]
  rules:
  - {id: ids, labels: [run_id], action: drop}
jobs:
- {job: evicts, on_over_budget: evict_oldest}
- {job: collapses, on_over_budget: collapse}
- {job: totals, counters: {route: totals}}
`

// TestShadowChangesNothing sends a random workload past a guard whose policy reports on
// nearly all of it, and to a Pushgateway alone: every answer, and in the end all that
// is stored and exposed, are the same.
func TestShadowChangesNothing(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 1))
	bare, behind := world.Pushgateway(t), world.Pushgateway(t)
	guard := world.Guard(t, world.GuardOptions{Upstream: behind, Policy: world.Write(t, "policy.yml", strict)})
	said := regexp.MustCompile(`(?m)^pushguard_forecast_pushes_total\{job="[^"]*",outcome="(\w+)"\}`)
	work := []world.Request{
		post("/metrics/job/passes", "a 1\n"),
		post("/metrics/job/changes", "b{run_id=\"1\"} 1\n"),
		post("/metrics/job/refused", "c{v=\"1\"} 1\nc{v=\"2\"} 1\nc{v=\"3\"} 1\nc{v=\"4\"} 1\nc{v=\"5\"} 1\n"),
	}
	for range 400 {
		work = append(work, randomWrite(chance))
	}
	for _, r := range work {
		want, got := bare.Send(t, r), guard.Send(t, r)
		holdSame(t, want, got)
		if t.Failed() {
			t.Fatalf("%+v", r)
		}
	}
	fence(t, bare, "")
	fence(t, behind, "")
	if diff := cmp.Diff(bare.State(t), behind.State(t)); diff != "" {
		t.Errorf("the state differs (-bare +behind the guard):\n%s", diff)
	}
	if diff := cmp.Diff(exposed(t, bare), exposed(t, behind)); diff != "" {
		t.Errorf("what is exposed differs (-bare +behind the guard):\n%s", diff)
	}
	outcomes := map[string]bool{}
	for _, m := range said.FindAllStringSubmatch(guard.Get(t, "/guard/metrics").Plain(), -1) {
		outcomes[m[1]] = true
	}
	if !outcomes["passed"] || !outcomes["changed"] || !outcomes["refused"] {
		t.Errorf("the forecasts were only %v: that was no test of a shadow", outcomes)
	}
}

// randomWrite is a push or delete, most of them well-formed.
func randomWrite(chance *rand.Rand) world.Request {
	pick := func(from ...string) string { return from[chance.IntN(len(from))] }
	path := "/metrics/job/" + pick("load", "evicts", "collapses", "totals", "etl_1690000000") +
		pick("", "", "/instance/a", "/instance/b", "/run_id/"+fmt.Sprint(chance.IntN(20)))
	method := pick("POST", "POST", "POST", "PUT", "PUT", "DELETE")
	if method == "DELETE" {
		return world.Request{Method: method, Target: path}
	}
	var body strings.Builder
	family := chance.IntN(5)
	kind := []string{"counter", "gauge", "untyped", "gauge", "counter"}[family]
	fmt.Fprintf(&body, "# TYPE m%d_total %s\n", family, kind)
	for i := range 1 + chance.IntN(6) {
		labels := fmt.Sprintf(`table="%d"`, i) + pick("", "", `,run_id="6f1c6c1e"`, `,extra="x"`, `,text="`+strings.Repeat("t", 25)+`"`)
		fmt.Fprintf(&body, "m%d_total{%s} %d\n", family, labels, chance.IntN(100))
	}
	if chance.IntN(20) == 0 {
		body.WriteString("broken{\n")
	}
	return world.Request{Method: method, Target: path, Body: body.String()}
}

// exposed is the page without times and without what the Pushgateway says of itself.
func exposed(t *testing.T, p *world.Process) string {
	t.Helper()
	times := regexp.MustCompile(`(?m)^(push_(?:failure_)?time_seconds\{.*\}) (0$)?.*$`)
	return times.ReplaceAllString(ownSeries.ReplaceAllString(p.Get(t, "/metrics").Plain(), ""), "$1 $2")
}
