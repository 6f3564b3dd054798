package proxy_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestChunksAreTheLast: what stands behind a request in chunks is not read as one, though
// the client waits for an answer to it.
func TestChunksAreTheLast(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"status":"success","data":[]}`)
	}))
	defer upstream.Close()
	up, _ := url.Parse(upstream.URL)
	g := newGuard(t, up, setup{policy: openAll})
	front, admin := httptest.NewServer(g), httptest.NewServer(g.AdminHandler())
	defer front.Close()
	defer admin.Close()
	const start = "POST /metrics/job/x HTTP/1.1\r\nHost: x\r\n"
	for name, tc := range map[string]struct {
		server  *httptest.Server
		first   string
		answers int
	}{
		"chunks":            {front, start + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 1},
		"both":              {front, start + "Content-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 1},
		"chunks of a GET":   {front, "GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 1},
		"the admin's page":  {admin, "GET /guard/metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 1},
		"a length, no more": {front, start + "Content-Length: 0\r\n\r\n", 2},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", tc.server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			if _, err := io.WriteString(c, tc.first+"DELETE /metrics/job/kept HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			all, _ := io.ReadAll(c) // a reset at its end says the same as an end
			if n := strings.Count(string(all), "HTTP/1.1 "); n != tc.answers {
				t.Errorf("%d answers, want %d:\n%s", n, tc.answers, all)
			}
		})
	}
}
