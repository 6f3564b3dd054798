package proxy_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/wire"
)

const budgets = `version: v1
budget: {series: 40}
default: {mode: enforce}
jobs:
- {job: trimmed, budget: {series: 5}}
- {job: rejected, budget: {series: 5}, on_over_budget: reject}
- {job: forecast, mode: report, budget: {series: 5}}
- {job: values, budget: {label_values: 2}}
- {job: shared_.*, entry_budget: {series: 6}}
- {job: quiet, budget: {series: 3}, on_over_budget: reject, on_refuse: accept}
- {job: dated, budget: {series: 5, until: 2020-01-01}}
`

// findings are the ids of the latest record, with count and limit.
func findings(t *testing.T, g *guard) string {
	t.Helper()
	var out []string
	all, _ := g.lastRecord(t)["findings"].([]any)
	for _, f := range all {
		m := f.(map[string]any)
		out = append(out, fmt.Sprintf("%v %v/%v", m["id"], m["count"], m["limit"]))
	}
	return strings.Join(out, ", ")
}

// ownMetric is the value of one of the guard's own metrics for a job.
func ownMetric(t *testing.T, g *guard, metric, job string) string {
	t.Helper()
	for line := range strings.Lines(g.metrics()) {
		if rest, ok := strings.CutPrefix(line, metric+`{job="`+job+`"} `); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

func TestBudgets(t *testing.T) {
	g := newGuard(t, gatewaytest.Start(t), setup{policy: budgets})
	three, four := "rows{t=\"a\"} 1\nrows{t=\"b\"} 1\nrows{t=\"c\"} 1\n", "rows{t=\"a\"} 1\nrows{t=\"b\"} 1\nrows{t=\"c\"} 1\nrows{t=\"d\"} 1\n"

	// The group's own two series count: three more are at the limit.
	g.push(t, 200, http.MethodPost, "/metrics/job/trimmed", three)
	if got := findings(t, g); got != "near_budget 5/5" {
		t.Errorf("at the limit: %q", got)
	}
	g.push(t, 200, http.MethodPost, "/metrics/job/trimmed", four)
	if got := findings(t, g); got != "series_budget 6/5" {
		t.Errorf("over the limit: %q", got)
	}
	if page := g.do(http.MethodGet, "/metrics", "").Body; !strings.Contains(page, `t="c"`) || strings.Contains(page, `t="d"`) {
		t.Errorf("what is known passes, what is new does not:\n%s", page)
	}
	if got := ownMetric(t, g, "pushguard_series_held", "trimmed") + " of " + ownMetric(t, g, "pushguard_series_budget", "trimmed"); got != "5 of 5" {
		t.Errorf("held %s", got)
	}
	// A job at its limit may exchange what it holds, day after day.
	for day := range 3 {
		g.push(t, 200, http.MethodPut, "/metrics/job/trimmed", fmt.Sprintf("rows{t=\"%d\"} 1\nrows{t=\"%dx\"} 1\nrows{t=\"%dy\"} 1\n", day, day, day))
		if got := findings(t, g); got != "near_budget 5/5" {
			t.Errorf("exchanged: %q", got)
		}
	}
	// A PUT that drops a series gives its place back.
	g.push(t, 200, http.MethodPut, "/metrics/job/trimmed", "rows{t=\"a\"} 1\n")
	g.push(t, 200, http.MethodPost, "/metrics/job/trimmed", "rows{t=\"a\"} 1\nrows{t=\"d\"} 1\n")
	if got := findings(t, g); got != "near_budget 4/5" {
		t.Errorf("after a PUT of less: %q", got)
	}

	g.push(t, 200, http.MethodPost, "/metrics/job/rejected", three)
	a := g.push(t, 422, http.MethodPost, "/metrics/job/rejected", four)
	if !strings.HasPrefix(a.Body, "series_budget: metric rows, 6, limit 5;") {
		t.Errorf("refusal: %q", a.Body)
	}
	g.push(t, 200, http.MethodPost, "/metrics/job/quiet", three)
	if r := g.lastRecord(t); r["outcome"] != "refused" || strings.Contains(g.do(http.MethodGet, "/metrics", "").Body, `job="quiet",t=`) {
		t.Errorf("on_refuse: accept: %v", r)
	}

	g.push(t, 200, http.MethodPost, "/metrics/job/values", four)
	if got := findings(t, g); got != "label_values 4/2" {
		t.Errorf("label values: %q", got)
	}
	g.push(t, 200, http.MethodPost, "/metrics/job/shared_a", "rows 1\n")
	g.push(t, 200, http.MethodPost, "/metrics/job/shared_b", "rows 1\nbytes 1\n")
	if got := findings(t, g); got != "entry_budget 7/6" {
		t.Errorf("entry budget: %q", got)
	}
	g.push(t, 200, http.MethodPost, "/metrics/job/dated", "rows 1\n")
	if got := findings(t, g); got != "budget_expired 1/<nil>" {
		t.Errorf("expired: %q", got)
	}
}

func TestGuardBudget(t *testing.T) {
	upstream := gatewaytest.Start(t)
	g := newGuard(t, upstream, setup{policy: "version: v1\nbudget: {series: 7}\ndefault: {mode: enforce}\n"})
	g.push(t, 200, http.MethodPost, "/metrics/job/a", "rows{t=\"a\"} 1\nrows{t=\"b\"} 1\n")
	g.push(t, 200, http.MethodPost, "/metrics/job/b", "rows 1\n")
	g.push(t, 200, http.MethodPost, "/metrics/job/a", "rows{t=\"a\"} 1\nrows{t=\"b\"} 1\nrows{t=\"c\"} 1\n")
	if got := findings(t, g); got != "guard_budget 8/7" {
		t.Errorf("over the guard's limit: %q", got)
	}
	a := g.push(t, 422, http.MethodPost, "/metrics/job/c", "rows 1\n")
	if !strings.HasPrefix(a.Body, "guard_budget:") {
		t.Errorf("a new group over the guard's limit: %q", a.Body)
	}
	// Another guard finds the same upstream full.
	g = newGuard(t, upstream, setup{policy: "version: v1\nbudget: {series: 6}\ndefault: {mode: enforce}\n"})
	g.push(t, 200, http.MethodPost, "/metrics/job/a", "rows{t=\"a\"} 1\nrows{t=\"b\"} 1\nrows{t=\"new\"} 1\n")
	if got := findings(t, g); !strings.HasPrefix(got, "guard_budget") {
		t.Errorf("after a restart: %q", got)
	}
}

// TestReportForecasts shows the two books: what came is all upstream, what is
// over budget never becomes known in the shadow.
func TestReportForecasts(t *testing.T) {
	g := newGuard(t, gatewaytest.Start(t), setup{policy: budgets})
	body := "rows{t=\"a\"} 1\nrows{t=\"b\"} 1\nrows{t=\"c\"} 1\nrows{t=\"d\"} 1\n"
	for range 2 {
		g.push(t, 200, http.MethodPut, "/metrics/job/forecast", body)
		r := g.lastRecord(t)
		if r["outcome"] != "passed" || r["would"] != "changed" || !strings.Contains(fmt.Sprint(r["findings"]), "series_budget") {
			t.Errorf("record: %v", r)
		}
	}
	if page := g.do(http.MethodGet, "/metrics", "").Body; !strings.Contains(page, `t="d"`) {
		t.Error("a report left something out")
	}
	if got := ownMetric(t, g, "pushguard_series_held", "forecast") + " " + ownMetric(t, g, "pushguard_series_shadow", "forecast"); got != "6 5" {
		t.Errorf("held and shadow: %s", got)
	}
	g.push(t, 202, http.MethodDelete, "/metrics/job/forecast", "")
	if got := ownMetric(t, g, "pushguard_series_shadow", "forecast"); got != "" {
		t.Errorf("shadow after a DELETE: %s", got)
	}
}

// TestAWipeClearsTheForecast: what the upstream was told to delete takes no room
// in the shadow either.
func TestAWipeClearsTheForecast(t *testing.T) {
	g := newGuard(t, gatewaytest.Start(t, "--web.enable-admin-api"), setup{policy: budgets, adminAPI: true})
	body := "rows{t=\"a\"} 1\nrows{t=\"b\"} 1\nrows{t=\"c\"} 1\n"
	g.push(t, 200, http.MethodPut, "/metrics/job/forecast/instance/old", body)
	g.push(t, 202, http.MethodPut, "/api/v1/admin/wipe", "")
	g.push(t, 200, http.MethodPut, "/metrics/job/forecast/instance/new", body)
	if got := findings(t, g); got != "near_budget 5/5" {
		t.Errorf("after a wipe: %q", got)
	}
}

// TestHeldIsWhatTheUpstreamHolds pushes at random, in every mode and way, and
// counts what Prometheus would scrape.
func TestHeldIsWhatTheUpstreamHolds(t *testing.T) {
	upstream := gatewaytest.Start(t)
	policy := `version: v1
fold_jobs: [trailing_time]
default: {mode: enforce, budget: {series: 20, label_values: 4}, rules: [{id: runs, labels: [run], action: drop}]}
jobs:
- {job: open, mode: open}
- {job: report, mode: report}
- {job: strict, on_over_budget: reject}
`
	g := newGuard(t, upstream, setup{policy: policy})
	r := rand.New(rand.NewPCG(3, 4))
	jobs := []string{"open", "report", "strict", "nightly", "nightly_20260101", "nightly_20260102"}
	// What is added up from the beginning leaves no old copies, which are held and
	// not scraped.
	for f := range 3 {
		g.push(t, 200, http.MethodPost, "/metrics/job/first", fmt.Sprintf("# TYPE h%d histogram\nh%d_bucket{le=\"+Inf\"} 2\nh%d_sum 3\nh%d_count 2\n# TYPE s%d summary\ns%d_sum 3\ns%d_count 2\n", f, f, f, f, f, f, f))
	}
	for range 400 {
		target := "/metrics/job/" + jobs[r.IntN(len(jobs))]
		if r.IntN(2) == 0 {
			target += "/run/" + strconv.Itoa(r.IntN(3))
		}
		if r.IntN(4) == 0 {
			target += "/t/" + strconv.Itoa(r.IntN(2))
		}
		switch r.IntN(6) {
		case 0:
			g.do(http.MethodDelete, target, "")
		case 1, 2:
			g.do(http.MethodPut, target, randomBody(r))
		default:
			g.do(http.MethodPost, target, randomBody(r))
		}
	}
	g.push(t, 200, http.MethodPost, "/metrics/job/first", "") // behind what is deleted
	want := scrapedByJob(g.do(http.MethodGet, "/metrics", "").Body, jobs)
	total := 0
	for job, n := range want {
		total += n
		if got := ownMetric(t, g, "pushguard_series_held", job); got != strconv.Itoa(n) && (n > 0 || got != "") {
			t.Errorf("job %s: held %q, scraped %d", job, got, n)
		}
	}
	if total < 20 {
		t.Errorf("only %d series: this was no test", total)
	}
}

// randomBody is a few families of every type; some of the same name and another
// type are refused by the upstream.
func randomBody(r *rand.Rand) string {
	var b strings.Builder
	for f := range 1 + r.IntN(3) {
		switch r.IntN(5) {
		case 0:
			fmt.Fprintf(&b, "# TYPE h%d histogram\n", f)
			for t := range 1 + r.IntN(2) {
				fmt.Fprintf(&b, "h%d_bucket{t=\"%d\",le=\"1\"} 1\nh%d_bucket{t=\"%d\",le=\"+Inf\"} 2\nh%d_sum{t=\"%d\"} 3\nh%d_count{t=\"%d\"} 2\n", f, t, f, t, f, t, f, t)
			}
		case 1:
			fmt.Fprintf(&b, "# TYPE s%d summary\ns%d{quantile=\"0.5\"} 1\ns%d_sum 3\ns%d_count 2\n", f, f, f, f)
		case 2:
			fmt.Fprintf(&b, "odd%d{x=\"1\"} 1 %d\n", f, r.IntN(100)) // a timestamp: refused upstream
		default:
			for range 1 + r.IntN(4) {
				fmt.Fprintf(&b, "rows%d{t=\"%d\",run=\"%d\"} 1\n", f, r.IntN(6), r.IntN(1000))
			}
		}
	}
	return b.String()
}

// scrapedByJob counts the series that Prometheus would scrape, by folded
// job, in no way that the guard has.
func scrapedByJob(page string, jobs []string) map[string]int {
	out := map[string]int{}
	for _, j := range jobs {
		out[strings.TrimSuffix(strings.TrimSuffix(j, "_20260101"), "_20260102")] = 0
	}
	for line := range strings.Lines(page) {
		if _, after, ok := strings.Cut(line, `job="`); ok && line[0] != '#' && !strings.HasPrefix(line, "pushguard_") {
			job, _, _ := strings.Cut(after, `"`)
			out[strings.TrimSuffix(strings.TrimSuffix(job, "_20260101"), "_20260102")]++
		}
	}
	return out
}

// TestAFamilyTwice holds the ledger to what a Pushgateway makes of a protobuf
// body in which a family stands twice: the last one.
func TestAFamilyTwice(t *testing.T) {
	upstream := gatewaytest.Start(t)
	g := newGuard(t, upstream, setup{policy: "version: v1\ndefault: {mode: enforce, budget: {series: 100}}\n"})
	var body bytes.Buffer
	for _, n := range []int{5, 2} {
		mf := &dto.MetricFamily{Name: proto.String("rows"), Type: dto.MetricType_GAUGE.Enum()}
		for i := range n {
			mf.Metric = append(mf.Metric, &dto.Metric{
				Label: []*dto.LabelPair{{Name: proto.String("t"), Value: proto.String(strconv.Itoa(i))}},
				Gauge: &dto.Gauge{Value: proto.Float64(1)},
			})
		}
		if _, err := protodelim.MarshalTo(&body, mf); err != nil {
			t.Fatal(err)
		}
	}
	a := g.do(http.MethodPut, "/metrics/job/twice", body.String(), "Content-Type", wire.ProtobufType)
	if a.Status != 200 {
		t.Fatalf("status %d: %s", a.Status, a.Body)
	}
	want := scrapedByJob(g.do(http.MethodGet, "/metrics", "").Body, []string{"twice"})["twice"]
	if got := ownMetric(t, g, "pushguard_series_held", "twice"); got != strconv.Itoa(want) || want != 4 {
		t.Errorf("held %s, scraped %d", got, want)
	}
}

// Findings are exposed beside what the jobs hold, and neither cost a guarantee
// nor bring the page over the guard's budget.
func TestFindingsGiveWayToGuarantees(t *testing.T) {
	g := newGuard(t, gatewaytest.Start(t), setup{policy: `version: v1
budget: {series: 10}
default: {mode: enforce}
jobs:
- job: payroll
  budget: {series: 5}
`})
	g.push(t, 200, "PUT", "/metrics/job/explosion", lines("rows", 8))
	shown := func() int {
		return strings.Count(g.do("GET", "/metrics", "").Body, "\npushguard_job_findings{")
	}
	if n := shown(); n != 1 {
		t.Errorf("%d findings with room for five series, want 1", n)
	}
	g.push(t, 200, "PUT", "/metrics/job/payroll", "paid 1\nlate 2\nopen 3\n")
	if held := g.lastRecord(t); held["outcome"] != "passed" {
		t.Errorf("within its guarantee: %v", held)
	}
	if n := shown(); n != 0 {
		t.Errorf("%d findings without room, want none", n)
	}
}

// lines is a body of so many metrics of a family.
func lines(family string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%s{id=%q} 1\n", family, fmt.Sprint(i))
	}
	return b.String()
}
