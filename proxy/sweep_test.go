package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/audit"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/proxy/logtest"
)

// living is a guard that Run can look after. Its book's clock may be set back, so
// that what is pushed then is old at once.
type living struct {
	*guard
	behind atomic.Int64 // nanoseconds
	close  func()       // the connections to the upstream
}

// untimed is an upstream that does not list when groups were pushed to: the book
// then goes by its own clock.
type untimed struct{ proxy.Upstream }

// Groups implements proxy.Upstream.
func (u untimed) Groups(ctx context.Context, seed uint64) ([]gateway.Group, error) {
	groups, err := u.Upstream.Groups(ctx, seed)
	for i := range groups {
		groups[i].Pushed, groups[i].Failed = time.Time{}, time.Time{}
	}
	return groups, err
}

var quick = proxy.Rhythm{Sweep: 20 * time.Millisecond, SweepRate: 5000}

// timed has the upstream tell the times of pushes, as a Pushgateway does.
func timed(c *proxy.Config) { c.Upstream = c.Upstream.(untimed).Upstream }

func newLiving(t testing.TB, upstream *url.URL, rules string, change func(*proxy.Config)) *living {
	t.Helper()
	compiled, err := policy.Parse("policy.yml", []byte(rules))
	if err != nil {
		t.Fatalf("policy:\n%s\n%v", rules, err)
	}
	metrics := proxy.NewMetrics(prometheus.NewRegistry())
	behind, err := gateway.New(gateway.Config{URL: upstream, Timeout: 20 * time.Second, Observe: metrics.ObserveUpstream})
	if err != nil {
		t.Fatal(err)
	}
	l := &living{guard: &guard{log: &logtest.Buffer{}}, close: behind.Close}
	t.Cleanup(behind.Close)
	cfg := proxy.Config{
		Policy: compiled, Upstream: untimed{behind}, Audit: audit.New(l.log, nil), Metrics: metrics, Product: "pushguard/test",
		Caps:      proxy.Caps{Body: 1 << 20, Decoded: 4 << 20, Samples: 10_000, Labels: 64, LabelValue: 4096},
		GroupWait: 20 * time.Second, Logger: slog.New(slog.DiscardHandler),
		Book: ledger.NewBook(ledger.Config{Wait: 20 * time.Second, Now: func() time.Time {
			return time.Now().Add(-time.Duration(l.behind.Load()))
		}}),
		Rhythm: quick,
	}
	if change != nil {
		change(&cfg)
	}
	if l.Guard, err = proxy.New(cfg); err != nil {
		t.Fatal(err)
	}
	l.Handler = l.Guard.Handler()
	return l
}

// inThePast has what do pushes be so old.
func (l *living) inThePast(by time.Duration, do func()) {
	l.behind.Store(int64(by))
	do()
	l.behind.Store(0)
}

// run has the guard live until the returned function is called, or the test ends.
func (l *living) run(t testing.TB) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = l.Run(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	return stop
}

// own is a value of the guard's own page: 0 of a series that is not there.
func (l *living) own(t testing.TB, series string) float64 {
	t.Helper()
	for line := range strings.Lines(l.metrics()) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			return v
		}
	}
	return 0
}

const lastSweep = "pushguard_sweep_last_success_timestamp_seconds"

// removed is how many groups of a job came to that end.
func (l *living) removed(t testing.TB, job, reason, result string) float64 {
	t.Helper()
	return l.own(t, fmt.Sprintf(`pushguard_groups_removed_total{job=%q,reason=%q,result=%q}`, job, reason, result))
}

// awaitSweep waits until a sweep has begun and ended well after the call.
func (l *living) awaitSweep(t testing.TB) {
	t.Helper()
	since := float64(time.Now().UnixNano()) / 1e9
	passes := 0
	last := since
	eventually(t, func() error {
		if now := l.own(t, lastSweep); now > last {
			last = now
			passes++
		}
		if passes < 2 { // the first may have been under way
			return fmt.Errorf("%d sweeps ended", passes)
		}
		return nil
	})
}

// eventually calls check until it returns nil, and fails the test with its last
// error when the patience is over.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// groupPath names a group in base64 throughout.
func groupPath(key map[string]string) string {
	path := "/metrics" + component("job", key["job"])
	for _, name := range slices.Sorted(maps.Keys(key)) {
		if name != "job" {
			path += component(name, key[name])
		}
	}
	return path
}

// keysHeld are the grouping keys that the Pushgateway lists, sorted. Unlike
// labelText they show empty labels.
func keysHeld(t testing.TB, upstream *url.URL) []string {
	t.Helper()
	keys := []string{}
	for _, g := range held(t, upstream) {
		keys = append(keys, fmt.Sprint(g.key))
	}
	slices.Sort(keys)
	return keys
}

func keyTexts(groups []map[string]string) []string {
	keys := []string{}
	for _, k := range groups {
		keys = append(keys, fmt.Sprint(k))
	}
	slices.Sort(keys)
	return keys
}

// hardGroups are groups that known cleaners delete wrongly or not at all.
func hardGroups() []map[string]string {
	groups := []map[string]string{
		{"job": "a", "instance": "x", "run_id": "1"}, // they delete {job="a", instance="x"}
		{"job": "alone"},
		{"job": "whole", "instance": "old", "shard": "1"}, // they delete {job="whole"}
		{"job": "a/b"},
		{"job": "empty", "instance": ""},
		{"job": "empty", "instance": "i", "zone": ""},
		{"job": "pieces", "instance": "job", "base64": "@base64"},
		{"job": "metrics", "instance": "job/x"},
	}
	for _, value := range []string{
		"a/b", "/", "a//b", "../../x", ".", "..", "a b", "a+b", "50%", "%2F", "a?b=c&d", "a#b", "ü漢😀", "line\nbreak", `a\b`, `"q"`,
		"\t\x00\x7f", "{x}", "@base64", "YQ==", "=", "*",
	} {
		groups = append(groups, map[string]string{"job": "values", "path": value})
	}
	return groups
}

const staleHour = "version: v1\ndefault: {mode: enforce, stale_after: 1h}\n"

// TestSweepWhereCleanersFail has the guard's own sweeper delete what known
// cleaners leave, beside what they take instead.
func TestSweepWhereCleanersFail(t *testing.T) {
	t.Parallel()
	upstream := gatewaytest.Start(t)
	g := newLiving(t, upstream, staleHour, nil)
	stale := hardGroups()
	g.inThePast(2*time.Hour, func() {
		for _, k := range stale {
			g.push(t, 200, http.MethodPut, groupPath(k), "rows 1\n")
		}
	})
	fresh := []map[string]string{
		{"job": "a", "instance": "x"},
		{"job": "a"},
		{"job": "whole"},
		{"job": "whole", "instance": "old"},
		{"job": "values"},
		{"job": "values", "path": "x"},
		{"job": "alone", "instance": "x"},
		{"job": "a", "instance": "b"},
	}
	for _, k := range fresh {
		g.push(t, 200, http.MethodPut, groupPath(k), "rows 1\n")
	}
	g.records(t)
	g.run(t)
	g.awaitSweep(t)
	if diff := cmp.Diff(keyTexts(fresh), keysHeld(t, upstream)); diff != "" {
		t.Errorf("groups (-fresh +left):\n%s", diff)
	}
	if got := g.removed(t, "values", "stale", "deleted"); got != 22 {
		t.Errorf("%v groups of one job counted as deleted", got)
	}
	told := map[string]int{}
	for _, r := range g.records(t) {
		told[fmt.Sprintf("%v %v %v %v", r["outcome"], r["reason"], r["upstream_status"], r["mode"])]++
	}
	if diff := cmp.Diff(map[string]int{"removed stale 202 enforce": len(stale)}, told); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

// front stands before a real Pushgateway and may do what that would not.
type front struct {
	url *url.URL

	mu      sync.Mutex
	target  *url.URL
	deny    func(w http.ResponseWriter, r *http.Request) bool // reports whether it has answered
	listing func(body []byte) []byte                          // what is listed instead
	paths   []string                                          // method, path and status of each write, as it was answered
}

func newFront(t testing.TB, target *url.URL) *front {
	t.Helper()
	f := &front{target: target}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	var err error
	if f.url, err = url.Parse(s.URL); err != nil {
		t.Fatal(err)
	}
	return f
}

// set changes what the front does.
func (f *front) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// written are the writes that were answered since the last call.
func (f *front) written() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	paths := f.paths
	f.paths = nil
	return paths
}

// ServeHTTP implements http.Handler.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	target, deny, listing := f.target, f.deny, f.listing
	f.mu.Unlock()
	if r.Method != http.MethodGet {
		said := &said{ResponseWriter: w, status: http.StatusOK}
		w = said
		path := r.URL.Path // of the request as it came
		defer func() { f.set(func() { f.paths = append(f.paths, fmt.Sprint(r.Method, " ", path, " ", said.status)) }) }()
	}
	if deny != nil && deny(w, r) {
		return
	}
	if listing != nil && r.URL.Path == "/api/v1/metrics" {
		resp, err := http.Get(target.String() + r.URL.Path)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		_, _ = w.Write(listing(body))
		return
	}
	proxy := httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) }}
	proxy.ServeHTTP(w, r)
}

type said struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (s *said) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

var someTime = regexp.MustCompile(`"1\.\d+e\+09"`)

// later dates the times of a listing a second and a half later, as an upstream
// whose clock is ahead by less than anybody can tell.
func later(listing []byte) []byte {
	return someTime.ReplaceAllFunc(listing, func(stamp []byte) []byte {
		v, _ := strconv.ParseFloat(strings.Trim(string(stamp), `"`), 64)
		return []byte(strconv.Quote(strconv.FormatFloat(v+1.5, 'e', -1, 64)))
	})
}

// TestSweepBelievesNoAnswer has an upstream that says 202 to a DELETE and does
// nothing, which a Pushgateway itself does when the path names no group.
func TestSweepBelievesNoAnswer(t *testing.T) {
	t.Parallel()
	upstream := gatewaytest.Start(t)
	front := newFront(t, upstream)
	front.set(func() {
		front.listing = later
		front.deny = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodDelete {
				w.WriteHeader(http.StatusAccepted)
			}
			return r.Method == http.MethodDelete
		}
	})
	g := newLiving(t, front.url, "version: v1\ndefault: {mode: enforce, stale_after: 3s}\n", timed)
	g.run(t)
	g.awaitSweep(t)
	g.push(t, 200, http.MethodPut, "/metrics/job/a/run/1", "rows 1\n")
	g.push(t, 200, http.MethodPut, "/metrics/job/a/run/2", "rows 1\n")
	failures := func(want float64) {
		t.Helper()
		eventually(t, func() error {
			if n := g.removed(t, "a", "stale", "failed"); n < want {
				return fmt.Errorf("%v groups counted as failed, want %v", n, want)
			}
			return nil
		})
	}
	failures(1)
	at := g.own(t, lastSweep)
	failures(4) // they are tried again
	if n := g.removed(t, "a", "stale", "deleted"); n != 0 {
		t.Errorf("%v groups counted as deleted that are there", n)
	}
	if now := g.own(t, lastSweep); now != at {
		t.Errorf("a sweep counts as one that succeeded, %v s later", now-at)
	}
	for _, r := range g.records(t) {
		if r["outcome"] != "failed" || r["upstream_status"] != 202.0 {
			t.Errorf("record %v", r)
		}
	}
	front.set(func() { front.deny = nil })
	eventually(t, func() error {
		if n := g.removed(t, "a", "stale", "deleted"); n != 2 || g.own(t, lastSweep) == at {
			return fmt.Errorf("%v groups counted as deleted once the upstream does it, last success %v", n, g.own(t, lastSweep))
		}
		return nil
	})
	if left := keysHeld(t, upstream); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

// TestSweepGoesOnPastFailures: groups that cannot be deleted, however many, do
// not keep the others.
func TestSweepGoesOnPastFailures(t *testing.T) {
	t.Parallel()
	upstream := gatewaytest.Start(t, "--push.disable-consistency-check")
	front := newFront(t, upstream)
	front.set(func() {
		front.deny = func(w http.ResponseWriter, r *http.Request) bool {
			denied := r.Method == http.MethodDelete && strings.Contains(r.URL.Path, "stuck")
			if denied {
				w.WriteHeader(http.StatusForbidden)
			}
			return denied
		}
	})
	g := newLiving(t, front.url, staleHour, nil)
	const stuck = 1000 // as many as are looked up at once
	g.inThePast(3*time.Hour, func() {
		for i := range stuck {
			g.push(t, 202, http.MethodPut, fmt.Sprintf("/metrics/job/stuck/run/%d", i), "rows 1\n")
		}
	})
	g.inThePast(2*time.Hour, func() { g.push(t, 202, http.MethodPut, "/metrics/job/younger", "rows 1\n") })
	g.run(t)
	eventually(t, func() error {
		if n := g.removed(t, "younger", "stale", "deleted"); n != 1 {
			return fmt.Errorf("what is younger was not deleted, after %v failures", g.removed(t, "stuck", "stale", "failed"))
		}
		return nil
	})
	if at := g.own(t, lastSweep); at != 0 {
		t.Errorf("a sweep with failures succeeded at %v", at)
	}
}

// TestSweepLosesNoPush pushes to the very groups that are being swept. Ages count
// whole seconds: with the least stale_after, all groups are stale when a second
// begins, and until it ends those that are pushed to in it are not.
func TestSweepLosesNoPush(t *testing.T) {
	t.Parallel()
	upstream := gatewaytest.Start(t)
	g := newLiving(t, upstream, "version: v1\ndefault: {mode: enforce, stale_after: 1ms}\n", func(c *proxy.Config) {
		timed(c)
		c.Rhythm = proxy.Rhythm{Sweep: time.Millisecond, SweepRate: 100_000}
	})
	g.run(t)
	const rounds, jobs, groups = 5, 8, 25
	lost, checked := 0, 0
	for round := range rounds {
		second := time.Now().Truncate(time.Second).Add(time.Second)
		time.Sleep(time.Until(second))
		want := make([]map[string]string, jobs)
		var pushes sync.WaitGroup
		for j := range jobs {
			want[j] = map[string]string{}
			pushes.Go(func() {
				for _, i := range rand.Perm(groups) {
					key := map[string]string{"job": fmt.Sprint("j", j), "run": fmt.Sprint(i)}
					if a := g.do(http.MethodPut, groupPath(key), fmt.Sprintf("rows %d\n", round)); a.Status != 200 {
						t.Errorf("a push during a sweep: %d %s", a.Status, a.Body)
						return
					}
					want[j][fmt.Sprint(key)] = fmt.Sprint(round)
				}
			})
		}
		pushes.Wait()
		there := map[string]string{}
		for _, h := range held(t, upstream) {
			for _, m := range h.families["rows"].Metrics {
				there[fmt.Sprint(h.key)] = m.Value
			}
		}
		if time.Since(second) >= time.Second {
			continue // all may be stale again
		}
		for _, acknowledged := range want {
			for key, value := range acknowledged {
				checked++
				if there[key] != value {
					lost++
				}
			}
		}
	}
	deleted := 0.0
	for j := range jobs {
		deleted += g.removed(t, fmt.Sprint("j", j), "stale", "deleted")
	}
	t.Logf("%d pushes checked, %v groups swept meanwhile", checked, deleted)
	if lost > 0 {
		t.Errorf("%d of %d pushes that were acknowledged are not there", lost, checked)
	}
	if deleted == 0 {
		t.Error("nothing was swept meanwhile")
	}
}

// TestSweepTakesWholeGroups: a group is as young as its youngest family, so that
// none of them vanishes alone.
func TestSweepTakesWholeGroups(t *testing.T) {
	t.Parallel()
	upstream := gatewaytest.Start(t)
	g := newLiving(t, upstream, staleHour, nil)
	g.inThePast(2*time.Hour, func() {
		g.push(t, 200, http.MethodPost, "/metrics/job/mixed", "old 1\n")
		g.push(t, 200, http.MethodPost, "/metrics/job/stale", "old 1\n")
		g.push(t, 200, http.MethodPost, "/metrics/job/stale", "older 1\n")
	})
	g.push(t, 200, http.MethodPost, "/metrics/job/mixed", "new 1\n")
	g.run(t)
	g.awaitSweep(t)
	groups := held(t, upstream)
	if len(groups) != 1 || groups[0].key["job"] != "mixed" || len(groups[0].families) != 2 {
		t.Errorf("left are %v", groups)
	}
}

// TestWhatIsNotSwept has everything that the policy keeps, as old as what goes.
func TestWhatIsNotSwept(t *testing.T) {
	t.Parallel()
	upstream := gatewaytest.Start(t)
	g := newLiving(t, upstream, staleHour+`jobs:
- {job: forever, stale_after: 0}
- {job: succeeded, keep_last_success: true}
- {job: newest, keep_last_success: true}
- {job: forecast, mode: report}
- {job: open, mode: open}
`, nil)
	g.inThePast(3*time.Hour, func() {
		g.push(t, 200, http.MethodPut, "/metrics/job/succeeded/run/1", "backup_last_success_timestamp_seconds 1\n")
		g.push(t, 200, http.MethodPut, "/metrics/job/newest/run/1", "rows 1\n")
	})
	g.inThePast(2*time.Hour, func() {
		for _, path := range []string{"succeeded/run/2", "succeeded/run/3", "newest/run/2", "forever", "forecast", "open", "plain"} {
			g.push(t, 200, http.MethodPut, "/metrics/job/"+path, "rows 1\n")
		}
		g.push(t, 400, http.MethodPut, "/metrics/job/failed", "rows 1 1\n")
	})
	g.push(t, 400, http.MethodPut, "/metrics/job/failed_now", "rows 1 1\n")
	if got := len(held(t, upstream)); got != 11 {
		t.Fatalf("%d groups to begin with", got)
	}
	g.run(t)
	g.awaitSweep(t)
	want := keyTexts([]map[string]string{
		{"job": "failed_now"},
		{"job": "forecast"},
		{"job": "forever"},
		{"job": "open"},
		{"job": "newest", "run": "2"},
		{"job": "succeeded", "run": "1"},
	})
	if diff := cmp.Diff(want, keysHeld(t, upstream)); diff != "" {
		t.Errorf("groups (-want +left):\n%s", diff)
	}
}

// TestSweepForecast: what is only reported stays, and the forecast goes on
// without it.
func TestSweepForecast(t *testing.T) {
	t.Parallel()
	upstream := gatewaytest.Start(t)
	g := newLiving(t, upstream, "version: v1\ndefault: {mode: report, stale_after: 1ms, owner: data}\n", timed)
	g.push(t, 200, http.MethodPut, "/metrics/job/a/run/1", "rows 1\n")
	g.push(t, 200, http.MethodPut, "/metrics/job/a/run/2", "rows 1\n")
	g.records(t)
	if got := g.own(t, `pushguard_series_shadow{job="a"}`); got != 6 {
		t.Fatalf("the shadow has %v series", got)
	}
	g.run(t)
	var told []map[string]any
	eventually(t, func() error {
		told = append(told, g.records(t)...)
		if len(told) < 2 {
			return fmt.Errorf("the forecast says %v", told)
		}
		return nil
	})
	g.awaitSweep(t)
	told = append(told, g.records(t)...)
	for _, r := range told {
		if r["outcome"] != "passed" || r["would"] != "removed" || r["reason"] != "stale" || r["owner"] != "data" || r["upstream_status"] != nil {
			t.Errorf("record %v", r)
		}
	}
	if shadow, held := g.own(t, `pushguard_series_shadow{job="a"}`), len(keysHeld(t, upstream)); len(told) != 2 || shadow != 0 || held != 2 {
		t.Errorf("%d records, %v series in the shadow, %d groups upstream", len(told), shadow, held)
	}
	if n := g.removed(t, "a", "stale", "deleted"); n != 0 {
		t.Errorf("%v groups counted as deleted", n)
	}
}

// pythonCounter is a counter as Python's client pushes it.
func pythonCounter(value, created float64) string {
	return fmt.Sprintf("# TYPE rows_total counter\nrows_total %v\n# TYPE rows_created gauge\nrows_created %v\n# TYPE lag gauge\nlag 1\n", value, created)
}

// TestSweepKeepsBaselines: who pushes on after its group was swept adds what is
// new alone, who has deleted its group begins anew.
func TestSweepKeepsBaselines(t *testing.T) {
	t.Parallel()
	upstream := gatewaytest.Start(t)
	g := newLiving(t, upstream, staleHour, nil)
	total := func() string {
		t.Helper()
		for line := range strings.Lines(g.do(http.MethodGet, "/metrics", "").Body) {
			if rest, ok := strings.CutPrefix(line, "rows_total{"); ok {
				_, value, _ := strings.Cut(rest, "} ")
				return strings.TrimSpace(value)
			}
		}
		return "none"
	}
	created := float64(time.Now().Unix() - 60)
	g.inThePast(2*time.Hour, func() { g.push(t, 200, http.MethodPut, "/metrics/job/a", pythonCounter(5, created)) })
	if got := total(); got != "5" {
		t.Fatalf("the total is %s", got)
	}
	stop := g.run(t)
	eventually(t, func() error {
		if left := keysHeld(t, upstream); len(left) > 0 {
			return fmt.Errorf("left are %v", left)
		}
		return nil
	})
	stop()
	if got := total(); got != "5" {
		t.Errorf("the total is %s after the sweep", got)
	}
	g.push(t, 200, http.MethodPut, "/metrics/job/a", pythonCounter(8, created))
	if got := total(); got != "8" {
		t.Errorf("the total is %s after a push past the sweep, want 8", got)
	}
	g.push(t, 202, http.MethodDelete, "/metrics/job/a", "")
	g.push(t, 200, http.MethodPut, "/metrics/job/a", pythonCounter(9, created))
	if got := total(); got != "17" {
		t.Errorf("the total is %s after a DELETE, want 8 and all of 9", got)
	}
}

// TestSweepMany deletes 5,000 groups while jobs push to others.
func TestSweepMany(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	t.Parallel()
	const many, busy = 5000, 20
	upstream := gatewaytest.Start(t, "--push.disable-consistency-check")
	g := newLiving(t, upstream, staleHour, func(c *proxy.Config) {
		c.Rhythm.SweepRate = 0 // what it is unless somebody says otherwise
	})
	g.inThePast(2*time.Hour, func() {
		for i := range many {
			g.push(t, 202, http.MethodPut, fmt.Sprintf("/metrics/job/stale/run/%d", i), "rows 1\n")
		}
	})
	begun := time.Now()
	g.run(t)
	pushes := 0
	for deadline := time.Now().Add(12 * time.Minute); g.removed(t, "stale", "stale", "deleted") < many; time.Sleep(20 * time.Millisecond) {
		for range 4 {
			g.push(t, 202, http.MethodPut, fmt.Sprintf("/metrics/job/busy/run/%d", pushes%busy), "rows 1\n")
			pushes++
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v of %d groups are gone after 12 minutes", g.removed(t, "stale", "stale", "deleted"), many)
		}
	}
	t.Logf("%d groups swept and seen to be gone in %v, with %d pushes meanwhile", many, time.Since(begun).Round(time.Millisecond), pushes)
	if left := held(t, upstream); len(left) != busy {
		t.Errorf("%d groups are left, want the %d that are pushed", len(left), busy)
	}
	if failed := g.removed(t, "stale", "stale", "failed"); failed != 0 {
		t.Errorf("%v counted as failed", failed)
	}
}

// TestSweepGivesUpOnAnUpstreamThatIsSilent: it does not ask a dead upstream once
// for each of a thousand groups, and deletes them once there is an answer again.
func TestSweepGivesUpOnAnUpstreamThatIsSilent(t *testing.T) {
	t.Parallel()
	upstream := gatewaytest.Start(t, "--push.disable-consistency-check")
	front := newFront(t, upstream)
	front.set(func() {
		front.deny = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodDelete {
				panic(http.ErrAbortHandler) // the connection breaks off
			}
			return false
		}
	})
	logs := &logtest.Buffer{}
	g := newLiving(t, front.url, staleHour, func(c *proxy.Config) {
		c.Rhythm.Sweep, c.Logger = 50*time.Millisecond, slog.New(slog.NewTextHandler(logs, nil))
	})
	const groups = 40
	g.inThePast(3*time.Hour, func() {
		for i := range groups {
			g.push(t, 202, http.MethodPut, fmt.Sprintf("/metrics/job/a/run/%d", i), "rows 1\n")
		}
	})
	g.run(t)
	gaveUp := 0
	eventually(t, func() error {
		if gaveUp += strings.Count(logs.Take(), "The sweep was given up"); gaveUp < 2 {
			return errors.New("no sweep was given up and tried again")
		}
		return nil
	})
	front.set(func() { front.deny = nil })
	eventually(t, func() error {
		if left := keysHeld(t, upstream); len(left) > 0 {
			return fmt.Errorf("left are %d of %d groups", len(left), groups)
		}
		return nil
	})
}

// TestAReloadHoldsForPushesUnderWay: a push that was judged before a reload and
// booked after it does not bring back when its job's groups end.
func TestAReloadHoldsForPushesUnderWay(t *testing.T) {
	t.Parallel()
	upstream := gatewaytest.Start(t)
	front := newFront(t, upstream)
	arrived, release := make(chan struct{}), make(chan struct{})
	var first sync.Once
	front.set(func() {
		front.deny = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut {
				first.Do(func() { close(arrived); <-release })
			}
			return false
		}
	})
	g := newLiving(t, front.url, staleHour, func(c *proxy.Config) { c.Rhythm.Sweep = 200 * time.Millisecond })
	forever, err := policy.Parse("policy.yml", []byte("version: v1\ndefault: {mode: enforce}\n"))
	if err != nil {
		t.Fatal(err)
	}
	g.run(t)
	g.awaitSweep(t) // what lists the groups again, brings the policy in force
	g.inThePast(3*time.Hour, func() {
		var pushes sync.WaitGroup
		defer pushes.Wait()
		put := func() { g.do(http.MethodPut, "/metrics/job/a", "rows 1\n") }
		pushes.Go(put)
		<-arrived
		pushes.Go(put)
		time.Sleep(100 * time.Millisecond) // the second waits for the group
		g.SetPolicy(forever)
		close(release)
	})
	g.awaitSweep(t)
	if left := keysHeld(t, upstream); len(left) != 1 {
		t.Errorf("left are %v: the group was swept by a policy that is not in force", left)
	}
}
