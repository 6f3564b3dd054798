package proxy_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/audit"
	"github.com/pushguard/pushguard/proxy/gateway"
)

// writes makes a policy with two rules, which replace two labels by one word.
func writes(t testing.TB, word string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse("policy.yml", fmt.Appendf(nil, `version: v1
default:
  mode: enforce
  rules:
  - {id: key, labels: [run], action: replace, replacement: %s}
  - {id: metric, labels: [user], action: replace, replacement: %s}
`, word, word))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestReloadsAmongPushes pushes while the policy changes all the time: each push
// is judged by one policy, key and every metric, and its record names that one.
func TestReloadsAmongPushes(t *testing.T) {
	sent := regexp.MustCompile(`(old|new)`)
	var mu sync.Mutex
	wordsOf := map[string]string{} // by the push's own mark
	upstream := upstreamFunc(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mark := regexp.MustCompile(`mark="(\w+)"`).FindSubmatch(body)[1]
		mu.Lock()
		defer mu.Unlock()
		wordsOf[string(mark)] = strings.Join(sent.FindAllString(r.URL.Path+string(body), -1), " ")
	})
	g := newGuard(t, upstream, setup{policy: "version: v1\n"})
	policies := []*policy.Policy{writes(t, "old"), writes(t, "new")}
	g.SetPolicy(policies[0])

	stop := make(chan struct{})
	var reloads, pushers sync.WaitGroup
	reloads.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				g.SetPolicy(policies[i%2])
			}
		}
	})
	const workers, pushes = 4, 100
	for w := range workers {
		pushers.Go(func() {
			for i := range pushes {
				body := fmt.Sprintf("a{user=\"u%d\",mark=\"w%dn%d\"} 1\nb{user=\"u\"} 1\nc{user=\"v\"} 1\n", i%3, w, i)
				a := g.do(http.MethodPost, fmt.Sprintf("/metrics/job/w%d/run/%d", w, i), body)
				if a.Status != http.StatusOK {
					t.Errorf("push: %d %s", a.Status, a.Body)
				}
			}
		})
	}
	pushers.Wait()
	close(stop)
	reloads.Wait()

	seen := map[string]int{}
	for mark, words := range wordsOf {
		if seen[words]++; words != "old old old old" && words != "new new new new" {
			t.Errorf("push %s was judged by two policies: %s", mark, words)
		}
	}
	if len(wordsOf) != workers*pushes || len(seen) < 2 {
		t.Errorf("%d pushes by %v, want %d by both", len(wordsOf), seen, workers*pushes)
	}
	groupOf := map[any]string{policies[0].Digest(): "old", policies[1].Digest(): "new"}
	for _, r := range g.records(t) {
		if want := groupOf[r["policy"]]; want == "" || !strings.Contains(fmt.Sprint(r["group"]), want) {
			t.Errorf("the record names policy %v and group %v", r["policy"], r["group"])
		}
	}
}

// TestPushKeepsThePolicyItBeganWith holds a push in its body while the policy
// changes.
func TestPushKeepsThePolicyItBeganWith(t *testing.T) {
	bodies := make(chan string, 2)
	upstream := upstreamFunc(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- string(body)
	})
	g := newGuard(t, upstream, setup{policy: "version: v1\n"})
	g.SetPolicy(writes(t, "old"))
	body, client := io.Pipe()
	var done sync.WaitGroup
	done.Go(func() {
		g.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/metrics/job/a", body))
	})
	fmt.Fprint(client, `a{user="x"}`) // returns once the guard reads the body
	g.SetPolicy(writes(t, "new"))
	fmt.Fprint(client, " 1\n")
	_ = client.Close()
	done.Wait()
	g.push(t, http.StatusOK, http.MethodPost, "/metrics/job/a", "a{user=\"x\"} 1\n")
	for _, want := range []string{"a{user=\"old\"} 1\n", "a{user=\"new\"} 1\n"} {
		if diff := cmp.Diff(want, <-bodies); diff != "" {
			t.Error(diff)
		}
	}
}

// reloadable is a guard whose policy is a file.
type reloadable struct {
	http.Handler
	*proxy.Guard
	file string
	log  *bytes.Buffer
}

func newReloadable(t *testing.T, change func(*proxy.Config)) *reloadable {
	t.Helper()
	r := &reloadable{file: filepath.Join(t.TempDir(), "policy.yml"), log: new(bytes.Buffer)}
	r.write(t, "version: v1\n")
	upstream, err := gateway.New(gateway.Config{URL: upstreamFunc(t, func(http.ResponseWriter, *http.Request) {})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(upstream.Close)
	load := func() (*policy.Policy, error) { return policy.Load(r.file) }
	first, err := load()
	if err != nil {
		t.Fatal(err)
	}
	cfg := proxy.Config{
		Policy: first, LoadPolicy: load, Upstream: upstream, Metrics: proxy.NewMetrics(prometheus.NewRegistry()),
		Logger: slog.New(slog.NewTextHandler(r.log, nil)), EnableLifecycle: true,
		Caps: proxy.Caps{Body: 1 << 20, Decoded: 1 << 20, Samples: 1000, Labels: 64, LabelValue: 4096},
	}
	if change != nil {
		change(&cfg)
	}
	if r.Guard, err = proxy.New(cfg); err != nil {
		t.Fatal(err)
	}
	r.Handler = r.Guard.Handler()
	return r
}

func (r *reloadable) write(t *testing.T, content string) {
	t.Helper()
	if err := os.WriteFile(r.file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (r *reloadable) send(h http.Handler, method, path string) answer {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return answer{w.Code, w.Header(), w.Body.String()}
}

// metric is the line of the guard's own page that begins so.
func (r *reloadable) metric(begin string) string {
	for line := range strings.Lines(r.send(r.Handler, http.MethodGet, "/guard/metrics").Body) {
		if strings.HasPrefix(line, begin) {
			return strings.TrimSuffix(line, "\n")
		}
	}
	return ""
}

const (
	successful = "pushguard_policy_last_reload_successful"
	lastLoaded = "pushguard_policy_last_reload_success_timestamp_seconds"
	inForce    = "pushguard_policy_info"
)

func TestReload(t *testing.T) {
	g := newReloadable(t, nil)
	info := func(content string) string {
		p, err := policy.Parse("policy.yml", []byte(content))
		if err != nil {
			t.Fatal(err)
		}
		return inForce + `{digest="` + p.Digest() + `"} 1`
	}
	want := func(ok, policy string) {
		t.Helper()
		if got := g.metric(successful); got != successful+" "+ok {
			t.Errorf("got %q, want %s", got, ok)
		}
		if got := g.metric(inForce); got != policy {
			t.Errorf("got %q, want %q", got, policy)
		}
	}
	const first, second = "version: v1\n", "version: v1\ndefault: {mode: open}\n"
	want("1", info(first))
	read := g.metric(lastLoaded)

	g.write(t, "version: v2\nlimit: 7\n")
	a := g.send(g, http.MethodPost, "/-/reload")
	faults := g.file + ":1:10: unknown version \"v2\": want v1\n" + g.file + ":2:1: "
	if a.Status != http.StatusUnprocessableEntity || !strings.HasPrefix(a.Body, faults) ||
		a.Header.Get("Content-Type") != "text/plain; charset=utf-8" || a.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("a file with two faults: %d %v %q", a.Status, a.Header, a.Body)
	}
	if log := g.log.String(); !strings.Contains(log, ":1:10: ") || !strings.Contains(log, ":2:1: ") {
		t.Errorf("the faults are not in the log:\n%s", log)
	}
	want("0", info(first))

	if err := os.Remove(g.file); err != nil {
		t.Fatal(err)
	}
	if a := g.send(g, http.MethodPut, "/-/reload"); a.Status != http.StatusInternalServerError || !strings.Contains(a.Body, "no such file") {
		t.Errorf("a file that is not there: %d %q", a.Status, a.Body)
	}
	want("0", info(first))
	if now := g.metric(lastLoaded); now != read {
		t.Errorf("the time of the last success moved from %q to %q", read, now)
	}

	g.write(t, second)
	g.log.Reset()
	if a := g.send(g, http.MethodPut, "/-/reload"); a.Status != http.StatusOK {
		t.Errorf("a good file: %d %q", a.Status, a.Body)
	}
	want("1", info(second))
	if now := g.metric(lastLoaded); now == read || now == "" {
		t.Errorf("the time of the last success is still %q", now)
	}
	for _, content := range []string{first, second} {
		digest := regexp.MustCompile(`"(.*)"`).FindStringSubmatch(info(content))[1]
		if !strings.Contains(g.log.String(), digest) {
			t.Errorf("the log does not name %s:\n%s", digest, g.log)
		}
	}
}

func TestReloadIsRefused(t *testing.T) {
	off := newReloadable(t, func(c *proxy.Config) { c.EnableLifecycle = false })
	for _, method := range []string{http.MethodPost, http.MethodPut} {
		if a := off.send(off, method, "/-/reload"); a.Status != http.StatusForbidden || a.Body != "Lifecycle API is not enabled." {
			t.Errorf("%s where it is not enabled: %d %q", method, a.Status, a.Body)
		}
	}
	on := newReloadable(t, nil)
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodDelete} {
		if a := on.send(on, method, "/-/reload"); a.Status != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "POST, PUT" {
			t.Errorf("%s: %d, allow %q", method, a.Status, a.Header.Get("Allow"))
		}
	}
	without := newReloadable(t, func(c *proxy.Config) { c.LoadPolicy = nil })
	if err := without.Reload(); err == nil {
		t.Error("reloaded from nowhere")
	}
	failing := errors.New("the disk is gone")
	broken := newReloadable(t, func(c *proxy.Config) {
		c.LoadPolicy = func() (*policy.Policy, error) { return nil, failing }
	})
	if err := broken.Reload(); !errors.Is(err, failing) {
		t.Errorf("got %v, want the loader's error", err)
	}
}

// TestAdminApart lists what each of the two handlers serves when they are apart.
func TestAdminApart(t *testing.T) {
	for _, prefix := range []string{"", "/team"} {
		g := newReloadable(t, func(c *proxy.Config) {
			c.AdminApart, c.EnableAdminAPI, c.RoutePrefix = true, true, prefix
		})
		for _, tc := range []struct {
			method, path string
			push, admin  int
		}{
			{"GET", "/guard/metrics", 404, 200},
			{"GET", "/guard/", 404, 404},
			{"POST", "/-/reload", 404, 200},
			{"GET", "/-/reload", 404, 405},
			{"POST", "/-/quit", 404, 200},
			{"GET", "/-/quit", 404, 405},
			{"PUT", "/api/v1/admin/wipe", 404, 200},
			{"DELETE", "/api/v1/admin/wipe", 404, 405},
			{"POST", "/metrics/job/a", 200, 404},
			{"PUT", "/metrics/job/a", 200, 404},
			{"DELETE", "/metrics/job/a", 200, 404},
			{"GET", "/metrics", 200, 404},
			{"GET", "/api/v1/metrics", 200, 404},
			{"GET", "/", 200, 404},
		} {
			for name, side := range map[string]struct {
				handler http.Handler
				want    int
			}{"push": {g.Handler, tc.push}, "admin": {g.AdminHandler(), tc.admin}} {
				if got := g.send(side.handler, tc.method, prefix+tc.path).Status; got != side.want {
					t.Errorf("%s %s%s at the %s handler: %d, want %d", tc.method, prefix, tc.path, name, got, side.want)
				}
			}
		}
		if prefix == "" {
			continue
		}
		for name, h := range map[string]http.Handler{"push": g.Handler, "admin": g.AdminHandler()} {
			if got := g.send(h, http.MethodPost, "/-/quit").Status; got != http.StatusNotFound {
				t.Errorf("/-/quit beside the prefix at the %s handler: %d", name, got)
			}
		}
	}
}

// TestTrustedProxies has the record name the client, and the upstream be told
// the whole way.
func TestTrustedProxies(t *testing.T) {
	said := make(chan string, 1)
	upstream := upstreamFunc(t, func(_ http.ResponseWriter, r *http.Request) { said <- r.Header.Get("X-Forwarded-For") })
	behind, err := gateway.New(gateway.Config{URL: upstream})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(behind.Close)
	var records bytes.Buffer
	g := newReloadable(t, func(c *proxy.Config) {
		c.Upstream, c.Audit, c.AuditAll = behind, audit.New(&records, nil), true
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} // where httptest's requests come from
	})
	r := httptest.NewRequest(http.MethodPost, "/metrics/job/a", strings.NewReader("a 1\n"))
	r.Header.Set("X-Forwarded-For", "203.0.113.5, 198.51.100.7")
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("push: %d %s", w.Code, w.Body)
	}
	if !strings.Contains(records.String(), `"client":"198.51.100.7"`) {
		t.Errorf("the record names another client: %s", &records)
	}
	if got := <-said; got != "203.0.113.5, 198.51.100.7, 192.0.2.1" {
		t.Errorf("the upstream was told %q", got)
	}
}
