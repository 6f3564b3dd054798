package proxy

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pushguard/pushguard/policy"
)

// ask has the guard explain a push over HTTP; headers are pairs of a name and a value.
func (w *explainTwin) ask(query, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, apiPath+"/explain?"+query, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	out := httptest.NewRecorder()
	w.Handler().ServeHTTP(out, r)
	return out
}

func newAsked(t *testing.T) *explainTwin {
	t.Helper()
	return newExplainTwin(t, &manualClock{now: time.Unix(1.7e9, 0)})
}

func TestExplainOverHTTP(t *testing.T) {
	g := newAsked(t)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte("# TYPE b gauge\nb{id=\"7\"} 1\n"))
	_ = z.Close()
	for _, tc := range []struct {
		name, query, body string
		headers           []string
		status            int
		want              string // in the explanation's answer or outcome, or in the error
	}{
		{"a push", "path=/metrics/job/drop/run/1", "# TYPE b gauge\nb{id=\"7\"} 1\n", nil, 200, "changed"},
		{"compressed", "method=post&path=/metrics/job/drop", packed.String(), []string{"Content-Encoding", "gzip"}, 200, "changed"},
		{"a delete", "method=DELETE&path=/metrics/job/drop", "", nil, 200, "passed"},
		{"what breaks a scrape", "path=/metrics/job/drop/instance@base64/%3D", "b 1\n", nil, 200, "passed"},
		{"a body that is none", "path=/metrics/job/drop", "b{ 1\n", nil, 200, "text format parsing error"},
		{"what is too large", "path=/metrics/job/drop", strings.Repeat("x 1\n", 1<<19), nil, 200, "body too large"},
		{"no path", "", "b 1\n", nil, 400, "path: want that of the push"},
		{"another path", "path=/api/v1/admin/wipe", "b 1\n", nil, 400, "path: want that of the push"},
		{"a path that is no group's", "path=/metrics/group/x", "b 1\n", nil, 200, "404 page not found"},
		{"a read", "method=GET&path=/metrics/job/a", "", nil, 400, "method: want PUT, POST or DELETE"},
		{"an output", "path=/metrics/job/a&output=xml", "", nil, 400, "output: want json or text"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := g.ask(tc.query, tc.body, tc.headers...)
			var got struct {
				Status, Error string
				Data          *Trace
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != tc.status {
				t.Fatalf("%d %s, want %d: %v", w.Code, w.Body, tc.status, err)
			}
			text := got.Error
			if got.Data != nil {
				text = got.Data.Outcome + got.Data.Answer.Body
			}
			if !strings.Contains(text, tc.want) {
				t.Errorf("%s, want %q", w.Body, tc.want)
			}
		})
	}
	r := httptest.NewRecorder()
	g.Handler().ServeHTTP(r, httptest.NewRequest(http.MethodGet, apiPath+"/explain", nil))
	if r.Code != http.StatusMethodNotAllowed || r.Header().Get("Allow") != "POST" {
		t.Errorf("GET is answered %d %v", r.Code, r.Header())
	}
	if n := testutil.ToFloat64(g.cfg.Metrics.explained); n != 7 {
		t.Errorf("%v explanations are counted, want 7", n)
	}
}

func TestExplainAsText(t *testing.T) {
	g := newAsked(t)
	g.cfg.Story = func(e *Trace) string { return "told of " + e.Path }
	for _, tc := range []struct {
		query   string
		headers []string
		text    bool
	}{
		{"output=text", nil, true},
		{"output=json", []string{"Accept", "text/plain"}, false},
		{"", []string{"Accept", "text/plain, */*"}, true},
		{"", []string{"Accept", "*/*"}, false},
		{"", nil, false},
	} {
		w := g.ask("path=/metrics/job/a&"+tc.query, "b 1\n", tc.headers...)
		if text := w.Body.String() == "told of /metrics/job/a"; text != tc.text || w.Code != http.StatusOK {
			t.Errorf("%q %v: %d %s", tc.query, tc.headers, w.Code, w.Body)
		}
	}
}

// TestExplainHidesSecretsByTheirLabels: what a push adds to, and what a rule made equal, is
// told without the value of a label that is named as a secret.
func TestExplainHidesSecretsByTheirLabels(t *testing.T) {
	g := newAsked(t)
	body := "# TYPE rows_total counter\nrows_total{db_password=\"hunter2\"} 3\n# TYPE size gauge\n" +
		"size{db_password=\"hunter2\",id=\"1\"} 3\nsize{db_password=\"hunter2\",id=\"2\"} 4\n"
	trace, err := g.Explain(t.Context(), Request{Method: http.MethodPut, Path: "/metrics/job/merge", Body: strings.NewReader(body), Length: int64(len(body))}, "")
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, f := range trace.Families {
		for _, added := range f.Added {
			told = append(told, added.Labels["db_password"])
		}
	}
	for _, m := range trace.Merges {
		told = append(told, m.Parts...)
	}
	want := []string{"…", "size{db_password=\"…\",id=\"1\"} 3\n", "size{db_password=\"…\",id=\"2\"} 4\n"}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
}

// TestExplainKnowsLiveBudgets: what the job holds already is told, and what it would.
func TestExplainKnowsLiveBudgets(t *testing.T) {
	g := newAsked(t)
	var body strings.Builder
	for i := range 5 {
		fmt.Fprintf(&body, "# TYPE m%d gauge\nm%d 1\n", i, i)
	}
	for run := range 4 {
		g.Push(t.Context(), explained{method: "PUT", path: fmt.Sprintf("/metrics/job/no/run/%d", run), body: body.String()}.request())
	}
	told, err := g.Explain(t.Context(), explained{method: "PUT", path: "/metrics/job/no/run/5", body: body.String()}.request(), "")
	if err != nil {
		t.Fatal(err)
	}
	b := told.Budget
	if b == nil || b.Before == nil || *b.Before != (TraceUse{Held: 28, Groups: 4, NewThisHour: 28, NewThisDay: 28}) {
		t.Fatalf("%+v", told.Budget)
	}
	if b.Held != 30 || b.LeftOut != 5 || b.Groups != 4 && b.Groups != 5 || b.NewThisHour != 30 || len(b.Over) == 0 {
		t.Errorf("%+v", b)
	}
}

func TestExplainWaitsItsTurn(t *testing.T) {
	g := newAsked(t)
	g.explaining <- struct{}{}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	w := httptest.NewRecorder()
	g.Handler().ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodPost, apiPath+"/explain?path=/metrics/job/a", strings.NewReader("b 1\n")))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	<-g.explaining
	if w := g.ask("path=/metrics/job/a", "b 1\n"); w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestExplainAnswersInTime: who does not read the answer has the turn for a while, and the
// next request of the connection takes as long as it may.
func TestExplainAnswersInTime(t *testing.T) {
	g := newAsked(t)
	w := &deadlined{ResponseRecorder: httptest.NewRecorder()}
	g.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, apiPath+"/explain?path=/metrics/job/a", strings.NewReader("b 1\n")))
	if w.Code != http.StatusOK || w.within <= 0 || w.within > explainTime || !w.until.IsZero() {
		t.Errorf("%d, %v to write, then until %v", w.Code, w.within, w.until)
	}
}

// deadlined notes how long an answer has for its way.
type deadlined struct {
	*httptest.ResponseRecorder
	until  time.Time
	within time.Duration
}

func (w *deadlined) SetWriteDeadline(t time.Time) error {
	w.until = t
	return nil
}

func (w *deadlined) Write(b []byte) (int, error) {
	w.within = time.Until(w.until)
	return w.ResponseRecorder.Write(b)
}

func TestExplainBeforeTheGroupsAreKnown(t *testing.T) {
	g := newAsked(t)
	g.synced.Store(nil)
	if w := g.ask("path=/metrics/job/a", "b 1\n"); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "has not said yet") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestExplainBelowAPrefixAndApart(t *testing.T) {
	g := newAsked(t)
	g.cfg.RoutePrefix, g.cfg.AdminApart = "/push", true
	target := "/push" + apiPath + "/explain?path=" + url.QueryEscape("/push/metrics/job/a")
	for _, tc := range []struct {
		handler http.Handler
		want    int
	}{{g.Handler(), 404}, {g.AdminHandler(), 200}} {
		w := httptest.NewRecorder()
		tc.handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, target, strings.NewReader("b 1\n")))
		if w.Code != tc.want || tc.want == 200 && !strings.Contains(w.Body.String(), `"path":"/metrics/job/a"`) {
			t.Errorf("%d %s, want %d", w.Code, w.Body, tc.want)
		}
	}
}

// TestExplainRights: who may read may ask, and asks as whom the push would come.
func TestExplainRights(t *testing.T) {
	g := newAsked(t)
	p, err := policy.Parse("policy.yml", []byte(`version: v1
auth:
  push: required
  read: [ops]
  users: {ops: "sha256:`+strings.Repeat("0", 64)+`", data: "sha256:`+strings.Repeat("1", 64)+`"}
jobs: [{job: nightly, push: [data]}]
`))
	if err != nil {
		t.Fatal(err)
	}
	g.SetPolicy(p)
	if w := g.ask("path=/metrics/job/nightly", "b 1\n"); w.Code != http.StatusUnauthorized {
		t.Errorf("nobody is answered %d %s", w.Code, w.Body)
	}
	for as, want := range map[string]int{"": 200, "data": 200, "ops": 403, "nobody": 403} {
		told, err := g.Explain(t.Context(), explained{method: "PUT", path: "/metrics/job/nightly", body: "b 1\n"}.request(), as)
		if err != nil || told.Answer.Status != want {
			t.Errorf("as %q: %+v, %v, want %d", as, told, err, want)
		}
	}
}

// TestExplainBesidePushes: explanations and pushes of the same groups at once.
func TestExplainBesidePushes(t *testing.T) {
	g := newAsked(t)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 3))
			bodies := shapedBodies(r)
			for range 150 {
				p := drawExplained(r, bodies)
				if worker%2 == 0 {
					g.Push(t.Context(), p.request())
				} else if _, err := g.Explain(t.Context(), p.request(), ""); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
