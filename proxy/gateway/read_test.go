package gateway

import (
	"bufio"
	"compress/gzip"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
)

func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }

// send writes a request by hand, so that nothing cleans its path, and returns
// the answer with its body read.
func send(t *testing.T, address, request string) (*http.Response, string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%.100q: %v", request, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%.100q: %v", request, err)
	}
	return resp, string(body)
}

func guard(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestReadsKeepPathAndQuery(t *testing.T) {
	var got string
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.RequestURI }))
	defer s.Close()
	for _, prefix := range []string{"", "/p%2Fx"} {
		address := guard(t, open(t, Config{URL: parse(t, s.URL+prefix)}).Proxy())
		for _, target := range []string{
			"/", "/metrics", "//", "//metrics", "/metrics//job", "/metrics/../x", "/./..", "/a%2Fb", "/a%2fb", "/%2e%2E/", "/a%25b", "/a+b",
			"/a;b=c", "/%00%0a", "/*", `/a"b`, "/a|b{c}", "/a[b]^`", "/\xff\xfe", "//\xff", "/ü", "/a%c3%bc", "/:@!$&'()*,=~",
			"/?", "/?a", "/?a=%zz;b&&c=%2F?/", "/x?a=1#b", "/a#b", "/metrics?" + strings.Repeat("x", 4000),
		} {
			send(t, address, "GET "+target+" HTTP/1.1\r\nHost: guard\r\nConnection: close\r\n\r\n")
			if got = strings.TrimPrefix(got, s.URL); got != prefix+target {
				t.Errorf("%.60q reached the upstream as %.60q", prefix+target, got)
			}
		}
	}
}

func TestReadsBelowAStrippedPrefix(t *testing.T) {
	u := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RequestURI) })
	address := guard(t, http.StripPrefix("/guarded", u.Proxy()))
	_, body := send(t, address, "GET /guarded/a%2Fb//c?q HTTP/1.1\r\nHost: guard\r\nConnection: close\r\n\r\n")
	if body != "/a%2Fb//c?q" {
		t.Errorf("reached the upstream as %q", body)
	}
}

func TestReadsKeepTheHeader(t *testing.T) {
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		want := http.Header{
			"Accept": {"*/*"}, "Accept-Encoding": {"br, gzip"}, "Authorization": {"Bearer x"}, "Forwarded": {"for=192.0.2.1"},
			"X-Forwarded-For": {"192.0.2.1, 127.0.0.1"}, "X-Forwarded-Host": {"front"},
		}
		if diff := cmp.Diff(want, r.Header); diff != "" {
			t.Errorf("header (-want +got):\n%s", diff)
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, "packed")
		_ = z.Close()
	})
	resp, body := send(t, guard(t, u.Proxy()), "GET / HTTP/1.1\r\nHost: guard\r\nAccept: */*\r\nAccept-Encoding: br, gzip\r\n"+
		"Authorization: Bearer x\r\nForwarded: for=192.0.2.1\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Host: front\r\n"+
		"Keep-Alive: 5\r\nX-Hop: 1\r\nConnection: close, X-Hop\r\n\r\n")
	z, err := gzip.NewReader(strings.NewReader(body))
	if err != nil {
		t.Fatalf("the answer was unpacked: %v", err)
	}
	if plain, _ := io.ReadAll(z); string(plain) != "packed" || resp.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("got %q, %v", plain, resp.Header)
	}
}

func TestProxySendsNoWrite(t *testing.T) {
	u := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a write reached the upstream") })
	address := guard(t, u.Proxy())
	for _, method := range []string{http.MethodPut, http.MethodPost, http.MethodDelete} {
		for _, path := range []string{"/metrics/job/x", "/", "/metrics", "/-/quit", "/api/v1/admin/wipe"} {
			resp, _ := send(t, address, method+" "+path+" HTTP/1.1\r\nHost: guard\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			if resp.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: status %d", method, path, resp.StatusCode)
			}
		}
	}
}

func TestReadOfAnUpstreamThatIsDown(t *testing.T) {
	u := open(t, Config{URL: parse(t, "http://"+closedPort(t))})
	resp, body := send(t, guard(t, u.Proxy()), "GET /metrics HTTP/1.1\r\nHost: guard\r\nConnection: close\r\n\r\n")
	if resp.StatusCode != http.StatusBadGateway || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("status %d, %v", resp.StatusCode, resp.Header)
	}
	if strings.Count(body, "\n") != 1 || !strings.HasPrefix(body, "upstream: ") {
		t.Errorf("body %q, want one line", body)
	}
}

// TestReadsOfARealPushgateway compares the answers through the proxy with those
// without it.
func TestReadsOfARealPushgateway(t *testing.T) {
	up := gatewaytest.Start(t)
	through := guard(t, open(t, Config{URL: up}).Proxy())
	for _, line := range []string{
		"GET / HTTP/1.1", "HEAD / HTTP/1.1", "GET /status HTTP/1.0", "GET /-/healthy HTTP/1.0", "HEAD /-/ready HTTP/1.1",
		"GET /api/v1/metrics HTTP/1.1", "OPTIONS /api/v1/metrics HTTP/1.1", "OPTIONS /metrics/job/x HTTP/1.1", "OPTIONS * HTTP/1.1",
		"GET /metrics/job/x HTTP/1.1", "HEAD /metrics/job/x HTTP/1.1", "PATCH /metrics/job/x HTTP/1.1", "PATCH /metrics HTTP/1.1",
		"GET /metrics/ HTTP/1.1", "GET //metrics HTTP/1.1", "GET /metrics/../x HTTP/1.1", "GET /Metrics HTTP/1.1", "GET /api/v1 HTTP/1.1",
		"GET /nope HTTP/1.1", "GET /-/quit HTTP/1.1", "GET /static/ HTTP/1.1", "GET /a%2Fb HTTP/1.1", "GET /%zz HTTP/1.1",
		"FROBNICATE / HTTP/1.1",
	} {
		request := line + "\r\nHost: gateway\r\nConnection: close\r\n\r\n"
		want, wantBody := send(t, up.Host, request)
		got, gotBody := send(t, through, request)
		for _, h := range []http.Header{want.Header, got.Header} {
			h.Del("Date")
		}
		if got.StatusCode != want.StatusCode {
			t.Errorf("%s: status %d, want %d", line, got.StatusCode, want.StatusCode)
		}
		if diff := cmp.Diff(want.Header, got.Header); diff != "" {
			t.Errorf("%s: header (-direct +through):\n%s", line, diff)
		}
		if diff := cmp.Diff(wantBody, gotBody); diff != "" {
			t.Errorf("%s: body (-direct +through):\n%.500s", line, diff)
		}
	}
}
