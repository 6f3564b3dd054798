package fleet

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/leaktest"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		moveUntilKilled(path)
	}
	leaktest.Main(m)
}

// real are Pushgateways that are empty.
func real(t *testing.T, n int) []*gateway.Upstream {
	t.Helper()
	var out []*gateway.Upstream
	for range n {
		out = append(out, at(t, gatewaytest.Start(t)))
	}
	return out
}

func at(t *testing.T, where *url.URL) *gateway.Upstream {
	t.Helper()
	u, err := gateway.New(gateway.Config{URL: where, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.Close)
	return u
}

// silent takes connections and says nothing.
func silent(t *testing.T) *url.URL {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return &url.URL{Scheme: "http", Host: l.Addr().String()}
}

func push(t *testing.T, f *Fleet, method string, i int, body string) {
	t.Helper()
	answer, err := f.Do(context.Background(), gateway.Request{Method: method, Key: job(i), Body: []byte(body)})
	if !taken(answer, err) {
		t.Fatalf("%s of job %d: %d %s %v", method, i, answer.Status, answer.Body, err)
	}
}

// The page of one that hangs is not waited for longer than the scraper waits, and nothing
// waits for it afterwards.
func TestPageBesideSilence(t *testing.T) {
	both := append(real(t, 1), at(t, silent(t)))
	f := New(Config{Staying: both[:1], Leaving: both[1:]})
	push(t, f, http.MethodPut, 1, "x 1\n")
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", "4")
	w, begun := httptest.NewRecorder(), time.Now()
	f.Proxy().ServeHTTP(w, r)
	if took := time.Since(begun); took < 2*time.Second || took > pageTime {
		t.Errorf("the page took %s", took)
	}
	for _, want := range []string{
		`x{instance="",job="j1",run="1"} 1`,
		fmt.Sprintf("%s{upstream=%q} 1", upName, both[0].Name()),
		fmt.Sprintf("%s{upstream=%q} 0", upName, both[1].Name()),
	} {
		if !bytes.Contains(w.Body.Bytes(), []byte(want+"\n")) {
			t.Errorf("no %s on the page:\n%s", want, w.Body)
		}
	}
}

// TestPresence: who was on the last page is told only once there was one, and not by a
// reader that went before it could be told; a page tells of itself.
func TestPresence(t *testing.T) {
	slow := front(t)
	f := New(Config{Staying: append(real(t, 1), slow.Upstream)})
	if n := testutil.CollectAndCount(f, upName); n != 0 {
		t.Errorf("%d Pushgateways are on a page that nobody asked for", n)
	}
	get := func(ctx context.Context) string {
		w := httptest.NewRecorder()
		f.Proxy().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil).WithContext(ctx))
		return w.Body.String()
	}
	get(context.Background())
	both := "# HELP " + upName + " " + upHelp + "\n# TYPE " + upName + " gauge\n"
	for _, u := range f.all {
		both += fmt.Sprintf("%s{upstream=%q} 1\n", upName, u.Name())
	}
	asked, goOn := make(chan struct{}), make(chan struct{})
	hold := func(*http.Request) { close(asked); <-goOn }
	slow.before.Store(&hold)
	ctx, leave := context.WithCancel(context.Background())
	left := make(chan struct{})
	go func() { defer close(left); get(ctx) }()
	<-asked
	slow.before.Store(nil)
	leave()
	<-left
	close(goOn)
	if err := testutil.CollectAndCompare(f, strings.NewReader(both), upName); err != nil {
		t.Errorf("after a reader that went: %v", err)
	}
	if page := get(context.Background()); !strings.Contains(page, both) {
		t.Errorf("%s is not on the page:\n%s", both, page)
	}
}

// The page goes out compressed to who takes that, as from one Pushgateway.
func TestPageCompressed(t *testing.T) {
	f := New(Config{Staying: real(t, 2)})
	for i := range 50 {
		push(t, f, http.MethodPut, i, "x 1\n")
	}
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	plain := httptest.NewRecorder()
	f.Proxy().ServeHTTP(plain, r)
	r.Header.Set("Accept-Encoding", "gzip")
	w := httptest.NewRecorder()
	f.Proxy().ServeHTTP(w, r)
	if got := w.Header().Get("Content-Encoding"); got != "gzip" {
		t.Fatalf("the encoding is %q", got)
	}
	from, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(from)
	if n := bytes.Count(got, []byte("\nx{")); err != nil || n != 50 || !sameLines(got, plain.Body.Bytes()) {
		t.Errorf("%d of 50 series, %v:\n%s", n, err, got)
	}
}

// sameLines reports whether two pages are the same but for the order of series, which is
// that of the Pushgateways' pages.
func sameLines(a, b []byte) bool {
	lines := func(page []byte) []string { return slices.Sorted(strings.Lines(string(page))) }
	return slices.Equal(lines(a), lines(b))
}

// TestListingIsAPushgateways: its headers, by which pages of other origins may read it and
// nobody keeps it, and a list of no groups.
func TestListingIsAPushgateways(t *testing.T) {
	both := real(t, 2)
	list := func(p http.Handler) (http.Header, string) {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v1/metrics", nil))
		w.Header().Del("Content-Length")
		w.Header().Del("Date")
		return w.Header(), strings.TrimSpace(w.Body.String())
	}
	want, none := list(both[0].Proxy())
	got, body := list(New(Config{Staying: both}).Proxy())
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("headers (-Pushgateway +several):\n%s", d)
	}
	if body != none || !strings.Contains(body, `"data":[]`) {
		t.Errorf("%s, a Pushgateway has %s", body, none)
	}
}

// The guard is well and ready if one of them says so, however many hang or break off, and
// that is not waited for.
func TestReadyBesideSilence(t *testing.T) {
	torn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "9")
		_, _ = io.WriteString(w, "OK")
	}))
	defer torn.Close()
	where, _ := url.Parse(torn.URL)
	for path, others := range map[string][]*gateway.Upstream{
		"/-/ready":   {at(t, silent(t)), at(t, where)},
		"/-/healthy": {at(t, where), at(t, silent(t))},
	} {
		f := New(Config{Staying: append(others, real(t, 1)...)})
		server := httptest.NewServer(f.Proxy())
		defer server.Close()
		resp, err := server.Client().Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d though one of three is", path, resp.StatusCode)
		}
	}
}

// TestNoneIsReady: where none of them is well the guard is not, and says what one of them did.
func TestNoneIsReady(t *testing.T) {
	unwell := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "not now", http.StatusServiceUnavailable)
	}))
	defer unwell.Close()
	where, _ := url.Parse(unwell.URL)
	f := New(Config{Staying: []*gateway.Upstream{at(t, where), at(t, where)}})
	w := httptest.NewRecorder()
	f.Proxy().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/-/ready", http.NoBody))
	if w.Code != http.StatusServiceUnavailable || w.Body.String() != "not now\n" {
		t.Errorf("it says %d %s", w.Code, w.Body)
	}
}

// TestTwins: two names that are of one Pushgateway, as far as anybody can tell, stay so. One
// that does not say when it started may be any other.
func TestTwins(t *testing.T) {
	where, other := gatewaytest.Start(t), gatewaytest.Start(t)
	mute := httptest.NewServer(http.NotFoundHandler())
	defer mute.Close()
	says, _ := url.Parse(mute.URL)
	f := New(Config{Staying: []*gateway.Upstream{at(t, where), at(t, where), at(t, says), at(t, other)}})
	note := func(pairs ...twins) {
		for _, pair := range pairs {
			f.noteTwins(pair[0], pair[1])
		}
	}
	note(twins{1, 0}, twins{3, 3}, twins{0, 2}, twins{3, 0}, twins{3, 2})
	for pair := range maps.Clone(f.twins) {
		f.checkTwins(t.Context(), pair)
	}
	note(twins{0, 1}) // which was told
	want := map[twins]bool{{0, 1}: true, {0, 2}: true, {2, 3}: true}
	if diff := cmp.Diff(want, f.twins); diff != "" {
		t.Errorf("of one are taken to be (-want +got):\n%s", diff)
	}
}

// TestPageWithoutOldCopyAtHome: of a group that was pushed to elsewhere later, what is left
// of it where it belongs is on no page, and nothing else is missing there; nor before the
// groups were listed first.
func TestPageWithoutOldCopyAtHome(t *testing.T) {
	both := real(t, 2)
	home, away := both[0], both[1]
	send(t, home, http.MethodPut, "/job/a", "x 1\ny 1\n", 200)
	send(t, home, http.MethodPut, "/job/c", "w{run=\"1\"} 1\n", 200) // looks as if it were of the next
	send(t, home, http.MethodPut, "/job/c/run/1", "x 1\n", 200)
	send(t, away, http.MethodPut, "/job/a", "x 2\n", 200)
	send(t, away, http.MethodPut, "/job/c/run/1", "x 2\n", 200)
	send(t, away, http.MethodPut, "/job/d", "x 2\nz 2\n", 200)
	send(t, home, http.MethodPut, "/job/d", "x 3\n", 200)
	f := New(Config{Staying: both[:1], Leaving: both[1:]})
	want := []string{
		"w{instance=\"\",job=\"c\",run=\"1\"} 1\n",
		"x{instance=\"\",job=\"a\"} 2\n",
		"x{instance=\"\",job=\"c\",run=\"1\"} 2\n",
		"x{instance=\"\",job=\"d\"} 3\n",
	}
	shows := func(want []string) {
		t.Helper()
		page := slices.DeleteFunc(pageOf(t, f), func(line string) bool {
			return strings.HasPrefix(line, "#") || strings.HasPrefix(line, "push")
		})
		if diff := cmp.Diff(want, page); diff != "" {
			t.Errorf("the page is another (-want +got):\n%s", diff)
		}
	}
	shows(want)
	send(t, home, http.MethodPut, "/job/b", "u 1\n", 200)
	send(t, away, http.MethodPut, "/job/b/note@base64/=", "v 2\n", 200) // is another group
	list(t, f)
	shows(append([]string{"u{instance=\"\",job=\"b\"} 1\n", "v{instance=\"\",job=\"b\",note=\"\"} 2\n"}, want...))
}
