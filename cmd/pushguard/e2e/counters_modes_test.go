package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/push"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
	"github.com/pushguard/pushguard/proxy/statsd/statsdtest"
)

// modes is a policy with a mode for job watched; all other jobs are in report.
func modes(watched string) string {
	return "version: v1\ndefault: {mode: report}\njobs:\n- {job: watched, mode: " + watched + "}\n"
}

// switchTo has the guard read another policy and waits until it has.
func switchTo(t *testing.T, guard *world.Process, file, policy string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	if a := guard.Send(t, world.Request{Method: http.MethodPost, Target: "/-/reload"}); a.Status != http.StatusOK {
		t.Fatalf("reload: %d %s", a.Status, a.Body)
	}
}

// found is whether the page that Prometheus scrapes shows a finding of a job.
func found(t *testing.T, guard *world.Process, job, id string) bool {
	t.Helper()
	samples := guard.Scrape(t, "")
	for series := range samples {
		if strings.HasPrefix(series, "pushguard_job_findings{") && strings.Contains(series, `id="`+id+`"`) && strings.Contains(series, `job="`+job+`"`) {
			return true
		}
	}
	return false
}

// TestReportThenEnforce watches a counter in report, where it is forwarded as it
// came and no increment leaves, and then enforces the policy: only what is new
// counts. The copy that the group holds from before is reported, and never beside
// the total, until a PUT takes it away.
func TestReportThenEnforce(t *testing.T) {
	t.Parallel()
	for _, via := range []string{"totals", "unixgram"} {
		t.Run(via, func(t *testing.T) {
			t.Parallel()
			c := &counts{behind: world.Pushgateway(t)}
			flags := []string{"--web.enable-lifecycle"}
			if via != "totals" {
				c.exporter = statsdtest.Start(t)
				flags = append(flags, "--statsd.address="+c.socket(via), "--statsd.zero-hold=0s")
			}
			file := world.Write(t, "policy.yml", modes("report"))
			c.guard = world.Guard(t, world.GuardOptions{Upstream: c.behind, Policy: file, Flags: flags})

			registry, work := prometheus.NewRegistry(), prometheus.NewCounter(prometheus.CounterOpts{Name: "work_total", Help: "Work done."})
			registry.MustRegister(work)
			pusher := push.New(c.guard.URL, "watched").Gatherer(registry)
			count := func(n float64, how func() error) {
				t.Helper()
				work.Add(n)
				if err := how(); err != nil {
					t.Fatal(err)
				}
			}
			const series = `work_total{job="watched"}`
			count(2, pusher.Add)
			count(3, pusher.Add)
			if got := c.behind.Scrape(t, "")[series]; got != 5 {
				t.Errorf("behind a guard in report: %v, want 5 as it came", got)
			}
			if via != "totals" {
				time.Sleep(1500 * time.Millisecond)
				if got := c.exporter.Counters(t); len(got) > 0 {
					t.Errorf("increments left in report: %v", got)
				}
			}
			switchTo(t, c.guard, file, modes("enforce"))
			count(3, pusher.Add)
			c.want(t, "watched", 3)
			if !found(t, c.guard, "watched", "shadowed_counter") {
				t.Error("nobody is told of the copy that the group holds")
			}
			if got := c.behind.Scrape(t, "")[series]; got != 5 {
				t.Errorf("behind: %v, want the old copy, 5", got)
			}
			if got := c.guard.Scrape(t, "")[series]; via == "totals" && got != 3 { // Scrape fails on a series that is there twice
				t.Errorf("the page shows %v, want the total, 3", got)
			}
			before := own(t, c.guard, "pushguard_findings_total", `id="shadowed_counter"`)
			count(4, pusher.Push)
			count(1, pusher.Add)
			c.want(t, "watched", 8)
			if got, there := c.behind.Scrape(t, "")[series]; there {
				t.Errorf("behind: still %v after a PUT", got)
			}
			if got := own(t, c.guard, "pushguard_findings_total", `id="shadowed_counter"`); got != before {
				t.Errorf("the finding comes again after a PUT: %v, was %v", got, before)
			}
		})
	}
}

// TestFamilyConflict: a family is totals or a snapshot for the whole guard, and
// whoever was first decides. Prometheus takes the page in any case.
func TestFamilyConflict(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	guard := world.Guard(t, world.GuardOptions{Upstream: behind, Policy: world.Write(t, "policy.yml",
		"version: v1\ndefault: {mode: enforce}\njobs:\n- {job: snapshot, counters: {route: snapshot}}\n")})
	body := func(name, kind string, value int) string {
		return fmt.Sprintf("# TYPE %s %s\n%s %d\n", name, kind, name, value)
	}

	t.Run("snapshot first", func(t *testing.T) {
		mustPush(t, guard, "/metrics/job/snapshot", body("first_total", "counter", 4))
		mustPush(t, guard, "/metrics/job/adder", body("first_total", "counter", 2))
		mustPush(t, guard, "/metrics/job/adder", body("first_total", "counter", 2))
		samples := guard.Scrape(t, "")
		if samples[`first_total{job="snapshot"}`] != 4 || samples[`first_total{job="adder"}`] != 2 {
			t.Errorf("a family that is a snapshot was added up: %v", samples)
		}
		if !found(t, guard, "adder", "family_conflict") {
			t.Error("no family_conflict")
		}
	})
	t.Run("totals first", func(t *testing.T) {
		mustPush(t, guard, "/metrics/job/summer", body("second", "counter", 2))
		mustPush(t, guard, "/metrics/job/summer", body("second", "counter", 2))
		mustPush(t, guard, "/metrics/job/gauger", body("second", "gauge", 7)+"other 1\n")
		samples := guard.Scrape(t, "")
		if samples[`second{job="summer"}`] != 4 {
			t.Errorf("the totals are %v, want 4", samples[`second{job="summer"}`])
		}
		if _, there := samples[`second{job="gauger"}`]; there || samples[`other{job="gauger"}`] != 1 {
			t.Errorf("what may pass and what may not: %v", samples)
		}
		if !found(t, guard, "gauger", "family_conflict") {
			t.Error("no family_conflict")
		}
	})
	t.Run("a sample of a histogram", func(t *testing.T) {
		const parts = "took_bucket{le=\"1\"} 1\ntook_bucket{le=\"+Inf\"} 2\ntook_sum 3\ntook_count 2\n"
		mustPush(t, guard, "/metrics/job/summer", "# TYPE took histogram\n"+parts)
		mustPush(t, guard, "/metrics/job/parts", parts)
		mustPush(t, guard, "/metrics/job/gauger", body("took_count", "gauge", 7))
		samples := guard.Scrape(t, "")
		if samples[`took_count{job="summer"}`] != 2 || samples[`took_bucket{job="parts", le="1.0"}`] != 1 {
			t.Errorf("took is not added up: %v", samples)
		}
		if _, there := samples[`took_count{job="gauger"}`]; there || !found(t, guard, "gauger", "family_conflict") {
			t.Error("a gauge stands beside a histogram's count")
		}
	})
}
