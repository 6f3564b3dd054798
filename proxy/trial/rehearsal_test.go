package trial_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/trial"
	"github.com/pushguard/pushguard/proxy/wire"
)

// steps are the requests of an example as a test has them; false if one is of no group.
func steps(requests []recorded) ([]policy.TestStep, bool) {
	var out []policy.TestStep
	for i, r := range requests {
		key, err := wire.ParsePath(r.request.Path, false)
		if err != nil {
			return nil, false
		}
		grouping := slices.DeleteFunc(slices.Clone(key.Labels()), func(l labels.Label) bool { return l.Name == "job" })
		out = append(out, policy.TestStep{
			Line: i + 1, At: time.Duration(i) * time.Second, Method: r.request.Method, Job: key.Job(), Grouping: grouping,
			Header: r.request.Header, Body: string(r.body),
		})
	}
	return out, true
}

// The examples end in a test as they do where a guard serves in front of a real
// Pushgateway: each with the same status and outcome, and at the end with the same
// page.
func TestRehearsalEndsAsServingDoes(t *testing.T) {
	pushgateway := gatewaytest.Start(t)
	files, err := filepath.Glob("../../testdata/examples/*/policy.yml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d examples: %v", len(files), err)
	}
	ran := 0
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file))
		t.Run(name, func(t *testing.T) {
			requests := example(t, filepath.Dir(file))
			test := policy.Test{Name: name}
			var ok bool
			if test.Steps, ok = steps(requests); !ok {
				return // which a test cannot say
			}
			ran++
			p, err := policy.Load(file)
			if err != nil {
				t.Fatal(err)
			}
			rehearseAsServed(t, p, pushgateway, test, requests)
		})
	}
	if ran < len(files)-10 {
		t.Errorf("only %d of %d examples", ran, len(files))
	}
}

func rehearseAsServed(t *testing.T, p *policy.Policy, pushgateway *url.URL, test policy.Test, requests []recorded) {
	t.Helper()
	behind, err := gateway.New(gateway.Config{URL: pushgateway, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer behind.Close()
	empty(t, behind)
	var traces []proxy.Trace
	guard, err := proxy.New(proxy.Config{
		Policy: p, Upstream: behind, Metrics: proxy.NewMetrics(prometheus.NewRegistry()), Caps: caps,
		Trace:    func(t proxy.Trace) { traces = append(traces, t) },
		Counters: counter.NewBook(counter.Config{Now: func() time.Time { return time.Unix(0, 0) }}),
	})
	if err != nil {
		t.Fatal(err)
	}
	test.Start = time.Now()
	for i, r := range requests {
		guard.Push(t.Context(), r.again())
		test.Steps[i].Want.Outcome = traces[i].Outcome
		test.Steps[i].Want.Status = traces[i].Answer.Status
	}
	front := httptest.NewServer(guard.Handler())
	defer front.Close()
	told := ""
	// A Pushgateway carries out deletes in its own time.
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		look := policy.TestStep{At: test.Steps[len(requests)-1].At, Want: policy.TestWant{Page: pageOf(t, front.URL)}}
		test.Steps = append(test.Steps[:len(requests):len(requests)], look)
		differences, err := trial.Test(t.Context(), trial.Config{Policy: p, Caps: caps}, test)
		if err != nil {
			t.Fatal(err)
		}
		if len(differences) == 0 {
			return
		}
		told = fmt.Sprintf("%+v", differences)
	}
	t.Errorf("served and not in the test: Want, in the test: Got\n%s", told)
}

// pageOf are the series that were pushed, as the guard shows them.
func pageOf(t *testing.T, url string) []string {
	t.Helper()
	resp, err := http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	series, err := policy.ParseSeries(string(body))
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(series, func(line string) bool {
		return !strings.Contains(line, `job="`) || strings.HasPrefix(line, "push_") || strings.HasPrefix(line, "pushguard_job_findings")
	})
}

// Who may push, read and scrape is not what a test is about.
func TestRehearsalTakesNoUser(t *testing.T) {
	p, err := policy.Parse("policy.yml", []byte(`version: v1
auth: {push: required, read: [prometheus], users: {prometheus: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}}
default: {mode: enforce, budget: {series: 10, groups: 5}}
tests:
- name: what is there is seen
  job: load
  push: 'rows{table="t"} 7'
  want: {outcome: passed, left: {series: 7, groups: 4}, page: 'rows{job="load",table="t"} 7'}
`))
	if err != nil {
		t.Fatal(err)
	}
	differences, err := trial.Test(t.Context(), trial.Config{Policy: p, Caps: caps}, p.Tests()[0])
	if err != nil || len(differences) > 0 {
		t.Errorf("%+v, %v", differences, err)
	}
}

// What report says of runs that share a group is what enforcement does.
func TestReportKnowsOfSharedGroups(t *testing.T) {
	for mode, outcome := range map[string]string{"enforce": "outcome", "report": "would"} {
		text := fmt.Sprintf(`version: v1
default: {mode: %s, rules: [{id: run-ids, labels: [run_id], action: drop}]}
tests:
- name: two runs
  pushes:
  - {job: load, grouping: {run_id: r1}, push: rows 1, want: {%[2]s: changed, findings: [run-ids]}}
  - {job: load, grouping: {run_id: r2}, push: rows 2, want: {%[2]s: changed, findings: [run-ids, shared_family]}}
  - {job: load, grouping: {run_id: r1}, method: DELETE, want: {%[2]s: skipped}}
  - {job: load, grouping: {run_id: r2}, method: DELETE, want: {%[2]s: changed}}
`, mode, outcome)
		p, err := policy.Parse("policy.yml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		differences, err := trial.Test(t.Context(), trial.Config{Policy: p, Caps: caps}, p.Tests()[0])
		if err != nil || len(differences) > 0 {
			t.Errorf("%s: %+v, %v", mode, differences, err)
		}
	}
}

// Metrics that a rule makes equal become one, also where it is only the labels of the
// grouping key, in place of their own, that make them so: a Pushgateway would refuse the
// push. What was equal as pushed it still refuses.
func TestMetricsOfAGroupBecomeOne(t *testing.T) {
	p, err := policy.Parse("policy.yml", []byte(`version: v1
default:
  mode: enforce
  counters: {route: snapshot}
  rules: [{id: users, labels: [user], action: drop, gauges: sum}]
jobs:
- {job: full, budget: {label_values: 1}, on_over_budget: collapse}
tests:
- name: own labels
  pushes:
  - job: load
    push: &body |
      # TYPE rows gauge
      rows{instance="a",user="1"} 1
      rows{instance="b",user="2"} 2
      rows{instance="c"} 3
    want: {outcome: changed, page: "rows{instance=\"a\",job=\"load\"} 1\nrows{instance=\"b\",job=\"load\"} 2\nrows{instance=\"c\",job=\"load\"} 3"}
  - {job: load, push: *body, want: {outcome: changed}}
  - {job: load, push: *body, want: {outcome: changed}}
  - {job: load, method: DELETE}
  - {job: load, grouping: {instance: x}, push: *body, want: {outcome: changed, page: 'rows{instance="x",job="load"} 6'}}
- name: collapsed
  job: full
  grouping: {instance: x}
  push: |
    rows{instance="a",user="1",t="1"} 1
    rows{instance="b",user="2",t="2"} 2
    rows{instance="c",t="2"} 3
  want: {outcome: changed, page: 'rows{instance="x",job="full",t="__other__"} 6'}
- name: equal as pushed
  job: load
  grouping: {instance: x}
  push: |
    rows{instance="a",user="1"} 1
    rows{instance="b",user="1"} 2
  want: {outcome: failed, status: 400}
- name: a histogram of fragments
  job: load
  grouping: {instance: x}
  push: |
    h_bucket{instance="a",user="1",le="+Inf"} 1
    h_sum{instance="a",user="1"} 1
    h_count{instance="a",user="1"} 1
    h_bucket{instance="b",user="2",le="1"} 1
    h_bucket{instance="b",user="2",le="+Inf"} 1
    h_sum{instance="b",user="2"} 1
    h_count{instance="b",user="2"} 1
  want: {outcome: refused, status: 422}
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range p.Tests() {
		differences, err := trial.Test(t.Context(), trial.Config{Policy: p, Caps: caps}, test)
		if err != nil || len(differences) > 0 {
			t.Errorf("%s: %+v, %v", test.Name, differences, err)
		}
	}
}
