package proxy

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/audit"
	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/proxy/store"
	"github.com/pushguard/pushguard/rules/finding"
)

const explainedPolicy = `version: v1
fold_jobs: [trailing_time]
budget: {series: 500}
default: {mode: enforce, owner: ops, budget: {series: 40, label_values: 6, new_series_per_hour: 30}, limits: {sample_limit: 60, body_size_limit: 3KiB}}
jobs:
- job: drop
  rules: [{id: ids, labels: [id, run], action: drop}, {id: bad, labels: [b], shapes: [uuid], action: reject}]
- job: merge
  budget: {series: 40, label_values: 6, pushes_per_minute: 1}
  stale_after: 1h
  rules: [{id: ids, labels: [id], action: drop, gauges: sum}]
- job: collapse
  on_over_budget: collapse
  budget: {series: 25, label_values: 3}
- job: reject
  on_over_budget: reject
  on_refuse: accept
  budget: {series: 25, label_values: 3, pushes_per_minute: 1}
- job: evict
  on_over_budget: evict_oldest
  stale_after: 1h
  budget: {series: 20, groups: 2}
- job: report
  mode: report
  budget: {series: 20, groups: 2}
  stale_after: 1h
  on_over_budget: evict_oldest
  rules: [{id: ids, labels: [id], action: drop}]
- job: report_collapse
  mode: report
  budget: {series: 25, label_values: 3}
  on_over_budget: collapse
  rules: [{id: runs, labels: [run], action: drop}]
- job: snapshot
  counters: {route: snapshot}
- job: open
  mode: open
`

// explainTwin is a guard whose clock is the test's.
type explainTwin struct {
	*Guard
	log strings.Builder
}

type manualClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *manualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *manualClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newExplainTwin(t testing.TB, clock *manualClock) *explainTwin {
	t.Helper()
	p, err := policy.Parse("policy.yml", []byte(explainedPolicy))
	if err != nil {
		t.Fatal(err)
	}
	own, err := store.Open(store.Config{Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	w := &explainTwin{}
	secret := [32]byte{1}
	w.Guard, err = New(Config{
		Policy: p, Upstream: own, Metrics: NewMetrics(prometheus.NewRegistry()), Audit: audit.New(&w.log, nil), AuditAll: true,
		Caps:      Caps{Body: 1 << 20, Decoded: 1 << 20, Samples: 1000, Labels: 20, LabelValue: 100},
		GroupWait: time.Minute, Now: clock.Now, Secret: secret,
		Book:     ledger.NewBook(ledger.Config{Now: clock.Now, Wait: time.Minute, Secret: [16]byte{1}}),
		Counters: counter.NewBook(counter.Config{Now: clock.Now}), Totals: counter.NewTotals(counter.TotalsConfig{Now: clock.Now}),
		Restored: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// seen is all that can be seen of a guard, but for how long things took.
func (w *explainTwin) seen() []string {
	var out []string
	for _, path := range []string{"/metrics", "/guard/metrics", "/guard/api/v1/jobs", "/guard/api/v1/labels/id", "/guard/api/v1/jobs/evict", "/guard/api/v1/jobs/report"} {
		r := httptest.NewRecorder()
		w.Handler().ServeHTTP(r, httptest.NewRequest(http.MethodGet, path, nil))
		lines := strings.Split(r.Body.String(), "\n")
		lines = slices.DeleteFunc(lines, func(l string) bool {
			return strings.Contains(l, "_duration_seconds") || strings.Contains(l, "_success_timestamp_seconds") || strings.Contains(l, "pushguard_explained")
		})
		slices.Sort(lines)
		out = append(out, lines...)
	}
	out = append(out, took.ReplaceAllString(w.log.String(), ""))
	w.log.Reset()
	out = append(out, fmt.Sprint(w.leaving.jobs, w.cfg.Counters.Stats(), w.found.len(), w.epoch.Load().verdicts.bytes, w.epoch.Load().known.bytes, len(w.outputs.young)))
	return out
}

var took = regexp.MustCompile(`"ms":[0-9.]+`)

// explained is a request that can be made again.
type explained struct {
	method, path, body string
	header             http.Header
}

func (p explained) request() Request {
	return Request{Method: p.method, Path: p.path, Header: p.header.Clone(), Body: strings.NewReader(p.body), Length: int64(len(p.body)), Client: "10.0.0.1:1"}
}

func drawExplained(r *rand.Rand, bodies []string) explained {
	jobs := []string{"drop", "merge", "collapse", "reject", "evict", "evict", "report", "report_collapse", "snapshot", "open", "other_1690000000", "", "no"}
	p := explained{
		method: []string{http.MethodPut, http.MethodPost, http.MethodPost, http.MethodPost, http.MethodPost, http.MethodDelete}[r.IntN(6)],
		path:   "/metrics/job/" + jobs[r.IntN(len(jobs))] + []string{"", "/run/1", "/run/2", "/run/3", "/instance/a", "/instance@base64/="}[r.IntN(6)],
		body:   revalued(r, bodies[r.IntN(len(bodies))]), header: http.Header{},
	}
	switch r.IntN(12) {
	case 0:
		p.header.Set("Idempotency-Key", fmt.Sprint(r.IntN(9)))
	case 1:
		p.header.Set("If-Unmodified-Since", time.Unix(1.7e9+int64(r.IntN(4000)), 0).UTC().Format(http.TimeFormat))
	case 2:
		p.header.Set("Accept", "application/problem+json")
	}
	return p
}

// foretold is what an explanation says, and what is seen of the push then.
type foretold struct {
	Status         int
	Answer         string
	Outcome, Would string
	Findings       []finding.Finding
	More           int
	Held, Groups   int
}

// TestExplainForetellsAndChangesNothing: of two guards under one workload one is asked
// to explain pushes in between. Both come to the same, and each explanation is what the
// push is then answered.
func TestExplainForetellsAndChangesNothing(t *testing.T) {
	t.Parallel()
	clock := &manualClock{now: time.Unix(1.7e9, 0)}
	asked, plain := newExplainTwin(t, clock), newExplainTwin(t, clock)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 11))
	bodies := shapedBodies(r)
	outcomes, limits := map[string]int{}, map[string]int{}
	for i := range 1200 {
		for range r.IntN(3) {
			if _, err := asked.Explain(t.Context(), drawExplained(r, bodies).request(), ""); err != nil {
				t.Fatal(err)
			}
		}
		p := drawExplained(r, bodies)
		told, err := asked.Explain(t.Context(), p.request(), "")
		if err != nil {
			t.Fatal(err)
		}
		a := asked.Push(t.Context(), p.request())
		plain.Push(t.Context(), p.request())
		if diff := cmp.Diff(asked.became(t, told, a), explainedAs(told), cmpopts.EquateEmpty()); diff != "" {
			text, _ := json.MarshalIndent(told, "", " ")
			t.Fatalf("request %d, %s %s %v\n%s\n(-pushed +explained):\n%s\n%s", i, p.method, p.path, p.header, p.body, diff, text)
		}
		outcomes[told.Outcome]++
		if told.Budget != nil {
			for _, o := range told.Budget.Over {
				limits[o.Budget]++
			}
			limits["evicted"] += len(told.Budget.Evicted)
		}
		if i%25 == 0 {
			if diff := cmp.Diff(plain.seen(), asked.seen()); diff != "" {
				t.Fatalf("after request %d, %s %s\n%s\n(-not asked +asked):\n%s", i, p.method, p.path, p.body, diff)
			}
		}
		clock.add(time.Duration(r.IntN(20)) * time.Second)
		if r.IntN(40) == 0 {
			clock.add(40 * time.Minute)
			asked.Sweep(t.Context())
			plain.Sweep(t.Context())
		}
	}
	t.Logf("outcomes %v, limits %v", outcomes, limits)
	for _, o := range []string{"passed", "changed", "refused", "failed", "skipped"} {
		if outcomes[o] == 0 {
			t.Errorf("no push was %s: %v", o, outcomes)
		}
	}
	for _, l := range []string{"series", "label_values", "evicted", "new_series_per_hour", "pushes_per_minute"} {
		if limits[l] == 0 {
			t.Errorf("nothing was over %s: %v", l, limits)
		}
	}
}

// became is what is seen of a push: its answer, its audit record, and what the job
// holds.
func (w *explainTwin) became(t *testing.T, told *Trace, a Answer) foretold {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(w.log.String()), "\n")
	var record audit.Record
	for _, line := range slices.Backward(lines) { // what it evicts is written down before
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatal(err)
		}
		if record.Reason == "" {
			break
		}
	}
	out := foretold{
		Status: a.Status, Answer: string(a.Body), Outcome: record.Outcome, Would: record.Would,
		Findings: record.Findings, More: record.MoreFindings,
	}
	if told.Budget != nil {
		book := w.book
		if told.Entry.Mode == string(policy.Report) {
			book = w.shadow
		}
		use, _ := book.Job(told.Entry.Job, 0)
		out.Held, out.Groups = use.Series, use.Groups
	}
	return out
}

func explainedAs(told *Trace) foretold {
	out := foretold{
		Status: told.Answer.Status, Answer: told.Answer.Body, Outcome: told.Outcome, Would: told.Would,
		More: told.MoreFindings,
	}
	for _, f := range told.Findings {
		out.Findings = append(out.Findings, f.Finding)
	}
	if told.Budget != nil {
		out.Held, out.Groups = told.Budget.Held, told.Budget.Groups
	}
	return out
}
