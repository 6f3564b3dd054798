package console_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/audit"
	"github.com/pushguard/pushguard/proxy/console"
	"github.com/pushguard/pushguard/proxy/leaktest"
	"github.com/pushguard/pushguard/proxy/store"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const testPolicy = `version: v1
# <script>alert("in a comment")</script>
budget: {series: 100000}
auth:
  users:
    data: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
default:
  mode: enforce
  owner: platform <i>
  budget: {series: 20}
  limits: {label_limit: 5}
  rules:
  - {id: run-ids, labels: [run_id], action: drop}
jobs:
- {job: trial_.*, owner: data, mode: report}
`

// world is a guard with an embedded store, and its pages.
type world struct {
	http.Handler
	*proxy.Guard
	console *console.Console
	load    func() (*policy.Policy, error)
}

func newWorld(t *testing.T, change ...func(*proxy.Config)) *world {
	t.Helper()
	w := &world{load: func() (*policy.Policy, error) { return policy.Parse("policy.yml", []byte(testPolicy)) }}
	rules, err := w.load()
	if err != nil {
		t.Fatal(err)
	}
	own, err := store.Open(store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	w.console = console.New(console.Config{Metrics: registry, Version: "1.2.3", Pace: 20 * time.Millisecond})
	cfg := proxy.Config{
		Policy: rules, LoadPolicy: func() (*policy.Policy, error) { return w.load() }, Upstream: own, Audit: audit.InMemory(),
		Metrics: proxy.NewMetrics(registry), Pages: w.console, GroupWait: time.Minute,
		Caps: proxy.Caps{Body: 1 << 20, Decoded: 4 << 20, Samples: 10_000, Labels: 64, LabelValue: 4096},
	}
	for _, f := range change {
		f(&cfg)
	}
	if w.Guard, err = proxy.New(cfg); err != nil {
		t.Fatal(err)
	}
	w.console.Of(w.Guard)
	w.Handler = w.Guard.Handler()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.console.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return w
}

// get reads a page that must be answered so.
func (w *world) get(t *testing.T, want int, path string) string {
	t.Helper()
	r := httptest.NewRecorder()
	w.ServeHTTP(r, httptest.NewRequest(http.MethodGet, path, nil))
	if r.Code != want {
		t.Fatalf("%s: %d, want %d: %s", path, r.Code, want, r.Body)
	}
	return r.Body.String()
}

func (w *world) push(t *testing.T, want int, job, body string) {
	t.Helper()
	r := httptest.NewRecorder()
	w.ServeHTTP(r, httptest.NewRequest(http.MethodPost, "/metrics/job/"+url.PathEscape(job), strings.NewReader(body)))
	if r.Code != want {
		t.Fatalf("push of %s: %d, want %d: %s", job, r.Code, want, r.Body)
	}
}

// eventually waits until a page has the text.
func (w *world) eventually(t *testing.T, path, text string) string {
	t.Helper()
	for range 5000 {
		if page := w.get(t, http.StatusOK, path); strings.Contains(page, text) {
			return page
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%s never had %q:\n%s", path, text, w.get(t, http.StatusOK, path))
	return ""
}

const tooMany = `x{a="1",b="2",c="3",d="4",e="5",f="6"} 1` + "\n"

func TestPages(t *testing.T) {
	w := newWorld(t)
	w.push(t, 200, "nightly_load", `rows{table="a",run_id="6f1c6c1e-0b1f-4c39-9d3a-0e5f6a1b2c3d"} 1`+"\n")
	w.push(t, 200, "nightly_load", `rows{table="a",pod="etl-7d9f8b6c5-x2k9z"} 1`+"\n"+`rows{table="b",pod="etl-7d9f8b6c5-x2k9y"} 1`+"\n")
	w.push(t, 200, "trial_run", `rows{run_id="1"} 1`+"\n")
	w.push(t, 422, "broken", tooMany)
	for _, c := range []struct {
		path string
		has  []string
	}{
		{"/guard/", []string{"Series held", "Pushes by outcome", "Nearest to their budget", "embedded: the guard keeps", "What changed lately", "broken: label_limit", `refused <b>1</b>`}},
		{"/guard/jobs", []string{"3 jobs", "nightly_load", "change 1 of 1", `aria-sort="descending"`, "platform &lt;i&gt;"}},
		{"/guard/jobs?q=NIGHT+plat", []string{"1–1 of 1 job<", "nightly_load"}},
		{"/guard/jobs?q=nobody", []string{"No job is like that"}},
		{"/guard/jobs?mode=report", []string{"1–1 of 1 job<", "trial_run"}},
		{"/guard/jobs?owner=data", []string{"1–1 of 1 job<", "trial_run"}},
		{"/guard/job?name=nightly_load", []string{
			"default, line 8", `href="policy#L8"`, "leave the label out", `href="policy#L13"`, "run_id", "{job=&#34;nightly_load&#34;}",
			`uuid</span> 100 % <code class="of">6f1c6c1e…</code>`, `<a href="policy#L13">run-ids</a>`, "values of shape k8s_deploy_pod have no bound",
			"{id: bound-pod, labels: [pod], shapes: [k8s_deploy_pod], action: template}", `word</span> 100 % <code class="of">a</code>`,
		}},
		{"/guard/job?name=trial_run", []string{"trial_.*, line 15", "change 1 of 1", "number</span> 100 %", "3 series held instead of 3"}},
		{"/guard/job?name=broken", []string{"label_limit", "push at most 5 labels", "default, line 8", `0 <span class="of">of 20</span>`}},
		{"/guard/jobs?q=broken", []string{"platform &lt;i&gt;", `mode-enforce`, `0 <span class="of">of 20</span>`}},
		{"/guard/audit", []string{"nightly_load", "broken", "trial_run", "Kept in memory"}},
		{"/guard/audit?outcome=refused", []string{"broken"}},
		{"/guard/explain", []string{"/metrics/job/nightly_load", "<textarea"}},
		{"/guard/policy", []string{"policy.yml", `id="L13"`, "Hashes of secrets are left out", "data: …"}},
	} {
		t.Run(c.path, func(t *testing.T) {
			for _, text := range c.has {
				w.eventually(t, c.path, text)
			}
		})
	}
	if page := w.get(t, 200, "/guard/audit?outcome=refused"); strings.Contains(page, "nightly_load") {
		t.Error("a filter lets through what is not asked for")
	}
	if page := w.get(t, 200, "/guard/policy"); strings.Contains(page, "9f86d081") {
		t.Error("the policy shows the hash of a token")
	}
}

func TestOneRecordInFull(t *testing.T) {
	w := newWorld(t)
	w.push(t, 422, "broken", tooMany)
	link := regexp.MustCompile(`href="(record\?[^"]+)"`).FindStringSubmatch(w.eventually(t, "/guard/audit", "broken"))
	if link == nil {
		t.Fatal("no link to a record")
	}
	page := w.get(t, 200, "/guard/"+strings.ReplaceAll(link[1], "&amp;", "&"))
	for _, text := range []string{"push at most 5 labels", "&#34;status&#34;: 422", `href="policy#L11"`, "POST from"} {
		if !strings.Contains(page, text) {
			t.Errorf("no %q in %s", text, page)
		}
	}
	w.get(t, 404, "/guard/record?time=2026-01-02T03:04:05Z&job=broken")
	w.get(t, 400, "/guard/record?time=yesterday")
}

func TestWhatCannotBeAsked(t *testing.T) {
	w := newWorld(t)
	for path, want := range map[string]int{
		"/guard/nothing": 404, "/guard/job?name=nobody": 404, "/guard/job": 404, "/guard/audit?job=(": 400, "/guard/audit?cursor=x": 400,
		"/guard/audit?since=soon": 400, "/guard/assets/none.css": 404, "/guard/assets/..%2Fconsole.go": 404, "/guard//jobs": 404,
		"/guard/live": 400, "/guard/live?of=audit&job=(": 400, "/guard/jobs?page=-7&sort=no&dir=no": 200, "/guard/jobs?page=99999999999999999999": 200,
	} {
		w.get(t, want, path)
	}
	for path, want := range map[string]string{
		"/guard": "guard/", "/guard/audit/2026-01-02T03:04:05.6Z": "../record?time=2026-01-02T03%3A04%3A05.6Z", "/guard/jobs/nightly": "../job?name=nightly", "/guard/jobs/a%2Fb": "../job?name=a%2Fb",
		"/guard/jobs/a//b%3Fc": "../../../job?name=a%2F%2Fb%3Fc",
	} {
		r := httptest.NewRecorder()
		w.ServeHTTP(r, httptest.NewRequest(http.MethodGet, path, nil))
		if got := r.Header().Get("Location"); r.Code != http.StatusFound || got != want {
			t.Errorf("%s: %d to %q, want %q", path, r.Code, got, want)
		}
	}
}

// TestRefusedForWantOfAJob has no page of a job for pushes that name none.
func TestRefusedForWantOfAJob(t *testing.T) {
	w := newWorld(t)
	w.push(t, 404, "", "a 1\n")
	w.eventually(t, "/guard/", "no job: POST refused")
	for _, path := range []string{"/guard/job", "/guard/job?name="} {
		if page := w.get(t, 404, path); !strings.Contains(page, "no job of that name") {
			t.Errorf("%s: %s", path, page)
		}
	}
	if page := w.get(t, 200, "/guard/jobs"); strings.Contains(page, `href="job?`) {
		t.Errorf("a job is listed: %s", page)
	}
}

// TestMarkupIsText puts markup wherever a client or a policy may put it.
func TestMarkupIsText(t *testing.T) {
	const script, image = `<script>alert(1)</script>`, `<img src=x onerror=alert(2)>`
	w := newWorld(t)
	w.push(t, 200, image, `rows{user="`+script+`",run_id="`+image+`"} 1`+"\n")
	w.push(t, 422, `"><svg onload=alert(3)>`, `x{a="`+script+`",b="2",c="3",d="4",e="5",f="6"} 1`+"\n")
	w.push(t, 400, "quoted", script+"\n")
	w.load = func() (*policy.Policy, error) {
		return policy.Parse("<b>.yml", []byte("version: v1\ndefault: {mode: <script>alert(4)</script>}\n"))
	}
	if err := w.Reload(); err == nil {
		t.Fatal("a faulty policy was taken")
	}
	w.eventually(t, "/guard/audit", "svg onload")
	markup := regexp.MustCompile(`(?i)<(script>|img|svg onload|b>\.yml|i>)`)
	for _, path := range []string{
		"/guard/", "/guard/jobs", "/guard/jobs?q=" + url.QueryEscape(script), "/guard/job?name=" + url.QueryEscape(image), "/guard/policy",
		"/guard/job?name=" + url.QueryEscape(`"><svg onload=alert(3)>`), "/guard/audit", "/guard/audit?finding=" + url.QueryEscape(`"`+script),
	} {
		page := w.get(t, 200, path)
		if found := markup.FindString(page); found != "" {
			t.Errorf("%s has %q as markup", path, found)
		}
		if regexp.MustCompile(`(?i)<[^>]* (style|on\w+)=|javascript:`).MatchString(page) {
			t.Errorf("%s has a style or a script of its own", path)
		}
	}
	if page := w.get(t, 200, "/guard/policy"); !strings.Contains(page, "default: {mode: &lt;script&gt;") || !strings.Contains(page, "1 fault in the policy") {
		t.Errorf("the fault is not shown: %s", page)
	}
}

func TestHeaders(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/guard/", "/guard/none", "/guard/assets/console.js", "/guard/assets/console.css", "/guard/live"} {
		r := httptest.NewRecorder()
		w.ServeHTTP(r, httptest.NewRequest(http.MethodGet, path, nil))
		want := "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
		if got := r.Header().Get("Content-Security-Policy"); got != want {
			t.Errorf("%s: %q", path, got)
		}
		if r.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s may be sniffed", path)
		}
	}
	r := httptest.NewRecorder()
	w.ServeHTTP(r, httptest.NewRequest(http.MethodGet, "/guard/assets/console.css", nil))
	if etag := r.Header().Get("ETag"); r.Code != http.StatusOK || r.Header().Get("Content-Type") != "text/css; charset=utf-8" || etag == "" {
		t.Errorf("%d: %v", r.Code, r.Header())
	}
	// A proxy that compresses makes the ETag a weak one.
	for match, want := range map[string]int{"%s": 304, "W/%s": 304, `"other", W/%s`: 304, "*": 304, `"other"`: 200, `W/"other"`: 200} {
		again := httptest.NewRequest(http.MethodGet, "/guard/assets/console.css", nil)
		again.Header.Set("If-None-Match", strings.ReplaceAll(match, "%s", r.Header().Get("ETag")))
		second := httptest.NewRecorder()
		if w.ServeHTTP(second, again); second.Code != want || second.Header().Get("ETag") != r.Header().Get("ETag") || (want == 304) != (second.Body.Len() == 0) {
			t.Errorf("If-None-Match: %s: %d, want %d; %v", match, second.Code, want, second.Header())
		}
	}
}

// TestAssetsAreSmall holds all that a browser loads to 200 KB, and to the console.
func TestAssetsAreSmall(t *testing.T) {
	total := int64(0)
	for _, dir := range []string{"assets", "pages"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			total += int64(len(data))
			if other := regexp.MustCompile(`(https?:)?//[a-z]+\.[a-z]`).Find(data); other != nil && !strings.HasSuffix(path, ".svg") {
				t.Errorf("%s loads from elsewhere: %s", path, other)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if t.Logf("%d bytes", total); total > 200_000 || total < 10_000 {
		t.Errorf("%d bytes", total)
	}
}

// TestManyJobs has a page of 100 of 10,000 jobs.
func TestManyJobs(t *testing.T) {
	w := newWorld(t)
	for i := range 10_000 {
		w.push(t, 200, fmt.Sprintf("job_%05d", i), "rows 1\n")
	}
	page := w.get(t, 200, "/guard/jobs?sort=job&dir=up&page=2")
	if n := strings.Count(page, `<th scope="row">`); n != 100 || !strings.Contains(page, "101–200 of 10\u202f000 jobs") {
		t.Errorf("%d rows: %.2000s", n, page)
	}
	if len(page) > 150_000 || !strings.Contains(page, "job_00100") || strings.Contains(page, "job_00099") {
		t.Errorf("%d bytes", len(page))
	}
	if page = w.get(t, 200, "/guard/jobs?page=101&q=job_"); !strings.Contains(page, "9\u202f901–10\u202f000 of") || strings.Contains(page, "further") {
		t.Errorf("the last page: %.2000s", page)
	}
	if page = w.get(t, 200, "/guard/jobs?q=job_0777"); !strings.Contains(page, "1–10 of 10 jobs") {
		t.Errorf("found: %.2000s", page)
	}
}

// listen opens a stream and returns its messages, which end with it.
func listen(t *testing.T, client *http.Client, address string) (status int, messages <-chan map[string]any, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan map[string]any, 1000)
	go func() {
		defer close(out)
		defer a.Body.Close()
		lines := bufio.NewScanner(a.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var m map[string]any
				_ = json.Unmarshal([]byte(data), &m)
				out <- m
			}
		}
	}()
	return a.StatusCode, out, cancel
}

func TestLive(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w)
	defer server.Close()
	defer w.console.Close() // ends the streams that the server waits for
	// The audit log is first: a refusal that comes again is folded into the record it has.
	for _, page := range [][2]string{
		{"of=audit&outcome=refused", "broken"}, {"of=overview", "broken: label_limit"}, {"of=jobs&page=1", "broken"}, {"of=job&name=broken", "label_limit"},
	} {
		query, want := page[0], page[1]
		status, messages, stop := listen(t, server.Client(), server.URL+"/guard/live?"+query)
		if status != http.StatusOK {
			t.Fatalf("%s: %d", query, status)
		}
		w.push(t, 200, "passing", "rows{run_id=\"1\"} 1\n")
		w.push(t, 422, "broken", tooMany)
		timeout := time.After(2 * time.Minute)
	waiting:
		for {
			select {
			case m := <-messages:
				html := fmt.Sprint(m["html"])
				if strings.Contains(html, "passing") && strings.Contains(query, "refused") {
					t.Errorf("%s: a record that was not asked for: %s", query, html)
				}
				if strings.Contains(html, want) {
					break waiting
				}
			case <-timeout:
				t.Fatalf("%s: never had %q", query, want)
			}
		}
		stop()
	}
}

// TestStreamsAreBounded opens one too many, and then stops the server, which does not
// wait for those that are open.
func TestStreamsAreBounded(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewUnstartedServer(w)
	server.Config.RegisterOnShutdown(w.console.Close)
	server.Start()
	client := server.Client()
	var all []<-chan map[string]any
	for i := range 32 {
		status, messages, stop := listen(t, client, server.URL+"/guard/live?of=overview")
		defer stop()
		if status != http.StatusOK {
			t.Fatalf("stream %d: %d", i, status)
		}
		all = append(all, messages)
	}
	status, _, stop := listen(t, client, server.URL+"/guard/live?of=audit")
	if status != http.StatusServiceUnavailable {
		t.Errorf("one too many: %d", status)
	}
	stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	begun := time.Now()
	if err := server.Config.Shutdown(ctx); err != nil {
		t.Errorf("the server waited %v for its streams: %v", time.Since(begun), err)
	}
	for _, messages := range all {
		for range messages { //nolint:revive // until it ends
		}
	}
	w.console.Close() // again
	client.CloseIdleConnections()
}

// TestWhoMayLook asks for a page without credentials, as a browser does first.
func TestWhoMayLook(t *testing.T) {
	secret := "version: v1\nauth:\n  push: required\n  read: [data]\n  users:\n    data: \"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"\ndefault: {mode: open, push: [data]}\n"
	rules, err := policy.Parse("p.yml", []byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(c *proxy.Config) { c.Policy = rules })
	for _, path := range []string{"/guard", "/guard/", "/guard/jobs", "/guard/live?of=overview", "/guard/policy", "/guard/assets/console.css", "/guard/none"} {
		r := httptest.NewRecorder()
		w.ServeHTTP(r, httptest.NewRequest(http.MethodGet, path, nil))
		if got := r.Header().Get("Www-Authenticate"); r.Code != http.StatusUnauthorized || !strings.HasPrefix(got, "Basic ") {
			t.Errorf("%s: %d, challenge %q", path, r.Code, got)
		}
	}
	known := httptest.NewRequest(http.MethodGet, "/guard/jobs", nil)
	known.SetBasicAuth("data", "test")
	r := httptest.NewRecorder()
	if w.ServeHTTP(r, known); r.Code != http.StatusOK {
		t.Errorf("with the token: %d", r.Code)
	}
}

func TestWithoutAnAuditLog(t *testing.T) {
	w := newWorld(t, func(c *proxy.Config) { c.Audit = nil })
	w.push(t, 422, "broken", tooMany)
	if page := w.get(t, 404, "/guard/audit"); !strings.Contains(page, "there is no audit log") {
		t.Error(page)
	}
	w.get(t, 200, "/guard/")
	w.load = func() (*policy.Policy, error) { return nil, errors.New("gone <b>") }
	_ = w.Reload()
	if page := w.get(t, 200, "/guard/policy"); !strings.Contains(page, "could not be read") || !strings.Contains(page, "gone &lt;b&gt;") {
		t.Error(page)
	}
}

// ask sends the form of the page Explain.
func (w *world) ask(t *testing.T, want int, form url.Values, headers ...string) string {
	t.Helper()
	q := httptest.NewRequest(http.MethodPost, "/guard/explain", strings.NewReader(form.Encode()))
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(headers); i += 2 {
		q.Header.Set(headers[i], headers[i+1])
	}
	r := httptest.NewRecorder()
	if w.ServeHTTP(r, q); r.Code != want {
		t.Fatalf("%v: %d, want %d: %s", form, r.Code, want, r.Body)
	}
	return r.Body.String()
}

func TestExplain(t *testing.T) {
	w := newWorld(t)
	w.ask(t, 503, url.Values{"method": {"POST"}, "path": {"/metrics/job/early"}, "body": {"a 1\n"}})
	w.push(t, 200, "known", "rows 1\n") // from now on the guard knows what is there
	form := func(method, path, body string) url.Values {
		return url.Values{"method": {method}, "path": {path}, "body": {body}}
	}
	rows := "rows{table=\"<b>a\",run_id=\"7\"} 1\r\nlag 2\r\nloads_total 7.5\r\n"
	page := w.ask(t, 200, form("POST", "/metrics/job/nightly_load", rows), "Sec-Fetch-Site", "same-origin")
	for _, text := range []string{
		"default, line 8", `<a href="policy#L13">run-ids, line 13</a>`, "dropped", `class="gone">rows{table=&#34;&lt;b&gt;a&#34;,run_id=&#34;7&#34;} 1`,
		`class="came">rows{table=&#34;&lt;b&gt;a&#34;} 1`, "<span>lag 2", `data-label="Adds">7.5</td>`, "answered <strong>200</strong>",
	} {
		if !strings.Contains(page, text) {
			t.Errorf("no %q in %s", text, page)
		}
	}
	if page = w.ask(t, 200, form("PUT", "http://guard:9091/push/metrics/job/broken", tooMany)); !strings.Contains(page, "answered <strong>422</strong>") || !strings.Contains(page, "Nothing goes on") {
		t.Errorf("of a push that would be refused: %s", page)
	}
	if page = w.ask(t, 200, form("PUT", "http://guard:9091/metrics/job/broken?by=cron#1", "a 1\n")); !strings.Contains(page, "is the group <code>{job=&#34;broken&#34;}</code>") {
		t.Errorf("of an address with a query: %s", page)
	}
	if held := w.Jobs(10); len(held.Jobs) != 1 {
		t.Errorf("an explanation has booked %+v", held.Jobs)
	}
	w.ask(t, 403, form("POST", "/metrics/job/a", "a 1\n"), "Sec-Fetch-Site", "cross-site")
	// So it looks behind a proxy, too, that says its own name for the one that was asked for.
	if page := w.ask(t, 403, form("POST", "/metrics/job/a", "a 1\n"), "Origin", "https://elsewhere.example"); !strings.Contains(page, "does not hand on the Host") {
		t.Error(page)
	}
	w.ask(t, 400, form("GET", "/metrics/job/a", "a 1\n"))
	w.ask(t, 400, form("POST", "/-/quit", ""))
	w.ask(t, 200, form("POST", "/metrics/job/a", strings.Repeat("a", 1<<20-100)))
	w.ask(t, 413, form("POST", "/metrics/job/a", strings.Repeat("a", 1<<20)))
}

// TestWhatCannotBeExplained has a form that cannot be answered come back as it was sent,
// with what is wrong with it.
func TestWhatCannotBeExplained(t *testing.T) {
	w := newWorld(t)
	const asked = `rows{table="</textarea><b>"} 1`
	form := func(path string) url.Values {
		return url.Values{"method": {"PUT"}, "path": {path}, "as": {"data"}, "body": {asked + "\r\n"}}
	}
	check := func(page, path, fault string) {
		t.Helper()
		for _, text := range []string{
			`role="alert">` + fault, `<option selected>PUT`, `name="path" value="` + path + `"`, `name="as" value="data"`,
			"<textarea name=\"body\" rows=\"6\" spellcheck=\"false\" autocomplete=\"off\">\n" + template.HTMLEscapeString(asked) + "\n</textarea>",
		} {
			if !strings.Contains(page, text) {
				t.Errorf("no %q in %s", text, page)
			}
		}
		if strings.Contains(page, `id="outcome"`) || strings.Index(page, "role=\"alert\"") > strings.Index(page, "<h1>Explain") {
			t.Errorf("the fault does not come first and alone: %s", page)
		}
	}
	check(w.ask(t, 503, form("/metrics/job/early")), "/metrics/job/early", "")
	w.push(t, 200, "known", "rows 1\n") // from now on the guard knows what is there
	check(w.ask(t, 400, form("metric/job/a?by=cron")), "metric/job/a?by=cron", "path: want that of a push")
	page := w.ask(t, 413, url.Values{"path": {"/metrics/job/a"}, "body": {strings.Repeat("a", 1<<20)}})
	if !strings.Contains(page, `role="alert">the form is larger than 1 MiB`) || !strings.Contains(page, "<textarea") {
		t.Errorf("of a form that is too large: %s", page)
	}
	for path, want := range map[string]string{"metrics/job/a": "/metrics/job/a", "metrics/job/a/url/metrics/b": "/metrics/job/a/url/metrics/b", "metrics/metrics/job/a": "/metrics/job/a"} {
		if page := w.ask(t, 200, form(path)); !strings.Contains(page, `name="path" value="`+want+`"`) {
			t.Errorf("%s is not taken for %s: %s", path, want, page)
		}
	}
}
