package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/audit"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/store"
)

// TestForecasts holds audit log, API and metrics to what enforcement would make of
// the pushes to jobs in report, those that would pass among them.
func TestForecasts(t *testing.T) {
	upstream := gatewaytest.Start(t)
	rules, err := policy.Parse("policy.yml", []byte(`version: v1
default: {mode: report, owner: team, limits: {label_limit: 3}, rules: [{id: ids, labels: [run_id], action: drop}]}
jobs: [{job: enforced, mode: enforce}]
`))
	if err != nil {
		t.Fatal(err)
	}
	metrics := NewMetrics(prometheus.NewRegistry())
	behind, err := gateway.New(gateway.Config{URL: upstream, Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	g, err := New(Config{
		Policy: rules, Upstream: behind, Audit: audit.New(&log, nil), Metrics: metrics, GroupWait: 30 * time.Second,
		Caps:   Caps{Body: 1 << 20, Decoded: 1 << 20, Samples: 1000, Labels: 64, LabelValue: 4096},
		Rhythm: Rhythm{Forecast: time.Hour},
	})
	if err != nil {
		t.Fatal(err)
	}
	h := g.Handler()
	push := func(method, path, body string, want int) {
		t.Helper()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		if w.Code != want {
			t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
	}
	push("POST", "/metrics/job/safe", "a 1\n", 200)
	push("PUT", "/metrics/job/safe", "a 2\n", 200)
	push("DELETE", "/metrics/job/safe/instance/x", "", 202)
	push("POST", "/metrics/job/mixed", "b{run_id=\"1\"} 1\nb{run_id=\"2\"} 1\n", 200)
	push("POST", "/metrics/job/mixed", "c{a=\"1\",b=\"1\",c=\"1\",d=\"1\"} 1\n", 200)
	push("POST", "/metrics/job/mixed", "broken{", 400)
	push("POST", "/metrics/job/enforced", "d{run_id=\"1\"} 1\n", 200)

	type forecast struct {
		Pushes, Passed, Changed, Refused, Series int
		Enforced                                 int `json:"series_enforced"`
		Findings                                 map[string]int
		Labels                                   []string
		Safe                                     bool
	}
	want := map[string]forecast{
		"safe":  {Pushes: 2, Passed: 2, Series: 3, Enforced: 3, Safe: true},
		"mixed": {Pushes: 2, Changed: 1, Refused: 1, Series: 5, Enforced: 3, Findings: map[string]int{"ids": 1, "label_limit": 1}, Labels: []string{"run_id"}},
	}
	got := map[string]forecast{}
	for _, name := range []string{"safe", "mixed", "enforced"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/guard/api/v1/jobs/"+name, nil))
		var a struct{ Data struct{ Forecast *forecast } }
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		if a.Data.Forecast != nil {
			got[name] = *a.Data.Forecast
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("API (-want +got):\n%s", diff)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = g.Run(ctx)
	_ = g.Run(ctx) // nothing came since: nothing is written again
	written := map[string]forecast{}
	for line := range strings.Lines(log.String()) {
		var r struct {
			Governed, Outcome, Owner string
			Forecast                 *forecast
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if r.Forecast == nil {
			continue
		}
		if _, twice := written[r.Governed]; twice || r.Owner != "team" || r.Outcome != audit.OutcomeForecast {
			t.Errorf("%s", line)
		}
		r.Forecast.Safe = r.Governed == "safe"
		written[r.Governed] = *r.Forecast
	}
	if diff := cmp.Diff(want, written); diff != "" {
		t.Errorf("audit log (-want +got):\n%s", diff)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/guard/metrics", nil))
	for _, line := range []string{
		`pushguard_forecast_pushes_total{job="mixed",outcome="changed"} 1`,
		`pushguard_forecast_pushes_total{job="mixed",outcome="refused"} 1`,
		`pushguard_forecast_pushes_total{job="safe",outcome="passed"} 2`,
	} {
		if !strings.Contains(w.Body.String(), line+"\n") {
			t.Errorf("%s is not among the metrics", line)
		}
	}
}

// Beyond maxJobs, jobs share an outlook; another policy begins anew.
func TestOutlooksAreBounded(t *testing.T) {
	o := &outlooks{jobs: map[string]*outlook{}}
	note := func(job, digest string) {
		o.note(&passage{job: job, entry: &policy.Entry{Mode: policy.Report}}, digest, Passed)
	}
	for i := range maxJobs + 3 {
		note(fmt.Sprint("j", i), "one")
	}
	note(strings.Repeat("x", maxJobName+1), "one")
	if f := o.of(otherJobs); len(o.jobs) != maxJobs+1 || f == nil || f.Pushes != 4 {
		t.Errorf("%d outlooks, the shared one %+v", len(o.jobs), f)
	}
	note("j7", "two")
	if f := o.of("j7"); f == nil || f.Pushes != 1 {
		t.Errorf("after a reload: %+v", f)
	}
	if o.of("never") != nil {
		t.Error("a job that never pushed has an outlook")
	}
}

// A push is refused as a whole for counters that have no room: enforcement would hold
// nothing of it, and nothing of it stands in the way of the next.
func TestForecastOfARefusalForCounters(t *testing.T) {
	t.Parallel()
	rules, err := policy.Parse("policy.yml", []byte(`version: v1
default: {budget: {series: 6}, on_over_budget: reject}
jobs: [{job: reported, mode: report}, {job: enforced, mode: enforce}]
`))
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	g, err := New(Config{
		Policy: rules, Upstream: must(store.Open(store.Config{})), Audit: audit.New(&log, nil), AuditAll: true, Metrics: NewMetrics(prometheus.NewRegistry()),
		Caps: Caps{Body: 1 << 20, Decoded: 1 << 20, Samples: 1000, Labels: 64, LabelValue: 4096},
	})
	if err != nil {
		t.Fatal(err)
	}
	push := func(job, group, metrics string) audit.Record {
		body := strings.ReplaceAll(metrics, "JOB", job)
		g.Push(t.Context(), Request{Method: http.MethodPost, Path: "/metrics/job/" + job + group, Body: strings.NewReader(body), Length: int64(len(body))})
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		var r audit.Record
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, step := range []struct {
		group, metrics, outcome string
		held                    int
	}{
		{"", "JOB_rows 1\n# TYPE JOB_total counter\nJOB_total{t=\"1\"} 1\nJOB_total{t=\"2\"} 1\nJOB_total{t=\"3\"} 1\nJOB_total{t=\"4\"} 1\n", "refused", 0},
		{"/instance/a", "JOB_a 1\nJOB_b 1\nJOB_c 1\nJOB_d 1\n", "passed", 6},
	} {
		would, outcome := push("reported", step.group, step.metrics).Would, push("enforced", step.group, step.metrics).Outcome
		if would != step.outcome || outcome != step.outcome {
			t.Errorf("%s: would be %s, is %s; want %s", step.metrics, would, outcome, step.outcome)
		}
		if said, held := g.shadow.Held("reported"), g.book.Held("enforced"); said != step.held || held != step.held {
			t.Errorf("%s: would hold %d series, holds %d; want %d", step.metrics, said, held, step.held)
		}
	}
}
