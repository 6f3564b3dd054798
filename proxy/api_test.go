package proxy_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
)

// told is an answer of the API, as anybody would read it.
type told struct {
	Status, Error string
	Data          map[string]any
	List          []map[string]any // where data is a list
}

// ask reads a path below the API.
func ask(t testing.TB, h http.Handler, path string, status int) told {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/guard/api/v1/"+path, nil))
	if w.Code != status || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Fatalf("%s: %d %v %s", path, w.Code, w.Header(), w.Body)
	}
	var raw struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.Unmarshal(w.Body.Bytes(), &raw); err != nil {
		t.Fatalf("%s: %v: %s", path, err, w.Body)
	}
	a := told{Status: raw.Status, Error: raw.Error}
	if len(raw.Data) == 0 {
		return a
	}
	var err error
	if raw.Data[0] == '[' {
		err = json.Unmarshal(raw.Data, &a.List)
	} else {
		err = json.Unmarshal(raw.Data, &a.Data)
	}
	if err != nil {
		t.Fatalf("%s: %v: %s", path, err, w.Body)
	}
	return a
}

// job is what the API tells of one job.
func (l *living) job(t testing.TB, name string) map[string]any {
	t.Helper()
	return ask(t, l, "jobs/"+url.PathEscape(name), http.StatusOK).Data
}

// scraped counts the series of each job on the page that Prometheus reads.
func scraped(t testing.TB, h http.Handler) map[string]int {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	out := map[string]int{}
	for line := range strings.Lines(w.Body.String()) {
		if _, rest, ok := strings.Cut(line, `job="`); ok && line[0] != '#' && !strings.HasPrefix(line, "pushguard_") {
			name, _, _ := strings.Cut(rest, `"`)
			out[name]++
		}
	}
	return out
}

const apiPolicy = `version: v1
budget: {series: 500, groups: 90}
default: {mode: enforce, owner: platform, budget: {series: 20, groups: 5, new_series_per_hour: 100, new_series_per_day: 200}, stale_after: 6h}
jobs:
- {job: etl/.*, owner: data, budget: {series: 7}, keep_last_success: true}
- {job: forecast, mode: report, budget: {series: 4}}
- {job: open, mode: open}
`

func TestAPIJobs(t *testing.T) {
	t.Parallel()
	upstream := gatewaytest.Start(t)
	g := newLiving(t, upstream, apiPolicy, func(c *proxy.Config) { c.Caps.Series = 400 })
	if a := ask(t, g, "jobs", 200); a.Status != "success" || len(a.Data["jobs"].([]any)) != 0 {
		t.Errorf("of nothing: %+v", a)
	}
	rows := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "rows{t=\"%d\"} 1\n", i)
		}
		return b.String()
	}
	begun := time.Now().Add(-2 * time.Second)
	g.push(t, 200, http.MethodPut, groupPath(map[string]string{"job": "etl/a//b", "run": "1"}), rows(3))
	g.push(t, 200, http.MethodPut, groupPath(map[string]string{"job": "etl/a//b", "run": "2"}), rows(9))
	g.push(t, 200, http.MethodPut, "/metrics/job/forecast", rows(5))
	g.push(t, 200, http.MethodPut, "/metrics/job/open", "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n")
	g.push(t, 200, http.MethodPut, "/metrics/job/counted", "# TYPE c_total counter\nc_total{x=\"a\"} 1\nc_total{x=\"b\"} 1\nlag 1\n")

	all := ask(t, g, "jobs", 200).Data
	// The guard's own series count, too.
	own := strings.Count(g.do(http.MethodGet, "/metrics", "").Body, "\npushguard_job_findings{")
	if all["series_limit"] != float64(400-own) || all["groups"] != 5.0 || all["groups_limit"] != 90.0 {
		t.Errorf("all jobs, with %d series of the guard: %v", own, all)
	}
	page, series := scraped(t, g), 0.0
	for _, j := range all["jobs"].([]any) {
		j := j.(map[string]any)
		if name := j["job"].(string); float64(page[name]) != j["held"] {
			t.Errorf("%s holds %v, %d are scraped", name, j["held"], page[name])
		}
		series += j["held"].(float64)
	}
	if series != all["series"] || len(page) != 4 || len(all["jobs"].([]any)) != 4 {
		t.Errorf("the jobs hold %v in all, %v; scraped are %v", series, all, page)
	}
	first := ask(t, g, "jobs?limit=1", 200).Data["jobs"].([]any)
	if len(first) != 1 || first[0].(map[string]any)["held"] != 7.0 {
		t.Errorf("the one that holds most: %v", first)
	}

	etl := g.job(t, "etl/a//b")
	oldest, err := time.Parse(time.RFC3339, etl["oldest_push"].(string))
	if err != nil || oldest.Before(begun) || oldest.After(time.Now().Add(2*time.Second)) {
		t.Errorf("oldest push: %v, %v", oldest, err)
	}
	groups := etl["group_list"].([]any)
	last, err := time.Parse(time.RFC3339, etl["last_push"].(string))
	if err != nil || last.Before(oldest) || last.After(time.Now().Add(2*time.Second)) {
		t.Errorf("last push: %v, %v", last, err)
	}
	for _, name := range []string{"oldest_push", "last_push", "group_list", "labels"} {
		delete(etl, name)
	}
	want := map[string]any{
		"job": "etl/a//b", "entry": "etl/.*", "file": "policy.yml", "line": 5.0, "owner": "data", "mode": "enforce", "held": 7.0, "granted": 7.0,
		"groups": 2.0, "groups_granted": 5.0, "new_this_hour": 7.0, "new_this_hour_granted": 100.0, "new_this_day": 7.0,
		"new_this_day_granted": 200.0, "stale_after": "6h0m0s",
	}
	if diff := cmp.Diff(want, etl); diff != "" {
		t.Errorf("a job (-want +got):\n%s", diff)
	}
	var told []string
	for _, group := range groups {
		group := group.(map[string]any)
		told = append(told, fmt.Sprint(group["group"], group["series"], group["pinned"]))
	}
	if diff := cmp.Diff([]string{"map[job:etl/a//b run:1] 5 <nil>", "map[job:etl/a//b run:2] 2 true"}, told); diff != "" {
		t.Errorf("its groups (-want +got):\n%s", diff)
	}
	if got := ask(t, g, "jobs/etl/a//b?limit=1", 200).Data["group_list"].([]any); len(got) != 1 {
		t.Errorf("one group was asked for: %v", got)
	}
	if f := g.job(t, "forecast"); f["held"] != 7.0 || f["shadow"] != 4.0 || f["granted"] != 4.0 || f["mode"] != "report" {
		t.Errorf("forecast: %v", f)
	}
	if o := g.job(t, "open"); o["held"] != 6.0 || o["shadow"] != nil {
		t.Errorf("open: %v", o)
	}
	if a := ask(t, g, "jobs/nobody", http.StatusNotFound); a.Status != "error" || a.Error == "" {
		t.Errorf("nobody's job: %+v", a)
	}
}

// TestAPIOfAJobWithoutGroups: what was new is told on, when all groups are gone.
func TestAPIOfAJobWithoutGroups(t *testing.T) {
	t.Parallel()
	g := newLiving(t, gatewaytest.Start(t), apiPolicy, nil)
	g.push(t, 200, http.MethodPut, "/metrics/job/a", "rows 1\n")
	g.push(t, 202, http.MethodDelete, "/metrics/job/a", "")
	if a := g.job(t, "a"); a["held"] != 0.0 || a["groups"] != 0.0 || a["new_this_hour"] != 3.0 || a["new_this_day"] != 3.0 || a["oldest_push"] != nil {
		t.Errorf("told: %v", a)
	}
}

// TestAPIDemand: how many values are pushed stays to be seen, however few pass.
func TestAPIDemand(t *testing.T) {
	t.Parallel()
	g := newLiving(t, gatewaytest.Start(t), `version: v1
default: {mode: enforce, budget: {label_values: 3}, rules: [{id: runs, labels: [run_id], action: drop}]}
`, nil)
	const many = 200
	for i := range many {
		g.push(t, 200, http.MethodPut, fmt.Sprintf("/metrics/job/a/run_id/%d", i), fmt.Sprintf("rows{table=\"t%d\",zone=\"z\"} 1\n", i))
	}
	g.push(t, 200, http.MethodPut, "/metrics/job/b", "rows{table=\"x\"} 1\n")
	near := func(v any) bool { n, ok := v.(float64); return ok && n > many*0.9 && n < many*1.1 }
	labels := map[string]any{}
	for _, l := range g.job(t, "a")["labels"].([]any) {
		l := l.(map[string]any)
		labels[l["label"].(string)] = l["distinct"]
	}
	if !near(labels["table"]) || !near(labels["run_id"]) || labels["zone"] != 1.0 {
		t.Errorf("labels of a job: %v", labels)
	}
	if page := scraped(t, g)["a"]; page > 2+3 {
		t.Fatalf("%d series passed", page)
	}
	list := ask(t, g, "labels/table", 200).List
	if len(list) != 2 || list[0]["job"] != "a" || !near(list[0]["distinct"]) || list[1]["job"] != "b" || list[1]["distinct"] != 1.0 {
		t.Errorf("jobs of a label: %v", list)
	}
	if list := ask(t, g, "labels/table?limit=1", 200).List; len(list) != 1 || list[0]["job"] != "a" {
		t.Errorf("the job that has most: %v", list)
	}
	list = ask(t, g, "labels", 200).List
	if len(list) < 3 || !near(list[0]["distinct"]) || !near(list[1]["distinct"]) || list[0]["job"] != nil {
		t.Errorf("labels of all jobs: %v", list)
	}
	if list := ask(t, g, "labels?limit=1", 200).List; len(list) != 1 || !near(list[0]["distinct"]) {
		t.Errorf("the label that has most values: %v", list)
	}
	if list := ask(t, g, "labels/none", 200).List; list == nil || len(list) != 0 {
		t.Errorf("a label that nobody has: %v", list)
	}
}

// TestAPILimit: what asks for no number of rows gets the usual one.
func TestAPILimit(t *testing.T) {
	t.Parallel()
	g := newLiving(t, upstreamFunc(t, func(http.ResponseWriter, *http.Request) {}), openAll, nil)
	for i := range 101 {
		g.push(t, 200, http.MethodPut, fmt.Sprintf("/metrics/job/j%d", i), "rows 1\n")
	}
	for query, want := range map[string]int{"": 100, "?limit=0": 100, "?limit=-1": 100, "?limit=x": 100, "?limit=99": 99, "?limit=101": 101, "?limit=99999999": 101, "?limit=99999999999999999999": 100} {
		if got := len(ask(t, g, "jobs"+query, 200).Data["jobs"].([]any)); got != want {
			t.Errorf("jobs%s: %d rows, want %d", query, got, want)
		}
	}
}

// TestAPIFaces: it is read, over HTTP, where the admin's pages are.
func TestAPIFaces(t *testing.T) {
	t.Parallel()
	upstream := gatewaytest.Start(t)
	paths := []string{"jobs", "jobs/a", "labels", "labels/table"}
	for _, apart := range []bool{false, true} {
		g := newLiving(t, upstream, openAll, func(c *proxy.Config) { c.AdminApart = apart })
		g.push(t, 200, http.MethodPut, "/metrics/job/a", "rows{table=\"x\"} 1\n")
		push, admin := httptest.NewServer(g.Handler), httptest.NewServer(g.AdminHandler())
		defer push.Close()
		defer admin.Close()
		send := func(method, target string) (int, int, int64) {
			r, err := http.NewRequest(method, target, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			return resp.StatusCode, len(body), resp.ContentLength
		}
		for _, path := range paths {
			path = "/guard/api/v1/" + path
			want := http.StatusOK
			if apart {
				want = http.StatusNotFound
			}
			if status, n, _ := send(http.MethodGet, push.URL+path); status != want || n == 0 {
				t.Errorf("apart %v: GET %s of the push port: %d", apart, path, status)
			}
			status, n, length := send(http.MethodHead, admin.URL+path)
			if status != http.StatusOK || n != 0 {
				t.Errorf("HEAD %s: %d, %d bytes", path, status, n)
			}
			if got, n, _ := send(http.MethodGet, admin.URL+path); got != http.StatusOK || int64(n) != length {
				t.Errorf("GET %s: %d, %d bytes, of HEAD's %d", path, got, n, length)
			}
			for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
				if status, _, _ := send(method, admin.URL+path); status != http.StatusMethodNotAllowed && status != http.StatusNotFound {
					t.Errorf("%s %s: %d", method, path, status)
				}
			}
		}
	}
}

// TestAPIHostileNames: a name that breaks out of JSON, HTML or a path comes back
// as it is, and as nothing else.
func TestAPIHostileNames(t *testing.T) {
	t.Parallel()
	g := newLiving(t, gatewaytest.Start(t), openAll, nil)
	for _, name := range []string{
		`"},{"job":"x`, "<script>alert(1)</script>", "line\nbreak", "\x00\x1f\x7f", "../../jobs", "..", ".", "a/../b", "a?limit=1", "a#b", "50%", "%2F", "ü漢😀", "\u2028", strings.Repeat("long", 300),
	} {
		g.push(t, 200, http.MethodPut, groupPath(map[string]string{"job": name, "zone": name}), "rows 1\n")
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/guard/api/v1/jobs/"+url.PathEscape(name), nil)
		g.ServeHTTP(w, r)
		if body := w.Body.String(); strings.ContainsAny(strings.TrimSuffix(body, "\n"), "<>\n\u2028\x00") {
			t.Errorf("%q stands in the answer as it is: %q", name, body)
		}
		got := g.job(t, name)
		group := got["group_list"].([]any)[0].(map[string]any)["group"].(map[string]any)
		if got["job"] != name || group["zone"] != name || got["held"] != 3.0 {
			t.Errorf("%q: %v", name, got)
		}
	}
	if all := ask(t, g, "jobs", 200).Data["jobs"].([]any); len(all) != 15 {
		t.Errorf("%d jobs", len(all))
	}
}

// TestCapHoldsInEveryMode: over the guard's own cap a push is refused whole, and
// what is known passes.
func TestCapHoldsInEveryMode(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"open", "report"} {
		upstream := gatewaytest.Start(t)
		g := newLiving(t, upstream, "version: v1\ndefault: {mode: "+mode+"}\n", func(c *proxy.Config) { c.Caps.Series = 6 })
		two, three := "rows{t=\"a\"} 1\nrows{t=\"b\"} 1\n", "rows{t=\"a\"} 2\nrows{t=\"b\"} 2\nrows{t=\"c\"} 2\n"
		g.push(t, 200, http.MethodPut, "/metrics/job/a", two)
		g.push(t, 422, http.MethodPut, "/metrics/job/b", "rows 1\n") // 3 more than the 4
		if keys := keysHeld(t, upstream); len(keys) != 1 {
			t.Errorf("%s: a push over the cap went on: %v", mode, keys)
		}
		g.push(t, 200, http.MethodPost, "/metrics/job/a", three)
		if before := scraped(t, g)["a"]; before != 5 {
			t.Fatalf("%s: %d series", mode, before)
		}
		a := g.push(t, 422, http.MethodPost, "/metrics/job/a", three+"rows{t=\"d\"} 3\nrows{t=\"e\"} 3\n")
		if !strings.HasPrefix(a.Body, "guard_budget: ") {
			t.Errorf("%s: refused: %q", mode, a.Body)
		}
		if page := g.do(http.MethodGet, "/metrics", "").Body; scraped(t, g)["a"] != 5 || !strings.Contains(page, `t="a"} 2`) {
			t.Errorf("%s: a push that was refused changed something:\n%s", mode, page)
		}
		g.push(t, 200, http.MethodPost, "/metrics/job/a", strings.ReplaceAll(three, " 2", " 4"))
		if page := g.do(http.MethodGet, "/metrics", "").Body; !strings.Contains(page, `t="c"} 4`) {
			t.Errorf("%s: what is known does not pass:\n%s", mode, page)
		}
	}
}
