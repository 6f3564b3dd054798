package proxy_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/audit"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/logtest"
)

// tb is what the helpers ask of a *testing.T or a *rapid.T.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
}

// setup is what a test wants of its guard; what it leaves out is roomy.
type setup struct {
	policy   string
	caps     proxy.Caps
	wait     time.Duration // for a group that is taken
	timeout  time.Duration // of the upstream
	audit    io.Writer     // in place of the guard's own buffer
	sparing  bool          // no record of pushes that pass
	adminAPI bool
	// asProtobuf has text go on as protobuf.
	asProtobuf bool
	prefix     string
	logger     *slog.Logger // nil is told nothing
}

// guard is a real guard in front of an upstream, called without a network.
type guard struct {
	http.Handler
	*proxy.Guard
	log *logtest.Buffer
}

func newGuard(t tb, upstream *url.URL, s setup) *guard {
	t.Helper()
	if s.caps == (proxy.Caps{}) {
		s.caps = proxy.Caps{Body: 1 << 20, Decoded: 4 << 20, Samples: 10_000, Labels: 64, LabelValue: 4096}
	}
	if s.timeout == 0 {
		s.timeout = 20 * time.Second
	}
	if s.wait == 0 {
		s.wait = 20 * time.Second
	}
	rules, err := policy.Parse("policy.yml", []byte(s.policy))
	if err != nil {
		t.Fatalf("policy:\n%s\n%v", s.policy, err)
	}
	metrics := proxy.NewMetrics(prometheus.NewRegistry())
	behind, err := gateway.New(gateway.Config{URL: upstream, Timeout: s.timeout, Observe: metrics.ObserveUpstream})
	if err != nil {
		t.Fatalf("upstream: %v", err)
	}
	g := &guard{log: &logtest.Buffer{}}
	if s.audit == nil {
		s.audit = g.log
	}
	g.Guard, err = proxy.New(proxy.Config{
		Policy: rules, Upstream: behind, Audit: audit.New(s.audit, nil), AuditAll: !s.sparing, Metrics: metrics,
		EnableAdminAPI: s.adminAPI, TextAsProtobuf: s.asProtobuf, RoutePrefix: s.prefix, Caps: s.caps, GroupWait: s.wait,
		Logger: s.logger,
	})
	if err != nil {
		t.Fatalf("guard: %v", err)
	}
	g.Handler = g.Guard.Handler()
	return g
}

// answer is what a client got.
type answer struct {
	Status int
	Header http.Header
	Body   string
}

// do sends one request; headers are pairs of a name and a value.
func (g *guard) do(method, target, body string, headers ...string) answer {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

// push sends a text body that must be answered so.
func (g *guard) push(t tb, want int, method, target, body string) answer {
	t.Helper()
	a := g.do(method, target, body)
	if a.Status != want {
		t.Fatalf("%s %s: status %d, want %d: %s", method, target, a.Status, want, a.Body)
	}
	return a
}

// metrics is the guard's own page.
func (g *guard) metrics() string { return g.do(http.MethodGet, "/guard/metrics", "").Body }

// records are the audit records written since the last call.
func (g *guard) records(t tb) []map[string]any {
	t.Helper()
	var out []map[string]any
	for line := range strings.Lines(g.log.Take()) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("audit record %q: %v", line, err)
		}
		out = append(out, r)
	}
	return out
}

// lastRecord is the latest audit record.
func (g *guard) lastRecord(t tb) map[string]any {
	t.Helper()
	all := g.records(t)
	if len(all) == 0 {
		t.Fatalf("no audit record")
	}
	return all[len(all)-1]
}

// heldGroup is one group as a Pushgateway lists it, without its own two families.
type heldGroup struct {
	key      map[string]string
	families map[string]heldFamily
}

type heldFamily struct {
	Type    string
	Metrics []heldMetric
}

type heldMetric struct {
	Labels             map[string]string
	Value, Count, Sum  string
	Buckets, Quantiles map[string]string
}

// held lists the groups of a real Pushgateway, in the order of their keys.
func held(t tb, pushgateway *url.URL) []heldGroup {
	t.Helper()
	resp, err := http.Get(pushgateway.JoinPath("api/v1/metrics").String())
	if err != nil {
		t.Fatalf("listing: %v", err)
	}
	defer resp.Body.Close()
	var listing struct{ Data []map[string]json.RawMessage }
	if err := json.NewDecoder(resp.Body).Decode(&listing); err != nil {
		t.Fatalf("listing: %v", err)
	}
	var out []heldGroup
	for _, raw := range listing.Data {
		g := heldGroup{families: map[string]heldFamily{}}
		for name, value := range raw {
			var f heldFamily
			switch name {
			case "push_time_seconds", "push_failure_time_seconds", "last_push_successful":
				continue
			case "labels":
				err = json.Unmarshal(value, &g.key)
			default:
				err = json.Unmarshal(value, &f)
				g.families[name] = f
			}
			if err != nil {
				t.Fatalf("listing of %s: %v", name, err)
			}
		}
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b heldGroup) int { return strings.Compare(labelText(a.key), labelText(b.key)) })
	return out
}

// labelText renders labels for comparing, sorted; an empty label is none, as in
// Prometheus.
func labelText(ls map[string]string) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(ls)) {
		if ls[name] != "" {
			words = append(words, name+"="+strconv.Quote(ls[name]))
		}
	}
	return "{" + strings.Join(words, ",") + "}"
}

// empty deletes every group of a Pushgateway and waits until they are gone.
func empty(t tb, pushgateway *url.URL) {
	t.Helper()
	for range 5000 {
		groups := held(t, pushgateway)
		if len(groups) == 0 {
			return
		}
		for _, g := range groups {
			remove(t, pushgateway, g.key)
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("the Pushgateway does not get empty")
}

// remove deletes one group past the guard.
func remove(t tb, pushgateway *url.URL, key map[string]string) {
	t.Helper()
	path := "/metrics" + component("job", key["job"])
	for _, name := range slices.Sorted(maps.Keys(key)) {
		if name != "job" {
			path += component(name, key[name])
		}
	}
	r, err := http.NewRequest(http.MethodDelete, pushgateway.String()+path, nil)
	if err != nil {
		t.Fatalf("%v", err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatalf("delete past the guard: %v", err)
	}
	_ = resp.Body.Close()
}

// component is one label of a path, in base64, whatever its value.
func component(name, value string) string {
	return "/" + name + "@base64/" + base64.URLEncoding.EncodeToString([]byte(value)) + map[bool]string{true: "="}[value == ""]
}

// upstreamFunc is an upstream that is no Pushgateway: it holds no groups, and
// answers writes by the function.
func upstreamFunc(t testing.TB, write http.HandlerFunc) *url.URL {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, `{"status":"success","data":[]}`)
			return
		}
		write(w, r)
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
