package proxy_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
)

const (
	openAll  = "version: v1\ndefault: {mode: open}\n"
	dropping = "version: v1\ndefault: {mode: enforce, owner: data-eng, counters: {route: snapshot}, rules: [{id: ids, labels: [run_id], action: drop}]}\n"
)

// TestRecord is every field of an audit record.
func TestRecord(t *testing.T) {
	g := newGuard(t, gatewaytest.Start(t), setup{policy: dropping})
	before := time.Now().Truncate(time.Microsecond)
	g.push(t, 200, http.MethodPut, "/metrics/job/nightly/run_id/7", "rows{run_id=\"8\"} 1\n")
	r := g.lastRecord(t)
	at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(r["time"]))
	if err != nil || at.Before(before) || at.After(time.Now()) || !strings.HasSuffix(fmt.Sprint(r["time"]), "Z") {
		t.Errorf("time %v, %v", r["time"], err)
	}
	if ms, ok := r["ms"].(float64); !ok || ms <= 0 || ms > 20_000 {
		t.Errorf("ms %v", r["ms"])
	}
	if digest := fmt.Sprint(r["policy"]); len(digest) != 12 {
		t.Errorf("policy %q", digest)
	}
	for field, want := range map[string]any{
		"job": "nightly", "governed": "nightly", "entry": "default", "owner": "data-eng",
		"group": `{job="nightly"}`, "method": "PUT", "client": "192.0.2.1:1234", "mode": "enforce",
		"outcome": "changed", "status": 200.0, "upstream_status": 200.0, "samples": 1.0, "bytes": 19.0,
	} {
		if r[field] != want {
			t.Errorf("%s: %v, want %v", field, r[field], want)
		}
	}
	if _, ok := r["would"]; ok {
		t.Error("enforcing, the record says what would be done")
	}
}

// TestSparingLog writes down what was refused or changed, and not what passed.
func TestSparingLog(t *testing.T) {
	g := newGuard(t, gatewaytest.Start(t), setup{policy: dropping, sparing: true})
	for _, tc := range []struct {
		name, body string
		records    int
	}{
		{"passed", "rows 1\n", 0},
		{"changed", "rows{run_id=\"1\"} 1\n", 1},
		{"refused", "rows{\n", 1},
	} {
		g.do(http.MethodPut, "/metrics/job/nightly", tc.body)
		if n := len(g.records(t)); n != tc.records {
			t.Errorf("%s: %d records, want %d", tc.name, n, tc.records)
		}
	}
}

// diskFull is a writer whose every write fails.
type diskFull struct{}

func (diskFull) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestALostRecordFailsNoPush(t *testing.T) {
	g := newGuard(t, gatewaytest.Start(t), setup{policy: dropping, audit: diskFull{}})
	for range 3 {
		g.push(t, 200, http.MethodPut, "/metrics/job/nightly", "rows{run_id=\"1\"} 1\n")
	}
	if page := g.metrics(); !strings.Contains(page, "\npushguard_audit_lost_total 3\n") {
		t.Errorf("lost records are not counted:\n%s", page)
	}
}

func TestMetricsCountOutcomes(t *testing.T) {
	g := newGuard(t, gatewaytest.Start(t), setup{policy: dropping})
	g.push(t, 200, http.MethodPut, "/metrics/job/nightly", "rows 1\n")
	g.push(t, 200, http.MethodPut, "/metrics/job/nightly", "rows{run_id=\"1\"} 1\nbytes{run_id=\"1\"} 1\n")
	g.push(t, 400, http.MethodPut, "/metrics/job/nightly", "rows{ 1\n")
	g.push(t, 404, http.MethodPut, "/no/group", "rows 1\n")
	page := g.metrics()
	for _, want := range []string{
		`pushguard_pushes_total{job="nightly",mode="enforce",outcome="passed"} 1`,
		`pushguard_pushes_total{job="nightly",mode="enforce",outcome="changed"} 1`,
		`pushguard_pushes_total{job="nightly",mode="enforce",outcome="refused"} 1`,
		`pushguard_pushes_total{job="",mode="",outcome="refused"} 1`,
		`pushguard_findings_total{id="ids",job="nightly"} 1`,
		`pushguard_findings_total{id="protocol",job="nightly"} 1`,
		`pushguard_refusals_total{id="protocol",job="nightly"} 1`,
		`pushguard_push_duration_seconds_count{outcome="passed"} 1`,
		`pushguard_push_duration_seconds_count{outcome="refused"} 2`,
		`pushguard_job_info{entry="default",job="nightly",mode="enforce",owner="data-eng"} 1`,
		`pushguard_job_info{entry="",job="__other__",mode="",owner=""} 1`,
		`pushguard_sync_errors_total 0`,
		`pushguard_upstream_request_duration_seconds_count{code="200",method="PUT"} 2`,
		`pushguard_parse_duration_seconds_count 2`,
		`pushguard_policy_duration_seconds_count 2`,
		`pushguard_groups 1`,
	} {
		if !strings.Contains(page, want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	if t.Failed() {
		t.Log(page)
	}
}

// What is guaranteed to nobody may be gone long before the guard is full, and the metrics
// say so.
func TestMetricsTellWhatIsLeftBesideGuarantees(t *testing.T) {
	g := newGuard(t, gatewaytest.Start(t), setup{policy: "version: v1\nbudget: {series: 100}\ndefault: {mode: enforce, owner: data}\n" +
		"jobs: [{job: nightly, budget: {series: 60}}]\n"})
	for i := range 13 { // each with the Pushgateway's own two
		g.push(t, 200, http.MethodPut, fmt.Sprintf("/metrics/job/other/n/%d", i), "rows 1\n")
	}
	page := g.metrics()
	for _, want := range []string{"pushguard_series_limit 100", "pushguard_series_lendable 40", "pushguard_series_lent 39"} {
		if !strings.Contains(page, want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	g.push(t, 422, http.MethodPut, "/metrics/job/other/n/13", "rows 1\n")
}

// A push is refused for each reason once, and a rule that would only have changed
// it is none of them.
func TestMetricsCountWhyAPushIsRefused(t *testing.T) {
	g := newGuard(t, gatewaytest.Start(t), setup{policy: "version: v1\ndefault:\n  mode: enforce\n  owner: data\n  rules:\n" +
		"  - {id: ids, labels: [run_id], action: drop}\n  - {id: secrets, labels: [token], action: reject}\n"})
	g.push(t, 422, http.MethodPut, "/metrics/job/nightly", "rows{run_id=\"1\"} 1\na{token=\"1\"} 1\nb{token=\"2\"} 1\n")
	page := g.metrics()
	for want, there := range map[string]bool{
		`pushguard_refusals_total{id="secrets",job="nightly"} 1`:                          true,
		`pushguard_refusals_total{id="ids",job="nightly"}`:                                false,
		`pushguard_findings_total{id="ids",job="nightly"} 1`:                              true,
		`pushguard_job_info{entry="default",job="nightly",mode="enforce",owner="data"} 1`: true,
	} {
		if strings.Contains(page, want) != there {
			t.Errorf("that the page has %s is not %t", want, there)
		}
	}
}

// TestReport pushes the same under report and under enforce: the first sends what
// came, byte for byte, and says what the second does.
func TestReport(t *testing.T) {
	const rules = "version: v1\ndefault:\n  mode: %s\n  counters: {route: snapshot}\n  limits: {sample_limit: 9}\n  rules:\n" +
		"  - {id: ids, labels: [run_id], action: drop}\n  - {id: secrets, labels: [token], action: reject}\n"
	sent := make(chan string, 1)
	upstream := upstreamFunc(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sent <- fmt.Sprint(r.Method, " ", r.URL.EscapedPath(), " ", r.Header.Get("Content-Type"), " ", r.Header.Get("Content-Encoding"), " ", string(body))
	})
	for _, tc := range []struct{ name, path, body, would string }{
		{"passes", "/metrics/job/a/instance/i", "rows 1\n", "passed"},
		{"a label", "/metrics/job/a", "rows{ run_id = \"1\" , } 1\n", "changed"},
		{"a label of the key", "/metrics/job/a/run_id/7", "rows 1\n", "changed"},
		{"equal series", "/metrics/job/a", "rows{run_id=\"1\"} 1\nrows{run_id=\"2\"} 1\n", "changed"},
		{"a rejected label", "/metrics/job/a", "rows{token=\"1\"} 1\n", "refused"},
		{"a rejected label of the key", "/metrics/job/a/token/x", "rows 1\n", "refused"},
		{"a limit", "/metrics/job/a", strings.Repeat("rows{a=\"1\"} 1\n", 10), "refused"},
		{"unlike bounds", "/metrics/job/a", "# TYPE h histogram\nh_bucket{run_id=\"1\",le=\"1\"} 1\nh_count{run_id=\"1\"} 1\nh_sum{run_id=\"1\"} 1\nh_bucket{run_id=\"2\",le=\"2\"} 1\nh_count{run_id=\"2\"} 1\nh_sum{run_id=\"2\"} 1\n", "refused"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			report := newGuard(t, upstream, setup{policy: fmt.Sprintf(rules, "report")})
			enforce := newGuard(t, upstream, setup{policy: fmt.Sprintf(rules, "enforce")})
			if a := report.do(http.MethodPut, tc.path, tc.body, "Content-Type", "x/y"); a.Status != 200 {
				t.Fatalf("status %d: %s", a.Status, a.Body)
			}
			if got, want := <-sent, "PUT "+tc.path+" x/y  "+tc.body; got != want {
				t.Errorf("\nsent %q\nwant %q", got, want)
			}
			r := report.lastRecord(t)
			if r["outcome"] != "passed" || r["would"] != tc.would {
				t.Errorf("outcome %v, would %v", r["outcome"], r["would"])
			}
			a := enforce.do(http.MethodPut, tc.path, tc.body, "Content-Type", "x/y")
			if a.Status == 200 {
				<-sent
			}
			e := enforce.lastRecord(t)
			if e["outcome"] != tc.would || fmt.Sprint(e["findings"]) != fmt.Sprint(r["findings"]) {
				t.Errorf("enforce does %v and finds %v,\nreport says %v and finds %v", e["outcome"], e["findings"], r["would"], r["findings"])
			}
		})
	}
}

// TestReportRefusesAsEnforceDoes: what is no push, or would break a scrape, is refused in
// every mode, so enforcement would not have let it pass.
func TestReportRefusesAsEnforceDoes(t *testing.T) {
	upstream := upstreamFunc(t, func(http.ResponseWriter, *http.Request) { t.Error("it was sent") })
	g := newGuard(t, upstream, setup{policy: strings.Replace(dropping, "enforce", "report", 1)})
	for _, body := range []string{"rows{ 1\n", "rows{run_id=\"1\"} 1\nrows{ 1\n", "rows{a=\"\"} 1\nrows 2\n"} {
		g.do(http.MethodPut, "/metrics/job/a", body)
		if r := g.lastRecord(t); r["outcome"] != "refused" || r["would"] != "refused" {
			t.Errorf("%q: outcome %v, would %v", body, r["outcome"], r["would"])
		}
	}
}

// TestReportPassesCompressedBodiesOn as they came.
func TestReportPassesCompressedBodiesOn(t *testing.T) {
	sent := make(chan string, 1)
	upstream := upstreamFunc(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sent <- r.Header.Get("Content-Encoding") + " " + string(body)
	})
	g := newGuard(t, upstream, setup{policy: strings.Replace(dropping, "enforce", "report", 1)})
	packed := request{Body: "rows{run_id=\"1\"} 1\n", Gzip: true}.body(t)
	if a := g.do(http.MethodPut, "/metrics/job/a", packed, "Content-Encoding", "gzip"); a.Status != 200 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	if got := <-sent; got != "gzip "+packed {
		t.Errorf("sent %q", got)
	}
}

// TestWipeThatFails has a wipe come to something though it is answered as failed, as where one
// of several does not take it: what is left is found out.
func TestWipeThatFails(t *testing.T) {
	pushgateway := gatewaytest.Start(t, "--web.enable-admin-api")
	next := httputil.NewSingleHostReverseProxy(pushgateway)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/wipe") {
			next.ServeHTTP(httptest.NewRecorder(), r)
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		next.ServeHTTP(w, r)
	}))
	defer front.Close()
	where, _ := url.Parse(front.URL)
	g := newGuard(t, where, setup{policy: openAll, adminAPI: true})
	g.push(t, 200, http.MethodPut, "/metrics/job/a", "rows 1\n")
	g.push(t, 500, http.MethodPut, "/api/v1/admin/wipe", "")
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		g.push(t, 200, http.MethodPut, "/metrics/job/b", "rows 1\n")
		if strings.Contains(g.metrics(), "\npushguard_groups 1\n") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the book holds what was wiped")
		}
	}
}

// TestWipe empties the Pushgateway and the book: what collided before does not.
func TestWipe(t *testing.T) {
	pushgateway := gatewaytest.Start(t, "--web.enable-admin-api")
	g := newGuard(t, pushgateway, setup{policy: openAll, adminAPI: true})
	g.push(t, 200, http.MethodPut, "/metrics/job/a", "rows 1\n")
	g.push(t, 400, http.MethodPut, "/metrics/job/a/instance@base64/=", "rows 1\n")
	g.push(t, 202, http.MethodPut, "/api/v1/admin/wipe", "")
	if page := g.metrics(); !strings.Contains(page, "\npushguard_groups 0\n") {
		t.Error("the book is not empty")
	}
	for len(held(t, pushgateway)) > 0 {
		time.Sleep(time.Millisecond)
	}
	g.push(t, 200, http.MethodPut, "/metrics/job/a/instance@base64/=", "rows 1\n")

	plain := newGuard(t, pushgateway, setup{policy: openAll})
	plain.push(t, 404, http.MethodPut, "/api/v1/admin/wipe", "")
	if n := len(held(t, pushgateway)); n != 1 {
		t.Errorf("a wipe that is not enabled left %d groups", n)
	}
}

// TestAHandDeletedGroupIsNotInTheWay: what the book believes of a collision is
// looked at once more.
func TestAHandDeletedGroupIsNotInTheWay(t *testing.T) {
	pushgateway := gatewaytest.Start(t)
	g := newGuard(t, pushgateway, setup{policy: openAll})
	g.push(t, 200, http.MethodPut, "/metrics/job/a", "rows 1\n")
	empty(t, pushgateway)
	time.Sleep(1100 * time.Millisecond) // the listing is looked at once a second
	g.push(t, 200, http.MethodPut, "/metrics/job/a/instance@base64/=", "rows 1\n")
}

// TestUpstreamsOwnRefusal comes through as it is, and is a failure in the log.
func TestUpstreamsOwnRefusal(t *testing.T) {
	pushgateway := gatewaytest.Start(t)
	g := newGuard(t, pushgateway, setup{policy: openAll})
	a := g.push(t, 400, http.MethodPut, "/metrics/job/a", "rows 1 1700000000000\n")
	if !strings.HasPrefix(a.Body, "pushed metrics are invalid or inconsistent") {
		t.Errorf("%q", a.Body)
	}
	if r := g.lastRecord(t); r["outcome"] != "failed" || r["upstream_status"] != 400.0 {
		t.Errorf("record %v", r)
	}
	// The Pushgateway has booked the failure as a group, and so has the guard.
	g.push(t, 400, http.MethodPut, "/metrics/job/a/instance@base64/=", "rows 1\n")
}

// TestCapsHoldInEveryMode, at, under and over.
func TestCapsHoldInEveryMode(t *testing.T) {
	up := upstreamFunc(t, func(http.ResponseWriter, *http.Request) {})
	caps := proxy.Caps{Body: 60, Decoded: 90, Samples: 3, Labels: 2, LabelValue: 8}
	long := func(n int) string { return "# " + strings.Repeat("x", n-3) + "\n" }
	for _, tc := range []struct {
		name, body string
		gzip       bool
		want       int
	}{
		{"body under", long(59), false, 200},
		{"body at", long(60), false, 200},
		{"body over", long(61), false, 413},
		{"decoded under", long(89), true, 200},
		{"decoded at", long(90), true, 200},
		{"decoded over", long(91), true, 413},
		{"samples at", "a 1\nb 1\nc 1\n", false, 200},
		{"samples over", "a 1\nb 1\nc 1\nd 1\n", false, 413},
		{"labels at", "a{b=\"1\",c=\"1\"} 1\n", false, 200},
		{"labels over", "a{b=\"1\",c=\"1\",d=\"1\"} 1\n", false, 413},
		{"value at", "a{b=\"12345678\"} 1\n", false, 200},
		{"value over", "a{b=\"123456789\"} 1\n", false, 413},
	} {
		for _, mode := range []string{"open", "report", "enforce"} {
			g := newGuard(t, up, setup{policy: "version: v1\ndefault: {mode: " + mode + "}\n", caps: caps})
			var headers []string
			if tc.gzip {
				headers = []string{"Content-Encoding", "gzip"}
			}
			if a := g.do(http.MethodPut, "/metrics/job/a", request{Body: tc.body, Gzip: tc.gzip}.body(t), headers...); a.Status != tc.want {
				t.Errorf("%s, %s: %d, want %d: %s", tc.name, mode, a.Status, tc.want, a.Body)
			}
		}
	}
}

// TestRoutePrefix serves below the prefix and nothing beside it.
func TestRoutePrefix(t *testing.T) {
	pushgateway := gatewaytest.Start(t)
	g := newGuard(t, pushgateway, setup{policy: dropping, prefix: "/push"})
	g.push(t, 200, http.MethodPut, "/push/metrics/job/a", "rows{run_id=\"1\"} 1\n")
	for _, path := range []string{"/metrics/job/b", "/pushed/metrics/job/b", "/pus/metrics/job/b"} {
		g.push(t, 404, http.MethodPut, path, "rows 1\n")
	}
	if groups := held(t, pushgateway); len(groups) != 1 || groups[0].key["job"] != "a" {
		t.Errorf("groups %v", groups)
	}
}

// TestNothingElseIsWritten sends every writing method to paths that are no group.
func TestNothingElseIsWritten(t *testing.T) {
	up := upstreamFunc(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s %s was forwarded", r.Method, r.URL) })
	g := newGuard(t, up, setup{policy: openAll})
	for _, path := range []string{
		"/", "/metrics", "/metrics/", "/metrics/job", "/metrics/job/", "//metrics/job/a", "/metrics//job/a", "/METRICS/job/a",
		"/metrics/job/a/b", "/metrics/job/a/%ff/c", "/metrics/job@base64/!!", "/metrics/job/../job/a", "/metrics/./job/a",
		"/api/v1/admin/wipe", "/api/v1/metrics", "/-/quit", "/-/healthy", "/status", "/static/x", "/guard/metrics", "/guard/x", "/unknown",
	} {
		for _, method := range []string{http.MethodPut, http.MethodPost, http.MethodDelete, "put", "Post"} {
			if a := g.do(method, path, "rows 1\n"); a.Status < 400 || a.Status >= 500 {
				t.Errorf("%s %s: %d", method, path, a.Status)
			}
		}
	}
}
