package proxy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/logtest"
)

// TestUpstreamDown has an upstream that went away, and one that never was there.
func TestUpstreamDown(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"status":"success","data":[]}`)
	}))
	up, _ := url.Parse(s.URL)
	went, never := newGuard(t, up, setup{policy: openAll}), newGuard(t, up, setup{policy: openAll})
	went.push(t, 200, http.MethodPut, "/metrics/job/a", "rows 1\n")
	s.Close()
	for name, g := range map[string]*guard{"went away": went, "never was": never} {
		for _, method := range []string{http.MethodPut, http.MethodPost, http.MethodDelete} {
			a := g.push(t, http.StatusBadGateway, method, "/metrics/job/a", "rows 1\n")
			if !strings.HasPrefix(a.Body, "pushguard: ") || a.Header.Get("Retry-After") != "" {
				t.Errorf("%s, %s: %v %q", name, method, a.Header, a.Body)
			}
			if r := g.lastRecord(t); r["outcome"] != "failed" || r["status"] != 502.0 {
				t.Errorf("%s, %s: record %v", name, method, r)
			}
		}
	}
}

// TestUpstreamAnswersStrangely has an upstream that takes no push of anybody: who runs the
// guard learns of it, though the clients are answered as it says. What is one push's own
// fault is not for the log.
func TestUpstreamAnswersStrangely(t *testing.T) {
	t.Parallel()
	for status, logged := range map[int]bool{200: false, 202: false, 400: false, 401: true, 404: true, 413: true, 503: true} {
		log := &logtest.Buffer{}
		up := upstreamFunc(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "so it is", status) })
		g := newGuard(t, up, setup{policy: openAll, logger: slog.New(slog.NewTextHandler(log, nil))})
		g.push(t, status, http.MethodPut, "/metrics/job/a", "rows 1\n")
		g.push(t, status, http.MethodPut, "/metrics/job/a", "rows 1\n")
		want := 0
		if logged {
			want = 1
		}
		if n := strings.Count(log.String(), fmt.Sprintf(`job=a status=%d answer="so it is`, status)); n != want {
			t.Errorf("status %d is logged %d times, want %d:\n%s", status, n, want, log.String())
		}
	}
}

func TestUpstreamHangs(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	up := upstreamFunc(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	g := newGuard(t, up, setup{policy: openAll, timeout: 2 * time.Second})
	g.push(t, http.StatusGatewayTimeout, http.MethodPut, "/metrics/job/a", "rows 1\n")
	if r := g.lastRecord(t); r["outcome"] != "failed" || r["status"] != 504.0 || r["upstream_status"] != nil {
		t.Errorf("record %v", r)
	}
	if page := g.metrics(); !strings.Contains(page, `pushguard_upstream_request_duration_seconds_count{code="0",method="PUT"} 1`) {
		t.Error("a request without an answer is not counted")
	}
}

// TestListingHangs has an upstream that never lists its groups: no push waits for
// it longer than it may, however many there are.
func TestListingHangs(t *testing.T) {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer s.Close()
	defer close(release)
	up, _ := url.Parse(s.URL)
	g := newGuard(t, up, setup{policy: openAll, wait: 50 * time.Millisecond})
	done := make(chan int, 8)
	for range cap(done) {
		go func() { done <- g.do(http.MethodPut, "/metrics/job/a", "rows 1\n").Status }()
	}
	for range cap(done) {
		select {
		case status := <-done:
			if status != http.StatusServiceUnavailable {
				t.Errorf("status %d, want 503", status)
			}
		case <-time.After(time.Minute):
			t.Fatal("a push waits for the listing for ever")
		}
	}
}

// TestSlowListing has an upstream whose listing takes longer than a push may: the
// push that began it gives up, and the next one finds it done.
func TestSlowListing(t *testing.T) {
	listed := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			<-listed
			_, _ = io.WriteString(w, `{"status":"success","data":[]}`)
		}
	}))
	defer s.Close()
	up, _ := url.Parse(s.URL)
	g := newGuard(t, up, setup{policy: openAll, wait: 20 * time.Millisecond})
	g.push(t, http.StatusServiceUnavailable, http.MethodPut, "/metrics/job/a", "rows 1\n")
	close(listed)
	eventually(t, func() error {
		if a := g.do(http.MethodPut, "/metrics/job/a", "rows 1\n"); a.Status != 200 {
			return fmt.Errorf("the listing that a push has begun is lost with it: %d %s", a.Status, a.Body)
		}
		return nil
	})
}

// gate is an upstream that holds every write until it is let go, and counts how
// many it holds.
type gate struct {
	url     *url.URL
	entered chan string // the path of each write
	leave   chan struct{}

	mu        sync.Mutex
	inside    map[string]int
	crowd     int // the most writes of one group at once
	different int // the most groups at once
}

func newGate(t *testing.T) *gate {
	g := &gate{entered: make(chan string, 100), leave: make(chan struct{}), inside: map[string]int{}}
	g.url = upstreamFunc(t, func(_ http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.inside[r.URL.Path]++
		g.crowd = max(g.crowd, g.inside[r.URL.Path])
		g.different = max(g.different, len(g.inside))
		g.mu.Unlock()
		g.entered <- r.URL.Path
		<-g.leave
		g.mu.Lock()
		if g.inside[r.URL.Path]--; g.inside[r.URL.Path] == 0 {
			delete(g.inside, r.URL.Path)
		}
		g.mu.Unlock()
	})
	return g
}

func TestGroupBusy(t *testing.T) {
	t.Parallel()
	up := newGate(t)
	g := newGuard(t, up.url, setup{policy: dropping, wait: 3 * time.Second})
	first := make(chan answer)
	go func() { first <- g.do(http.MethodPut, "/metrics/job/a/run_id/1", "rows 1\n") }()
	<-up.entered
	for _, method := range []string{http.MethodPut, http.MethodDelete} {
		a := g.push(t, http.StatusServiceUnavailable, method, "/metrics/job/a/run_id/2", "rows 1\n") // the same group, folded
		if a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After: %v", method, a.Header)
		}
	}
	close(up.leave)
	if a := <-first; a.Status != 200 {
		t.Errorf("the first push: %d %s", a.Status, a.Body)
	}
	g.push(t, 200, http.MethodPut, "/metrics/job/a/run_id/2", "rows 1\n")
}

// TestPushesOfAGroupAreSerialised: at no time are two writes of one group under
// way, and those of others do not wait.
func TestPushesOfAGroupAreSerialised(t *testing.T) {
	up := newGate(t)
	g := newGuard(t, up.url, setup{policy: dropping})
	const groups, runs = 4, 5
	var pushing sync.WaitGroup
	for i := range groups * runs {
		pushing.Go(func() {
			g.push(t, 200, http.MethodPut, fmt.Sprintf("/metrics/job/job%d/run_id/%d", i%groups, i), "rows{run_id=\"x\"} 1\n")
		})
	}
	for range groups { // none leaves before one of each group is in
		<-up.entered
	}
	close(up.leave)
	pushing.Wait()
	if up.crowd != 1 || up.different != groups {
		t.Errorf("%d writes of one group at once, %d groups at once; want 1 and %d", up.crowd, up.different, groups)
	}
}

// TestClientGoesAway: a push that was sent whole is carried out and booked though
// nobody waits for the answer.
func TestClientGoesAway(t *testing.T) {
	up := newGate(t)
	g := newGuard(t, up.url, setup{policy: openAll})
	noticed := make(chan struct{}) // that the client is gone
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		context.AfterFunc(r.Context(), func() { close(noticed) })
		g.ServeHTTP(w, r)
	}))
	defer s.Close()
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, s.URL+"/metrics/job/a", strings.NewReader("rows 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan error)
	go func() {
		_, err := http.DefaultClient.Do(r)
		gone <- err
	}()
	<-up.entered
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Fatalf("the client: %v", err)
	}
	<-noticed
	close(up.leave)
	g.push(t, 200, http.MethodPut, "/metrics/job/a", "rows 1\n") // waits for the first
	if first := g.records(t)[0]; first["outcome"] != "passed" || first["upstream_status"] != 200.0 {
		t.Errorf("record %v", first)
	}
}

// TestClientClosesItsHalf: a client that has closed its half of the connection looks as one
// that has hung up. What it sent whole is carried out, and the answer is there to be read;
// but nothing is added up, since one that has hung up sends the same again.
func TestClientClosesItsHalf(t *testing.T) {
	upstream := gatewaytest.Start(t)
	g := newGuard(t, upstream, setup{policy: countedPolicy})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		<-r.Context().Done() // that it has closed is known before anything is done
		g.ServeHTTP(w, r)
	}))
	defer s.Close()
	for _, c := range []struct {
		method, body string
		status       int
		says, behind string
	}{
		{http.MethodPost, "rows 1\n", 200, "", "rows"},
		{http.MethodPut, "files 1\n", 200, "", "files"},
		{http.MethodDelete, "", 202, "", ""},
		{http.MethodPost, "loads 1\n# TYPE loads_total counter\nloads_total 1\n", 503, "not added up", "loads"},
	} {
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(conn, "%s /metrics/job/a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", c.method, len(c.body), c.body)
		_ = conn.(*net.TCPConn).CloseWrite()
		answer, _ := io.ReadAll(conn)
		_ = conn.Close()
		if !strings.HasPrefix(string(answer), fmt.Sprintf("HTTP/1.1 %d ", c.status)) || !strings.Contains(string(answer), c.says) {
			t.Errorf("%s %q: %q", c.method, c.body, answer)
		}
		if c.method == http.MethodDelete {
			continue // which a Pushgateway does after it has answered, but before the next push
		}
		if names := upstreamNames(held(t, upstream)); names != c.behind {
			t.Errorf("%s %q: behind is %q, want %q", c.method, c.body, names, c.behind)
		}
	}
	if page := fmt.Sprint(g.page(t)); strings.Contains(page, "loads_total") {
		t.Errorf("it was added up: %s", page)
	}
}

// TestReaderClosesItsHalf: it is answered as one that keeps its half open.
func TestReaderClosesItsHalf(t *testing.T) {
	g := newGuard(t, gatewaytest.Start(t), setup{policy: countedPolicy})
	g.push(t, 200, http.MethodPut, "/metrics/job/a", "rows 1\n# TYPE loads_total counter\nloads_total 1\n")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		g.ServeHTTP(w, r)
	}))
	defer s.Close()
	for path, says := range map[string]string{
		"/metrics": "loads_total{", "/api/v1/metrics": `"rows"`, "/-/healthy": "OK", "/-/ready": "OK", "/status": "</html>",
	} {
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.0\r\n\r\n", path)
		_ = conn.(*net.TCPConn).CloseWrite()
		answer, _ := io.ReadAll(conn)
		_ = conn.Close()
		if !strings.HasPrefix(string(answer), "HTTP/1.0 200 ") || !strings.Contains(string(answer), says) {
			t.Errorf("%s: %.300q", path, answer)
		}
	}
}

// TestClientStopsMidway: a body that was not sent whole goes nowhere.
func TestClientStopsMidway(t *testing.T) {
	up := upstreamFunc(t, func(http.ResponseWriter, *http.Request) { t.Error("a part of a push was forwarded") })
	g := newGuard(t, up, setup{policy: openAll})
	s := httptest.NewServer(g)
	defer s.Close()
	for name, head := range map[string]string{
		"announced": "Content-Length: 100\r\n\r\nrows 1\n",
		"chunked":   "Transfer-Encoding: chunked\r\n\r\n7\r\nrows 1\n\r\n",
	} {
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "PUT /metrics/job/a HTTP/1.1\r\nHost: a\r\n"+head)
		_ = conn.(*net.TCPConn).CloseWrite()
		answer, _ := io.ReadAll(conn)
		_ = conn.Close()
		if !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
			t.Errorf("%s: %q", name, answer)
		}
		if r := g.lastRecord(t); r["outcome"] != "refused" {
			t.Errorf("%s: record %v", name, r)
		}
	}
}
