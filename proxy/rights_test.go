package proxy_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/push"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/audit"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/logtest"
)

// The secrets of the policy below, and their hashes as htpasswd and sha256sum make them.
const (
	dataPassword = "correct horse"
	flowToken    = "2f1d3c5e7a9b"
	authPolicy   = `version: v1
fold_jobs: [trailing_time]
auth:
  push: required
  read: [scraper]
  admin: [ops]
  users:
    data: "$2a$04$bGnmUe7uIoLqexkEt8rOPuOvpH6IVTw51ql.9gyWY4PwqyQG7SC0S"
    flow: "sha256:HASH"
    scraper: "sha256:SCRAPER"
    ops: "sha256:OPS"
jobs:
- {job: nightly.*, owner: data-eng, mode: enforce, push: [data, flow]}
- {job: shared, push: ['*']}
- {job: orphan}
`
)

// arrival is what the Pushgateway behind got.
type arrival struct{ method, path, authorization string }

// authorized is a guard with users, in front of a Pushgateway that tells what came.
type authorized struct {
	*httptest.Server
	mu      sync.Mutex
	arrived []arrival
	audit   logtest.Buffer
	log     logtest.Buffer
}

func newAuthorized(t *testing.T, text string) *authorized {
	t.Helper()
	a := &authorized{}
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.arrived = append(a.arrived, arrival{r.Method, r.URL.Path, r.Header.Get("Authorization")})
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/api/v1/metrics" { // the guard's own question
			_, _ = io.WriteString(w, `{"status":"success","data":[]}`)
		}
	}))
	t.Cleanup(behind.Close)
	at, err := url.Parse(behind.URL)
	if err != nil {
		t.Fatal(err)
	}
	upstream, err := gateway.New(gateway.Config{URL: at})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(upstream.Close)
	text = strings.NewReplacer("HASH", sum(flowToken), "SCRAPER", sum("scraper-token"), "OPS", sum("ops-token")).Replace(text)
	load := func() (*policy.Policy, error) { return policy.Parse("policy.yml", []byte(text)) }
	p, err := load()
	if err != nil {
		t.Fatal(err)
	}
	g, err := proxy.New(proxy.Config{
		Policy: p, LoadPolicy: load, Upstream: upstream, Metrics: proxy.NewMetrics(prometheus.NewRegistry()), Audit: audit.New(&a.audit, nil), AuditAll: true,
		Logger: slog.New(slog.NewTextHandler(&a.log, nil)), EnableLifecycle: true, EnableAdminAPI: true,
		Caps: proxy.Caps{Body: 1 << 20, Decoded: 1 << 20, Samples: 1000, Labels: 64, LabelValue: 4096},
	})
	if err != nil {
		t.Fatal(err)
	}
	a.Server = httptest.NewServer(g.Handler())
	t.Cleanup(a.Close)
	return a
}

// send returns the answer, its body read.
func (a *authorized) send(t *testing.T, method, path, authorization, body string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, a.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	return got, string(text)
}

func (a *authorized) came() []arrival {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(a.arrived), func(x arrival) bool { return x.path == "/api/v1/metrics" || x.path == "/api/v1/status" })
}

func basicAuth(name, password string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(name, password)
	return r.Header.Get("Authorization")
}

func TestRights(t *testing.T) {
	data, flow := basicAuth("data", dataPassword), "Bearer "+flowToken
	scraper, ops := "Bearer scraper-token", "Bearer ops-token"
	for _, test := range []struct {
		name, method, path, authorization string
		status                            int
		arrives                           bool
	}{
		{"nobody", "POST", "/metrics/job/nightly", "", 401, false},
		{"a wrong password", "POST", "/metrics/job/nightly", basicAuth("data", "x"), 401, false},
		{"a wrong token", "PUT", "/metrics/job/nightly", "Bearer x", 401, false},
		{"nobody deletes", "DELETE", "/metrics/job/nightly", "", 401, false},
		{"a password", "POST", "/metrics/job/nightly", data, 200, true},
		{"a token", "PUT", "/metrics/job/nightly", flow, 200, true},
		{"a token as password", "PUT", "/metrics/job/nightly", basicAuth("flow", flowToken), 200, true},
		{"deletes", "DELETE", "/metrics/job/nightly", data, 200, true},
		{"the job as it is governed", "POST", "/metrics/job/nightly_20260101", data, 200, true},
		{"encoded", "POST", "/metrics/job@base64/bmlnaHRseQ", data, 200, true},
		{"another team's job", "POST", "/metrics/job/nightly", scraper, 403, false},
		{"another team deletes", "DELETE", "/metrics/job/nightly", scraper, 403, false},
		{"another team's sweep", "DELETE", "/metrics/job@base64/bmlnaHRseQ", scraper, 403, false},
		{"admin may not push", "POST", "/metrics/job/nightly", ops, 403, false},
		{"a job of every user", "POST", "/metrics/job/shared", scraper, 200, true},
		{"but not of everybody", "POST", "/metrics/job/shared", "", 401, false},
		{"a job of nobody", "POST", "/metrics/job/orphan", data, 403, false},
		{"scrapes", "GET", "/metrics", scraper, 200, true},
		{"nobody scrapes", "GET", "/metrics", "", 401, false},
		{"who pushes may not scrape", "GET", "/metrics", data, 403, false},
		{"the API of the Pushgateway", "GET", "/api/v1/anything", scraper, 200, true},
		{"not for all", "GET", "/api/v1/anything", "", 401, false},
		{"its page", "GET", "/", "", 401, false},
		{"the guard's API", "GET", "/guard/api/v1/jobs", scraper, 200, false},
		{"not for pushers", "GET", "/guard/api/v1/jobs", flow, 403, false},
		{"nor for nobody", "GET", "/guard/api/v1/policy", "", 401, false},
		{"nor the audit log", "GET", "/guard/api/v1/audit", "", 401, false},
		{"nor the metrics", "GET", "/guard/metrics", "", 401, false},
		{"reload", "POST", "/-/reload", ops, 200, false},
		{"not for readers", "POST", "/-/reload", scraper, 403, false},
		{"nor for nobody", "POST", "/-/reload", "", 401, false},
		{"wipe", "PUT", "/api/v1/admin/wipe", ops, 200, true},
		{"not for pushers", "PUT", "/api/v1/admin/wipe", data, 403, false},
		{"quit", "PUT", "/-/quit", ops, 200, true},
		{"not for nobody", "PUT", "/-/quit", "", 401, false},
		{"health is for all", "GET", "/-/healthy", "", 200, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newAuthorized(t, authPolicy)
			got, body := g.send(t, test.method, test.path, test.authorization, "a 1\n")
			if got.StatusCode != test.status {
				t.Errorf("%d %s, want %d", got.StatusCode, body, test.status)
			}
			challenge := got.Header.Values("WWW-Authenticate")
			if asks := len(challenge) == 2 && strings.HasPrefix(challenge[0], "Basic realm=") && strings.HasPrefix(challenge[1], "Bearer "); asks != (test.status == 401) {
				t.Errorf("%d with the challenges %q", got.StatusCode, challenge)
			}
			came := g.came()
			if (len(came) > 0) != test.arrives {
				t.Errorf("the Pushgateway behind got %v", came)
			}
			for _, c := range came {
				if c.authorization != "" {
					t.Errorf("%s %s reached the Pushgateway with %q", c.method, c.path, c.authorization)
				}
			}
			for _, secret := range []string{dataPassword, flowToken, "scraper-token", "ops-token", "$2a$", sum(flowToken), "Bearer ", "Basic "} {
				if strings.Contains(g.audit.String()+g.log.String()+body, secret) {
					t.Errorf("%q is in the audit log, the log or the answer", secret)
				}
			}
		})
	}
}

// TestPagesOfOtherSites: a browser that knows the credentials of who administers does
// nothing for another site's page with them.
func TestPagesOfOtherSites(t *testing.T) {
	g := newAuthorized(t, authPolicy)
	for _, path := range []string{"/-/reload", "/-/quit", "/api/v1/admin/wipe"} {
		for origin, want := range map[string]int{"": 200, "http://guard": 200, "http://elsewhere": 403, "null": 403} {
			r := httptest.NewRequest(http.MethodPut, "http://guard"+path, nil)
			r.Header.Set("Authorization", "Bearer ops-token")
			if origin != "" {
				r.Header.Set("Origin", origin)
			}
			w := httptest.NewRecorder()
			g.Config.Handler.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("%s from %q: %d %s, want %d", path, origin, w.Code, w.Body, want)
			}
		}
	}
}

// Who may not push is not asked for the body, and leaves a record with the name.
func TestTurnedAwayBeforeTheBody(t *testing.T) {
	g := newAuthorized(t, authPolicy)
	for authorization, want := range map[string]struct {
		status        int
		user, finding string
	}{
		"":                     {401, "", "unauthenticated"},
		"Bearer scraper-token": {403, "scraper", "not_permitted"},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/metrics/job/nightly", unread{t, w})
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		g.Config.Handler.ServeHTTP(w, r)
		if w.Code != want.status {
			t.Errorf("%q: %d, want %d", authorization, w.Code, want.status)
		}
		lines := strings.Split(strings.TrimSpace(g.audit.String()), "\n")
		var record struct {
			User, Outcome string
			Status        int
			Findings      []struct{ ID string }
		}
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &record); err != nil {
			t.Fatal(err)
		}
		if record.User != want.user || record.Status != want.status || record.Outcome != "refused" || len(record.Findings) != 1 || record.Findings[0].ID != want.finding {
			t.Errorf("%q: the record is %+v, want %+v", authorization, record, want)
		}
	}
	if _, page := g.send(t, http.MethodGet, "/guard/metrics", "Bearer scraper-token", ""); strings.Contains(page, `pushguard_job_findings{finding="not_permitted"`) {
		t.Error("who is turned away writes findings of the job")
	}
}

// unread is a body that nobody may read before the answer has been sent.
type unread struct {
	t  *testing.T
	to *httptest.ResponseRecorder
}

func (u unread) Read([]byte) (int, error) {
	if !u.to.Flushed {
		u.t.Error("the body is read")
	}
	return 0, io.EOF
}

// Without push: required nobody is asked, and only what the policy knows stays here.
func TestRightsAreOffByDefault(t *testing.T) {
	for _, test := range []struct{ policy, authorization, forwarded string }{
		{"version: v1\n", "Bearer " + flowToken, "Bearer " + flowToken},
		{"version: v1\n", "", ""},
		{strings.Replace(authPolicy, "push: required\n  read: [scraper]", "push: off", 1), "Bearer of-another", "Bearer of-another"},
		{strings.Replace(authPolicy, "push: required\n  read: [scraper]", "push: off", 1), "Bearer " + flowToken, ""},
	} {
		g := newAuthorized(t, strings.Replace(test.policy, "push: off", "push: 'off'", 1))
		for _, request := range []arrival{{method: "POST", path: "/metrics/job/nightly"}, {method: "GET", path: "/anything"}} {
			got, body := g.send(t, request.method, request.path, test.authorization, "a 1\n")
			if came := g.came(); got.StatusCode != 200 || len(came) == 0 || came[len(came)-1].authorization != test.forwarded {
				t.Errorf("%s with %q: %d %s, forwarded %v, want %q", request.method, test.authorization, got.StatusCode, body, came, test.forwarded)
			}
		}
	}
}

// The clients that people have push with their own ways to say who they are.
func TestClientsSayWhoTheyAre(t *testing.T) {
	for name, client := range map[string]func(t *testing.T, url, job, password string) error{
		"go": pushWithGo, "python": pushWithPython, "curl": pushWithCurl, "node": pushWithNode,
	} {
		t.Run(name, func(t *testing.T) {
			g := newAuthorized(t, authPolicy)
			if err := client(t, g.URL, "nightly", dataPassword); err != nil {
				t.Errorf("with the right secret: %v", err)
			}
			if err := client(t, g.URL, "nightly", "wrong"); err == nil {
				t.Error("a wrong secret is no error")
			}
			if err := client(t, g.URL, "orphan", dataPassword); err == nil {
				t.Error("another's job is no error")
			}
		})
	}
}

func pushWithGo(t *testing.T, url, job, password string) error {
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "a"})
	return push.New(url, job).Collector(gauge).BasicAuth("data", password).PushContext(t.Context())
}

func pushWithPython(t *testing.T, url, job, password string) error {
	return program(t, "/usr/bin/python3", "apt-get install python3-prometheus-client", "-c", fmt.Sprintf(`
from prometheus_client import CollectorRegistry, Gauge, push_to_gateway
from prometheus_client.exposition import basic_auth_handler
r = CollectorRegistry(); Gauge('a', 'a', registry=r).set(1)
def h(url, method, timeout, headers, data):
    return basic_auth_handler(url, method, timeout, headers, data, 'data', %q)
push_to_gateway(%q, job=%q, registry=r, handler=h)`, password, url, job))
}

// pushWithCurl has a token, the right one where the password is right.
func pushWithCurl(t *testing.T, url, job, password string) error {
	token := map[bool]string{true: flowToken, false: "wrong"}[password == dataPassword]
	return program(t, "curl", "apt-get install curl", "-sSf", "-H", "Authorization: Bearer "+token, "--data-binary", "a 1\n", url+"/metrics/job/"+job)
}

func pushWithNode(t *testing.T, to, job, password string) error {
	client, err := filepath.Abs("../testdata/clients/node/node_modules/prom-client")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(client); err != nil {
		missing(t, "prom-client", "testdata/install.sh")
	}
	return program(t, "node", "testdata/install.sh", "-e", fmt.Sprintf(`const c = require(%q);
new c.Gauge({name: 'a', help: 'a'}).set(1);
new c.Pushgateway(%q, {auth: %q}, c.register).push({jobName: %q})
  .then(({resp}) => process.exit(resp.statusCode === 200 ? 0 : 1), (e) => { console.error(e); process.exit(1); });`,
		client, to, "data:"+password, job))
}

// missing says which real part is not there: a failure where CI=true.
func missing(t *testing.T, what, how string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing: %s", what, how)
	}
	t.Skipf("%s is missing: %s", what, how)
}

func program(t *testing.T, name, how string, args ...string) error {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		missing(t, name, how)
	}
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// sum is the hash of a token as sha256sum has it.
func sum(token string) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(token)))
}
