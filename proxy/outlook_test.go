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
	o := newOutlooks(0)
	for i := range maxJobs + 3 {
		noteAt(o, fmt.Sprint("j", i), "one", time.Time{})
	}
	noteAt(o, strings.Repeat("x", maxJobName+1), "one", time.Time{})
	if f := o.of(otherJobs); len(o.jobs) != maxJobs+1 || f == nil || f.Pushes != 4 {
		t.Errorf("%d outlooks, the shared one %+v", len(o.jobs), f)
	}
	noteAt(o, "j7", "two", time.Time{})
	if f := o.of("j7"); f == nil || f.Pushes != 1 {
		t.Errorf("after a reload: %+v", f)
	}
	if o.of("never") != nil {
		t.Error("a job that never pushed has an outlook")
	}
}

func noteAt(o *outlooks, job, digest string, now time.Time) {
	o.note(&passage{job: job, entry: &policy.Entry{Mode: policy.Report}, started: now}, digest, Passed)
}

// A job that comes where there is no room takes that of those that nobody has pushed to
// for outlookKept, and of no others; what is not written down yet stays in any case.
func TestOldOutlooksMakeRoom(t *testing.T) {
	begun := time.Unix(1e9, 0)
	for _, tc := range []struct {
		name           string
		jobs           int
		recorded, wait time.Duration
		kept, shared   int // of the jobs that are old, and pushes of those without room
	}{
		{"under the bound", maxJobs - 2, 0, outlookKept, maxJobs - 2, 0},
		{"at the bound with the first", maxJobs - 1, 0, outlookKept, 1, 0},
		{"at the bound, not old yet", maxJobs, 0, outlookKept - 1, maxJobs, 2},
		{"at the bound", maxJobs, 0, outlookKept, 1, 0},
		{"over the bound", maxJobs + 1, 0, outlookKept, 1, 1},
		{"with a record every other day", maxJobs, outlookKept, outlookKept, maxJobs, 2},
		{"and two records later", maxJobs, outlookKept, 2 * outlookKept, 1, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := newOutlooks(tc.recorded)
			for i := range tc.jobs {
				noteAt(o, fmt.Sprint("old", i), "one", begun)
			}
			noteAt(o, "old7", "one", begun.Add(time.Second))
			now := begun.Add(tc.wait)
			noteAt(o, "fresh0", "one", now)
			noteAt(o, "fresh1", "one", now)
			kept, shared := 0, 0
			for i := range tc.jobs {
				if o.of(fmt.Sprint("old", i)) != nil {
					kept++
				}
			}
			if f := o.of(otherJobs); f != nil {
				shared = f.Pushes
			}
			if f := o.of("old7"); kept != tc.kept || shared != tc.shared || f == nil || f.Pushes != 2 {
				t.Errorf("kept %d, shared %d, want %d and %d; the one pushed to since: %+v", kept, shared, tc.kept, tc.shared, f)
			}
			for i := range maxJobs {
				noteAt(o, fmt.Sprint("more", i), "one", now)
			}
			if n := len(o.fresh()); n != maxJobs+1 {
				t.Errorf("then %d outlooks are recorded, want %d and the shared one", n, maxJobs)
			}
		})
	}
}

// Looking for room is put off until an outlook is old, and no longer: room that comes
// back later is found as well.
func TestRoomForOutlooksComesBackAgain(t *testing.T) {
	o := newOutlooks(0)
	now := time.Unix(1e9, 0)
	for i := range maxJobs {
		noteAt(o, fmt.Sprint("j", i), "one", now.Add(time.Duration(i)*time.Minute))
	}
	noteAt(o, "early", "one", now.Add(outlookKept-time.Second))
	for i := range maxJobs {
		late := now.Add(outlookKept + time.Duration(i)*time.Minute)
		noteAt(o, fmt.Sprint("late", i), "one", late)
		noteAt(o, "later", "one", late)
		if o.of(fmt.Sprint("late", i)) == nil || o.of("later") != nil || o.of(fmt.Sprint("j", i)) != nil {
			t.Fatalf("after %d minutes: %d outlooks", i, len(o.jobs))
		}
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
